"""The compiler that runs inside images, run by the Python at hand."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.images.bytecode import SCRIPT

SHARED_SET = """
def one(value):
    return value in {"getregentry", "unusual_one"}


def two(value):
    return value in {"getregentry", "unusual_one"} or value in {"decomposition", "unusual_two"}


def three(value):
    return value in {"decomposition", "unusual_two"}
"""


def compile_all(folder: Path, sources: list[Path], processes: int = 1) -> dict[Path, bytes]:
    folder.mkdir()
    (folder / "sources").write_text("".join(f"{path}\0" for path in sources))
    command = [sys.executable, "-SsPB", str(SCRIPT), str(folder / "sources"), str(folder), str(processes)]
    environment = {"PYTHONHASHSEED": "0", "PATH": os.environ["PATH"]}
    subprocess.run(command, check=True, env=environment, timeout=60)
    found: dict[Path, bytes] = {}
    for index in folder.glob("*.index"):
        pack = index.with_suffix(".pack").read_bytes()
        for line in index.read_text().splitlines():
            number, offset, size = map(int, line.split())
            found[sources[number]] = pack[offset : offset + size]
    return found


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """The first is the biggest, so it is compiled first; it makes the compiler import a codec and character names."""
    texts = {
        "first.py": b"# -*- coding: iso-8859-15 -*-\nx = '\\N{DEGREE SIGN}'\n" + b"#" * 2000,
        "second.py": SHARED_SET.encode(),
        "broken.py": b"def (",
        "empty.py": b"",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    return [tmp_path / name for name in texts]


def test_byte_code_is_importable_without_its_source(sources: list[Path], tmp_path: Path) -> None:
    made = compile_all(tmp_path / "out", sources)
    assert made.keys() == set(sources)
    assert made[sources[2]] == b""
    cached = tmp_path / "second.pyc"
    cached.write_bytes(made[sources[1]])
    assert made[sources[1]][:8] == importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
    spec = importlib.util.spec_from_file_location("second", cached)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.one("unusual_one")


def test_byte_code_of_a_file_does_not_depend_on_what_was_compiled_before(sources: list[Path], tmp_path: Path) -> None:
    together = compile_all(tmp_path / "together", sources)
    alone = compile_all(tmp_path / "alone", sources[1:2])
    assert together[sources[1]] == alone[sources[1]]
    assert compile_all(tmp_path / "reversed", sources[::-1], processes=3) == together
