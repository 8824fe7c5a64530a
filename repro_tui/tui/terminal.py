"""What has to be settled before Textual is imported: it reads its environment as it is loaded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import MutableMapping

from repro_tui.errors import UsageError

_REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
_REMOTE_FPS = "15"


def interactive() -> bool:
    """Say whether somebody sits at a terminal that can show a screen and send keys."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Be sparing over SSH; raises UsageError for a terminal that cannot place a cursor."""
    kind = environment.get("TERM", "")
    if kind in {"", "dumb", "unknown"}:
        raise UsageError(
            f"this terminal (TERM={kind or 'not set'}) cannot show a screen",
            where="TERM",
            hint="`repro-tui run MANIFEST --plain` and `repro-tui attach RUN --plain` need none",
        )
    if any(environment.get(name) for name in _REMOTE):
        environment.setdefault("TEXTUAL_FPS", _REMOTE_FPS)
        environment.setdefault("TEXTUAL_ANIMATIONS", "none")


def hasten() -> None:
    """Collect no garbage until the first picture is there: what is loaded for it stays anyway."""
    gc.disable()


def settle() -> None:
    """Collect garbage again, but never what was loaded for the first picture."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
