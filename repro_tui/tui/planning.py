"""What the plan says, in words: what stands in the way, what is missing, which seeds are run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from repro_tui.errors import ReproError
from repro_tui.runs import words

if TYPE_CHECKING:  # what reads manifests takes as long to load as the first picture
    from repro_tui.manifest.finding import Found
    from repro_tui.manifest.loading import LoadedManifest
    from repro_tui.pipeline.preview import Blocker, Need, Preview


def problem_blockers(found: Found) -> Iterator[Blocker]:
    """Yield each problem of a faulty manifest as what stands in the way."""
    from repro_tui.pipeline.preview import Blocker

    for problem in found.problems:
        yield Blocker(
            f"{problem.toml_path or 'the file'}: {problem.found}; allowed: {problem.allowed}",
            problem.hint,
            f"{found.path.name}:{problem.line}" if problem.line is not None else found.path.name,
        )


def loose_rows(found: Found) -> Iterator[tuple[str, str]]:
    """Yield what is to be done with a manifest that lacks nothing but pins."""
    count = len(found.problems)
    yield "", f"{'one pin is' if count == 1 else f'{count} pins are'} missing, and nothing else is wrong"
    yield "", f"to do: `repro-tui lock {shlex.quote(str(found.path))}`, then F5 here"


def series_of(loaded: LoadedManifest, seed: int | None, wish: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the seeds that are run: those asked for, else those of the manifest unless one seed was asked for."""
    from repro_tui.pipeline.launch import series_seeds

    rule = loaded.manifest.verify
    wanted = wish if wish is not None else rule.seeds if rule is not None and seed is None else ()
    return series_seeds(wanted, loaded)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds as they are given."""
    return ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


def seeds_words(seeds: Sequence[int]) -> str:
    """Return how many seeds, and which."""
    if len(seeds) > 1 and all(after == seed + 1 for seed, after in pairwise(seeds)):
        return f"{len(seeds)} ({seeds[0]} to {seeds[-1]})"
    return f"{len(seeds)} ({', '.join(map(str, seeds[:3]))}{' …' * (len(seeds) > 3)})"


def statistics_missing(loaded: LoadedManifest) -> ReproError | None:
    """Return what is missing for the test of a series, if anything is."""
    from repro_tui.verify import statistics

    rule = loaded.manifest.verify
    try:
        if rule is not None and rule.test != "every-seed":
            statistics.require()
    except ReproError as error:
        return error
    return None


def blocker_rows(blockers: Sequence[Blocker]) -> Iterator[tuple[str, str]]:
    """Yield each problem with its place and its remedy below it."""
    for place, blocker in enumerate(blockers, start=1):
        yield f"{place}", blocker.message
        if blocker.where:
            yield "", f"where: {blocker.where}"
        if blocker.remedy:
            yield "", f"to do: {blocker.remedy}"


def size_words(need: Need) -> str:
    """Return the size of a thing, as far as it is known."""
    if need.size_bytes is None:
        return "not known"
    return f"over {words.size(need.size_bytes)}" if need.at_least else words.size(need.size_bytes)


def missing_words(seen: Preview) -> str:
    """Return what must be fetched or built, in words."""
    from repro_tui.pipeline.preview import BUILD

    missing = [need for need in seen.needs if not need.here]
    if not missing:
        return "all of it is here"
    builds = " and built" if any(need.state == BUILD for need in missing) else ""
    if seen.unknown and not seen.missing_bytes:
        return f"not known how much is to be fetched{builds}"
    return f"{'over ' if seen.unknown else ''}{words.size(seen.missing_bytes)} to be fetched{builds}"
