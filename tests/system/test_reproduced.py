"""The line from a manifest to REPRODUCED, and what a first run without pins tells an author."""

from __future__ import annotations

import json

from tests.system.conftest import World
from tests.system.lab import Lab


def test_a_first_run_without_pins_is_inconclusive_and_tells_everything_to_pin(world: World) -> None:
    report = world.first.report
    assert world.first.run is not None
    record = json.loads((world.first.run / "record.json").read_text())
    assert record["image"]["manifest_digest"] == report["image"]["manifest_digest"]
    assert set(record["digests"]) == {"weights", "predictions"}
    assert report["environment_hash"].startswith("sha256:")
    assert "compared" in report["summary"]


def test_the_untouched_experiment_is_reproduced(lab: Lab) -> None:
    done = lab.expect_reproduced()
    assert {check["status"] for check in done.report["checks"]} == {"match"}
    assert done.report["timings_s"]["image"] <= 0.5
    assert done.report["engine"]["name"] == "embedded"
