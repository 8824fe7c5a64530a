"""Pictures of the screen that a test compares with those it is known by.

Most are plain text, which a person can review; a few are SVG, which has the colours too. REPRO_TUI_UPDATE_SNAPSHOTS=1
writes them anew.
"""

from __future__ import annotations

import difflib
import io
import os
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from textual.app import App

SNAPSHOTS = Path(__file__).with_name("known")
UPDATE = "REPRO_TUI_UPDATE_SNAPSHOTS"
PLACE = "/home/reader/pap"
"""Written for the folder that a test works in; of the same length, so that nothing moves."""
_FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")
"""A picture fetches nothing from anywhere: the reader's own font will do."""
_FOLDER = re.compile(r"/tmp/rt-\w{0,8}")


def _console(app: App[Any]) -> Console:
    """Return a console that has recorded what is on the screen, dialogs and what is below them included."""
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    console.print(app.screen._compositor.render_update(full=True, screen_stack=app._background_screens))
    return console


def _anywhere(text: str) -> str:
    return _FOLDER.sub(lambda found: PLACE[: len(found[0])], text)


def text_of(app: App[Any]) -> str:
    """Return what is on the screen as plain text."""
    lines = _console(app).export_text(styles=False).splitlines()
    return _anywhere("\n".join(line.rstrip() for line in lines).rstrip() + "\n")


def svg_of(app: App[Any], title: str = "repro-tui") -> str:
    """Return what is on the screen as an SVG picture."""
    picture = _FONT.sub("", _console(app).export_svg(title=title, unique_id="repro-tui"))
    lines = (line.rstrip() for line in _anywhere(picture).replace("Fira Code", "ui-monospace").splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def compare(name: str, picture: str) -> None:
    """Assert that a picture is the one in known/NAME."""
    known = SNAPSHOTS / name
    if os.environ.get(UPDATE) == "1":
        known.parent.mkdir(exist_ok=True)
        known.write_text(picture, encoding="utf-8")
        return
    expected = known.read_text(encoding="utf-8") if known.exists() else ""
    if picture != expected:
        changes = difflib.unified_diff(expected.splitlines(), picture.splitlines(), "known", "now", lineterm="")
        raise AssertionError(f"{name} looks different; {UPDATE}=1 takes it as it is now\n" + "\n".join(changes))
