"""A real terminal under tmux: start a program in it, send keys, read the screen, resize it, take it away."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE_S = 30.0
PROMPT = "$ "
_POLL_S = 0.05


def tmux() -> str:
    """Return where tmux is; skips the test where it is not."""
    found = shutil.which("tmux")
    if found is None:
        pytest.skip("tmux is not installed; on Debian and Ubuntu: apt-get install tmux")
    return found


class Terminal:
    """One tmux server with one window, in which a shell without anybody's settings waits for commands."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        columns: int = 120,
        rows: int = 40,
    ) -> None:
        self._program = tmux()
        self._socket = folder / "tmux"
        kept = {key: os.environ[key] for key in ("HOME", "PATH", "TMPDIR") if key in os.environ}
        self._environment = {
            **kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "screen-256color", "SHELL": "/bin/bash",
            **(environment or {}),
        }  # fmt: skip
        size = ["-x", str(columns), "-y", str(rows)]
        shell = f"exec env -u TMUX -u TMUX_PANE PS1={shlex.quote(PROMPT)} bash --norc --noprofile"
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-s", "test", "-c", str(folder), shell)
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("set-option", "-g", "escape-time", "0")
        self._tmux("set-option", "-g", "window-size", "manual")
        self.resize(columns, rows)
        self.wait_for_prompt()

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            [self._program, "-S", str(self._socket), *words],
            env=self._environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"tmux {shlex.join(words)}: {done.stderr}"
        return done.stdout

    def type(self, text: str) -> None:
        """Type text, as it is."""
        self._tmux("send-keys", "-t", "test", "-l", text)

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names: Enter, Escape, C-z, F1, or a letter."""
        self._tmux("send-keys", "-t", "test", *names)

    def command(self, argv: Sequence[str]) -> None:
        """Give the shell a command."""
        self.type(shlex.join(argv))
        self.keys("Enter")

    def screen(self, *, styles: bool = False) -> str:
        """Return what is on the screen."""
        return self._tmux("capture-pane", "-p", "-t", "test", *(["-e"] if styles else []))

    def wait_for(self, pattern: str, *, timeout_s: float = PATIENCE_S, gone: bool = False) -> str:
        """Wait until a regular expression matches the screen, or no longer does; return the screen."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            screen = self.screen()
            if bool(re.search(pattern, screen)) is not gone:
                return screen
            assert time.monotonic() < give_up_at, f"no {pattern!r} on the screen in {timeout_s:g} s:\n{screen}"
            time.sleep(_POLL_S)

    def wait_for_prompt(self) -> str:
        """Wait until the shell asks for the next command, and return the screen."""
        return self.wait_for(r"(?m)^\$ ?$(?!\n.*\S)")

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size."""
        self._tmux("resize-window", "-t", "test", "-x", str(columns), "-y", str(rows))

    def clear(self) -> None:
        """Empty the screen of the shell."""
        self.type("clear")
        self.keys("Enter")
        self.wait_for_prompt()

    def children(self) -> list[int]:
        """Return the process ids of what the shell has started."""
        shell = self._tmux("display-message", "-p", "-t", "test", "#{pane_pid}").strip()
        return [int(pid) for pid in Path(f"/proc/{shell}/task/{shell}/children").read_text(encoding="ascii").split()]

    def kill(self) -> None:
        """Take the terminal away, as a closed window or a lost connection does: what runs in it gets SIGHUP."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self._tmux("kill-server")
