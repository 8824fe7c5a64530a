"""The one place that writes to a person, and that turns an error into an exit code.

stdout is data (a report, a list, a log); everything for people goes to stderr. A reader that leaves early
(`repro-tui list | head -1`) is no error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable

from repro_tui.errors import ArtifactUnavailableError, ExitCode, ManifestError, ReproError, from_os_error

ENV_DEBUG = "REPRO_TUI_DEBUG"
"""Set to 1: an error shows its traceback."""
_WIDEST = 100


_standing: list[str] = []
"""The line on the terminal that the next one replaces, if any."""


def say(text: str) -> None:
    """Write a line for people, to stderr; a closed stderr is ignored."""
    try:
        _clear()
        print(text, file=sys.stderr, flush=True)
    except (BrokenPipeError, ValueError):
        _to_nowhere(2)


def status(text: str) -> bool:
    """Show a line on the terminal until something else is written; False where stderr is none that could."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    sys.stderr.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
    sys.stderr.flush()
    _standing[:] = [text]
    return True


def _clear() -> None:
    if _standing:
        _standing.clear()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def data(text: str) -> bool:
    """Write text to stdout as it is, and say whether anybody still reads there."""
    _clear()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(1)
        return False
    return True


def raw(content: bytes) -> None:
    """Write bytes to stdout as they are; raises BrokenPipeError when nobody reads there."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises."""
    try:
        code = int(command())
        data("")
    except ReproError as error:
        _debug()
        explain(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _to_nowhere(1)
        return 0
    except OSError as error:
        _debug()
        explain(from_os_error(error))
        return int(ExitCode.INFRASTRUCTURE)
    except Exception as error:
        _debug()
        say(f"error: this should not have happened: {type(error).__name__}: {error}")
        say(f"  the traceback is in {_save_traceback()}; please report it")
        return int(ExitCode.INFRASTRUCTURE)
    return code


def columns() -> int:
    """Return how wide text on stdout is to be: as the terminal, but not wider than is good to read; 80 elsewhere."""
    return max(40, min(shutil.get_terminal_size().columns, _WIDEST)) if sys.stdout.isatty() else 80


def folded(line: str, width: int, indent: int) -> str:
    """Return a line as several no longer than `width`, all but the first indented; what stands in `` stays whole."""
    import textwrap

    kept = re.sub(r"`[^`]*`", lambda quoted: quoted.group().replace(" ", "\N{NO-BREAK SPACE}"), line)
    text = kept.lstrip(" ")
    lines = textwrap.wrap(
        text, width, initial_indent=kept[: len(kept) - len(text)], subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
    )  # fmt: skip
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _tell(label: str, text: str) -> None:
    """Say a part of an error: in lines as long as the terminal is wide, in one for whatever else reads it."""
    line = f"{label}{text}"
    if sys.stderr.isatty() and "\n" not in line:
        line = folded(line, shutil.get_terminal_size().columns, len(label))
    say(line)


def explain(error: ReproError) -> None:
    """Write an error as what, where and what to do."""
    _tell("error: ", error.message)
    if isinstance(error, ManifestError):
        for problem in error.problems:
            say(_indented(problem))
    if isinstance(error, ArtifactUnavailableError):
        for line in error.tried:
            _tell("  tried ", line)
    if error.where:
        say(f"  where: {error.where}")
    if error.hint:
        _tell("  hint:  ", error.hint)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())


def _debug() -> None:
    if os.environ.get(ENV_DEBUG) == "1":
        import traceback

        traceback.print_exc()


def _save_traceback() -> str:
    import tempfile
    import traceback

    try:
        descriptor, name = tempfile.mkstemp(prefix="repro-tui-", suffix=".traceback.txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    except OSError as error:
        return f"(not saved: {error})"
    return name


def _to_nowhere(descriptor: int) -> None:
    """Point a closed stream at /dev/null, so that the interpreter's last flush does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
