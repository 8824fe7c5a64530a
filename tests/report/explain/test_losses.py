from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from repro_tui.report.explain.files import Clock
from repro_tui.report.explain.losses import parting
from repro_tui.report.explain.model import Parting


def written(path: Path, losses: Sequence[float | str], first: int = 1) -> Path:
    lines = [json.dumps({"event": "step", "step": step, "loss": loss}) for step, loss in enumerate(losses, first)]
    path.write_text("\n".join(lines) + "\n")
    return path


def parted(folder: Path, left: Sequence[float | str], right: Sequence[float | str], first: int = 1) -> Parting:
    found = parting(written(folder / "a", left), written(folder / "b", right, first), ["lr", "loss"], Clock())
    assert found is not None
    return found


def test_the_same_bits(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5, "nan"], [1.0, 0.5, "nan"])
    assert (found.bits, found.visible, found.hint, found.compared) == (None, None, "", 3)


def test_the_first_step(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5], [1.2, 0.6])
    assert found.bits == found.visible == (1, 1.0, 1.2)
    assert "initialisation" in found.hint


def test_the_first_step_in_its_last_digits(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5], [math.nextafter(1.0, 2), 0.5])
    assert found.bits == (1, 1.0, 1.0000000000000002)
    assert found.visible is None
    assert "rounding" in found.hint


def test_a_difference_that_grows(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5, 0.4, 0.3], [1.0, 0.5000000001, 0.401, 0.32])
    assert found.bits == (2, 0.5, 0.5000000001)
    assert found.visible == (4, 0.3, 0.32)
    assert "grows" in found.hint


def test_a_jump(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5, 0.4], [1.0, 0.5, 4])
    assert found.bits == found.visible == (3, 0.4, 4.0)
    assert "at once" in found.hint


def test_only_steps_that_both_have_are_compared(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5, 0.25, 0.1], [0.5, 0.25], first=2)
    assert (found.compared, found.first_step, found.bits) == (2, 2, None)


def test_what_is_no_number_any_more(tmp_path: Path) -> None:
    found = parted(tmp_path, [1.0, 0.5], [1.0, "nan"])
    assert found.visible is not None
    assert found.visible[0] == 2


def test_time_that_is_over_is_said(tmp_path: Path) -> None:
    written(tmp_path / "a", [1.0])
    assert parting(tmp_path / "a", tmp_path / "a", ["loss"], Clock(0)) is None, "nothing was compared"
    assert parting(tmp_path / "a", tmp_path / "a", ["lr"], Clock()) is None, "a learning rate is no loss"


def test_a_metric_over_steps_stands_in_for_a_loss(tmp_path: Path) -> None:
    line = {"event": "metric", "name": "f1", "split": "validation", "step": 3}
    (tmp_path / "a").write_text(json.dumps({**line, "value": 0.5}))
    (tmp_path / "b").write_text(
        json.dumps({**line, "value": 0.75}) + "\n" + json.dumps({**line, "value": 1, "class": "x"})
    )
    found = parting(tmp_path / "a", tmp_path / "b", ["validation/f1"], Clock())
    assert found is not None
    assert (found.series, found.bits) == ("validation/f1", (3, 0.5, 0.75))
