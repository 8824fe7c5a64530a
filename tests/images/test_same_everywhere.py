"""The same locks give the same digests: for another user, umask, time zone, locale, Python, store, order, parallelism."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store
from tests.images.image_parts import DEBS, WHEELS, Parts, digests

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = "tests/images/image_parts.py"


@pytest.fixture
def expected(parts: Parts, new_store: Callable[[str], Store]) -> dict[str, object]:
    return digests(parts.assemble(new_store("expected")))


def elsewhere(
    parts: Parts,
    store: Path,
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    umask: int = 0o022,
    user: int | None = None,
    processes: int = 1,
) -> dict[str, object]:
    """Assemble in a process of its own and return the digests."""
    done = subprocess.run(
        [python, SCRIPT, str(parts.folder), str(store), str(processes), *([str(user)] if user else [])],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(store), **(environment or {})},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_another_umask_time_zone_and_locale(parts: Parts, expected: object, tmp_path: Path) -> None:
    environment = {"TZ": "Asia/Kolkata", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0"}
    assert elsewhere(parts, tmp_path / "other", environment=environment, umask=0o077) == expected


def test_another_store_and_three_processes(parts: Parts, expected: object, tmp_path: Path) -> None:
    store = tmp_path / "a much longer name, with spaces" / ("x" * 100)
    assert elsewhere(parts, store, processes=3) == expected


def test_another_order_in_locks_and_archives(parts: Parts, expected: object, new_store: Callable[[str], Store]) -> None:
    parts.write(dict(reversed(DEBS.items())), dict(reversed(WHEELS.items())))
    assert digests(parts.assemble(new_store("other"))) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
def test_another_user(parts: Parts, expected: object) -> None:
    user = 12345
    with tempfile.TemporaryDirectory(prefix="another-user-") as folder:
        os.chmod(folder, 0o755)
        theirs = Path(folder) / "theirs"
        theirs.mkdir()
        os.chown(theirs, user, user)
        copied = Parts(Path(shutil.copytree(parts.folder, Path(folder) / "parts")))
        if subprocess.run(["test", "-r", REPOSITORY / SCRIPT], user=user, check=False).returncode != 0:
            pytest.skip(f"another user may not read {REPOSITORY}")
        assert elsewhere(copied, theirs / "store", user=user) == expected
        assert {path.lstat().st_uid for path in theirs.rglob("*") if "-before" not in str(path)} == {user}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_another_python(parts: Parts, expected: object, tmp_path: Path, version: str) -> None:
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("this is the Python that runs the tests")
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} with the venv module here")
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", str(venv)], check=True, timeout=120)
    installed = subprocess.run(
        [venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "pydantic", "packaging", "installer"],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip(f"pip cannot install what the assembler needs for Python {version}: {installed.stderr[-300:]}")
    assert elsewhere(parts, tmp_path / "other", python=str(venv / "bin/python"), processes=2) == expected


def find_python(version: str) -> str | None:
    """A Python that runs and can make virtual environments; shims that only pretend are passed over."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *map(str, sorted(managed.glob(f"{version}.*/bin/python{version}")))]
    for python in found:
        if python and subprocess.run([python, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
            return python
    return None
