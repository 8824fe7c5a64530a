"""Every command of the README is run: here, or by the test that is named beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.tasks.test_inside import image as torch_cpu  # noqa: F401 - a fixture: what the README runs needs it

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "make run": ".ci/run",
    "make test": ".ci/run",
    "repro-tui init": "tests/test_tutorials.py",
    "repro-tui lock": "tests/test_tutorials.py",
    "repro-tui record": "tests/test_tutorials.py",
    "repro-tui pack": "tests/test_tutorials.py",
    "repro-tui sign": "tests/test_tutorials.py",
    "repro-tui verify": "tests/test_tutorials.py",
    "repro-tui --run paper.repro.tar": "tests/test_tutorials.py",
}
"""Commands that another file runs: make's by CI itself, a project's own by the tutorials that they are taken from."""


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^    ((?:repro-tui|make) .*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(found) > 10
    return found


def elsewhere(command: str) -> str | None:
    return next((place for start, place in ELSEWHERE.items() if command.startswith(start)), None)


def test_what_others_run_is_run_there() -> None:
    assert all(any(command.startswith(start) for command in commands()) for start in ELSEWHERE)
    for start, place in ELSEWHERE.items():
        words = start.removesuffix("paper.repro.tar").split()
        text = (ROOT / place).read_text(encoding="utf-8")
        pages = "".join(
            (ROOT / page).read_text(encoding="utf-8") for page in re.findall(r"docs/tutorial-\w+\.md", text)
        )
        assert " ".join(words) in text + pages, f"{start}: not in {place}"


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("torch_cpu")
def test_the_others_work_as_they_stand_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "lockfiles", tmp_path / "lockfiles")
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    for command in commands():
        if elsewhere(command) is None:
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
