"""Why a run failed: what was said first, what to do, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.widgets import Static

from repro_tui.events import Notice, StageStatus, Verdict
from repro_tui.runs import words
from repro_tui.runs.state import RunState


@dataclass(frozen=True, slots=True)
class Cause:
    """A failure in words: "FAILED" or "DIED", the stage it happened in, what happened, what to do, the exit code."""

    word: str
    stage: str
    what: str
    hint: str
    exit_code: int | None

    def text(self) -> str:
        """Return it as it is shown and copied."""
        code = f" (exit code {self.exit_code})" if self.exit_code is not None else ""
        lines = [f"{self.word}{f' in {self.stage}' if self.stage else ''}: {self.what}{code}"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return words.printable("\n".join(lines))


def cause(state: RunState, *, died: bool) -> Cause | None:
    """Return why a run failed; None where it did not (or not yet)."""
    if died:
        stage = state.current_stage.name if state.current_stage is not None else ""
        what, hint = "the worker is gone without its last word", "logs/worker.log may say why; run it again"
        return Cause("DIED", stage, what, hint, None)
    failed = next((stage for stage in state.stages.values() if stage.status is StageStatus.FAILED), None)
    if failed is None and state.verdict is not Verdict.FAILED:
        return None
    name, detail = (failed.name, failed.detail) if failed is not None else ("", "")
    told = _told(state.notices, name, detail)
    what = detail or (told.message.partition("\n")[0] if told is not None else state.summary)
    return Cause("FAILED", name, what, told.hint if told is not None else "", state.exit_code)


def _told(notices: list[Notice], stage: str, detail: str) -> Notice | None:
    """Return the error that a stage failed with: it begins with what the stage says of itself."""
    errors = [notice for notice in notices if notice.level == "error" and notice.stage in {stage, ""}]
    first = errors[0] if errors else None
    return next((notice for notice in errors if detail and notice.message.startswith(detail)), first)


class CauseView(Static):
    """The cause, above everything else; not there where nothing failed."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__("", id=id)
        self.cause: Cause | None = None
        self.display = False

    def show(self, cause: Cause | None) -> None:
        """Show a cause."""
        if cause != self.cause:
            self.cause = cause
            self.display = cause is not None
            self.update(Text(cause.text(), style="bold") if cause is not None else "")
