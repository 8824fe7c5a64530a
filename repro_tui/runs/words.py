"""How the state of a run is put into words: sizes, durations, stages, checks. Pure functions of the state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repro_tui.events import CheckResult, CheckStatus, Notice, TaskStage, Verdict
from repro_tui.runs.state import RunState, Stage, of_stage

_PACE_S = 2.0
_DIGEST = re.compile(r"^(sha256:)?[0-9a-f]{64}$")
_PASSED = frozenset({CheckStatus.MATCH, CheckStatus.WITHIN_TOLERANCE})
_RESULTS = frozenset({"metrics", "digests"})


def printable(text: str) -> str:
    """Return text from a manifest, a task or a tool without what could steer a terminal; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text.replace("\t", " "))


def duration(seconds: float) -> str:
    """Return "8.3 s", "4 min 05 s" or "1 h 02 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def ago(at: float, now: float) -> str:
    """Return how long ago something was: "just now", "5 min ago", "3 h ago", "2 days ago"."""
    minutes = max(0.0, now - at) / 60
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} days ago"


def size(count: float) -> str:
    """Return "12.3 MB" (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def fact_name(key: str) -> str:
    """Return the name of a fact about a host: "memory" for the key `memory_bytes`."""
    return key.removesuffix("_bytes").replace("_", " ")


def fact(key: str, value: Any) -> str:
    """Return a fact about a host, by its key in the probe's summary, as text; empty for what is not known."""
    if key.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def status(stage: Stage) -> str:
    """Return the word for where a stage is."""
    if stage.running:
        return "running"
    return stage.status.value if stage.status is not None else "waiting"


def amount(stage: Stage) -> str:
    """Return how far a stage is, "12.3 MB of 98.0 MB" or "step 30 of 170"; empty where it does not tell."""
    if not stage.done and not stage.total:
        return ""
    if stage.unit == "bytes":
        return f"{size(stage.done)} of {size(stage.total)}" if stage.total else size(stage.done)
    unit = stage.unit.removesuffix("s") or "step"
    return f"{unit} {stage.done} of {stage.total}" if stage.total else f"{unit} {stage.done}"


class Pace:
    """Says what time a stage still needs, at the pace since what it is doing began; one watches one run.

    A stage may do several things one after the other, each counted from its beginning: its text or its total changes.
    """

    def __init__(self) -> None:
        self._doing: tuple[str, str, int] | None = None
        self._from = (0, 0.0)

    def left_s(self, stage: Stage, now: float) -> float | None:
        """Return the time left; None where that cannot be said yet."""
        doing = (stage.name, stage.text if stage.unit == "bytes" else "", stage.total)
        done, since = self._from
        if doing != self._doing or stage.done < done:
            self._doing, self._from = doing, (stage.done, now)
            return None
        passed, elapsed_s = stage.done - done, now - since
        if not stage.running or passed <= 0 or stage.done >= stage.total or elapsed_s < _PACE_S:
            return None
        return elapsed_s * (stage.total - stage.done) / passed


def gpu(sample: Mapping[str, Any]) -> str:
    """Return how a GPU does: what its driver tells of utilisation, memory, temperature and power."""
    told = [
        f"{sample['utilisation_percent']} %" if "utilisation_percent" in sample else "",
        size(sample["memory_bytes"]) if "memory_bytes" in sample else "",
        f"{sample['temperature_c']} °C" if "temperature_c" in sample else "",
        f"{sample['power_w']:.0f} W" if "power_w" in sample else "",
    ]
    return f"GPU {sample.get('index', '')} " + ", ".join(word for word in told if word)


def numbers(state: RunState) -> str:
    """Return the newest of what the task tells of each step: "loss 0.2143, learning_rate 3e-05"."""
    own = of_stage(state.task_stage, "")
    latest = (
        (name.removeprefix(own), series.last)
        for name, series in state.series.items()
        if name.startswith(own) and "/" not in name
    )
    return printable(", ".join(f"{name} {last[1]:.4g}" for name, last in list(latest)[:4] if last is not None))


def progress(state: RunState, stage: Stage, left_s: float | None = None) -> str:
    """Return one line on a running stage: how far, the newest numbers, the time left."""
    parts = [amount(stage), printable(stage.text)]
    if stage.name in {"train", "evaluate"}:
        parts.append(numbers(state))
    if left_s is not None:
        parts.append(f"about {duration(left_s)} left")
    return ", ".join(part for part in parts if part)


def task_stage(event: TaskStage) -> str:
    """Return how a stage of the manifest stands: "pretrain passed in 12 s", "pretrain cached, of the run … (12 s)"."""
    if event.status is None:
        return f"stage {event.name} ({event.place} of {event.count}) …"
    took = f" in {duration(event.elapsed_s)}" if event.elapsed_s else ""
    how = f", of the run {event.run}{took and f' ({duration(event.elapsed_s)})'}" if event.run else took
    return f"stage {event.name} {event.status.value}{how}"


def notice(event: Notice) -> str:
    """Return a notice as text, its hint below it."""
    return printable(f"{event.level}: {event.message}" + (f"\n  hint: {event.hint}" if event.hint else ""))


def check(result: CheckResult) -> str:
    """Return a check on one line."""
    parts = [f"{result.name}: {result.status.value}"]
    if result.status is not CheckStatus.NOT_RUN and result.observed and result.observed != result.expected:
        parts.append(f"{short(result.observed)}, expected {short(result.expected)} {result.tolerance}".rstrip())
    elif result.observed:
        parts.append(short(result.observed))
    if result.detail:
        parts.append(f"({result.detail})")
    return printable(" ".join(parts))


def short(value: str) -> str:
    """Return a digest by its first twelve digits, anything else as it is."""
    return f"{value.removeprefix('sha256:')[:12]}…" if _DIGEST.match(value) else value


def _count(checks: Sequence[CheckResult]) -> str:
    return f"{len(checks)} {'check' if len(checks) == 1 else 'checks'}"


def summary(state: RunState) -> Iterator[str]:
    """Yield the last lines of a run: what decided, each result, and each pin that does not hold."""
    checks = [each for each in state.checks.values() if each.required or each.expected]
    held = [each for each in checks if each.component not in _RESULTS and each.status in _PASSED]
    shown = [each for each in checks if each not in held]
    if state.verdict in {Verdict.FAILED, Verdict.CANCELLED}:
        shown = [each for each in shown if each.status is not CheckStatus.NOT_RUN]
    rows = [
        (each.name, each.status.value, short(each.observed) or "-", short(each.expected) or "-", each.tolerance)
        for each in shown
    ]
    if rows:
        table = [("check", "status", "observed", "expected", "tolerance"), *rows]
        widths = [max(len(row[column]) for row in table) for column in range(5)]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield printable("  " + "  ".join(cells).rstrip())
    if held:
        yield f"  {_count(held)} hold{'s' if len(held) == 1 else ''}" if not rows else f"  {len(held)} more hold"
    if len(held) + len(shown) < len(checks):
        yield f"  {_count(checks[len(held) + len(shown) :])} not made"
    if state.verdict is not None:
        yield ""
        yield printable(f"{state.verdict.value}: {state.summary}")
