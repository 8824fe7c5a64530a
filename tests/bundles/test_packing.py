"""What is in a bundle, what is not, and that it is the same bytes every time."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.store import Store
from repro_tui.bundles import packing
from repro_tui.bundles.contents import Gathered
from repro_tui.bundles.index import Index
from repro_tui.bundles.opening import open_bundle
from repro_tui.bundles.reading import verify
from repro_tui.bundles.recorded import choose_run
from repro_tui.errors import InfrastructureError, StoreFullError, UsageError
from repro_tui.images import tar
from repro_tui.images.bytecode import SCRIPT
from repro_tui.images.pulled import pull
from repro_tui.manifest.loading import LoadedManifest, load
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from tests.bundles.experiment import Experiment, digest, tree
from tests.images.image_parts import DEBS, WHEELS, Compiler


@pytest.fixture
def index(bundle: Path) -> Index:
    return verify(bundle)


@pytest.fixture
def copy(experiment: Experiment, tmp_path: Path) -> Experiment:
    """Return the experiment in a folder that a test may change."""
    made = Experiment(tmp_path / "elsewhere" / "tiny")
    shutil.copytree(experiment.folder, made.folder, ignore=shutil.ignore_patterns("store"))
    return made


def test_everything_is_in_it(index: Index, experiment: Experiment) -> None:
    roles = {member.role for member in index.files}
    assert roles == {
        "manifest", "lock", "recipe", "base lock", "record", "wheel", "deb", "data", "weights", "code", "report",
        "events", "metrics", "log", "metadata", "citation", "licence",
    }  # fmt: skip
    assert len(index.with_role("deb")) == len(DEBS)
    assert len(index.with_role("wheel")) == len(WHEELS)
    assert index.manifest.sha256 == digest(experiment.manifest)
    assert [member.path for member in index.files] == sorted(member.path for member in index.files)
    assert [member.path for member in index.with_role("code") if member.executable] == [
        f"trees/{load(experiment.manifest).manifest.artifact('code').tree_sha256}/run.sh"
    ]


def test_packing_twice_gives_the_same_bytes(bundle: Path, copy: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOME", str(copy.folder))
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(copy.folder)
    for file in copy.folder.rglob("*"):
        os.utime(file, (1, 1))
    before = os.umask(0o077)
    try:
        packed = copy.pack(copy.folder / "other.repro.tar")
    finally:
        os.umask(before)
    assert packed.path.read_bytes() == bundle.read_bytes()
    assert packed.sha256 == digest(bundle)


def test_any_tar_reads_it_and_sees_no_owner_or_time(bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        found = list(archive)
    assert found[0].name == "bundle.json"
    assert all(member.isreg() for member in found)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in found} == {(0, 0, "", "")}
    assert len({member.mtime for member in found}) == 1
    assert {member.mode for member in found} == {0o644, 0o755}


def test_nothing_tells_of_the_machine(bundle: Path, experiment: Experiment, tmp_path: Path) -> None:
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    found = tree(tmp_path / "out")
    for name, content in found.items():
        assert b"alice" not in content, name
        assert b"lab.example" not in content, name
        assert str(experiment.folder).encode() not in content, name
        assert b"4711" not in content or name.startswith(("blobs", "trees")), name
    assert "run/logs/worker.log" not in found
    assert "run/options.json" not in found
    log = found["run/logs/train.log"].decode()
    assert "reading /inputs/data/numbers.tsv" in log, "paths of the container say nothing of a person"
    assert "~/notes" in log
    assert len(log) < 1.01 * 2**20
    assert "bytes are left out" in log
    assert json.loads(found["run/report.json"])["manifest"]["path"] == "~/secret/tiny.toml"


def test_the_crate_lists_every_file_with_its_digest(index: Index, bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        stream = archive.extractfile("ro-crate-metadata.json")
        assert stream is not None
        graph = {entity["@id"]: entity for entity in json.load(stream)["@graph"]}
    for member in index.files:
        if member.path.isascii() and member.path != "ro-crate-metadata.json":
            assert graph[member.path]["sha256"] == member.sha256


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        ({"exclude": ["start"]}, {"start": "left out by its name"}),
        ({"exclude_licences": ["cc-by-nc-*"]}, {"numbers": "left out by its licence: CC-BY-NC-4.0"}),
        ({"max_bytes": 1000}, {"start": "left out by its size: 4096 bytes"}),
    ],
)
def test_what_is_left_out_stays_pinned(
    experiment: Experiment, tmp_path: Path, store: Store, wish: dict[str, Any], left: dict[str, str]
) -> None:
    packed = experiment.pack(tmp_path / "part.repro.tar", **wish)
    assert {each.artifact: each.reason for each in packed.index.left_out} == left
    (out,) = packed.index.left_out
    assert packed.index.member(f"blobs/{out.sha256}") is None
    opened = open_bundle(packed.path, store)
    assert opened.lacks(store) == [out]
    store.put_file(
        experiment.manifest.parent / ("start.bin" if out.artifact == "start" else "numbers.tsv"),
        sha256=out.sha256 or "", component=out.artifact,
    )  # fmt: skip
    assert opened.lacks(store) == []


def test_an_artifact_that_is_none_cannot_be_left_out(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no artifact nothing"):
        experiment.pack(tmp_path / "x.repro.tar", exclude=["nothing"])
    assert not list(tmp_path.iterdir())


def test_the_image_as_layers(copy: Experiment, tmp_path: Path, store: Store) -> None:
    image = copy.parts.assemble(copy.store, compiler=Compiler())
    text = copy.manifest.read_text()
    with pytest.raises(UsageError, match="only where the manifest pins"):
        copy.pack(tmp_path / "x.repro.tar", image="oci")
    copy.manifest.write_text(
        text.replace('recipe = "small"', f'recipe = "small"\nmanifest_digest = "{image.manifest_digest}"')
    )
    packed = copy.pack(tmp_path / "layers.repro.tar", image="oci")
    assert packed.index.image == "oci"
    assert not packed.index.with_role("wheel")
    opened = open_bundle(packed.path, store)
    pulled = pull(f"small@{image.manifest_digest}", "linux/amd64", store=store, offline=True, mirrors=opened.mirrors)
    assert pulled.config_digest == image.config_digest


def test_a_run_of_something_else_is_not_packed(copy: Experiment, tmp_path: Path) -> None:
    copy.manifest.write_text(copy.manifest.read_text().replace("seed = 1", "seed = 2"))
    with pytest.raises(UsageError, match=re.escape("determinism.seed is another")):
        copy.pack(tmp_path / "x.repro.tar")
    assert choose_run(copy.runs, load(copy.manifest)) is None


def test_the_run_that_reproduced_it_is_chosen(experiment: Experiment, tmp_path: Path) -> None:
    found = choose_run(experiment.runs, load(experiment.manifest))
    assert found is not None
    assert found.id == experiment.run.id
    assert choose_run(tmp_path, load(experiment.manifest)) is None


def test_a_run_without_a_report_cannot_be_packed(experiment: Experiment, tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs", "tiny")
    with pytest.raises(UsageError, match="has no report"):
        experiment.pack(tmp_path / "x.repro.tar", run=run)


def test_no_link_in_a_run_leads_a_file_of_its_author_into_the_bundle(copy: Experiment, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("a private key")
    for path in (copy.run.metrics, copy.run.environment, copy.run.log("train"), copy.run.log("verify")):
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "private")
    os.mkfifo(copy.run.log("artifacts"))
    packed = copy.pack(tmp_path / "x.repro.tar")
    assert b"a private key" not in packed.path.read_bytes()
    copy.run.events.unlink()
    copy.run.events.symlink_to(tmp_path / "private")
    with pytest.raises(UsageError, match=r"events\.jsonl of the run cannot be packed"):
        copy.pack(tmp_path / "x.repro.tar")


def test_a_path_of_one_machine_cannot_be_packed(copy: Experiment, tmp_path: Path) -> None:
    absolute = copy.parts.lock
    copy.manifest.write_text(copy.manifest.read_text().replace("../images/lock.txt", str(absolute)))
    with pytest.raises(UsageError, match="on this machine only"):
        copy.pack(tmp_path / "x.repro.tar")


def test_a_dockerfile_cannot_be_packed(copy: Experiment, tmp_path: Path) -> None:
    (copy.manifest.parent / "Dockerfile").write_text("FROM scratch\n")
    copy.manifest.write_text(copy.manifest.read_text().replace('recipe = "small"', 'dockerfile = "Dockerfile"'))
    with pytest.raises(UsageError, match="built from a Dockerfile"):
        copy.pack(tmp_path / "x.repro.tar")


AS_NOBODY = """\
import os, sys
from pathlib import Path
from tests.bundles.experiment import Experiment
folder = Path(sys.argv[1])
there = Experiment(folder / "tiny")
there.pack(folder / "root.repro.tar")
for parent, folders, files in os.walk(folder):
    for name in (".", *folders, *files):
        os.chown(os.path.join(parent, name), 65534, 65534)
