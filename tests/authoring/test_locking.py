"""`repro-tui lock`: what is loose is pinned, what is stale is found, and nothing is half-written."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from unittest import mock

import pytest

from repro_tui.artifacts.mirrors import mirrors_from
from repro_tui.artifacts.store import default_store_path
from repro_tui.authoring.locking import indexes
from repro_tui.authoring.locking import lock as locking
from repro_tui.authoring.locking.lock import LATER, Wishes, open_subject
from repro_tui.authoring.locking.requirements import read_requirements
from repro_tui.authoring.locking.resolving import Upgrade
from repro_tui.authoring.locking.stale import findings
from repro_tui.engines.embedded import EmbeddedEngine
from repro_tui.errors import (
    ArtifactUnavailableError,
    InfrastructureError,
    ManifestError,
    UsageError,
)
from repro_tui.manifest.loading import inspect, load
from repro_tui.manifest.trees import tree_digest
from tests.authoring.locking_lab import DIGESTS, MANIFEST, Project

pytest.importorskip("uv", reason="a dependency lock is made with uv: pip install 'repro-tui[author]'")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# --- what is loose ----------------------------------------------------------------------------------------------------


def test_every_loose_key_is_a_problem_that_names_the_remedy(project: Project) -> None:
    problems = inspect(project.path).problems
    assert {(problem.toml_path, problem.line) for problem in problems} == {
        ("environment.lock", 13), ("artifacts[0].tree_sha256", 17), ("artifacts[0].bytes", 17),
        ("artifacts[1].sha256", 23), ("artifacts[1].bytes", 23),
    }  # fmt: skip
    assert {problem.hint for problem in problems} == {f"`repro-tui lock {project.path}` pins it"}


def test_locking_pins_everything_and_leaves_the_rest_as_it_is(project: Project) -> None:
    locked = project.lock()
    manifest = load(project.path).manifest
    assert manifest.environment.lock == "requirements.lock.txt"
    assert manifest.environment.hash == DIGESTS["environment"]
    assert (manifest.image.manifest_digest, manifest.image.config_digest) == (DIGESTS["manifest"], DIGESTS["config"])
    assert manifest.artifact("code").tree_sha256 == tree_digest({"train.py": project.folder / "train.py"})
    assert manifest.artifact("points").bytes == 4
    text = project.path.read_text()
    assert [line for line in text.splitlines() if line in MANIFEST.splitlines()] == MANIFEST.splitlines()
    assert project.lock_text.count("\n") == 4
    assert "alpha==1.1 --hash=sha256:" in project.lock_text
    assert str(project.links) not in project.lock_text
    assert "://" not in project.lock_text
    assert {change.key for change in locked.changes} == {
        "environment.lock", "environment.lock_sha256", "environment.hash", "image.manifest_digest",
        "image.config_digest", "artifacts.code.tree_sha256", "artifacts.code.bytes", "artifacts.points.sha256",
        "artifacts.points.bytes",
    }  # fmt: skip
    assert locked.packages == ("+ alpha 1.1",)
    assert project.found() == []


def test_locking_again_changes_no_byte(project: Project) -> None:
    project.lock()
    before = {path: path.read_bytes() for path in project.folder.glob("*.t*")}
    locked = project.lock()
    assert (locked.changes, locked.files) == ((), ())
    assert {path: path.read_bytes() for path in project.folder.glob("*.t*")} == before


def test_a_dry_run_tells_and_writes_nothing(project: Project) -> None:
    before = sorted(path.name for path in project.folder.iterdir())
    with mock.patch.object(locking, "find_image", return_value=None):
        locked = project.lock(dry_run=True)
    assert project.path.read_text() == MANIFEST
    assert set(before) | {"store", "uv-cache"} >= {path.name for path in project.folder.iterdir()}
    assert ("environment.hash", None, LATER) in {(change.key, change.old, change.new) for change in locked.changes}


def test_one_part_only(project: Project) -> None:
    project.lock(parts=("artifacts",))
    assert {finding.part for finding in project.found()} == {"dependencies", "image", "environment"}
    assert "lock =" not in project.path.read_text()


def test_a_built_in_task_gets_the_digest_of_its_code(project: Project) -> None:
    text = Path("manifests/sst2-minilm.toml").read_text().replace('"../', f'"{Path.cwd()}/')
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("code_sha256"))
    text = text.split("[recorded]")[0]
    project.path.write_text(text)
    assert "task.code_sha256" in {finding.key for finding in project.found()}
    project.lock(parts=("code",))
    assert "task.code_sha256" not in {finding.key for finding in project.found()}


# --- what is stale ----------------------------------------------------------------------------------------------------


def test_what_is_pinned_stays_until_it_is_to_be_upgraded(project: Project) -> None:
    project.require("alpha==1.0")
    project.lock()
    project.require("alpha>=1", "beta")
    (finding,) = project.found()
    assert (finding.key, finding.where) == ("environment.lock", f"{project.folder}/requirements.txt:2")
    assert "beta is required, and not locked" in finding.words
    assert project.lock().packages == ("+ beta 2.0",)
    assert "alpha==1.0 " in project.lock_text
    assert project.lock(upgrade=Upgrade(packages=("alpha",))).packages == ("  alpha 1.0 → 1.1",)
    assert project.found() == []


def test_a_requirement_that_is_gone_leaves_the_lock(project: Project) -> None:
    project.require("alpha", "beta")
    project.lock()
    project.require("alpha  # a comment changes nothing")
    (finding,) = project.found()
    assert "another than requirements.lock.txt was made from" in finding.words
    assert project.lock().packages == ("- beta 2.0",)
    project.require("# nor does another order", "alpha")
    assert project.found() == []


def test_changed_code_data_and_lock_are_named_by_their_lines(project: Project) -> None:
    project.lock()
    (project.folder / "train.py").write_text("import beta\n")
    (project.folder / "points.csv").write_text("1,3\n")
    with (project.folder / "requirements.lock.txt").open("a") as file:
        file.write("# touched\n")
    found = {finding.key: finding for finding in project.found()}
    assert set(found) == {"artifacts.code.tree_sha256", "artifacts.points.sha256", "environment.lock_sha256"}
    lines = project.path.read_text().splitlines()
    for key, finding in found.items():
        line = lines[int(finding.where.rpartition(":")[2]) - 1]
        assert line.startswith(key.rpartition(".")[2])
    changed = {change.key for change in project.lock().changes}
    assert changed == {*found, "artifacts.code.bytes"}
    assert project.found() == []


def test_a_folder_that_became_a_file_changes_its_kind_of_pin(project: Project) -> None:
    project.lock()
    text = project.path.read_text().replace(
        '{ type = "local", path = "points.csv" }', '{ type = "local", path = "data" }'
    )
    project.path.write_text(text)
    (project.folder / "data").mkdir()
    (project.folder / "data" / "points.csv").write_text("1,2\n")
    assert "points is a folder now" in project.lock().notes
    artifact = load(project.path).manifest.artifact("points")
    assert artifact.sha256 is None
    assert artifact.tree_sha256 is not None


# --- requirements that no lock can pin --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("foo @ https://x.example/foo-1.0-py3-none-any.whl", "address or a file"),
        ("foo @ git+https://x.example/foo.git", "comes from an address"),
        ("git+https://x.example/foo.git", "address or a file"),
        ("-e ./lib", "an editable install"),
        ("./lib", "address or a file"),
        ("--process-dependency-links", "no place in a lock"),
        ("alpha beta", "no requirement"),
    ],
)
def test_what_no_lock_can_pin_is_refused_with_its_line(project: Project, line: str, words: str) -> None:
    project.require("alpha", line)
    with pytest.raises(ManifestError) as caught:
        project.lock()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{project.folder}/requirements.txt:2: ")
    assert words in problem
    assert project.path.read_text() == MANIFEST


def test_files_that_are_included_count(project: Project) -> None:
    (project.folder / "more.txt").write_text("beta\n")
    (project.folder / "limits.txt").write_text("alpha<1.1\n")
    project.require("-r more.txt", "-c limits.txt", "alpha", 'gamma; sys_platform == "win32"')
    assert sorted(project.lock().packages) == ["+ alpha 1.0", "+ beta 2.0"]
    (project.folder / "limits.txt").write_text("alpha>1.0\n")
    (finding,) = project.found()
    assert finding.where == f"{project.folder}/limits.txt:1"


def test_pyproject_names_dependencies_too(project: Project) -> None:
    (project.folder / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "1"\ndependencies = [\n  "alpha<1.1",\n]\n'
    )
    project.path.write_text(MANIFEST.replace("requirements.txt", "pyproject.toml"))
    project.lock()
    assert "alpha==1.0 " in (project.folder / "pyproject.lock.txt").read_text()


def test_a_conflict_is_told_in_the_words_of_uv(project: Project) -> None:
    project.require("alpha==1.0", "alpha>1.0")
    with pytest.raises(ManifestError, match="no set of packages") as caught:
        project.lock()
    assert any("alpha" in problem for problem in caught.value.problems)
    assert len(caught.value.problems) <= 12
    assert not (project.folder / "requirements.lock.txt").exists()


def test_a_package_without_a_wheel_is_named_with_a_remedy(project: Project) -> None:
    with tarfile.open(project.links / "gamma-1.0.tar.gz", "w:gz") as archive:
        archive.add(project.folder / "train.py", "gamma-1.0/setup.py")
    project.wheel("delta", "1.0", tag="cp311-cp311-win_amd64")
    for name in ("gamma", "delta"):
        project.require(name)
        with pytest.raises(ManifestError) as caught:
            project.lock()
        assert any(name in problem for problem in caught.value.problems)
        assert "pip wheel" in caught.value.hint


def test_no_index_that_answers_is_no_fault_of_the_manifest(project: Project) -> None:
    project.require("alpha")
    dead = {
        "PIP_NO_INDEX": "",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
        "UV_HTTP_RETRIES": "0",
    }
    with (
        mock.patch.object(Project, "pip", lambda project: {"UV_CACHE_DIR": str(project.folder / "uv-cache"), **dead}),
        pytest.raises(InfrastructureError, match="no index of packages") as caught,
    ):
        project.lock()
    assert "127.0.0.1" not in caught.value.message


def test_without_uv_the_error_names_the_extra(project: Project) -> None:
    with (
        mock.patch.dict("sys.modules", {"uv": None}),
        mock.patch("shutil.which", return_value=None),
        pytest.raises(UsageError, match="made with uv") as caught,
    ):
        project.lock()
    assert caught.value.hint == "pip install 'repro-tui[author]'"


def test_uv_looks_where_pip_looks(project: Project) -> None:
    (project.folder / "pip.conf").write_text(
        "[global]\nindex-url = https://index.example/simple\nextra-index-url =\n  https://a.example/s\n"
        "  https://b.example/s\nfind-links = /one /two\ncert = /ca.pem\n"
    )
    environ = {"PIP_CONFIG_FILE": str(project.folder / "pip.conf"), "PATH": os.environ["PATH"], "HOME": "/nowhere"}
    variables, options = indexes.uv_settings(environ)
    assert variables["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert variables["UV_EXTRA_INDEX_URL"] == "https://a.example/s https://b.example/s"
    assert variables["UV_FIND_LINKS"] == "/one,/two"
    assert variables["SSL_CERT_FILE"] == "/ca.pem"
    assert options == []
    variables, options = indexes.uv_settings(
        {**environ, "PIP_NO_INDEX": "1", "UV_DEFAULT_INDEX": "https://mine.example"}
    )
    assert variables["UV_DEFAULT_INDEX"] == "https://mine.example"
    assert options == ["--no-index"]


def test_an_address_in_the_requirements_is_used_and_told(project: Project) -> None:
    project.require(f"--find-links {project.links}", "alpha")
    assert any("not kept" in note for note in read_requirements(project.folder / "requirements.txt").notes)
    project.lock()
    assert str(project.links) not in project.lock_text


# --- bad days ---------------------------------------------------------------------------------------------------------


def test_a_missing_artifact_is_told_with_its_sources(project: Project) -> None:
    (project.folder / "points.csv").unlink()
    with pytest.raises(ArtifactUnavailableError, match="points") as caught:
        project.lock(parts=("artifacts",))
    assert "is not there" in caught.value.tried[0]
    assert project.path.read_text() == MANIFEST


def test_a_read_only_manifest_is_refused_before_anything_is_done(project: Project) -> None:
    project.path.chmod(0o444)
    with pytest.raises(ManifestError, match="read-only"):
        project.lock()
    assert project.progressed == []
    assert project.lock(dry_run=True).changes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_done(project: Project) -> None:
    project.store.scratch().__enter__()
    project.folder.chmod(0o555)
    try:
        with pytest.raises(InfrastructureError, match="may not be written"):
            project.lock()
    finally:
        project.folder.chmod(0o755)
    assert project.progressed == []


@pytest.mark.parametrize("at", ["see", "_write"])
def test_whoever_is_interrupted_has_the_old_manifest(project: Project, at: str) -> None:
    with (
        project.fake_image(),
        mock.patch.object(locking, at, side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        locking.lock(project.path, Wishes(), project.store, notify=lambda _: None, progress=lambda *_: None)
    assert project.path.read_text() == MANIFEST
    assert not (project.folder / "requirements.lock.txt").exists()
    project.lock()
    assert project.found() == []


def test_what_else_is_wrong_with_a_manifest_is_told_first(project: Project) -> None:
    project.path.write_text(MANIFEST.replace("seed = 1", "sed = 1"))
    with pytest.raises(ManifestError) as caught:
        project.lock()
    assert any("determinism" in problem for problem in caught.value.problems)
    assert not any("repro-tui lock" in problem for problem in caught.value.problems)


def test_nothing_to_upgrade(project: Project) -> None:
    project.lock()
    text = project.path.read_text().replace('requirements = "requirements.txt"  # what it needs\n', "")
    project.path.write_text(text)
    with pytest.raises(UsageError, match="nothing to upgrade"):
        project.lock(upgrade=Upgrade(all=True))


# --- the real image ---------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_a_real_image_is_assembled_and_looked_at(project: Project) -> None:
    answer = EmbeddedEngine().availability()
    if not answer.ok:
        pytest.skip(f"needs the embedded engine: {answer.reason}")
    kept = default_store_path() / "blobs"
    mirrors = (*mirrors_from([]), *([kept] if kept.is_dir() else []))
    wishes = Wishes(engine="embedded", mirrors=mirrors)
    with mock.patch.dict("os.environ", {key: value for key, value in project.pip().items() if key != "HOME"}):
        try:
            locking.lock(project.path, wishes, project.store, notify=lambda _: None, progress=lambda *_: None)
        except ArtifactUnavailableError as error:
            pytest.skip(f"needs the base's packages, in the store or from a Debian mirror: {error.tried[-1]}")
        manifest = load(project.path).manifest
        assert manifest.image.manifest_digest is not None
        assert manifest.environment.hash is not None
        again = locking.lock(project.path, wishes, project.store, notify=lambda _: None, progress=lambda *_: None)
    assert again.changes == ()
    text = project.path.read_text()
    project.path.write_text(text.replace(manifest.image.manifest_digest, "sha256:" + "0" * 64))
    (finding,) = findings(open_subject(project.path), project.store)
    assert finding.key == "image.manifest_digest"
    assert manifest.image.manifest_digest in finding.words
    shutil.rmtree(project.folder / "uv-cache", ignore_errors=True)
