"""Every manifest that is shipped loads, and says whether it was run: with a record, or in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.manifest.loading import load
from repro_tui.manifest.warnings import warnings

MANIFESTS = sorted((Path(__file__).parents[2] / "manifests").glob("*.toml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_it_loads_and_says_whether_it_was_run(path: Path) -> None:
    loaded = load(path)
    assert loaded.manifest.experiment.name == path.stem
    assert "TBD" not in loaded.text
    recorded = loaded.manifest.recorded
    if recorded is None:
        assert path.stem.endswith(("-full", "-cuda")), "what runs on two cores was run"
        assert "NOT RUN YET" in loaded.text.splitlines()[1], "a manifest without a record says so at its top"
        assert not loaded.manifest.expected.metrics, "what was not run expects nothing"
        assert [problem.toml_path for problem in warnings(loaded)] == ["expected"]
    else:
        assert recorded.when
        assert recorded.where
        assert loaded.manifest.environment.hash is not None
        assert warnings(loaded) == [], "pins are renewed in the change that makes them old: docs/recording.md"
