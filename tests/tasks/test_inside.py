"""Runs the tests in inside/ where they belong: in the assembled torch-cpu image, in the embedded engine."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import Store, default_store_path
from repro_tui.engines.embedded import EmbeddedEngine, run_in_root
from repro_tui.errors import ArtifactUnavailableError
from repro_tui.images.assemble import assemble
from repro_tui.images.model import Image
from repro_tui.images.recipe import find_lock, find_recipe
from repro_tui.manifest.code import builtin_code_files
from repro_tui.manifest.tasks import builtin_names

ROOT = Path(__file__).parents[2]
PURE_PYTHON = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
"""pytest and what it needs, taken from this environment: the image holds only what training needs."""


@pytest.fixture(scope="module")
def image() -> Image:
    answer = EmbeddedEngine().availability()
    if not answer.ok:
        pytest.skip(f"no embedded engine: {answer.reason} ({answer.remedy})")
    store = Store(default_store_path())
    fetcher = Fetcher(store, mirrors_from([]), base=ROOT)
    try:
        return assemble(
            find_recipe("torch-cpu"), find_lock("torch-cpu"), store=store, fetcher=fetcher, run_in_root=run_in_root
        )
    except ArtifactUnavailableError as error:
        pytest.skip(f"the image cannot be assembled here: {error.message}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Lay out what the tests see: the code of all tasks as their runs have it, the tests themselves, pytest."""
    folder = tmp_path / "code"
    for task in builtin_names():
        for relative, source in builtin_code_files(task).items():
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    shutil.copytree(ROOT / "tests" / "tasks" / "inside", folder / "tests" / "tasks" / "inside")
    shutil.copytree(ROOT / "manifests" / "plain_pytorch", folder / "manifests" / "plain_pytorch")
    for name in PURE_PYTHON:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin)
        if source.name == "__init__.py":
            shutil.copytree(source.parent, folder / "site" / name)
        else:
            shutil.copyfile(source, folder / "site" / source.name)
    return folder


@pytest.mark.engine
@pytest.mark.slow
def test_the_tasks_own_tests_pass_in_the_image(image: Image, project: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = run_in_root(
        image.root,
        ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=/code", "-c", "/dev/null",
         "/code/tests/tasks/inside"],
        environment={
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC",
            "PYTHONPATH": "/code:/code/site", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        },
        mounts=[(project, "/code", True)],
        log=log,
    )  # fmt: skip
    text = log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, text[-6000:]
    passed = re.search(r"(\d+) passed", text)
    assert passed is not None, text[-2000:]
    assert int(passed[1]) >= 20, "hardly any of the tests were collected"
