"""One thing that is pinned is changed: each change is caught, with the verdict and the component named."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from tests.system.conftest import World
from tests.system.lab import Lab, Manifest, Result, clone_store, replace, sha256

PACKAGES = "usr/local/lib/python3.11/dist-packages"
STDLIB = "usr/lib/python3.11"


@dataclass(frozen=True)
class Change:
    """A change to the manifest, what it must lead to, and the words that name what was changed."""

    name: str
    make: Callable[[Manifest], object]
    code: int
    verdict: str | None
    names: tuple[str, ...]


def _other_digest(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def _set(manifest: Manifest, path: str, value: object) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        manifest = manifest[folder]
    manifest[last] = value(manifest[last]) if callable(value) else value


def changed(path: str, value: object) -> Callable[[Manifest], object]:
    """Return a change of one key; a callable value gets the old one."""
    return lambda manifest: _set(manifest, path, value)


def unrecorded(change: Callable[[Manifest], object]) -> Callable[[Manifest], object]:
    """Return the same change in a manifest that has no record."""

    def make(manifest: Manifest) -> None:
        del manifest["recorded"]
        change(manifest)

    return make


def swapped(manifest: Manifest) -> None:
    splits = manifest["splits"]
    splits["train"]["artifact"], splits["test"]["artifact"] = "test", "train"


def _expected(kind: str, index: int, key: str, value: object) -> Callable[[Manifest], object]:
    def make(manifest: Manifest) -> None:
        table = manifest["expected"][kind][index]
        table[key] = value(table[key]) if callable(value) else value

    return make


def _pin_other_file(name: str) -> Callable[[Manifest], object]:
    def make(manifest: Manifest) -> None:
        artifact = next(each for each in manifest["artifacts"] if each["name"] == name)
        key = "sha256" if "sha256" in artifact else "tree_sha256"
        artifact[key] = _other_digest(artifact[key])

    return make


DRIFT, DIFFER = "ENVIRONMENT DRIFT", "METRICS DIFFER"

IN_THE_MANIFEST = [
    Change("variable added", changed("environment.variables", {"MALLOC_ARENA_MAX": "2", "EXTRA": "1"}), 1, DRIFT, ("EXTRA is 1",)),
    Change("variable changed", changed("environment.variables.MALLOC_ARENA_MAX", "3"), 1, DRIFT, ("MALLOC_ARENA_MAX is 3, pinned 2",)),
    Change("variable removed", changed("environment.variables", {}), 1, DRIFT, ("MALLOC_ARENA_MAX is not set, pinned 2",)),
    Change("variable changed, no record", unrecorded(changed("environment.variables.MALLOC_ARENA_MAX", "3")), 1, DRIFT, ("environment",)),
    Change("threads", changed("environment.threads", 2), 1, DRIFT, ("OMP_NUM_THREADS is 2, pinned 1",)),
    Change("cpu capability", changed("environment.cpu_capability", "avx2"), 1, DRIFT, ("ATEN_CPU_CAPABILITY is avx2, pinned default",)),
    Change("hyperparameter", changed("hyperparameters.rate", 0.06), 1, DRIFT, ("hyperparameters.rate", "0.06", "0.05")),
    Change("hyperparameter, no record", unrecorded(changed("hyperparameters.rate", 0.06)), 1, DIFFER, ("weights",)),
    Change("hyperparameter added", changed("hyperparameters", {"rate": 0.05, "epochs": 3, "decay": 0.1}), 1, DRIFT, ("hyperparameters.decay",)),
    Change("command", changed("task.command", ["python3", "-O", "train.py", "{rate}", "{epochs}"]), 1, DRIFT, ("task.command",)),
    Change("seed", changed("determinism.seed", 43), 1, DRIFT, ("determinism.seed", "43")),
    Change("seed, no record", unrecorded(changed("determinism.seed", 43)), 1, DIFFER, ("weights",)),
    Change("swapped split", swapped, 1, DRIFT, ("splits.test.artifact", "splits.train.artifact")),
    Change("swapped split, no record", unrecorded(swapped), 1, DIFFER, ("weights",)),
    Change("expected value", _expected("metrics", 0, "value", lambda old: old + 0.01), 1, DIFFER, ("metric test/accuracy",)),
    Change("expected metric nobody tells", _expected("metrics", 0, "name", "f1"), 5, "INCONCLUSIVE", ("metric test/f1",)),
    Change("expected split", _expected("metrics", 0, "split", "train"), 5, "INCONCLUSIVE", ("metric train/accuracy",)),
    Change("expected weights", _expected("digests", 0, "sha256", _other_digest), 1, DIFFER, ("digest weights",)),
    Change("expected predictions", _expected("digests", 1, "sha256", _other_digest), 1, DIFFER, ("digest predictions",)),
    Change("image manifest digest", changed("image.manifest_digest", _other_digest), 1, DRIFT, ("image manifest digest",)),
    Change("image config digest", changed("image.config_digest", _other_digest), 1, DRIFT, ("image config digest",)),
    Change("environment hash, no record", unrecorded(changed("environment.hash", _other_digest)), 1, DRIFT, ("environment hash",)),
    Change("data pin, no record", unrecorded(_pin_other_file("train")), 1, DRIFT, ("artifact train",)),
    Change("weights pin", _pin_other_file("start"), 1, DRIFT, ("artifacts.start.sha256",)),
    Change("code pin, no record", unrecorded(_pin_other_file("code")), 1, DRIFT, ("artifact code",)),
    Change("environment hash", changed("environment.hash", _other_digest), 2, None, ("environment.hash",)),
    Change("tolerance removed", changed("expected.metrics", [{"name": "accuracy", "value": 0.9}]), 2, None, ("expected.metrics[0]", "tolerance")),
    Change("record pin", changed("recorded.sha256", _other_digest), 2, None, ("recorded.sha256",)),
    Change("lock pin", changed("environment.lock_sha256", _other_digest), 2, None, ("environment.lock_sha256",)),
]  # fmt: skip


@pytest.mark.parametrize("change", IN_THE_MANIFEST, ids=lambda change: change.name)
def test_a_change_in_the_manifest_is_caught(lab: Lab, change: Change) -> None:
    if change.name == "cpu capability" and " avx2 " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX2")
    done = lab.run(change=change.make).expect(change.code, change.verdict)
    if change.verdict is None:
        assert lab.run_folders() == set(), "a faulty manifest leaves no run"
        assert done.out == ""
    named(done, change)


def named(done: Result, change: Change) -> None:
    """Assert that what was changed is named where a person looks first, and in the report."""
    assert_names(done.err if change.verdict is None else done.summary, change.names)
    if change.verdict in {DRIFT, DIFFER}:
        assert done.differing, str(done)


def assert_names(text: str, names: Iterable[str]) -> None:
    """Assert that every one of the names is in a text, which may begin with a capital."""
    for name in names:
        assert name.lower() in text.lower(), f"{name!r} is not named: {text}"


def test_what_is_changed_and_changed_back_is_reproduced(lab: Lab) -> None:
    lab.expect_reproduced()


def test_other_code_of_a_built_in_task_is_caught_before_anything_is_fetched(lab: Lab, tmp_path: Path) -> None:
    def built_in(manifest: Manifest) -> None:
        manifest["task"] = {"name": "text_classification", "model": "weights", "code_sha256": "0" * 64}
        manifest["hyperparameters"] = {}
        for split in manifest["splits"].values():
            split["text"] = "x"
        del manifest["recorded"], manifest["expected"]["digests"]

    lab.store = tmp_path / "store"
    done = lab.run("--offline", change=built_in).expect(1, DRIFT)
    assert_names(done.summary, ["task code", "text_classification"])
    assert done.checks["image manifest digest"]["status"] == "not run"


# --- files beside the manifest ----------------------------------------------------------------------------------------


def test_a_changed_lock_is_a_faulty_manifest(lab: Lab) -> None:
    lock = lab.folder / "small.txt"
    lock.write_text(lock.read_text() + "# one more line\n")
    done = lab.run().expect(2)
    assert "environment.lock_sha256" in done.err
    assert sha256(lock) in done.err


def test_a_changed_record_is_a_faulty_manifest(lab: Lab) -> None:
    replace(lab.folder / "record.json", (lab.folder / "record.json").read_bytes().replace(b"0.05", b"0.06"))
    done = lab.run().expect(2)
    assert "recorded.sha256" in done.err


def test_a_changed_recipe_is_another_image(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    recipe = lab.folder / "images/small/image.toml"
    recipe.write_text(recipe.read_text() + '\n[environment]\nEXTRA = "1"\n')
    done = lab.run().expect(1, DRIFT)
    assert_names(done.summary, ["image manifest digest"])


SOURCES = [
    ("a data file", "data/train.tsv", "train", "artifact train"),
    ("the weights", "weights/start.json", "start", "artifact start"),
    ("the code", "code/train.py", "code", "artifact code"),
]


@pytest.mark.parametrize(("file", "name", "check"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
def test_a_changed_byte_at_the_source_is_caught_where_the_store_has_it_not(
    lab: Lab, tmp_path: Path, file: str, name: str, check: str
) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    forget(lab, name)
    before = (lab.folder / file).read_bytes()
    replace(lab.folder / file)
    done = lab.run().expect(1, DRIFT)
    assert check in done.differing
    assert_names(done.summary, [check])
    artifact = lab.artifact(name)
    pin = artifact.get("sha256") or artifact["tree_sha256"]
    assert done.checks[check]["expected"] == pin
    assert done.checks[check]["observed"] not in {"", pin}
    replace(lab.folder / file, before)
    lab.expect_reproduced()


def test_sources_that_changed_do_not_matter_where_the_store_has_what_is_pinned(lab: Lab) -> None:
    for file, *_ in (row[1:] for row in SOURCES):
        replace(lab.folder / file)
    lab.expect_reproduced()


@pytest.mark.parametrize("name", ["train", "start", "code"])
def test_a_changed_byte_in_the_store_is_fetched_again(lab: Lab, tmp_path: Path, name: str) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    kept = stored(lab, name)
    replace(kept if kept.is_file() else kept / "train.py")
    lab.expect_reproduced()
    assert list((lab.store / "quarantine").iterdir())
    replace(kept if kept.is_file() else kept / "train.py")
    shutil.rmtree(lab.folder / "data")
    shutil.rmtree(lab.folder / "weights")
    shutil.rmtree(lab.folder / "code")
    lost = lab.run().expect(3, "FAILED")
    assert name in lost.summary
    assert lab.artifact(name)["sources"][0]["path"] in lost.err


@pytest.mark.parametrize("change", ["a file added", "an executable bit"])
def test_the_code_is_more_than_the_bytes_of_its_files(lab: Lab, tmp_path: Path, change: str) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    forget(lab, "code")
    if change == "a file added":
        (lab.folder / "code/json.py").write_text("raise SystemExit(1)\n")
    else:
        (lab.folder / "code/train.py").chmod(0o755)
    done = lab.run().expect(1, DRIFT)
    assert "code" in done.summary
    (lab.folder / "code/json.py").unlink(missing_ok=True)
    (lab.folder / "code/train.py").chmod(0o644)
    lab.expect_reproduced()


def stored(lab: Lab, name: str) -> Path:
    """Return where the store keeps an artifact."""
    artifact = lab.artifact(name)
    if "sha256" in artifact:
        return lab.store / "blobs" / str(artifact["sha256"])
    return lab.store / "trees" / str(artifact["tree_sha256"])


def forget(lab: Lab, name: str) -> None:
    """Take an artifact out of the store."""
    remove_tree(stored(lab, name))


# --- packages and wheels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["idna==", "coreutils "])
def test_a_changed_byte_in_a_mirror_of_packages_is_caught(lab: Lab, world: World, tmp_path: Path, line: str) -> None:
    lock = lab.folder / ("small.txt" if line.endswith("==") else "images/small/base.lock")
    locked = next(text for text in lock.read_text().splitlines() if text.startswith(line))
    pin = next(word for word in locked.replace("sha256:", " ").replace("=", " ").split() if len(word) == 64)
    lab.store = clone_store(lab.store, tmp_path / "store")
    remove_tree(lab.store / "derived/images")
    (lab.store / "blobs" / pin).unlink(missing_ok=True)
    mirror = tmp_path / "mirror"
    shutil.copytree(world.downloads, mirror, copy_function=os.link)
    replace(mirror / pin)
    lab.mirrors = [mirror]
    done = lab.run("--offline").expect(1, DRIFT)
    assert line.strip(" =") in done.summary
    assert pin in done.summary
    assert str(mirror / pin) in done.err
    assert not (lab.store / "derived/images").exists() or not list((lab.store / "derived/images").iterdir())
    lab.mirrors = [world.downloads]
    lab.expect_reproduced("--offline")


# --- the assembled root -----------------------------------------------------------------------------------------------


def _add(root: Path, path: str, text: str) -> None:
    (root / path).write_text(text)


def _retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("bash")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


IN_THE_ROOT: list[tuple[str, Callable[[Path], object], tuple[str, ...]]] = [
    ("a module of a distribution", lambda root: replace(root / PACKAGES / "idna/core.py"), ("idna/core.py in idna 3", "differs")),
    ("the metadata of a distribution", lambda root: replace(next((root / PACKAGES).glob("idna-*/METADATA"))), ("METADATA in idna", "differs")),
    ("a file of the standard library", lambda root: replace(root / STDLIB / "random.py"), ("random.py in libpython3.11-minimal", "differs")),
    ("a base library", lambda root: replace((root / "usr/lib/x86_64-linux-gnu/libz.so.1").resolve()), ("libz.so.1", "zlib1g", "differs")),
    ("the interpreter's byte code", lambda root: replace(next((root / STDLIB / "__pycache__").glob("random.cpython-311.pyc"))), ("random.cpython-311.pyc", "differs")),
    ("byte code of a distribution", lambda root: replace(root / PACKAGES / "idna/__pycache__/core.cpython-311.pyc"), ("core.cpython-311.pyc", "differs")),
    ("sitecustomize added", lambda root: _add(root, f"{PACKAGES}/sitecustomize.py", "import random\n"), ("sitecustomize.py", "was added")),
    ("a .pth file added", lambda root: _add(root, f"{PACKAGES}/zz.pth", "import random\n"), ("zz.pth", "was added")),
    ("a module in the standard library added", lambda root: _add(root, f"{STDLIB}/usercustomize.py", ""), ("usercustomize.py", "was added")),
    ("a module removed", lambda root: (root / PACKAGES / "idna/codec.py").unlink(), ("idna/codec.py", "is missing")),
    ("a file of the base removed", lambda root: (root / "usr/bin/sort").unlink(), ("/usr/bin/sort", "is missing")),
    ("an executable bit", lambda root: replace(root / "usr/bin/sort", (root / "usr/bin/sort").read_bytes(), mode=0o644), ("/usr/bin/sort", "is not executable")),
    ("a link retargeted", lambda root: _retarget(root / "usr/bin/awk"), ("/usr/bin/awk", "points to bash, pinned mawk")),
    ("a setting in /etc", lambda root: replace(root / "etc/passwd"), ("/etc/passwd", "differs")),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "names"), [row[1:] for row in IN_THE_ROOT], ids=[row[0] for row in IN_THE_ROOT])
def test_a_change_in_the_assembled_root_is_named_down_to_the_file(
    lab: Lab, tmp_path: Path, damage: Callable[[Path], object], names: tuple[str, ...]
) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    damage(lab.image_folder() / "root")
    done = lab.run().expect(1, DRIFT)
    assert_names(done.summary, names)
    assert done.run is not None
    assert not list((done.run / "out").iterdir()), "drift ends the run before it trains"


def test_the_hint_of_a_damaged_root_is_the_command_that_heals_it(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    replace(lab.image_folder() / "root" / PACKAGES / "idna/core.py")
    replace(lab.image_folder() / "root" / STDLIB / "random.py")
    done = lab.run().expect(1, DRIFT)
    hint = next(line for line in done.err.splitlines() if "repro-tui image build" in line)
    words = shlex.split(hint.partition("`repro-tui ")[2].partition("`")[0])
    assert words[:3] == ["image", "build", "small"]
    healed = lab.command(*words, "--offline", *(word for mirror in lab.mirrors for word in ("--mirror", str(mirror))))
    assert healed.code == 0, str(healed)
    lab.expect_reproduced()


def test_without_a_record_the_files_of_the_image_are_named_all_the_same(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    replace(lab.image_folder() / "root" / PACKAGES / "idna/core.py")
    done = lab.run(change=lambda manifest: manifest.pop("recorded")).expect(1, DRIFT)
    assert "idna/core.py" in done.summary


def test_without_any_pin_a_damaged_root_is_no_first_result(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    replace(lab.image_folder() / "root" / PACKAGES / "idna/core.py")

    def without_pins(manifest: Manifest) -> None:
        del manifest["recorded"], manifest["environment"]["hash"]

    done = lab.run(change=without_pins).expect(1, DRIFT)
    assert "idna/core.py" in done.summary


# --- the image in the store -------------------------------------------------------------------------------------------


def _layers(folder: Path) -> list[Path]:
    return sorted((folder / "layout/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_a_changed_manifest_or_configuration_in_the_store_is_made_anew(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    for document in _layers(lab.image_folder())[:2]:
        replace(document)
    lab.expect_reproduced("--offline")


def test_a_truncated_layer_in_the_store_is_made_anew(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    layer = _layers(lab.image_folder())[-1]
    replace(layer, layer.read_bytes()[:-512])
    lab.expect_reproduced("--offline")


def test_a_changed_layer_in_the_store_is_found_and_healed_by_image_build_verify(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    layer = _layers(lab.image_folder())[-1]
    replace(layer)
    lab.expect_reproduced()  # the embedded engine uses no layer: every file that it uses was hashed
    places = ["--store", str(lab.store), "--mirror", str(lab.mirrors[0]), "--offline"]
    build = ["image", "build", "small", "--lock", str(lab.folder / "small.txt"), *places]
    found = lab.command(*build, "--verify")
    assert found.code == 0, str(found)
    assert layer.name in found.err
    assert sha256(layer) == layer.name
    lab.expect_reproduced()


def test_a_changed_layer_is_never_used_for_another_image(lab: Lab, tmp_path: Path) -> None:
    lab.store = clone_store(lab.store, tmp_path / "store")
    for folder in (lab.store / "derived/layers").iterdir():
        replace(max(folder.iterdir(), key=lambda path: path.stat().st_size))
    remove_tree(lab.store / "derived/images")
    lab.expect_reproduced("--offline")
