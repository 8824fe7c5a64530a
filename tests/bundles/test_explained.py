"""A bundle is a side of `repro-tui diff`, and the data in it is at hand for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.cli.main import main
from tests.bundles.experiment import Experiment


def test_a_bundle_and_its_manifest_are_the_same(
    experiment: Experiment, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["diff", str(experiment.manifest), str(bundle), "--store", str(tmp_path / "store")]
    assert main(words) == 0, capsys.readouterr().out
    assert f"right  bundle    {bundle.name}" in capsys.readouterr().out


def test_a_bundle_that_was_changed_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "changed.repro.tar"
    changed.write_bytes(content)
    code = main(["diff", str(bundle), str(changed), "--store", str(tmp_path / "store")])
    assert code not in {0, 5}
    assert "error:" in capsys.readouterr().err
