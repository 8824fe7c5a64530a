"""The recorded run of a bundle, for commands that look at runs: taken out into a folder that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repro_tui.errors import BundleError

if TYPE_CHECKING:
    from repro_tui.runs.directory import RunDirectory

_TAKEN = (
    "manifest.toml", "report.json", "events.jsonl", "record.json", "environment.json", "out/metrics.jsonl",
)  # fmt: skip
_MAX_BYTES = 256 << 20


@contextmanager
def bundled_run(path: Path) -> Iterator[tuple[RunDirectory, str]]:
    """Check every byte of a bundle; give its recorded run and the SHA-256 of the file. Raises BundleError."""
    from repro_tui.artifacts.digests import sha256_file
    from repro_tui.bundles import reading
    from repro_tui.runs.directory import RunDirectory

    wanted = {f"run/{name}" for name in _TAKEN}
    with tempfile.TemporaryDirectory(prefix="repro-tui-bundle-") as name:
        folder = Path(name)
        with reading.opened(path) as bundle:
            for member, chunks in reading.members(bundle):
                if member.path not in wanted:
                    for _ in chunks:
                        pass
                    continue
                if member.bytes > _MAX_BYTES:
                    raise BundleError(f"{member.path} has more than {_MAX_BYTES >> 20} MiB", where=str(path))
                target = folder / member.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    for chunk in chunks:
                        file.write(chunk)
        run = RunDirectory(folder / "run")
        if not run.report.is_file():
            raise BundleError(
                "there is no recorded run in this bundle",
                where=str(path),
                hint="pack it again with --run RUN; what is signed and verified is the verdict of a run",
            )
        yield run, sha256_file(path)
