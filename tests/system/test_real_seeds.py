"""A series over seeds, and a recording, in real containers of the embedded engine."""

from __future__ import annotations

import pytest

from tests.system.lab import Lab, nothing_left

pytest.importorskip("scipy", reason="needs SciPy: pip install 'repro-tui[statistics]'")


def test_seeds_at_the_same_time_give_the_bits_of_one_alone(lab: Lab) -> None:
    done = lab.run("--seeds", "42,43", "--jobs", "2").expect(0, "REPRODUCED")
    series = done.report["series"]
    assert series["at_once"] == 2
    assert [each["verdict"] for each in series["seeds"]] == ["REPRODUCED", "REPRODUCED"]
    digests = {check["name"]: check["status"] for check in done.report["checks"] if check["component"] == "digests"}
    assert digests == {"digest weights": "match", "digest predictions": "match"}
    nothing_left(lab.runs)


def test_a_manifest_without_results_is_recorded_and_reproduced(lab: Lab) -> None:
    def bare(manifest: dict[str, object]) -> None:
        for key in ("expected", "recorded"):
            del manifest[key]

    lab.write(bare)
    words = lab.words("--seeds", "2", "--jobs", "3")
    recorded = lab.command("record", *(word for word in words if word not in {"--run", "--json"}))
    assert recorded.code == 0, recorded.err
    assert "level: bitwise" in recorded.out
    assert "does the task use its seed?" in recorded.out, "this task draws nothing"
    again = lab.command(*lab.words())
    assert again.code == 0, again.err
