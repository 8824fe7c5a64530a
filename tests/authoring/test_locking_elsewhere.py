"""What `repro-tui lock` reads besides requirements and files: conda environments, tags of images, branches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from repro_tui.errors import ArtifactUnavailableError, ManifestError
from repro_tui.images.locks import read_lock
from repro_tui.manifest.loading import inspect
from tests.authoring.locking_lab import MANIFEST, Project
from tests.images.registry_lab import image_of, start_registry

pytest.importorskip("uv", reason="a dependency lock is made with uv: pip install 'repro-tui[author]'")

CONDA = """\
name: mine
channels: [conda-forge]
dependencies:
  - python=3.11
  - conda-forge::alpha=1   # begins so
  - cudatoolkit=11.8
  - _libgcc_mutex=0.1=main
  - pip
  - pip:
    - beta==2.0
    - -c limits.txt
variables:
  - gamma
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_conda_environment_is_read_for_its_python_packages(project: Project) -> None:
    file = project.folder / "environment.yml"
    file.write_text(CONDA)
    (project.folder / "limits.txt").write_text("alpha<1.1\n")
    project.path.write_text(MANIFEST.replace("requirements.txt", "environment.yml"))
    locked = project.lock()
    assert locked.packages == ("+ alpha 1.0", "+ beta 2.0")
    assert any("left out: cudatoolkit, _libgcc_mutex" in note for note in locked.notes)
    assert (project.folder / "environment.lock.txt").is_file()
    file.write_text(CONDA.replace("alpha=1 ", "alpha>=1.1 "))
    assert "alpha>=1.1 is required, 1.0 is locked" in project.found()[0].words
    file.write_text(CONDA.replace("alpha=1 ", "alpha=1|2 "))
    with pytest.raises(ManifestError) as caught:
        project.lock()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}:5: 'conda-forge::alpha=1|2' cannot be asked of pip")


def test_a_project_that_needs_nothing_has_an_empty_lock(project: Project) -> None:
    project.require("# nothing but Python")
    assert project.lock().packages == ()
    assert project.found() == []
    assert read_lock(project.folder / "requirements.lock.txt") == ()
    assert project.lock().changes == ()
    (project.folder / "requirements.lock.txt").write_text("# cut off\n")
    assert "is no lock for the image" in project.found()[0].words


def test_a_tag_is_pinned_by_what_a_registry_says(project: Project, tmp_path: Path) -> None:
    registry, process = start_registry(tmp_path / "registry")
    try:
        image = image_of(b"a layer")
        registry.put(image, "lab/python")
        ((_, (kind, data)),) = image.manifests.items()
        registry._put(f"http://{registry.host}/v2/lab/python/manifests/3.11", data, kind)
        tag = f"{registry.host}/lab/python:3.11"
        text = MANIFEST.replace('recipe = "python"', f'reference = "{tag}"')
        project.path.write_text(text.replace('requirements = "requirements.txt"', "threads = 1"))
        assert (
            "can move"
            in {problem.toml_path: problem.allowed for problem in inspect(project.path).problems}["image.reference"]
        )
        project.lock()
    finally:
        process.terminate()
        process.wait()
    assert f'reference = "{tag}@{image.digest}"' in project.path.read_text()
    assert project.found() == []
    assert project.lock().changes == (), "nobody is asked again"


def test_a_branch_is_pinned_by_its_commit(project: Project) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=project.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main", "data")
    (project.folder / "data/points.csv").write_text("1,2\n")
    git("-C", "data", "add", ".")
    git("-C", "data", "commit", "-q", "-m", "one")
    local, hub = '{ type = "local", path = "points.csv" }', '{ type = "git", url = "data", path = "points.csv" }'
    project.path.write_text(MANIFEST.replace(local, hub))
    assert "artifacts.points.sources[0].commit" in {finding.key for finding in project.found()}
    project.lock(parts=("artifacts",))
    assert f'path = "points.csv", commit = "{git("-C", "data", "rev-parse", "HEAD")}" }}' in project.path.read_text()
    assert project.lock(parts=("artifacts",)).changes == ()
    project.path.write_text(MANIFEST.replace(local, hub.replace(", path", ', commit = "gone", path')))
    with pytest.raises(ArtifactUnavailableError, match="nobody says which commit 'gone' is now"):
        project.lock(parts=("artifacts",))
