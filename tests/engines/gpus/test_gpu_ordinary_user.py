"""The embedded engine hands GPUs on for an ordinary user too: its tests once more, as nobody."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from tests.engines.engine_bench import python_of_nobody


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user; the other tests run as one here")
def test_device_files_and_libraries_as_an_ordinary_user() -> None:
    here = Path(__file__).parent
    nobody = pwd.getpwnam("nobody")
    python = python_of_nobody()
    base = Path("/var/tmp") / f"repro-tui-test-gpus-{os.getpid()}"
    base.mkdir()
    os.chown(base, nobody.pw_uid, nobody.pw_gid)
    try:
        done = subprocess.run(
            [
                *python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(base / "pytest"),
                str(here / "test_gpu_embedded.py"),
            ],
            cwd=here.parents[2], capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(base), "TMPDIR": str(base), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 15, done.stdout
