"""What can be asked for in batches: wheels and Debian packages, and the platform that a wheel must fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from packaging.tags import Tag, compatible_tags, cpython_tags, parse_tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename


class WheelPin(Protocol):
    """A distribution of a lock: any file with one of the digests will do, the best that fits the platform is taken."""

    @property
    def name(self) -> str:
        """Return the distribution's name."""

    @property
    def version(self) -> str:
        """Return its exact version."""

    @property
    def sha256s(self) -> Collection[str]:
        """Return the digests of the files that may be used."""


class DebPin(Protocol):
    """A Debian package of a base lock; `pool_path` is its path on a mirror ("pool/main/…"), "" where not known."""

    @property
    def name(self) -> str:
        """Return the binary package's name."""

    @property
    def version(self) -> str:
        """Return its exact version, with epoch and revision."""

    @property
    def architecture(self) -> str:
        """Return its architecture as dpkg names it."""

    @property
    def sha256(self) -> str:
        """Return the digest of the .deb file."""

    @property
    def pool_path(self) -> str:
        """Return its path on a Debian mirror."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A WheelPin on its own."""

    name: str
    version: str
    sha256s: Collection[str]


@dataclass(frozen=True, slots=True)
class Deb:
    """A DebPin on its own."""

    name: str
    version: str
    architecture: str
    sha256: str
    pool_path: str = ""


@dataclass(frozen=True)
class WheelTarget:
    """The interpreter and platform that wheels are for: the image's, whatever the host runs."""

    python: tuple[int, int] = (3, 11)
    machine: str = "x86_64"
    glibc: tuple[int, int] = (2, 36)

    @cached_property
    def platforms(self) -> tuple[str, ...]:
        """Return the platform tags that run there, best first (PEP 600, and the older names)."""
        major, newest = self.glibc
        oldest = 5 if self.machine == "x86_64" else 17
        older = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        tags = []
        for minor in range(newest, oldest - 1, -1):
            tags.append(f"manylinux_{major}_{minor}_{self.machine}")
            if minor in older:
                tags.append(f"{older[minor]}_{self.machine}")
        return (*tags, f"linux_{self.machine}")

    @cached_property
    def abi(self) -> str:
        """Return the interpreter's tag, which is its ABI's too ("cp311")."""
        return f"cp{self.python[0]}{self.python[1]}"

    @cached_property
    def ranks(self) -> dict[Tag, int]:
        """Return each tag that fits with its rank, 0 the best."""
        tags = [
            *cpython_tags(self.python, abis=[self.abi], platforms=self.platforms),
            *compatible_tags(self.python, interpreter=self.abi, platforms=self.platforms),
        ]
        return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}

    def rank(self, tags: Iterable[Tag]) -> int | None:
        """Return the best rank among the tags, or None where none fits."""
        return min((self.ranks[tag] for tag in tags if tag in self.ranks), default=None)

    def may_fit(self, path: Path) -> bool:
        """Tell from its name whether a file may be a wheel that fits; a name that says nothing may."""
        if path.suffix != ".whl":
            return "." not in path.name
        try:
            return self.rank(parse_wheel_filename(path.name)[3]) is not None
        except InvalidWheelFilename:
            return True

    def rank_of_metadata(self, text: str) -> int | None:
        """Return the rank of a wheel by the `Tag:` lines of its WHEEL file (binary distribution format)."""
        lines = (line.partition(":") for line in text.splitlines())
        tags = (parse_tag(value.strip()) for key, _, value in lines if key.strip().lower() == "tag")
        return self.rank(tag for several in tags for tag in several)
