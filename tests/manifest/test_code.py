"""The code a built-in task brings into the container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.manifest import code, tasks


def test_code_imports_nothing_that_is_not_in_it(tmp_path: Path) -> None:
    files = code.builtin_code_files("text_classification")
    for path, file in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    imported = set()
    for file in files.values():
        imported |= set(re.findall(r"^\s*(?:from|import) (repro_tui[\w.]*)", file.read_text(), re.MULTILINE))
    for module in imported:
        path = module.replace(".", "/")
        assert f"{path}.py" in files or f"{path}/__init__.py" in files, module
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); import repro_tui.wire as w; print(w.__file__)",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / "repro_tui" / "wire.py"


def test_digest_follows_the_bytes_of_the_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.builtin_code_digest("text_classification")
    package = tmp_path / "repro_tui"
    shutil.copytree(tasks.PACKAGE, package)
    monkeypatch.setattr(tasks, "PACKAGE", package)
    assert code.builtin_code_digest("text_classification") == before
    (package / "__init__.py").write_text('__version__ = "99"\n')
    os.utime(package / "wire.py", (0, 0))
    (package / "wire.py").chmod(0o600)
    assert code.builtin_code_digest("text_classification") == before, "neither version nor time nor umask is code"
    common = package / "tasks" / "common" / "metrics.py"
    common.write_bytes(common.read_bytes() + b"\n")
    assert code.builtin_code_digest("text_classification") != before


@pytest.mark.parametrize("task", ["none", "../wire", "common", "__init__", ""])
def test_no_such_task(task: str) -> None:
    with pytest.raises(KeyError):
        code.builtin_code_files(task)


def test_every_built_in_task_has_code() -> None:
    for task in tasks.builtin_names():
        assert f"repro_tui/tasks/{task}.py" in code.builtin_code_files(task)
