"""A conda environment (`environment.yml`) as pip would be asked for it, as far as its packages have the same names.

Only the plain form is read that conda itself writes: a list of names, and the list below `pip:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FILES = frozenset({"environment.yml", "environment.yaml", "conda.yml", "conda.yaml"})
"""Names that are taken for one."""

_ITEM = re.compile(r"^(?P<indent>\s*)-\s+(?P<text>.*)$")
_SPEC = re.compile(
    r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<version>[=<>!~].*|\s[0-9*].*)?$", re.ASCII
)
_EXACT = re.compile(r"(?P<sign>={0,2})\s*(?P<version>[0-9][\w.!+]*)(?P<any>\.\*|\*)?(?P<build>=[^=,|]*)?$", re.ASCII)
_RANGE = r"(?:[<>]=?|[!=]=|~=)\s*[0-9][\w.!+*]*"
_RANGES = re.compile(rf"{_RANGE}(?:\s*,\s*{_RANGE})*$", re.ASCII)
_RENAMED = {
    "pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib",
    "opencv": "opencv-python-headless", "py-opencv": "opencv-python-headless", "pytables": "tables",
    "msgpack-python": "msgpack", "python-graphviz": "graphviz", "ruamel_yaml": "ruamel.yaml",
}  # fmt: skip
_NO_PYTHON = re.compile(
    r"python|pip|python_abi|cuda.*|cudnn|nccl|mkl|blas|openblas|libblas|intel-openmp|llvm-openmp|pytorch-(cuda|mutex)|"
    r"cpuonly|g(cc|xx|fortran)(_.*)?|compilers|make|cmake|git|ca-certificates|openssl|ncurses|readline|sqlite|tk|xz|"
    r"zlib|bzip2|zstd|lz4-c|tzdata|nodejs|ffmpeg|jpeg|freetype|lib.*|_.*|ld_impl_.*|r-.*|.*-mutex"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One package, and the line that it stands on."""

    number: int
    text: str
    """As pip takes it; as conda has it where pip could not."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an environment asks for."""

    wanted: tuple[Line, ...]
    """Requirements of pip, its options among them."""
    left_out: tuple[Line, ...]
    """What is no Python package: the image has its own, or none."""
    unclear: tuple[Line, ...]
    """What pip has no words for."""
    python: str
    """The version of Python as pip would say it, "" where none is named."""


def read(text: str) -> Environment:
    """Return what the text of an environment asks for."""
    wanted: list[Line] = []
    left_out: list[Line] = []
    unclear: list[Line] = []
    python = ""
    for number, item, of_pip in _items(text):
        if of_pip:
            wanted.append(Line(number, item))
            continue
        spec = _SPEC.fullmatch(item)
        version = _version((spec["version"] or "").strip()) if spec else None
        name = spec["name"].lower() if spec else ""
        if spec is not None and name == "python":
            python = version or ""
        if spec is not None and _NO_PYTHON.fullmatch(name):
            if name not in {"python", "pip"}:
                left_out.append(Line(number, name))
        elif spec is None or version is None:
            unclear.append(Line(number, item))
        else:
            wanted.append(Line(number, f"{_RENAMED.get(name, spec['name'])}{version}"))
    return Environment(tuple(wanted), tuple(left_out), tuple(unclear), python)


def _version(text: str) -> str | None:
    """Return conda's word on a version as pip's; None where pip has none. One "=" means what begins so."""
    if text in {"", "*", "=*"}:
        return ""
    if exact := _EXACT.fullmatch(text):
        begins = exact["any"] or (exact["sign"] == "=" and not exact["build"])
        return f"=={exact['version'].rstrip('.')}{'.*' if begins else ''}"
    return re.sub(r"\s+", "", text) if _RANGES.fullmatch(text) else None


def _items(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, whether it is for pip) of every item below `dependencies:`."""
    inside, pip_indent = False, None
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        item = _ITEM.match(line)
        if item is None:
            if line and not line[0].isspace():
                inside, pip_indent = line == "dependencies:", None
            continue
        if not inside:
            continue
        indent, word = len(item["indent"]), item["text"].strip().strip("'\"")
        if word == "pip:":
            pip_indent = indent
            continue
        if pip_indent is not None and indent <= pip_indent:
            pip_indent = None
        yield number, word, pip_indent is not None
