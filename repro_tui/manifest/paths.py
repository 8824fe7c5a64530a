"""TOML paths: where in a manifest something is, as a person writes it: `artifacts[0].sources[1].url`, `a."b.c"`.

An element of an array of tables may also be called by its name: `artifacts.r8-train.sha256`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any

Part = str | int
"""A key, or an index into an array."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"""\.?(?:(?P<bare>[A-Za-z0-9_-]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|\[(?P<index>\d+)\])""")


def format_path(parts: Iterable[Part]) -> str:
    """Return the path as text; keys are quoted only where TOML asks for it."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def parse_path(text: str) -> tuple[Part, ...]:
    """Return the parts of a path written by `format_path` or by hand; raises ValueError where it is none."""
    parts: list[Part] = []
    position = 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None:
            raise ValueError(f"not a TOML path: {text!r}")
        if found["index"] is not None:
            parts.append(int(found["index"]))
        else:
            parts.append(found["bare"] if found["bare"] is not None else json.loads(found["quoted"]))
        position = found.end()
    return tuple(parts)


def resolve_names(parts: Iterable[Part], data: Any) -> tuple[Part, ...]:
    """Turn names of elements of arrays into their indexes, as far as `data` (a parsed manifest) has them."""
    resolved: list[Part] = []
    for part in parts:
        here: Part = part
        if isinstance(data, list) and isinstance(part, str):
            names = [item.get("name") if isinstance(item, dict) else None for item in data]
            here = names.index(part) if part in names else part
        resolved.append(here)
        data = _child(data, here)
    return tuple(resolved)


def _child(data: Any, part: Part) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def lookup(data: Any, parts: Iterable[Part]) -> Any:
    """Return what is at the path in parsed TOML, None where nothing is."""
    for part in parts:
        data = _child(data, part)
    return data


def decode_key(raw: str) -> str:
    """Return the key that a quoted TOML key, quotes included, stands for."""
    return str(tomllib.loads(f"key = {raw}")["key"])
