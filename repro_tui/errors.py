"""The error tree: everything a user can meet says what is wrong, where, and what to do.

ReproError                 exit code, message, where, hint
├── UsageError             2   the command line
├── ManifestError          2   the manifest or a file it pins; carries every problem found
├── BundleError            2   a bundle is damaged, or made to deceive; names the member
├── DriftError             1   something pinned is not what it was; names the component
│   └── DigestMismatchError    a file or blob has other bytes than its pin; names both digests
├── InfrastructureError    3   engine, store, network, disk
│   ├── ArtifactUnavailableError   no source had it; lists every source tried and why it failed
│   ├── EngineError            an engine is not there, refused, or lost the container
│   └── StoreFullError         no space left
├── RunFailedError         4   the training itself: crashed, hung, out of memory, out of time
└── CancelledError       130   the user asked for it
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of every command (docs/cli.md)."""

    REPRODUCED = 0
    DIFFERS = 1
    USAGE = 2
    INFRASTRUCTURE = 3
    RUN_FAILED = 4
    INCONCLUSIVE = 5
    INTERRUPTED = 130


class ReproError(Exception):
    """Base of all errors shown to a user; subclasses fix the exit code."""

    exit_code = ExitCode.INFRASTRUCTURE

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross from a worker process as it is: what makes an error again knows nothing of its keywords."""
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[ReproError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ReproError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class UsageError(ReproError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class ManifestError(ReproError):
    """A manifest, lock or recipe is wrong; `problems` holds one printable block each, all found at once."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, where: str = "", hint: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = tuple(problems)


class BundleError(ReproError):
    """A bundle is not what its index says, or its index asks for what no honest one does; nothing of it is used."""

    exit_code = ExitCode.USAGE


class DriftError(ReproError):
    """Something pinned is not what it was; `component` names it as the report does."""

    exit_code = ExitCode.DIFFERS

    def __init__(self, message: str, *, component: str, where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.component = component


class DigestMismatchError(DriftError):
    """Bytes are not the pinned ones. Digests are lower-case hex SHA-256 without prefix."""

    def __init__(self, *, component: str, expected: str, observed: str, where: str = "", hint: str = "") -> None:
        super().__init__(
            f"{component} has SHA-256 {observed}, the pin says {expected}", component=component, where=where, hint=hint
        )
        self.expected = expected
        self.observed = observed


class InfrastructureError(ReproError):
    """Engine, store, network or disk: nothing is said about the result."""


class ArtifactUnavailableError(InfrastructureError):
    """No source had the artifact; `tried` is one line a source: what was asked and why it failed."""

    def __init__(self, message: str, *, tried: Sequence[str], where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.tried = tuple(tried)


class EngineError(InfrastructureError):
    """A container engine is missing, refused, or lost what it ran."""


class StoreFullError(InfrastructureError):
    """No space left on the device that holds the store or the run."""


class RunFailedError(ReproError):
    """The run itself failed: it crashed, hung, ran out of memory or out of time."""

    exit_code = ExitCode.RUN_FAILED


class CancelledError(ReproError):
    """The user cancelled."""

    exit_code = ExitCode.INTERRUPTED


def from_os_error(error: OSError) -> InfrastructureError:
    """Return what the operating system refused as an error that names the file and a remedy."""
    where = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(
            f"no space left: {reason}", where=where, hint="free some space, or `repro-tui prune` to shrink the store"
        )
    hint = "check who owns it and its mode" if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} else ""
    return InfrastructureError(f"the operating system refused: {reason}", where=where, hint=hint)
