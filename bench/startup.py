"""`repro-tui --help` against `python -c pass`: what a user waits before anything happens."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.common import Figure, alternate, median, spread


def measure() -> list[Figure]:
    """Alternate the two commands 21 times; return the ratio of their medians."""
    quiet = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL)
    script = Path(sys.executable).with_name("repro-tui")
    help_s, pass_s = alternate(
        [lambda: quiet([str(script), "--help"]), lambda: quiet([sys.executable, "-c", "pass"])], rounds=21
    )
    return [
        Figure(
            name="repro-tui --help / python -c pass",
            value=median(help_s) / median(pass_s),
            limit=8.0,
            unit="times",
            detail=f"{spread(help_s, 3)} against {spread(pass_s, 3)}, 21 rounds",
        )
    ]
