"""The files of a project folder, without what is no part of it: version control, environments, caches, links.

Nothing is followed out of the folder, and names that a manifest could not hold are left out and told.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CODE_SUFFIXES = frozenset(
    {
        ".py",
        ".sh",
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".cfg",
        ".ini",
        ".jinja",
        ".j2",
        ".pyx",
        ".c",
        ".h",
        ".cpp",
        ".cu",
    }
)
"""Of files that belong to the code where they are small: sources and settings."""
CODE_BYTES = 1 << 20
"""A larger file is data, whatever its name."""
MAX_FILES = 20_000
"""After so many files the rest of the folder is not looked at."""

_NO_PART = frozenset(
    {"__pycache__", "node_modules", "site-packages", "build", "dist", "runs", "wandb", "mlruns", "lightning_logs",
     "venv", "env"}
)  # fmt: skip
_DEPENDENCIES = ("requirements", "environment", "pylock")
_ABOUT = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "conda.yml", "conda.yaml", "uv.lock"})


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in a project folder."""

    root: Path
    files: Mapping[str, int]
    """Size by path below the root, with "/"."""
    folders: frozenset[str]
    """Folders that files are below."""
    links: tuple[str, ...]
    """Symbolic links, which are not followed."""
    strange: tuple[str, ...]
    """Names that a manifest cannot hold, as Python shows them."""
    cut: bool
    """Whether there were more than MAX_FILES files."""

    def find(self, name: str) -> str | None:
        """Return the path below the root that a name means as the project writes it; None where that is no file of it.

        A folder is found by the files in it.
        """
        if not name or "\0" in name or len(name) > 4096:
            return None
        path = os.path.normpath(os.path.join(self.root, name))
        relative = os.path.relpath(path, self.root).replace(os.sep, "/")
        if relative == "." or relative.startswith("../") or relative == "..":
            return None
        return relative if relative in self.files or self.is_folder(relative) else None

    def is_folder(self, relative: str) -> bool:
        """Say whether files of the project are below this path."""
        return relative in self.folders

    def behind_link(self, name: str) -> str | None:
        """Return the link that a name leads through, None where it leads through none."""
        relative = os.path.relpath(os.path.normpath(os.path.join(self.root, name)), self.root).replace(os.sep, "/")
        return next((link for link in self.links if relative == link or relative.startswith(f"{link}/")), None)

    def bytes_of(self, relative: str) -> int:
        """Return the size of a file, or of all files of a folder."""
        if relative in self.files:
            return self.files[relative]
        return sum(size for name, size in self.files.items() if name.startswith(f"{relative}/"))

    def text(self, name: str, limit_bytes: int) -> str:
        """Return the text of a file; empty where there is none, or a larger one."""
        if self.files.get(name, limit_bytes + 1) > limit_bytes:
            return ""
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def is_code(self, relative: str) -> bool:
        """Say whether a file belongs to the code by its name and size."""
        name = relative.rpartition("/")[2]
        about = "/" not in relative and (name in _ABOUT or name.startswith(_DEPENDENCIES))
        small = self.files.get(relative, CODE_BYTES + 1) <= CODE_BYTES
        return small and not about and os.path.splitext(name)[1].lower() in CODE_SUFFIXES


def look(root: Path) -> Folder:
    """Look at a folder; what cannot be read is passed over."""
    files: dict[str, int] = {}
    links: list[str] = []
    strange: list[str] = []
    for parent, folders, names in os.walk(root):
        below = os.path.relpath(parent, root).replace(os.sep, "/")
        for name in sorted(folders):
            if not _kept(parent, name, "" if below == "." else f"{below}/", links, strange):
                folders.remove(name)
        folders.sort()
        for name in sorted(names):
            relative = name if below == "." else f"{below}/{name}"
            status = _status(os.path.join(parent, name))
            if status is None or name.startswith(".") or name.endswith((".pyc", ".egg-info")):
                continue
            if stat.S_ISLNK(status.st_mode):
                links.append(relative)
            elif not _writable(relative):
                strange.append(ascii(relative))
            elif stat.S_ISREG(status.st_mode):
                files[relative] = status.st_size
            if len(files) >= MAX_FILES:
                return _folder(root, files, links, strange, cut=True)
    return _folder(root, files, links, strange, cut=False)


def _folder(root: Path, files: dict[str, int], links: list[str], strange: list[str], *, cut: bool) -> Folder:
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents if parent.parts}
    return Folder(root, files, frozenset(folders), tuple(links), tuple(strange), cut)


def _kept(parent: str, name: str, prefix: str, links: list[str], strange: list[str]) -> bool:
    path = os.path.join(parent, name)
    if os.path.islink(path):
        links.append(f"{prefix}{name}")
        return False
    if name.startswith(".") or name in _NO_PART or name.endswith(".egg-info"):
        return False
    if os.path.exists(os.path.join(path, "pyvenv.cfg")) or os.path.isdir(os.path.join(path, "conda-meta")):
        return False
    if not _writable(f"{prefix}{name}"):
        strange.append(ascii(f"{prefix}{name}"))
        return False
    return True


def _writable(relative: str) -> bool:
    """Say whether a path can stand in a manifest."""
    return relative.isprintable() and "\\" not in relative and relative == relative.strip()


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
