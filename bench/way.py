"""From a plain script to a bundle that somebody else reproduces: both tutorials, command by command."""

from __future__ import annotations

import pytest

from bench.common import Figure, SkipBenchmark
from tests.test_tutorials import open_folder, whole_way

LIMIT_S = 600.0


def measure() -> list[Figure]:
    """Follow both tutorials once, from nothing cached but what pip caches itself."""
    try:
        with open_folder() as folder:
            taken = whole_way(folder)
    except pytest.skip.Exception as skip:
        raise SkipBenchmark(str(skip)) from None
    slowest = sorted(taken, key=lambda each: -each[1])[:4]
    detail = "; ".join(f"{command.split('  ')[0]} {seconds:.0f} s" for command, seconds in slowest)
    total = sum(seconds for _, seconds in taken)
    return [Figure("both tutorials, from a plain script to a verdict elsewhere", total, LIMIT_S, "s", detail)]
