"""Cleaning of texts, step by step as the manifest lists them; part of what is pinned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

Row = dict[str, str]

TEXTS = ("text", "text_pair")
"""The fields of a row that are cleaned; labels stay as they are."""

_ON_TEXTS: Mapping[str, Callable[[str], str]] = {
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "strip": str.strip,
    "collapse-whitespace": lambda text: re.sub(r"\s+", " ", text),
    "lowercase": str.lower,
}


def clean(rows: Sequence[Row], steps: Sequence[str]) -> list[Row]:
    """Return the rows after all steps, in their order.

    "nfc": Unicode's composed form; "strip": no white space at the ends; "collapse-whitespace": any run of it is one
    space; "lowercase". "drop-empty" leaves out rows with an empty text, "drop-duplicates" all but the first of equal
    rows. The manifest allows no other names.
    """
    cleaned = list(rows)
    for step in steps:
        if step == "drop-empty":
            cleaned = [row for row in cleaned if all(row[name] for name in TEXTS if name in row)]
        elif step == "drop-duplicates":
            cleaned = list({tuple(sorted(row.items())): row for row in cleaned}.values())
        else:
            on_text = _ON_TEXTS[step]
            cleaned = [row | {name: on_text(row[name]) for name in TEXTS if name in row} for row in cleaned]
    return cleaned
