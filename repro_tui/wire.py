"""The container-to-host line format: one JSON object a line, appended to the file named by $REPRO_METRICS.

This module is the whole of what a training script needs to know, is standard library only, and is the one module that
both sides import. A script may as well write the lines itself; docs/wire-format.md is the reference:

    {"event": "phase",  "phase": "train" | "evaluate"}
    {"event": "step",   "step": 3, "total": 300, "loss": 0.41, ...any further numbers: learning_rate, examples_per_s}
    {"event": "metric", "name": "accuracy", "value": 0.948, "split": "test"}        optional "step", "class"
    {"event": "output", "name": "weights", "path": "model.safetensors"}             optional "sha256"; path under /out
    {"event": "table",  "name": "confusion_matrix", "columns": [...], "rows": [[...], ...]}
    {"event": "runtime", ...what the libraries see: threads, cpu_capability, ...}
    {"event": "note",   "text": "..."}

One more is written by the host alone, into the file that it puts together of a run with several stages; what follows
is of that stage:

    {"event": "stage",  "stage": "pretrain"}

A value that is not a finite number is written as the string "nan", "inf" or "-inf" (JSON has none of them), and can
never match an expected value.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

ENV_METRICS = "REPRO_METRICS"
"""Environment variable that names the file to append to."""

EVENTS = frozenset({"phase", "step", "metric", "output", "table", "runtime", "note", "stage"})
MAX_LINE_BYTES = 1 << 20
"""A longer line is refused by the host and noted in the report."""


def encode(event: str, /, **fields: Any) -> str:
    """Return one line, with its newline, for `event`; raises ValueError for an event the format does not have."""
    if event not in EVENTS:
        raise ValueError(f"unknown event {event!r}; the format has {', '.join(sorted(EVENTS))}")
    return json.dumps(_finite({"event": event, **fields}), ensure_ascii=False, allow_nan=False) + "\n"


def decode(line: str | bytes) -> dict[str, Any]:
    """Parse and check one line; raises ValueError that says what is wrong with it."""
    try:
        value = json.loads(line)
        if (b"\\ud" if isinstance(line, bytes) else "\\ud") in line.lower():  # type: ignore[operator] # one type each
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for one kind of fault
    event = value.get("event")
    if not isinstance(event, str) or event not in EVENTS:
        raise ValueError(f'"event" is {event!r}; the format has {", ".join(sorted(EVENTS))}')
    for key, kinds in _REQUIRED[event]:
        if not isinstance(value.get(key), kinds) or isinstance(value.get(key), bool):
            raise ValueError(f'{event}: "{key}" is missing or of the wrong type')  # noqa: TRY004 - as above
    return value


def number(value: object) -> float | None:
    """Return a metric's value as a float (NaN and infinities included), None where it is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str) and value in {"nan", "inf", "-inf"}:
        return float(value)
    return None


def emit(event: str, /, **fields: Any) -> None:
    """Append one line to $REPRO_METRICS; raises KeyError where the variable is not set.

    One write(2) to a file opened for appending, so lines of several processes do not mix.
    """
    data = encode(event, **fields).encode()
    descriptor = os.open(os.environ[ENV_METRICS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


_REQUIRED: dict[str, tuple[tuple[str, type | tuple[type, ...]], ...]] = {
    "phase": (("phase", str),),
    "step": (("step", int),),
    "metric": (("name", str), ("value", (int, float, str))),
    "output": (("name", str), ("path", str)),
    "table": (("name", str), ("columns", list), ("rows", list)),
    "runtime": (),
    "note": (("text", str),),
    "stage": (("stage", str),),
}
