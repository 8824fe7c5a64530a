"""Checks of what came out: metrics within their tolerance, outputs bit for bit; claims beside them."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import BufferedReader
from pathlib import Path, PurePosixPath

from repro_tui.events import CheckResult, CheckStatus
from repro_tui.files import open_plain
from repro_tui.manifest.models import Claim, ExpectedDigest, ExpectedMetric
from repro_tui.runs.state import MetricKey, MetricValue, Output, of_stage


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A number that a paper printed, beside the one observed; it never decides. `observed` None was not measured."""

    claim: Claim
    observed: float | None
    status: CheckStatus


def key_of(expected: ExpectedMetric) -> MetricKey:
    """Return what a run calls the metric that is expected."""
    return MetricKey(expected.name, expected.split, stage=expected.stage or "")


def metric_check_name(expected: ExpectedMetric) -> str:
    """Return the name of the check of a metric."""
    return f"metric {key_of(expected)}"


def output_name(expected: ExpectedDigest) -> str:
    """Return what a run calls the output whose digest is expected."""
    return of_stage(expected.stage or "", expected.name)


def digest_check_name(expected: ExpectedDigest) -> str:
    """Return the name of the check of an output."""
    return f"digest {output_name(expected)}"


def tolerance_text(expected: ExpectedMetric) -> str:
    """Return the tolerance in words: "± 0.005", "at least, - 0.01 - 1 %", "exactly"."""
    parts = [f"{expected.absolute:g}"] if expected.absolute else []
    parts += [f"{100 * expected.relative:g} %"] if expected.relative else []
    match expected.direction:
        case "two-sided":
            return f"± {' ± '.join(parts)}" if parts else "exactly"
        case "at-least":
            return f"at least{''.join(f' - {part}' for part in parts)}"
        case "at-most":
            return f"at most{''.join(f' + {part}' for part in parts)}"


def judge(expected: ExpectedMetric, observed: float) -> CheckStatus:
    """Compare a value with the expected one: |observed - value| <= absolute + relative * |value|.

    With "at-least" only falling short differs, with "at-most" only exceeding. Numbers are taken as they are written in
    decimal, so that 0.95 is within 0.01 of 0.94. What is not finite always differs.
    """
    if not math.isfinite(observed):
        return CheckStatus.DIFFERS
    value, seen = Decimal(repr(expected.value)), Decimal(repr(observed))
    if value == seen:
        return CheckStatus.MATCH
    allowed = Decimal(repr(expected.absolute or 0.0)) + Decimal(repr(expected.relative or 0.0)) * abs(value)
    off = seen - value
    if expected.direction == "at-least":
        within = off >= -allowed
    elif expected.direction == "at-most":
        within = off <= allowed
    else:
        within = abs(off) <= allowed
    return CheckStatus.WITHIN_TOLERANCE if within else CheckStatus.DIFFERS


def metric_checks(
    expected: Sequence[ExpectedMetric], observed: Mapping[MetricKey, MetricValue], *, at: float
) -> list[CheckResult]:
    """Return one check a metric; one that was not measured is unverifiable."""
    return [_metric_check(each, observed.get(key_of(each)), at) for each in expected]


def _metric_check(expected: ExpectedMetric, found: MetricValue | None, at: float) -> CheckResult:
    value = found.value if found is not None else None
    if value is None:
        status = CheckStatus.UNVERIFIABLE
        detail = "the task did not report it" if found is None else "the task reported something that is no number"
    else:
        status = judge(expected, value)
        detail = "" if math.isfinite(value) else "a value that is not finite never passes"
    return CheckResult(
        at=at,
        name=metric_check_name(expected),
        component="metrics",
        status=status,
        expected=repr(expected.value),
        observed="" if value is None else repr(value),
        tolerance=tolerance_text(expected),
        detail=detail,
    )


def open_output(out: Path, path: str) -> BufferedReader:
    """Open a file that a task wrote under /out, for reading by the host itself.

    `path` is as the task told it, relative to /out or absolute below it. Raises ValueError, in words, for a path that
    leads out, a link on the way, and what is no regular file.
    """
    parts = PurePosixPath(path).parts
    if parts[:2] == ("/", "out"):
        parts = parts[2:]
    if not parts or parts[0] == "/" or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} is not a file below /out")
    folder = -1
    try:
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return open_plain(parts[-1], folder=folder)
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror} (links are not followed)") from None
    finally:
        if folder >= 0:
            os.close(folder)


def hash_output(out: Path, path: str) -> str:
    """Return the hex SHA-256 of a file that a task wrote; raises ValueError as `open_output`."""
    with open_output(out, path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"{path!r} cannot be read: {error.strerror}") from None


def digest_checks(
    expected: Sequence[ExpectedDigest],
    outputs: Mapping[str, Output],
    out: Path,
    *,
    cpu_vendor: str | None,
    at: float,
) -> list[CheckResult]:
    """Return one check an output. `cpu_vendor` is this host's, None where it is not known.

    A digest recorded on another vendor's CPU does not decide: equal bytes are a match all the same, other bytes are
    "not run". Where the vendor is not known, other bytes are unverifiable.
    """
    return [_digest_check(each, outputs.get(output_name(each)), out, cpu_vendor, at) for each in expected]


def _digest_check(
    expected: ExpectedDigest, output: Output | None, out: Path, cpu_vendor: str | None, at: float
) -> CheckResult:
    elsewhere = expected.cpu_vendor is not None and cpu_vendor is not None and expected.cpu_vendor != cpu_vendor
    observed, detail = "", ""
    if output is None:
        status, detail = CheckStatus.UNVERIFIABLE, "the task did not name such an output"
    else:
        try:
            observed = hash_output(out, output.path)
            status = CheckStatus.MATCH if observed == expected.sha256 else CheckStatus.DIFFERS
        except ValueError as error:
            status, detail = CheckStatus.UNVERIFIABLE, str(error)
        if observed and output.sha256 and output.sha256 != observed:
            detail = f"the task itself claims {output.sha256}, which is not what the file holds"
    if status is CheckStatus.DIFFERS and expected.cpu_vendor is not None:
        if elsewhere:
            status = CheckStatus.NOT_RUN
            detail = f"recorded on a CPU of {expected.cpu_vendor}, this one is of {cpu_vendor}: bits may differ"
        elif cpu_vendor is None:
            status = CheckStatus.UNVERIFIABLE
            detail = f"recorded on a CPU of {expected.cpu_vendor}, and whose this one is, is not known"
    return CheckResult(
        at=at,
        name=digest_check_name(expected),
        component="digests",
        status=status,
        expected=expected.sha256,
        observed=observed,
        tolerance="bit for bit",
        detail=detail,
        required=not elsewhere,
    )


def claim_results(claims: Sequence[Claim], observed: Mapping[MetricKey, MetricValue]) -> list[ClaimResult]:
    """Return each claim beside what was observed."""
    results = []
    for claim in claims:
        found = observed.get(MetricKey(claim.metric, claim.split, stage=claim.stage or ""))
        value = found.value if found is not None else None
        if value is None:
            results.append(ClaimResult(claim, None, CheckStatus.UNVERIFIABLE))
        else:
            rule = ExpectedMetric(name=claim.metric, split=claim.split, value=claim.value, absolute=claim.within)
            results.append(ClaimResult(claim, value, judge(rule, value)))
    return results
