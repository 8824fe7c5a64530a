"""Placeholders in the arguments of a user's command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}", re.ASCII)
"""`{name}` is replaced (group 2); `{{name}}` stands for `{name}` itself (group 1); other braces are left alone."""


def fill(argument: str, values: Mapping[str, Any]) -> str:
    """Return an argument with its placeholders filled in; raises KeyError for one without a value.

    Booleans become `true` and `false`, numbers are written as Python writes them, arrays with commas between.
    """

    def value_of(found: re.Match[str]) -> str:
        if found[1] is not None:
            return f"{{{found[1]}}}"
        value = values[found[2]]
        return ",".join(map(_written, value)) if isinstance(value, list) else _written(value)

    return PLACEHOLDER.sub(value_of, argument)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
