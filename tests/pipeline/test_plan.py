"""What a worker is told, and what it says it is going to check."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.errors import InfrastructureError
from repro_tui.events import CheckStatus
from repro_tui.manifest.loading import load
from repro_tui.pipeline.plan import Options, planned_checks

ROOT = Path(__file__).parents[2]


def test_options_survive_the_way_to_the_worker(tmp_path: Path) -> None:
    options = Options(manifest="/a/b.toml", experiment="b", title="B", mirrors=("/m", "/n"), seed=0, allow_drift=True)
    options.write(tmp_path / "options.json")
    assert Options.read(tmp_path / "options.json") == options


@pytest.mark.parametrize("text", ["", "[]", '{"mirrors": []}', '{"mirrors": [], "unknown": 1}', "{"])
def test_options_that_are_none_are_an_error_with_their_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "options.json"
    path.write_text(text)
    with pytest.raises(InfrastructureError) as caught:
        Options.read(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*.toml")), ids=lambda path: path.stem)
def test_every_pin_of_a_shipped_manifest_becomes_a_check(path: Path) -> None:
    loaded = load(path)
    manifest = loaded.manifest
    planned = list(planned_checks(loaded, 0.0))
    assert {check.status for check in planned} == {CheckStatus.NOT_RUN}
    names = [check.name for check in planned]
    assert len(set(names)) == len(names)
    for artifact in manifest.artifacts:
        assert f"artifact {artifact.name}" in names
    for metric in manifest.expected.metrics:
        assert f"metric {metric.place}/{metric.name}" in names
    pins = [manifest.image.manifest_digest, manifest.image.config_digest, manifest.environment.hash]
    assert {pin for pin in pins if pin} <= {check.expected for check in planned}
