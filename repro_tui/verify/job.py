"""Words for a difference between the recorded job and the one asked for."""

from __future__ import annotations

import json
from typing import Any

_LONG = 80


def describe(path: str, expected: Any, observed: Any) -> str:
    """Return "hyperparameters.epochs is 2, recorded 1"; None is absence."""
    if observed is None:
        return f"{path} is missing, recorded {_show(expected)}"
    if expected is None:
        return f"{path} is {_show(observed)}, not there in the record"
    return f"{path} is {_show(observed)}, recorded {_show(expected)}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
