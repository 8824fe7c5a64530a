"""A loose project, and a folder of tiny wheels in place of an index: pip's own settings say where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from repro_tui.artifacts.store import Store
from repro_tui.authoring.locking import indexes
from repro_tui.authoring.locking import lock as locking
from repro_tui.authoring.locking.image import Seen
from repro_tui.authoring.locking.lock import Locked, Wishes, open_subject
from repro_tui.authoring.locking.stale import Finding, findings
from repro_tui.images.model import Image
from tests.images.image_parts import wheel_of

MANIFEST = """\
# a loose manifest
schema = 1

[experiment]
name = "loose"
title = "Loose"
authors = ["A"]
licence = "MIT"

[image]
recipe = "python"  # the base

[environment]
requirements = "requirements.txt"  # what it needs

# the script
[[artifacts]]
name = "code"
kind = "code"
path = "code"
sources = [{ type = "local", path = ".", files = ["train.py"] }]

[[artifacts]]
name = "points"
kind = "data"
path = "points.csv"
sources = [{ type = "local", path = "points.csv" }]

[task]
code = "code"
command = ["python3", "train.py"]

[determinism]
seed = 1
"""

DIGESTS = {"manifest": "sha256:" + "1" * 64, "config": "sha256:" + "2" * 64, "environment": "sha256:" + "3" * 64}


@dataclass
class Project:
    """The project in a folder, and how it is locked without an image being made."""

    folder: Path
    progressed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.links = self.folder / "links"
        self.links.mkdir()
        self.path = self.folder / "m.toml"
        self.path.write_text(MANIFEST)
        self.require("alpha>=1")
        (self.folder / "train.py").write_text("import alpha\n")
        (self.folder / "points.csv").write_text("1,2\n")
        self.store = Store(self.folder / "store")
        for version in ("1.0", "1.1"):
            self.wheel("alpha", version)
        self.wheel("beta", "2.0")

    def wheel(self, name: str, version: str, tag: str = "py3-none-any", needs: str = "") -> None:
        """Put a wheel where pip looks."""
        made = wheel_of(name, {f"{name}.py": version.encode()}, version=version, tag=tag)
        (self.links / f"{name}-{version}-{tag}.whl").write_bytes(made)

    def require(self, *lines: str) -> None:
        (self.folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))

    def pip(self) -> dict[str, str]:
        """Return variables that have pip look into the folder of wheels, and nowhere else."""
        return {
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.links), "PIP_CONFIG_FILE": "/dev/null",
            "UV_CACHE_DIR": str(self.folder / "uv-cache"), "HOME": str(self.folder),
        }  # fmt: skip

    def lock(self, **wishes: Any) -> Locked:
        """Lock with an image of made-up digests, which follow the lock file."""
        with self.fake_image():
            return locking.lock(
                self.path, Wishes(**wishes), self.store, notify=self.progressed.append, progress=lambda *_: None
            )

    @contextmanager
    def fake_image(self) -> Iterator[None]:
        def see(_loaded: object, _manifest: object, _options: object, _store: object, *, probe: bool, **_: Any) -> Seen:
            image = Image(
                "python",
                "linux/amd64",
                DIGESTS["manifest"],
                DIGESTS["config"],
                (),
                self.folder,
                self.folder,
                self.folder,
            )
            return Seen(image, DIGESTS["environment"] if probe else None)

        with (
            mock.patch.object(locking, "see", see),
            mock.patch.object(indexes, "pip_settings", indexes.pip_variables),  # saves a process a time
            mock.patch.dict("os.environ", self.pip()),
        ):
            yield

    def found(self) -> list[Finding]:
        return findings(open_subject(self.path), self.store)

    @property
    def lock_text(self) -> str:
        return (self.folder / "requirements.lock.txt").read_text()
