"""The podman program: how it is called, and what it says where it refuses."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro_tui.errors import EngineError, InfrastructureError, StoreFullError

LABEL = "org.repro-tui.worker"
LABEL_RUN = "org.repro-tui.run"
_TIMEOUT_S = 60.0


class Refusal(Exception):  # noqa: N818 - it is turned into an EngineError that says what was tried
    """Podman said no, was not there, or did not answer in time; the message is its last words."""

    @property
    def no_such(self) -> bool:
        """Whether it knows no container or image of that name."""
        words = str(self)
        return "no such" in words or "not known" in words

    def error(self, what: str) -> InfrastructureError:
        """Return it as an error that says what did not work."""
        words = str(self)
        if "no space left on device" in words:
            return StoreFullError(f"{what}: {words}", hint="Free space on Podman's disk: podman system prune")
        hint = "Set TMPDIR to a folder that you may write to" if "creating a temporary directory" in words else ""
        return EngineError(f"{what}: {words}", hint=hint)


@dataclass(frozen=True, slots=True)
class Podman:
    """The program, with the options that every call of it needs here."""

    program: str
    options: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line."""
        return [self.program, *self.options, *arguments]

    def call(self, *arguments: str, timeout_s: float | None = _TIMEOUT_S, cwd: str = "/") -> str:
        """Return what it prints; raises Refusal."""
        try:
            done = subprocess.run(
                self.command(*arguments), cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refusal(f"podman {arguments[0]} did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise Refusal(f"{self.program} cannot be started: {error.strerror}") from error
        if done.returncode:
            words = last_words(done.stderr.decode(errors="replace"))
            raise Refusal(words or f"podman {arguments[0]} ended with {done.returncode}")
        return done.stdout.decode(errors="replace")

    def ask(self, *arguments: str) -> Any:
        """Return the JSON document that it prints; raises Refusal."""
        text = self.call(*arguments)
        try:
            return json.loads(text or "null")
        except ValueError as error:
            raise Refusal(f"podman {arguments[0]} printed no JSON: {text[:200]}") from error

    def remove(self, names: Sequence[str]) -> bool:
        """Remove containers, whatever they do; say whether there was any. Raises Refusal."""
        return bool(self.call("rm", "--force", "--ignore", "--time=0", "--volumes", *names).strip())


def environment() -> dict[str, str]:
    """Return the environment of the program: this one's, without a run-time folder that is another user's or not there.

    `su` and `sudo -u` leave such a one; without any Podman finds one by itself.
    """
    variables = dict(os.environ)
    folder = variables.get("XDG_RUNTIME_DIR")
    if folder is not None:
        try:
            status = os.stat(folder)
            usable = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and os.access(folder, os.W_OK)
        except OSError:
            usable = False
        if not usable:
            del variables["XDG_RUNTIME_DIR"]
    return variables


def last_words(text: str) -> str:
    """Return the error in what it wrote to standard error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error:")]
    return (errors or lines or [""])[-1].removeprefix("Error:").strip()
