"""The contract kept for an ordinary user: the same tests once more, as nobody."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.engines.base import Engine
from repro_tui.engines.choose import ENGINES
from tests.engines.engine_bench import python_of_nobody

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "podman"], indirect=True)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user; the other tests run as one here")
def test_it_keeps_its_contract_as_an_ordinary_user(
    engine: Engine, record_property: Callable[[str, object], None]
) -> None:
    """Run the contract, and what is the embedded engine's own, as nobody: with Docker in the group of its socket.

    Podman without root needs a user with ranges of uids, which tests/engines/test_podman_engine.py makes.
    """
    here = Path(__file__).parent
    nobody = pwd.getpwnam("nobody")
    groups = "--clear-groups"
    if engine.name == "docker":
        access = os.stat(engine.availability().host.removeprefix("unix://"))
        if not access.st_gid or access.st_mode & 0o060 != 0o060:
            pytest.skip("no group of ordinary users may use Docker's socket here")
        groups = f"--groups={access.st_gid}"
    python = python_of_nobody(groups)
    files = [str(path) for path in sorted(here.glob("test_contract*.py")) if path != Path(__file__)]
    if engine.name == "embedded":
        files.append(str(here / "test_embedded_engine.py"))
    base = Path("/var/tmp") / f"repro-tui-test-{os.getpid()}"
    base.mkdir()
    os.chown(base, nobody.pw_uid, nobody.pw_gid)
    try:
        done = subprocess.run(
            [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", engine.name, "--basetemp", str(base / "pytest"), *files],
            cwd=here.parents[1], capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(base), "TMPDIR": str(base), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    summary = [line for line in done.stdout.splitlines() if line.startswith(f"{engine.name}: ")]
    assert summary, done.stdout
    record_property("as nobody", summary[0].removeprefix(f"{engine.name}: "))
    assert int(summary[0].split(" passed")[0].split()[-1]) >= 100, summary[0]
