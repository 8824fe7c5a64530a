"""What commands read of a bundle without opening it: taken out into a folder that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.errors import BundleError

if TYPE_CHECKING:
    from repro_tui.bundles.reading import Opened
    from repro_tui.runs.directory import RunDirectory

_TAKEN = ("run/", "experiment/")


@contextmanager
def bundled(path: Path) -> Iterator[tuple[Opened, Path]]:
    """Check every byte of a bundle; give it, and a folder with its recorded run and manifest. Raises BundleError."""
    from repro_tui.bundles import reading

    with tempfile.TemporaryDirectory(prefix="repro-tui-bundle-") as name:
        folder = Path(name)
        with reading.opened(path) as bundle:
            for member, chunks in reading.members(bundle):
                if not member.path.startswith(_TAKEN):
                    for _ in chunks:
                        pass
                    continue
                target = folder / member.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    for chunk in chunks:
                        file.write(chunk)
        yield bundle, folder


@contextmanager
def bundled_run(path: Path) -> Iterator[tuple[RunDirectory, str]]:
    """Check every byte of a bundle; give its recorded run and the SHA-256 of the file. Raises BundleError."""
    from repro_tui.runs.directory import RunDirectory

    with bundled(path) as (bundle, folder):
        run = RunDirectory(folder / "run")
        if not run.report.is_file():
            raise BundleError(
                "there is no recorded run in this bundle",
                where=str(path),
                hint="pack it again with --run RUN; what is signed and verified is the verdict of a run",
            )
        yield run, bundle.file_sha256
