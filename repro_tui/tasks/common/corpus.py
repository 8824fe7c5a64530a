"""Splits as lists of whole texts: files of plain text, or the text column of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from repro_tui.tasks.common import cleaning, data, emit, loop
from repro_tui.tasks.common.job import TaskError

GUTENBERG = re.compile(r"^\*\*\* ?(START|END) OF (?:THE|THIS) PROJECT GUTENBERG .*$", re.MULTILINE)
"""The lines between which Project Gutenberg puts the text itself, in its files since 2003."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """How files of plain text are read, besides the hyperparameters of the loop."""

    files: str = "*.txt"
    """Pattern of the names of the files that are texts, in a folder of the format "texts"."""
    encoding: Literal["utf-8", "cp1252", "latin-1"] = "utf-8"
    """Character encoding of files of the format "texts"."""
    gutenberg: bool = False
    """Keep what stands between Project Gutenberg's lines *** START OF … and *** END OF … only; each file needs both."""


def load_splits(specs: data.Specs, settings: Settings) -> dict[str, list[str]]:
    """Return the texts of every split of the job, each text in one split only; tells how many and how long they are."""
    splits = data.assemble(specs, partial(read, settings=settings))
    for name, texts in splits.items():
        if not texts:
            raise TaskError(f"splits.{name} has no texts left", "Draw a smaller part from it")
    columns = ("split", "texts", "characters", "bytes")
    emit.table("corpus", columns, ((name, len(texts), *_sizes(texts)) for name, texts in splits.items()))
    return splits


def read(split: str, spec: data.Spec, *, settings: Settings) -> list[str]:
    """Return the texts of a file or folder in the order of their paths, cleaned; raises TaskError.

    With the format "texts" every file is one text: the file itself, or those of a folder that `listed_in` lists or
    whose names match `settings.files`, at any depth. Line ends become one
    newline. Other formats are tables, a text a row.
    """
    if spec["format"] != "texts":
        return [row["text"] for row in data.read(split, {**spec, "label": None, "text_pair": None})]
    top = Path(spec["path"]) / (spec.get("folder") or "")
    try:
        if top.is_file():
            paths = [top]
        elif spec.get("listed_in"):
            lines = (Path(spec["path"]) / spec["listed_in"]).read_text(encoding="utf-8").splitlines()
            paths = [top / line.strip() for line in lines if line.strip()]
        else:
            paths = sorted(path for path in top.rglob(settings.files) if path.is_file())
        rows = [{"text": plain_text(split, path, settings)} for path in paths]
    except OSError as error:
        raise TaskError(f"splits.{split}: {error.filename}: {error.strerror}", "Check the artifact's `path`") from None
    rows = cleaning.clean(rows, spec.get("clean") or ())
    if not rows:
        raise TaskError(f"splits.{split}: {top} has no texts named {settings.files!r}", "Check hyperparameters.files")
    return [row["text"] for row in rows]


def plain_text(split: str, path: Path, settings: Settings) -> str:
    """Return what one file says; raises TaskError where it is not in the encoding, or lacks Gutenberg's lines."""
    try:
        text = path.read_text(encoding=settings.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"splits.{split}: {path} is not {settings.encoding} at byte {error.start}", "Set hyperparameters.encoding"
        ) from None
    if not settings.gutenberg:
        return text
    marks = {mark[1]: mark for mark in GUTENBERG.finditer(text)}
    if set(marks) != {"START", "END"} or marks["START"].end() > marks["END"].start():
        raise TaskError(
            f"splits.{split}: {path} lacks Project Gutenberg's lines *** START OF … and *** END OF …",
            "Set hyperparameters.gutenberg to false for files that hold the text alone",
        )
    return text[marks["START"].end() : marks["END"].start()].strip() + "\n"


def _sizes(texts: Sequence[str]) -> tuple[int, int]:
    return sum(map(len, texts)), sum(len(text.encode()) for text in texts)
