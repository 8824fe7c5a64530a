"""A bundle is a side of `repro-tui diff`, and the data in it is at hand for it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from repro_tui.cli.main import main
from tests.bundles.experiment import Experiment


def test_a_bundle_and_its_manifest_are_the_same(
    experiment: Experiment, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = shutil.copy(bundle, tmp_path / "as-it-came")
    words = ["diff", str(experiment.manifest), str(renamed), "--store", str(tmp_path / "store")]
    assert main(words) == 0, capsys.readouterr().out
    assert "right  bundle    as-it-came" in capsys.readouterr().out


def test_a_bundle_that_was_changed_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "changed.repro.tar"
    changed.write_bytes(content)
    code = main(["diff", str(bundle), str(changed), "--store", str(tmp_path / "store")])
    assert code not in {0, 5}
    assert "error:" in capsys.readouterr().err


def test_a_data_row_is_compared_with_the_one_in_a_bundle(
    experiment: Experiment, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(experiment.folder, tmp_path / "project")
    manifest = tmp_path / "project" / experiment.manifest.relative_to(experiment.folder)
    numbers = manifest.parent / "numbers.tsv"
    before = hashlib.sha256(numbers.read_bytes()).hexdigest()
    numbers.write_text("1 2 4\n")
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(numbers.read_bytes()).hexdigest()))
    assert main(["diff", str(bundle), str(manifest), "--store", str(tmp_path / "store")]) == 1
    out = capsys.readouterr().out
    assert "They differ; first of all the data artifact numbers" in out
    assert "1 row changed; the first at row 1" in out
    assert "- 1 2 3" in out
    assert "+ 1 2 4" in out
