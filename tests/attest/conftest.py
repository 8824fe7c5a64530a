"""A real run of the fake engine, made once; each test gets a copy that it may spoil."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from repro_tui.runs.directory import RunDirectory
from tests.attest.keyring import Keyring
from tests.cli.project import Project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that was reproduced."""
    project = Project(tmp_path_factory.mktemp("experiment"))
    project.write()
    done = project.run()
    assert done.code == 0, done.err
    return project.only_run()


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunDirectory:
    """Give a copy of the run."""
    return RunDirectory(Path(shutil.copytree(finished, tmp_path / finished.name)))


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Give key files of every kind."""
    return Keyring(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def ssh_keygen() -> str:
    """Give the program, or skip."""
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("ssh-keygen is not installed")
    said = subprocess.run([program, "-Y", "help"], capture_output=True, text=True, check=False).stderr
    if "unknown option" in said and "Y" in said:
        pytest.skip("this ssh-keygen has no -Y")
    return program
