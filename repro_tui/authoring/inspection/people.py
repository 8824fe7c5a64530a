"""What a project is called, whose it is and under which licence: from its own files, else from git's settings."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.authoring.inspection.dependencies import project_table
from repro_tui.authoring.inspection.folder import Folder

_BYTES = 1 << 20
_LICENCES = (
    ("Apache-2.0", "Apache License"), ("AGPL-3.0-only", "GNU AFFERO GENERAL PUBLIC LICENSE"),
    ("LGPL-3.0-only", "GNU LESSER GENERAL PUBLIC LICENSE"), ("GPL-3.0-only", "GNU GENERAL PUBLIC LICENSE Version 3"),
    ("GPL-2.0-only", "GNU GENERAL PUBLIC LICENSE Version 2"), ("MPL-2.0", "Mozilla Public License"),
    ("CC0-1.0", "CC0 1.0 Universal"), ("CC-BY-4.0", "Attribution 4.0 International"),
    ("Unlicense", "This is free and unencumbered software"),
    ("ISC", "Permission to use, copy, modify, and/or distribute this software"),
    ("MIT", "Permission is hereby granted, free of charge"),
    ("BSD-3-Clause", "Neither the name of"), ("BSD-2-Clause", "Redistribution and use in source and binary forms"),
)  # fmt: skip
"""SPDX identifiers by words of the licence; what holds the words of another comes before it."""


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says of the experiment; "" or nothing for what the project does not tell."""

    name: str
    title: str = ""
    authors: tuple[str, ...] = ()
    licence: str = ""
    doi: str = ""


def find_about(folder: Folder) -> About:
    """Return what the project says of itself."""
    project = project_table(folder)
    citation = folder.text("CITATION.cff", _BYTES)
    named = project.get("name")
    return About(
        name=slug(named if isinstance(named, str) else folder.root.resolve().name) or "experiment",
        title=_field(citation, "title") or _line(project.get("description")) or _heading(folder),
        authors=_cited(citation) or _authors(project) or _git_user(),
        licence=_field(citation, "license") or _licence_of(project) or _licence_text(folder),
        doi=_field(citation, "doi"),
    )


def slug(text: str) -> str:
    """Return a text as a name that a manifest can hold, "" where nothing of it can be kept."""
    letters = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-z0-9._-]+", "-", letters)
    return re.sub(r"^[^a-z0-9]+", "", plain)[:64].rstrip("-._")


def one_line(text: str, limit: int = 200) -> str:
    """Return a text on one line, without characters that would act on a terminal."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:limit]


def _line(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else ""


def _authors(project: dict[str, Any]) -> tuple[str, ...]:
    given = project.get("authors")
    entries = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    return tuple(name for entry in entries if (name := _line(entry.get("name"))))


def _licence_of(project: dict[str, Any]) -> str:
    given = project.get("license")
    text = given.get("text") if isinstance(given, dict) else given
    return _line(text) if isinstance(text, str) and len(text) <= 80 else ""


def _licence_text(folder: Folder) -> str:
    for name in folder.files:
        if "/" not in name and name.upper().partition(".")[0] in {"LICENSE", "LICENCE", "COPYING", "UNLICENSE"}:
            words = " ".join(folder.text(name, _BYTES).split())
            return next((spdx for spdx, part in _LICENCES if part.lower() in words.lower()), "")
    return ""


def _heading(folder: Folder) -> str:
    for name in ("README.md", "README.rst", "README.txt", "README"):
        for line in folder.text(name, _BYTES).splitlines()[:20]:
            if (plain := one_line(line.lstrip("#").strip())) and any(letter.isalpha() for letter in plain[:3]):
                return plain
    return ""


def _field(citation: str, key: str) -> str:
    """Return a plain field of CITATION.cff, which is YAML: `key: value` at the left margin."""
    found = re.search(rf"(?m)^{key}:[ \t]*(\"[^\"\n]*\"|'[^'\n]*'|[^#\n]+)", citation)
    return one_line(found[1].strip().strip("\"'")) if found and found[1].strip() not in {">", "|", ">-", "|-"} else ""


def _cited(citation: str) -> tuple[str, ...]:
    block = re.search(r"(?ms)^authors:[ \t]*\n(.*?)(?=^\S(?!-)|\Z)", citation)
    names = []
    for entry in re.split(r"(?m)^[ \t]*-[ \t]+", block[1] if block else ""):
        fields = dict(re.findall(r"(?m)^[ \t]*([a-z-]+):[ \t]*[\"']?([^\"'\n#]+)", entry))
        parts = [fields.get("given-names", ""), fields.get("family-names", "")]
        name = one_line(" ".join(part.strip() for part in parts if part) or fields.get("name", ""))
        names += [name] if name else []
    return tuple(names)


def _git_user() -> tuple[str, ...]:
    """Return the author's name from git's own settings, never the project's: those are not asked."""
    try:
        asked = subprocess.run(
            ["git", "config", "--global", "--get", "user.name"],
            capture_output=True, text=True, timeout=5, check=False, cwd=Path("/"),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ()
    name = one_line(asked.stdout)
    return (name,) if asked.returncode == 0 and name else ()
