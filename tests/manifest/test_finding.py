from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro_tui.manifest import finding
from repro_tui.manifest.finding import Shelf
from repro_tui.manifest.pin_list import gpu_words, image_words, pin_rows, task_words

SHIPPED = Path(__file__).parents[2] / "manifests"


def test_good_and_faulty_manifests_are_found_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "b.toml").write_text("schema = 1\n[experiment]\nname = 'x'\n")
    (tmp_path / "a.toml").write_text("schema = \n")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "notes.txt").write_text("schema = 1")
    found = Shelf(tmp_path).look()
    assert [(each.path.name, each.name, each.loaded) for each in found] == [
        ("a.toml", "a", None), ("b.toml", "b", None),
    ]  # fmt: skip
    assert found[0].fault.startswith("line 1: not TOML: invalid value at column 10; allowed: TOML 1.0")
    assert "(and " in found[1].fault
    assert Shelf(tmp_path / "nowhere").look() == []


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.toml"
    file.write_text("schema = 1\n")
    looked: list[Path] = []
    look_at = finding.look_at

    def watched(path: Path) -> finding.Found:
        looked.append(path)
        return look_at(path)

    monkeypatch.setattr(finding, "look_at", watched)
    shelf = Shelf(tmp_path)
    first = shelf.look()
    assert shelf.look() == first
    assert len(looked) == 1
    file.write_text("schema = 2\n")
    os.utime(file, (1, 1))
    assert shelf.look() != first
    shelf.forget()
    shelf.look()
    assert len(looked) == 3
    file.unlink()
    assert shelf.look() == []


def test_a_good_manifest_has_no_fault_and_tells_what_it_takes() -> None:
    found = {each.name: each for each in Shelf(SHIPPED).look()}
    plain, gpu = found["plain-pytorch"].loaded, found["reuters-r8-minilm-cuda"].loaded
    assert plain is not None
    assert gpu is not None
    assert found["plain-pytorch"].fault == ""
    assert (task_words(plain), image_words(plain), gpu_words(plain)) == ("own command (python3)", "torch-cpu", "no GPU")
    assert (task_words(gpu), gpu_words(gpu)) == ("text classification", "1 GPU")


def test_every_pin_is_listed() -> None:
    for found in Shelf(SHIPPED).look():
        assert found.loaded is not None
        manifest = found.loaded.manifest
        rows = list(pin_rows(found.loaded))
        values = {row.value for row in rows}
        pins = {artifact.sha256 or artifact.tree_sha256 for artifact in manifest.artifacts}
        pins |= {output.sha256 for output in manifest.expected.digests}
        pins |= {manifest.image.manifest_digest, manifest.environment.lock_sha256, manifest.environment.hash}
        assert pins - {None} <= values
        assert ("determinism", "seed", str(manifest.determinism.seed)) in rows
        names = {row.name for row in rows}
        assert {f"{metric.place}/{metric.name}" for metric in manifest.expected.metrics} <= names
        assert set(manifest.hyperparameters) | set(manifest.splits) <= names
