"""Which bundle a manifest was opened from: a note beside the opened members in the store, for the runs from it.

A run's report names the bundle that its reader has in his hands; where in the store it was unpacked tells him nothing.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from repro_tui.files import write_whole
from repro_tui.report.model import BundleUsed

KIND = "bundles"
"""Of the store's derived things."""
NOTE = "opened.json"
_MAX_BYTES = 64 << 10
_KEY = re.compile(r"[0-9a-f]{64}")


def note(folder: Path, name: str, sha256: str) -> None:
    """Write the note into the folder of an opened bundle; one that belongs to another user is left as it is."""
    name = name.encode(errors="backslashreplace").decode()
    text = json.dumps({"name": name, "sha256": sha256}) + "\n"
    with suppress(OSError):
        if not (folder / NOTE).is_file() or (folder / NOTE).read_text(encoding="utf-8") != text:
            write_whole(folder / NOTE, text.encode())


def opened_folder(manifest: Path) -> Path | None:
    """Return the folder of the opened bundle that a manifest lies in; None for one that lies in none."""
    for folder in manifest.absolute().parents:
        if folder.parent.name == KIND and folder.parent.parent.name == "derived" and _KEY.fullmatch(folder.name):
            return folder
    return None


def bundle_of(manifest: Path) -> BundleUsed | None:
    """Return the bundle that a manifest was opened from; None for one that lies in none."""
    folder = opened_folder(manifest)
    if folder is None:
        return None
    try:
        with (folder / NOTE).open("rb") as file:
            return BundleUsed.model_validate_json(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
