"""Run the benchmarks named, or all of them; exit 1 where a figure is beyond its limit."""

from __future__ import annotations

import importlib
import sys

from bench.common import Figure, SkipBenchmark

NAMES = ("startup", "probe", "start", "assemble", "pull", "overhead", "training", "logview", "tui", "way")


def main(names: list[str]) -> int:
    """Print one line a figure as it is measured; return the exit code."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"no benchmark called {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or NAMES:
        try:
            figures: list[Figure] = importlib.import_module(f"bench.{name}").measure()
        except SkipBenchmark as skip:
            print(f"SKIP  {name}: {skip}", flush=True)
            continue
        for figure in figures:
            word = "ok  " if figure.ok else "OVER"
            print(
                f"{word}  {figure.name}: {figure.value:.3g} {figure.unit} (limit {figure.limit:g}); {figure.detail}",
                flush=True,
            )
            worst = max(worst, int(not figure.ok))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
