r"""Tree digests: one SHA-256 for a folder, from its files' content, names and executable bits.

    SHA-256 over the lines "<sha256 of the file>  <644 or 755>  <path>\n", sorted by the bytes of the path

Paths are relative with "/" and UTF-8. Empty folders, owners and times don't count; a link or a special file has no
digest that means the same everywhere, so it is refused.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def tree_files(folder: Path) -> dict[str, Path]:
    """Return every file below the folder by its relative path.

    Raises ValueError for a symbolic link, a special file, or a name that is not UTF-8 or holds a line break.
    """
    files: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                files[_printable(relative)] = path
            elif not stat.S_ISDIR(mode):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
                raise ValueError(f"{relative} is {what}; a pinned folder holds files and folders only")
    return files


def chosen_files(folder: Path, chosen: Sequence[str]) -> dict[str, Path]:
    """Return what is named of a folder, files and whole folders, by its relative path; byte code does not count.

    Raises ValueError for a name that is not there, and as tree_files does.
    """
    files: dict[str, Path] = {}
    for name in chosen:
        path = folder / name
        way = [folder.joinpath(*Path(name).parts[:count]) for count in range(1, len(Path(name).parts) + 1)]
        if any(part.is_symlink() for part in way):
            raise ValueError(
                f"{name} is a symbolic link, or lies behind one; a pinned folder holds files and folders only"
            )
        if path.is_dir():
            below = tree_files(path)
            files |= {f"{name}/{relative}": file for relative, file in below.items() if not _is_byte_code(relative)}
        elif path.is_file():
            files[_printable(name)] = path
        else:
            raise ValueError(f"{name} is not in {folder}")
    return files


def _is_byte_code(relative: str) -> bool:
    return "__pycache__" in relative.split("/") or relative.endswith(".pyc")


def tree_digest(files: Mapping[str, Path]) -> str:
    """Return the tree digest (lower-case hex) of files given by their relative path. Raises ValueError for a link."""
    names = sorted(files, key=os.fsencode)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        lines = pool.map(_line_of, names, (files[name] for name in names))
        return hashlib.sha256(b"".join(lines)).hexdigest()


def tree_digest_of(files: Mapping[str, tuple[str, bool]]) -> str:
    """Return the tree digest of files of which SHA-256 (hex) and executable bit are known, by their relative path."""
    lines = (_line(name, *files[name]) for name in sorted(files, key=os.fsencode))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _line_of(name: str, path: Path) -> bytes:
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} is not a plain file")
    with path.open("rb", buffering=0) as file:
        return _line(name, hashlib.file_digest(file, "sha256").hexdigest(), bool(mode & 0o100))


def _line(name: str, sha256: str, executable: bool) -> bytes:
    return f"{sha256}  {'755' if executable else '644'}  {_printable(name)}\n".encode()


def _printable(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not UTF-8") from None
    if "\n" in name:
        raise ValueError(f"{name!r} holds a line break")
    return name


def _raise(error: OSError) -> None:
    raise error
