"""A problem in a manifest: where it is, what was found, what is allowed, what to do."""

from __future__ import annotations

import datetime as dt
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem; `toml_path` is empty where it concerns the whole file, `line` (from 1) None where it has none."""

    toml_path: str
    line: int | None
    found: str
    allowed: str
    hint: str = ""

    def block(self, file: str) -> str:
        """Return the problem as a block of text that names the file, without a newline at its end."""
        where = f"{file}:{self.line}" if self.line is not None else file
        lines = [f"{where}: {self.toml_path}" if self.toml_path else where]
        lines += [
            f"  {label:8}{text}"
            for label, text in (("found", self.found), ("allowed", self.allowed), ("hint", self.hint))
            if text
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON-ready values."""
        return asdict(self)


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems in the order of the file, each once; those of the whole file first."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.line or 0, problem.toml_path))


def show(value: Any) -> str:
    """Return a value of a manifest as a reader would recognise it: short, on one line, as TOML writes it."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        return f"an array of {len(value)}" if value else "an empty array"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _shorten(json.dumps(value, ensure_ascii=False))
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return f"{value.isoformat()} (a date or time)"
    try:
        return _shorten(str(value))
    except ValueError:  # Python refuses to write out integers of more than 4,300 digits
        return "a number of thousands of digits"


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def listing(words: Iterable[str], conjunction: str = "or") -> str:
    """Return "`a`, `b` or `c`"."""
    return enumeration([f"`{word}`" for word in words], conjunction)


def enumeration(phrases: Sequence[str], conjunction: str = "or") -> str:
    """Return "a, b or c", "nothing" for none."""
    if len(phrases) < 2:
        return phrases[0] if phrases else "nothing"
    return f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """Return a hint that names the nearest known word, empty where none is near."""
    near = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""
