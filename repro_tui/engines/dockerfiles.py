"""What a Dockerfile and its context are, as far as it must be known before they are built."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<bare>\w+))")
_FLAG = re.compile(r"--(?P<name>[a-z]+)=(?P<value>\S+)")


def bases(text: str) -> list[str]:
    """Return the images that a Dockerfile starts or copies from, in order, without its own stages and `scratch`."""
    arguments: dict[str, str] = {}
    stages = {"scratch"}
    found: dict[str, None] = {}
    seen_from = False
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        match word.upper():
            case "ARG" if not seen_from:
                name, _, value = rest.strip().partition("=")
                arguments[name] = value.strip("\"'")
            case "FROM":
                seen_from = True
                words = [part for part in rest.split() if not part.startswith("--")]
                base = _filled(words[0], arguments) if words else ""
                if base and base.lower() not in stages:
                    found[base] = None
                if len(words) == 3 and words[1].upper() == "AS":
                    stages.add(words[2].lower())
            case "COPY":
                for flag in _FLAG.finditer(rest):
                    source = flag["value"]
                    if flag["name"] == "from" and source.lower() not in stages and not source.isdecimal():
                        found[source] = None
            case _:
                pass
    return list(found)


def context_digest(folder: Path, dockerfile: Path) -> str:
    """Return a SHA-256 of what .dockerignore lets the builder see: names, kinds, executable bits and content."""
    from docker.utils import exclude_paths

    ignored = folder / ".dockerignore"
    patterns = ignored.read_text(encoding="utf-8").splitlines() if ignored.is_file() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    name = dockerfile.relative_to(folder).as_posix()
    digest = hashlib.sha256()
    for relative in sorted(exclude_paths(str(folder), patterns, dockerfile=name), key=os.fsencode):
        path = folder / relative
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            what = f"link {os.readlink(path)}"
        elif stat.S_ISREG(mode):
            with path.open("rb", buffering=0) as file:
                what = f"{'755' if mode & 0o100 else '644'} {hashlib.file_digest(file, 'sha256').hexdigest()}"
        else:
            what = "folder" if stat.S_ISDIR(mode) else "other"
        digest.update(f"{what}  {relative}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _lines(text: str) -> Iterator[str]:
    """Yield instructions, each on one line, without comments."""
    waiting = ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#") or not bare:
            continue
        if bare.endswith("\\"):
            waiting += bare[:-1] + " "
            continue
        yield waiting + bare
        waiting = ""
    if waiting:
        yield waiting


def _filled(word: str, arguments: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        return arguments.get(found["braced"] or found["bare"]) or found["default"] or ""

    return _VARIABLE.sub(value, word)
