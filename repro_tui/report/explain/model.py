"""What an explanation is made of. Every text in it is printable, whatever a run directory held."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from repro_tui.runs.words import printable, short

SCHEMA = 1
_LONG = 120


class Kind(StrEnum):
    """Kinds of causes, the likeliest to move a result first: this order is the rule of docs/explaining.md."""

    HYPERPARAMETER = "hyperparameter"
    TASK = "task"
    DATA = "data"
    WEIGHTS = "weights"
    SPLIT = "split"
    CODE = "code"
    PACKAGE = "package"
    IMAGE = "image"
    VARIABLE = "variable"
    THREADS = "threads"
    CPU_CAPABILITY = "CPU capability"
    CPU = "CPU"
    GPU = "GPU"
    DETERMINISM = "determinism"
    SEED = "seed"
    ENGINE = "engine"
    TOOL = "tool"
    MACHINE = "machine"


WEIGHTS = {kind: 100 - 5 * place for place, kind in enumerate(Kind)}
"""How much each kind counts; what only follows from another cause counts nothing beside it."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is not the same. `left` and `right` are empty where that side has none.

    `why` says in a sentence what it can do, or what it follows from; `details` show it, a line each.
    """

    kind: Kind
    name: str
    left: str
    right: str
    why: str
    weight: int
    details: tuple[str, ...] = ()

    def following(self, what: str) -> Cause:
        """Return the same thing as a mere consequence of another."""
        return replace(self, why=f"follows from {what}", weight=0)

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/explaining.md has it."""
        return {
            "kind": self.kind.value, "name": self.name, "left": self.left or None, "right": self.right or None,
            "why": self.why, "weight": self.weight, "details": list(self.details),
        }  # fmt: skip


def cause(kind: Kind, name: str, sides: Sequence[Any], why: str, details: tuple[str, ...] = ()) -> Cause:
    """Return a cause that counts as its kind does; `sides` are the values on the left and on the right."""
    left, right = sides
    return Cause(kind, show(name), show(left), show(right), why, WEIGHTS[kind], details)


def show(value: Any) -> str:
    """Return a value on one line, without what could steer a terminal; nothing for None."""
    if value is None:
        return ""
    text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).replace("\n", " ")
    return short(text) if len(text) <= _LONG else text[: _LONG - 1] + "…"


@dataclass(frozen=True, slots=True)
class Parting:
    """Where a series of numbers of two runs parts; a place is (step, left, right), None where it does not."""

    series: str
    compared: int
    first_step: int | None
    bits: tuple[int, float, float] | None
    """The first step whose values are not the same number, bit for bit as they were written."""
    visible: tuple[int, float, float] | None
    """The first step at which they are further apart than `tolerance`, as a fraction of the larger one."""
    tolerance: float
    hint: str = ""
    whole: bool = True
    """False where there was more than is read."""

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/explaining.md has it."""
        return {
            "series": self.series, "steps_compared": self.compared, "first_step": self.first_step,
            "bits": _place(self.bits), "visible": _place(self.visible), "tolerance": self.tolerance,
            "hint": self.hint, "whole": self.whole,
        }  # fmt: skip


def _place(place: tuple[int, float, float] | None) -> dict[str, Any] | None:
    return None if place is None else {"step": place[0], "left": repr(place[1]), "right": repr(place[2])}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A final metric, or an output by its digest, on both sides; `spread` says how seeds alone move it."""

    name: str
    left: str
    right: str
    difference: str = ""
    within_spread: bool | None = None
    """None: the spread is not recorded, or one side has no number."""
    spread: str = ""

    @property
    def same(self) -> bool:
        """Say whether both are known, and the same."""
        return self.left == self.right

    @property
    def differs(self) -> bool:
        """Say whether both are known, and not the same."""
        return bool(self.left and self.right) and not self.same

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/explaining.md has it."""
        return {
            "name": self.name, "left": self.left or None, "right": self.right or None,
            "difference": self.difference, "within_spread": self.within_spread, "spread": self.spread,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """One side, as it is called: `kind` is run, series, manifest, record or bundle."""

    kind: str
    name: str
    path: str
    status: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/explaining.md has it."""
        return {
            "kind": self.kind, "name": printable(self.name), "path": printable(self.path), "status": self.status,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is not the same on two sides, what came of it, and what is not known."""

    left: Named
    right: Named
    causes: tuple[Cause, ...]
    parting: Parting | None
    outcomes: tuple[Outcome, ...]
    unknown: tuple[str, ...]
    compared: bool
    """False where nothing that results depend on is known of both: then nothing is said to be the same."""

    @property
    def same(self) -> bool:
        """Say whether nothing is known to differ, and enough is known to say so."""
        return self.compared and not self.differs

    @property
    def differs(self) -> bool:
        """Say whether anything is known to differ."""
        parted = self.parting is not None and self.parting.bits is not None
        return bool(self.causes) or parted or any(outcome.differs for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return it as docs/explaining.md has it."""
        return {
            "schema": SCHEMA,
            "same": self.same,
            "differs": self.differs,
            "left": self.left.to_json(),
            "right": self.right.to_json(),
            "causes": [each.to_json() for each in self.causes],
            "parting": None if self.parting is None else self.parting.to_json(),
            "outcomes": [each.to_json() for each in self.outcomes],
            "unknown": list(self.unknown),
        }
