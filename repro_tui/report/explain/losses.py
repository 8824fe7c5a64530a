"""Where the losses of two runs part, and what that hints at: both metrics files read side by side, once."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_tui import wire
from repro_tui.report.explain.files import Clock, TooLongError
from repro_tui.report.explain.model import Parting
from repro_tui.runs.state import of_stage
from repro_tui.runs.tail import Tail

TOLERANCE = 0.01
"""Losses that are further apart than this fraction of the larger one are visibly different."""

_AT_ONCE = (
    "they part from the first step on: another initialisation, another order of the examples, other data or another "
    "hyperparameter; rounding alone is not seen so early"
)
_IN_BITS_AT_ONCE = (
    "the first step differs in its last digits only: the same start, calculated with other rounding (threads, CPU, "
    "GPU, library versions)"
)
_JUMP = (
    "the same bits until then, and a visible difference at once: from this step on another example, schedule or "
    "hyperparameter counts; rounding alone grows more slowly"
)
_DRIFT = (
    "the same start, then the last digits part and the difference grows: rounding (threads, CPU, GPU, library "
    "versions), no other data or hyperparameters"
)
_BITS = "the last digits part and stay close: rounding (threads, CPU, GPU, library versions)"


def parting(
    left: Path, right: Path, names: Sequence[str], clock: Clock, tolerance: float = TOLERANCE
) -> Parting | None:
    """Return where the series that tells most part, of those that both have; None where there is none."""
    name = _telling(names)
    if name is None:
        return None
    one, other = _points(left, name, clock), _points(right, name, clock)
    compared, first_step = 0, None
    bits = visible = None
    whole = True
    try:
        for step, ours, theirs in _together(one, other):
            compared += 1
            first_step = step if first_step is None else first_step
            if bits is None and _bits(ours) != _bits(theirs):
                bits = (step, ours, theirs)
            if bits is not None and _apart(ours, theirs) > tolerance:
                visible = (step, ours, theirs)
                break
    except TooLongError:
        whole = False
    if not compared:
        return None
    return Parting(name, compared, first_step, bits, visible, tolerance, _hint(first_step, bits, visible), whole)


def _hint(first: int | None, bits: tuple[int, float, float] | None, visible: tuple[int, float, float] | None) -> str:
    if bits is None:
        return ""
    if bits[0] == first:
        return _AT_ONCE if visible is not None and visible[0] == first else _IN_BITS_AT_ONCE
    if visible is None:
        return _BITS
    return _JUMP if visible[0] == bits[0] else _DRIFT


def _telling(names: Sequence[str]) -> str | None:
    """Return the loss of the training, else a series that is called a loss, else the first metric over steps."""
    ranked = sorted(names, key=lambda name: (name != "loss", "loss" not in name, "/" not in name, name))
    return next((name for name in ranked if "loss" in name or "/" in name), None)


def _bits(value: float) -> bytes:
    return struct.pack("<d", math.nan if math.isnan(value) else value)


def _apart(left: float, right: float) -> float:
    if left == right or (math.isnan(left) and math.isnan(right)):
        return 0.0
    if not (math.isfinite(left) and math.isfinite(right)):
        return math.inf
    return abs(left - right) / max(abs(left), abs(right))


def _together(
    one: Iterator[tuple[int, float]], other: Iterator[tuple[int, float]]
) -> Iterator[tuple[int, float, float]]:
    """Yield the steps that both have, in the order in which they were written; steps rise."""
    ours, theirs = next(one, None), next(other, None)
    while ours is not None and theirs is not None:
        if ours[0] == theirs[0]:
            yield ours[0], ours[1], theirs[1]
            ours, theirs = next(one, None), next(other, None)
        elif ours[0] < theirs[0]:
            ours = next(one, None)
        else:
            theirs = next(other, None)


def _points(path: Path, name: str, clock: Clock) -> Iterator[tuple[int, float]]:
    stage = ""
    for line in _lines(path, clock):
        try:
            body = wire.decode(line)
        except ValueError:
            continue
        if body["event"] == "stage":
            stage = body["stage"]
        elif (point := _point(body, name, stage)) is not None:
            yield point


def _lines(path: Path, clock: Clock) -> Iterator[bytes]:
    tail = Tail(path)
    while not tail.caught_up():
        clock.check()
        yield from tail.read()
    yield tail.rest()


def _point(body: Mapping[str, Any], name: str, stage: str) -> tuple[int, float] | None:
    name = name.removeprefix(of_stage(stage, ""))
    step = body.get("step")
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    if body["event"] == "step":
        value = wire.number(body.get(name))
    elif body["event"] == "metric" and f"{body.get('split') or 'test'}/{body['name']}" == name and "class" not in body:
        value = wire.number(body["value"])
    else:
        return None
    return None if value is None else (step, value)
