"""An explanation as text for people, as wide as asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from repro_tui.report.explain.model import Cause, Explanation, Named, Outcome, Parting
from repro_tui.runs.words import printable

SHOWN = 20
"""So many causes are shown, the others are a number; JSON has them all."""

_NO_MATTER = "None of it changed what is known to have come out."


def render(explanation: Explanation, *, width: int = 80, shown: int = SHOWN) -> str:
    """Return the whole of it."""
    parts: list[list[str]] = [
        [_side("left", explanation.left), _side("right", explanation.right)],
        [_wrapped(line, width) for line in verdict(explanation).splitlines()],
    ]
    if explanation.causes:
        lines = ["What differs, the likeliest cause first"]
        told: set[tuple[str, str]] = set()
        for number, each in enumerate(explanation.causes[:shown], 1):
            again = (each.kind, each.why) in told
            told.add((each.kind, each.why))
            lines += [_wrapped(line, width) for line in cause_lines(each, number, again=again)]
        if (more := len(explanation.causes) - shown) > 0:
            lines.append(f"  and {more} more; --json has them all")
        parts.append(lines)
    if explanation.parting is not None:
        lines = ["Where the losses part"]
        parts.append(lines + [_wrapped(f"  {line}", width) for line in parting_lines(explanation.parting)])
    if explanation.outcomes:
        lines = ["What came out"]
        parts.append(lines + [_wrapped(f"  {line}", width) for line in outcome_lines(explanation.outcomes)])
    if explanation.unknown:
        parts.append(["Not known", *(_wrapped(f"  {line}", width) for line in explanation.unknown)])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def verdict(explanation: Explanation) -> str:
    """Return the whole of it in a sentence."""
    if explanation.causes:
        first = explanation.causes[0]
        said = f"They differ; first of all the {named(first)}: {_change(first)}"
        return f"{said}\n{_NO_MATTER}" if _came_out_the_same(explanation) else said
    apart = [each for each in explanation.outcomes if each.differs]
    if apart and not _parted(explanation) and all(each.within_spread for each in apart):
        return "Nothing that is known of both differs, and they came out no further apart than seeds alone move them."
    if explanation.differs:
        return "Nothing that is known of both explains it, and they did not come out the same."
    if explanation.compared:
        return "They are the same in everything that is known of both."
    return "Too little is known of both to compare them."


def _came_out_the_same(explanation: Explanation) -> bool:
    """Say so of what really came out; what a manifest expects is not that."""
    if not {explanation.left.kind, explanation.right.kind} <= {"run", "series", "record"}:
        return False
    known = [each for each in explanation.outcomes if each.left and each.right]
    return bool(known) and not _parted(explanation) and all(each.same for each in known)


def _parted(explanation: Explanation) -> bool:
    return explanation.parting is not None and explanation.parting.bits is not None


def cause_lines(cause: Cause, number: int, *, again: bool = False) -> Iterator[str]:
    """Yield a cause: what, from what to what; why it counts, unless that was said; and what shows it."""
    yield f"{number:3}. {named(cause)}: {_change(cause)}"
    if not again:
        yield f"     {cause.why}"
    yield from (f"       {line}" for line in cause.details)


def parting_lines(parting: Parting) -> Iterator[str]:
    """Yield where a series parts, and what that hints at."""
    compared = f"{parting.series}, {parting.compared:,} {'step' if parting.compared == 1 else 'steps'} compared"
    if not parting.whole:
        compared += " (not to the end)"
    if parting.bits is None:
        yield f"{compared}: the same, bit for bit"
        return
    step, left, right = parting.bits
    yield f"{compared}: the first difference is at step {step:,}, {left!r} and {right!r}"
    if parting.visible is None:
        yield f"nowhere further apart than {parting.tolerance:.0%}"
    elif parting.visible[0] != step:
        step, left, right = parting.visible
        yield f"further apart than {parting.tolerance:.0%} from step {step:,} on, {left!r} and {right!r}"
    yield parting.hint


def outcome_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield each final metric and output, and whether seeds alone move it as far."""
    width = max(len(each.name) for each in outcomes)
    for each in outcomes:
        name = each.name.ljust(width)
        if each.same:
            yield f"{name}  {each.left}, the same"
        elif not each.differs:
            yield f"{name}  {each.left or 'not known'}, {each.right or 'not known'}"
        else:
            yield f"{name}  {each.left} → {each.right}" + (f"  ({each.difference})" if each.difference else "")
            if each.spread:
                word = {True: "within the spread of seeds: ", False: "more than the spread of seeds: "}
                yield f"  {word.get(each.within_spread, '') if each.within_spread is not None else ''}{each.spread}"


def named(cause: Cause) -> str:
    """Return what a cause is called: its kind too, where its name does not say it."""
    kind = cause.kind.value
    return cause.name if cause.name.casefold().startswith(kind.casefold()) else f"{kind} {cause.name}"


def _change(cause: Cause) -> str:
    return f"{cause.left or '(none)'} → {cause.right or '(none)'}"


def _side(word: str, side: Named) -> str:
    return printable(f"{word:5}  {side.kind:8}  {side.name}  {side.status}").rstrip()


def _wrapped(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True
    )
