"""The validators' own environment: they ask for another `rich` than this project, so they live beside it.

It is made once, in a cache folder; making it needs pip and a package index, using it needs neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("roc-validator==0.13.0", "mlcroissant==1.1.1", "cffconvert==2.0.0")
CONTEXT_OF = "rocrate==0.13.0"
"""The release that carries the JSON-LD context of RO-Crate 1.1."""

_SCRIPT = Path(__file__).with_name("check.py")
_PATIENCE_S = 180  # three of them end before a test's time does


def environment() -> Path:
    """Return the environment's folder; skips the test, saying why, where it cannot be made."""
    name = hashlib.sha256("\n".join((*PACKAGES, CONTEXT_OF, sys.version)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repro-tui-tests"
    folder = cache / f"validators-{name}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=cache, prefix=".validators-"))
    try:
        _run(sys.executable, "-m", "venv", str(made))
        python = str(made / "bin" / "python")
        pip = (python, "-m", "pip", "install", "-q", "--no-input", "--retries", "1", "--timeout", "15")
        _run(*pip, *PACKAGES)
        _run(*pip, "--no-deps", "--target", str(made / "context"), CONTEXT_OF)
        made.rename(folder)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(made, ignore_errors=True)
        if folder.is_dir():  # another test run was first
            return folder
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        pytest.skip(
            f"the validators cannot be installed, which needs a package index once: {said[-1] if said else error}"
        )
    return folder


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE_S)


def ask(folder: Path, work: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the validators say; they run without a network, and with a home of their own."""
    context = folder / "context" / "rocrate" / "data" / "ro-crate.jsonld"
    home = work / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [folder / "bin" / "python", _SCRIPT],
        input=json.dumps({"context": str(context), "cache": str(work / "http-cache"), **wanted}),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