os.setgid(65534)
os.setuid(65534)
os.umask(0o077)
os.environ["HOME"] = "/nonexistent"
there.pack(folder / "nobody.repro.tar")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_packs_the_same_bytes(copy: Experiment, bundle: Path) -> None:
    root = Path(__file__).parents[2]
    if subprocess.run(["test", "-r", SCRIPT], user=65534, check=False).returncode != 0:
        pytest.skip(f"another user may not read {root}")
    folder = Path(tempfile.mkdtemp(prefix="repro-tui-test-"))
    try:
        shutil.move(copy.folder, folder / "tiny")
        subprocess.run([sys.executable, "-c", AS_NOBODY, str(folder)], cwd=root, check=True)
        assert digest(folder / "nobody.repro.tar") == digest(folder / "root.repro.tar") == digest(bundle)
    finally:
        shutil.rmtree(folder)


def test_an_older_bundle_stays_where_a_new_one_fails(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.repro.tar"
    target.write_bytes(b"older")
    real = tar.TarWriter.file

    def full(self: tar.TarWriter, path: str, mode: int, size: int, chunks: Iterable[bytes]) -> int:
        if path == "run/report.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, path, mode, size, chunks)

    monkeypatch.setattr(tar.TarWriter, "file", full)
    with pytest.raises(StoreFullError):
        experiment.pack(target)
    assert target.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_file_that_changes_while_it_is_packed(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = packing._add_metadata

    def change(found: Gathered, loaded: LoadedManifest, report: Report | None) -> None:
        real(found, loaded, report)
        path = next(path for path, content in found.contents.items() if content.member.role == "wheel")
        other = tmp_path / "other"
        other.write_bytes(b"x" * found.contents[path].member.bytes)
        found.contents[path] = dataclasses.replace(found.contents[path], source=other)

    monkeypatch.setattr(packing, "_add_metadata", change)
    with pytest.raises(InfrastructureError, match="changed while it was packed"):
        experiment.pack(tmp_path / "x.repro.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
