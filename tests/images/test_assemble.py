"""Assembly of a small image: what is in it, that it is always the same, and what is made again when."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repro_tui.artifacts.store import Store, remove_tree
from repro_tui.errors import ArtifactUnavailableError, DigestMismatchError, InfrastructureError, ManifestError
from repro_tui.images import inventory, layout
from repro_tui.images.assemble import find_image, verify_image
from repro_tui.images.model import Image
from tests.images.image_parts import DEBS, RECIPE, WHEELS, Compiler, Parts, deb_of, digests, noise, sha256, wheel_of

SITE = "usr/local/lib/python3.11/dist-packages"
NewStore = Callable[[str], Store]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """For tests that only look."""
    parts = Parts(tmp_path_factory.mktemp("parts"))
    parts.write(DEBS, WHEELS)
    store = Store(tmp_path_factory.mktemp("store"))
    yield parts.assemble(store)
    store.close()


def read(image: Image, path: str) -> bytes:
    return (image.root / path).read_bytes()


def mode(image: Image, path: str) -> int:
    return stat.S_IMODE((image.root / path).lstat().st_mode)


# --- content ----------------------------------------------------------------------------------------------------------


def test_base_has_merged_usr_and_links_that_lead_somewhere(image: Image) -> None:
    assert os.readlink(image.root / "bin") == "usr/bin"
    assert os.readlink(image.root / "lib64") == "usr/lib64"
    assert read(image, "usr/bin/sh") == b"shell"
    assert (image.root / "usr/lib/one.so").read_bytes() == b"library"
    assert os.readlink(image.root / "usr/lib64/ld.so") == "/lib/one/real.so"
    assert os.readlink(image.root / "usr/bin/awk") == "mawk"


def test_base_is_readable_by_an_ordinary_user_and_has_no_setuid(image: Image) -> None:
    for item in inventory.read(image.inventory):
        if item.type != "link":
            assert item.mode in {0o644, 0o755, 0o1777}, item
    assert mode(image, "usr/bin/su") == 0o755
    assert mode(image, "usr/bin/two") == 0o755
    assert mode(image, "usr/share/doc/one/copyright") == 0o644
    assert mode(image, "tmp") == 0o1777


def test_base_has_what_users_and_engines_meet(image: Image) -> None:
    assert b"repro:x:1000:1000" in read(image, "etc/passwd")
    assert read(image, "etc/ssl/certs/ca-certificates.crt") == b"certificate A\ncertificate B\n"
    assert os.readlink(image.root / "etc/localtime") == "/usr/share/zoneinfo/Etc/UTC"
    for folder in ("inputs", "code", "job", "out", "tmp", "proc", "sys", "dev", "run", "home/repro"):
        assert (image.root / folder).is_dir(), folder


def test_base_keeps_licences_and_drops_manuals(image: Image) -> None:
    assert read(image, "usr/share/doc/one/copyright") == b"free"
    assert not (image.root / "usr/share/doc/one/README").exists()
    assert not (image.root / "usr/share/man").exists()


def test_base_names_the_owner_of_each_file(image: Image) -> None:
    owners = {item.path: item.owner for item in inventory.read(image.inventory)}
    assert owners["usr/bin/two"] == "two 1.0-1"
    assert owners[f"{SITE}/beta.py"] == "beta 1.0"
    assert owners[f"{SITE}/__pycache__/beta.cpython-311.pyc"] == "beta 1.0"
    assert owners["etc/passwd"] == "image"
    status = read(image, "var/lib/dpkg/status").decode()
    assert "Package: one\nStatus: install ok installed\nVersion: 1.0-1\n" in status
    assert "/usr/bin/sh" in read(image, "var/lib/dpkg/info/one.list").decode().splitlines()


def test_wheels_are_installed_with_scripts_and_record(image: Image) -> None:
    launcher = read(image, "usr/local/bin/alpha").decode()
    assert launcher.startswith("#!/usr/bin/python3\n")
    assert "from alpha.cli import main\n" in launcher
    assert "sys.exit(main.now())" in launcher
    assert mode(image, "usr/local/bin/alpha") == 0o755
    assert read(image, "usr/local/bin/run-alpha") == b"#!/usr/bin/python3\nprint(1)\n"
    assert mode(image, f"{SITE}/alpha/tool") == 0o755
    assert read(image, f"{SITE}/alpha-1.0.dist-info/INSTALLER") == b"repro-tui\n"
    data = "usr/local/share/alpha/" + "long/" * 30 + "d\u00e4ta.txt"
    assert read(image, data) == b"data"

    rows = dict(
        line.rsplit(",", 2)[:2] for line in read(image, f"{SITE}/alpha-1.0.dist-info/RECORD").decode().splitlines()
    )
    items = {item.path: item for item in inventory.read(image.inventory) if item.owner == "alpha 1.0"}
    installed = {path for path, item in items.items() if item.type == "file" and "__pycache__" not in path}
    named = {os.path.normpath(f"{SITE}/{path}") for path in rows}
    assert named == installed
    assert rows["../../../bin/alpha"].startswith("sha256=")
    assert rows["alpha-1.0.dist-info/RECORD"] == ""


def test_byte_code_is_where_python_looks_but_not_for_tests_or_broken_files(image: Image) -> None:
    assert (image.root / SITE / "alpha/__pycache__/__init__.cpython-311.pyc").is_file()
    assert (image.root / "usr/lib/python3.11/__pycache__/os.cpython-311.pyc").is_file()
    assert not (image.root / SITE / "alpha/__pycache__/bad.cpython-311.pyc").exists()
    assert not (image.root / SITE / "alpha/tests/__pycache__").exists()


def test_layers_unpacked_by_another_tar_are_the_root(image: Image, tmp_path: Path) -> None:
    target = tmp_path / "unpacked"
    target.mkdir()
    for layer in image.layers:
        with tarfile.open(layout.blob(image.layout, layer.digest)) as archive:
            names = archive.getnames()
            assert len(names) == len(set(names))
            assert all((info.uid, info.gid, info.uname, info.mtime) == (0, 0, "", 315_532_800) for info in archive)
            archive.extractall(target, filter="fully_trusted")
    expected = {str(path.relative_to(image.root)) for path in image.root.rglob("*")}
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == expected
    for path in expected:
        one, other = image.root / path, target / path
        assert one.lstat().st_mode == other.lstat().st_mode, path
        if one.is_symlink():
            assert os.readlink(one) == os.readlink(other)
        elif one.is_file():
            assert one.read_bytes() == other.read_bytes(), path


def test_layout_says_what_it_holds(image: Image) -> None:
    index = json.loads((image.layout / "index.json").read_bytes())
    [descriptor] = index["manifests"]
    assert descriptor["digest"] == image.manifest_digest
    manifest = json.loads(layout.blob(image.layout, image.manifest_digest).read_bytes())
    config = json.loads(layout.blob(image.layout, image.config_digest).read_bytes())
    assert config["config"]["User"] == "1000:1000"
    assert config["rootfs"]["diff_ids"] == [entry["digest"] for entry in manifest["layers"]] == list(image.diff_ids)
    for entry in manifest["layers"]:
        data = layout.blob(image.layout, entry["digest"]).read_bytes()
        assert (f"sha256:{sha256(data)}", len(data)) == (entry["digest"], entry["size"])
    assert "gamma 1.0" in [layer.title for layer in image.layers]


def test_verify_names_what_changed(parts: Parts, new_store: NewStore) -> None:
    image = parts.assemble(new_store("store"))
    assert verify_image(image) == []
    path = image.root / SITE / "beta.py"
    path.write_bytes(b"import alphb\n")
    (image.root / "etc/new").write_bytes(b"")
    (image.root / "usr/bin/two").unlink()
    wrong = "\n".join(verify_image(image))
    assert f"/{SITE}/beta.py of beta 1.0" in wrong
    assert "/etc/new is not part of the image" in wrong
    assert "/usr/bin/two of two 1.0-1 is missing" in wrong


# --- made again, or not -----------------------------------------------------------------------------------------------


def test_nothing_is_made_again_when_nothing_changed(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    first = parts.assemble(store)
    remove_tree(parts.mirror)
    compiler = Compiler()
    assert parts.assemble(store, compiler=compiler) == first
    assert compiler.compiled == []


def test_one_changed_package_changes_its_layer_and_compiles_its_files_only(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    before = parts.assemble(store)
    parts.write(DEBS, {**WHEELS, "beta": wheel_of("beta", {"beta.py": b"import gamma\n"})})
    compiler = Compiler()
    after = parts.assemble(store, compiler=compiler)
    assert after.manifest_digest != before.manifest_digest
    assert all(f"/{SITE}/gamma" not in path and "/usr/lib/" not in path for path in compiler.compiled)
    changed = {layer.title for layer in after.layers if layer.digest not in before.diff_ids}
    assert len(changed) == 2
    assert {title.removeprefix("byte code of ") for title in changed} < {layer.title for layer in before.layers}


def test_byte_code_of_a_wheel_itself_gives_way_to_ours(parts: Parts, new_store: NewStore) -> None:
    cache = "beta/__pycache__/__init__.cpython-311.pyc"
    files = {
        "beta/__init__.py": b"import os\n",
        cache: b"of another time",
        "beta/__pycache__/old.cpython-311.pyc": b"o",
    }
    parts.write(DEBS, {**WHEELS, "beta": wheel_of("beta", files)})
    image = parts.assemble(new_store("store"))
    assert (image.root / SITE / cache).read_bytes() not in {b"of another time", b""}
    assert (image.root / SITE / "beta/__pycache__/old.cpython-311.pyc").read_bytes() == b"o"
    assert verify_image(image) == []


def test_image_that_lost_a_blob_is_made_again(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    image = parts.assemble(store)
    layout.blob(image.layout, image.layers[1].digest).unlink()
    assert find_image(parts.recipe, parts.lock, store=store) is None
    assert digests(parts.assemble(store)) == digests(image)


def test_damaged_cached_layer_is_not_used(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    image = parts.assemble(store)
    before = digests(image)
    blob = layout.blob(image.layout, image.layers[0].digest)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)  # the layer's cache is the same file
    remove_tree(image.layout.parent)
    assert digests(parts.assemble(store)) == before


def test_assembly_that_fails_leaves_no_image(parts: Parts, new_store: NewStore) -> None:
    store = new_store("store")
    with pytest.raises(InfrastructureError, match="exit code 9"):
        parts.assemble(store, compiler=lambda *_, **__: 9)
    assert find_image(parts.recipe, parts.lock, store=store) is None
    assert list((store.root / "scratch").iterdir()) == []
    assert digests(parts.assemble(store)) == digests(parts.assemble(new_store("other")))


def test_compiler_that_skips_files_is_an_error(parts: Parts, new_store: NewStore) -> None:
    with pytest.raises(InfrastructureError, match="compiled 0 of"):
        parts.assemble(new_store("store"), compiler=lambda *_, **__: 0)


# --- bad parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("deb", "two"), ("wheel", "beta")])
def test_one_changed_byte_is_named(parts: Parts, new_store: NewStore, kind: str, name: str) -> None:
    data = bytearray({"deb": DEBS, "wheel": WHEELS}[kind][name])
    good = sha256(bytes(data))
    data[len(data) // 2] ^= 1
    (parts.mirror / good).write_bytes(data)
    with pytest.raises((DigestMismatchError, ArtifactUnavailableError)) as caught:
        parts.assemble(new_store("store"))
    assert name in str(caught.value.message)


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        (wheel_of("beta", {"../evil.py": b"1"}), "leave the folder"),
        (wheel_of("beta", {"/evil.py": b"1"}), "leave the folder"),
        (wheel_of("beta", {"beta.py": b"1"}, record=lambda text: text.replace("sha256=", "sha256=A")), "digest|RECORD"),
        (wheel_of("beta", {"beta.py": b"1"}, record=lambda text: text.replace("beta.py,", "other.py,")), "not in the wheel"),
        (wheel_of("beta", {"beta.py": b"1"}, record=lambda text: text.partition("\n")[2]), "no digest"),
        (wheel_of("beta", {"beta.py": b"1"}, record=lambda text: "\n".join(["x,md5=abc,1", *text.splitlines()[1:]])), "RECORD"),
        (wheel_of("other", {"beta.py": b"1"}), "the lock says beta"),
        (wheel_of("beta", {"beta-1.0.data/nowhere/x": b"1"}), "no place that wheels install to"),
        (wheel_of("beta", {"beta-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../x = a:b\n"}), "leave the scripts"),
    ],
)  # fmt: skip
def test_malformed_wheel_is_refused_with_its_name(
    parts: Parts, new_store: NewStore, wheel: bytes, message: str
) -> None:
    parts.write(DEBS, {**WHEELS, "beta": wheel})
    with pytest.raises(ManifestError, match=message) as caught:
        parts.assemble(new_store("store"))
    assert "beta 1.0" in caught.value.message
    assert find_image(parts.recipe, parts.lock, store=new_store("store")) is None


@pytest.mark.parametrize(
    ("deb", "message"),
    [
        (b"no archive", "not a Debian package"),
        (DEBS["two"][:-200], "not a Debian package"),
        (deb_of("two", {"../out": b"1"}), "leaves the root"),
        (deb_of("two", {"usr/bin/sh": b"1"}), "/usr/bin/sh is in both one 1.0-1 and two 1.0-1"),
        (deb_of("two", {"usr/lib/one.so/x": b"1"}), "lies below /usr/lib/one.so"),
    ],
)
def test_bad_deb_is_refused_with_its_name(parts: Parts, new_store: NewStore, deb: bytes, message: str) -> None:
    parts.write({**DEBS, "two": deb}, WHEELS)
    with pytest.raises(ManifestError, match=message) as caught:
        parts.assemble(new_store("store"))
    assert "two" in caught.value.message


def test_many_large_wheels_stay_below_the_layer_limit(parts: Parts, new_store: NewStore) -> None:
    many = {f"w{number}": wheel_of(f"w{number}", {f"w{number}.bin": noise(640)}) for number in range(60)}
    parts.write(DEBS, many, RECIPE.replace("20_000", "100"))
    image = parts.assemble(new_store("store"))
    assert 41 <= len(image.layers) <= 125
