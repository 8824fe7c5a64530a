"""From checks to one word and an exit code. Unverifiable is never a pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro_tui.errors import CancelledError, DriftError, ExitCode, ReproError
from repro_tui.events import CheckResult, CheckStatus, Verdict

RESULTS = frozenset({"metrics", "digests"})
"""Components that say what came out; every other one is a pin of what went in."""
_FEW = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """The word, the exit code and one sentence that names the first cause."""

    verdict: Verdict
    exit_code: ExitCode
    summary: str


def decide(checks: Sequence[CheckResult], failure: ReproError | None = None) -> Decision:
    """Return the verdict.

    It is the first that holds of: cancelled; a pin differs, or the run ended at such a difference (ENVIRONMENT DRIFT);
    it failed (FAILED, with the failure's exit code); a required result differs (METRICS DIFFER); something required was
    not verified, or no required metric or digest was there to verify (INCONCLUSIVE); else REPRODUCED.
    """
    required = [check for check in checks if check.required]
    pins = [check for check in required if check.component not in RESULTS]
    results = [check for check in required if check.component in RESULTS]
    if isinstance(failure, CancelledError):
        return Decision(Verdict.CANCELLED, ExitCode.INTERRUPTED, _sentence(failure.message))
    drifted = [check for check in pins if check.status is CheckStatus.DIFFERS]
    if drifted:
        return Decision(Verdict.ENVIRONMENT_DRIFT, ExitCode.DIFFERS, _differs(drifted))
    if isinstance(failure, DriftError):
        return Decision(
            Verdict.ENVIRONMENT_DRIFT, ExitCode.DIFFERS, _sentence(f"{failure.component}: {failure.message}")
        )
    if failure is not None:
        return Decision(Verdict.FAILED, failure.exit_code, _sentence(failure.message))
    differing = [check for check in results if check.status is CheckStatus.DIFFERS]
    if differing:
        return Decision(Verdict.METRICS_DIFFER, ExitCode.DIFFERS, _differs(differing))
    open_ = [check for check in required if not _passes(check)]
    reasons = (
        [] if results else ["Nothing that came out could be compared: no expected metric and no digest decides here."]
    )
    if open_:
        reasons.append(_open(open_))
    if reasons:
        return Decision(Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE, " ".join(reasons))
    return Decision(Verdict.REPRODUCED, ExitCode.REPRODUCED, _reproduced(results, pins))


def _passes(check: CheckResult) -> bool:
    """Only a metric may be near enough; everything else is the same or is not."""
    return check.status is CheckStatus.MATCH or (
        check.status is CheckStatus.WITHIN_TOLERANCE and check.component == "metrics"
    )


def _differs(checks: Sequence[CheckResult]) -> str:
    first = checks[0]
    if first.component not in RESULTS and first.detail:
        what = f"{first.name}: {_beginning(first.detail)}"
    else:
        allowed = f" ({first.tolerance})" if first.tolerance else ""
        what = f"{first.name} is {first.observed or 'unknown'}, expected {first.expected or 'another'}{allowed}"
        if first.component in RESULTS and first.detail:
            what += f": {first.detail}"
    return _sentence(what + _more(checks, "differs", "differ"))


def _beginning(detail: str) -> str:
    """Return the first few of many differences, as many as can be read at a glance; the check has them all."""
    said = detail.split("; ")
    return detail if len(said) <= _FEW + 1 else "; ".join(said[:_FEW]) + f"; and {len(said) - _FEW} more"


def _open(checks: Sequence[CheckResult]) -> str:
    first = checks[0]
    said = "not checked" if first.status is CheckStatus.NOT_RUN else "unverifiable"
    return _sentence(
        f"{first.name} is {said}{f': {first.detail}' if first.detail else ''}" + _more(checks, "is open", "are open")
    )


def _more(checks: Sequence[CheckResult], one: str, many: str) -> str:
    more = len(checks) - 1
    return f"; {more} more {one if more == 1 else many}" if more else ""


def _reproduced(results: Sequence[CheckResult], pins: Sequence[CheckResult]) -> str:
    metrics = sum(check.component == "metrics" for check in results)
    digests = len(results) - metrics
    parts = [_count(metrics, "metric"), _count(digests, "output digest"), _count(len(pins), "pin")]
    return f"{_join(part for part in parts if part)} hold."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""


def _join(parts: Iterable[str]) -> str:
    *front, last = parts
    return f"{', '.join(front)} and {last}" if front else last


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
