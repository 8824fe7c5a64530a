"""Checks of what a manifest says of seeds: values that belong to them, and what the test over them needs.

Like those of checks.py they read the parsed TOML, and pass over what the models complain about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repro_tui.manifest.paths import Part, lookup
from repro_tui.manifest.problems import show

_Found = Iterator[tuple[tuple[Part, ...], str, str, str]]
"""(path, found, allowed, hint)"""
_RECORD = "`repro-tui record --seeds 5` writes them"


def _verify_seeds(data: Mapping[str, Any]) -> _Found:
    yield from _twice(lookup(data, ("verify", "seeds")), ("verify", "seeds"))


def _samples(data: Mapping[str, Any]) -> _Found:
    for index, metric in _metrics(data):
        path = ("expected", "metrics", index)
        seeds, samples = metric.get("seeds"), metric.get("samples")
        yield from _twice(seeds, (*path, "seeds"))
        if isinstance(seeds, list) and isinstance(samples, list) and seeds and len(seeds) != len(samples):
            found = f"{len(seeds)} seeds for {len(samples)} samples"
            yield (*path, "seeds"), found, "as many seeds as samples, in the same order", ""


def _test(data: Mapping[str, Any]) -> _Found:
    """Yield a metric that the test over the seeds could say nothing of."""
    test = lookup(data, ("verify", "test"))
    if test not in {"prediction-interval", "equivalence"}:
        return
    margin = lookup(data, ("verify", "relative_margin"))
    for index, metric in _metrics(data):
        path = ("expected", "metrics", index)
        samples = metric.get("samples")
        if "samples" not in metric or (isinstance(samples, list) and len(samples) == 1):
            found = "one value" if samples else "nothing"
            allowed = f"the recorded values of two seeds or more, which the test {show(test)} compares with"
            yield (*path, "samples"), found, allowed, _RECORD
        if test == "equivalence" and margin is None and "margin" not in metric:
            allowed = "the largest difference that does not matter: `margin` here, or `verify.relative_margin`"
            yield (*path, "margin"), "nothing", allowed, "it is for you to say, before you look at the results"


def _twice(seeds: Any, path: tuple[Part, ...]) -> _Found:
    for index, seed in enumerate(seeds if isinstance(seeds, list) else ()):
        if seed in seeds[:index]:
            yield (*path, index), f"the seed {show(seed)} a second time", "each seed once", ""


def _metrics(data: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    metrics = lookup(data, ("expected", "metrics"))
    return (
        (index, item)
        for index, item in enumerate(metrics if isinstance(metrics, list) else ())
        if isinstance(item, dict)
    )


SEED_CHECKS = (_verify_seeds, _samples, _test)
