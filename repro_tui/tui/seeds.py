"""The runs of a series, one a seed, each as one line; read in a thread, since each is a run directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repro_tui.errors import ReproError
from repro_tui.events import Verdict
from repro_tui.pipeline.plan import Options
from repro_tui.runs import words
from repro_tui.runs.catalog import looks_like_a_run, read_entry
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.reader import RunReader

WAITING = "waiting"
ENDED = frozenset({verdict.value for verdict in Verdict} | {"died", "broken"})
_AGAIN = ".again"


@dataclass(frozen=True, slots=True)
class SeedLine:
    """One seed: `word` is its verdict, "running", "starting", "died", "broken" or "waiting"; `how` what it does."""

    run: RunDirectory
    word: str
    how: str = ""

    @property
    def name(self) -> str:
        """Return the seed, as a person says it."""
        name = self.run.path.name
        return f"{name.removesuffix(_AGAIN)} again" if name.endswith(_AGAIN) else name


class SeedsReader:
    """Looks at the seeds of a series again and again; of those that ended it remembers how."""

    def __init__(self, series: RunDirectory) -> None:
        self._series = series
        self._ended: dict[str, SeedLine] = {}
        self._readers: dict[str, RunReader] = {}

    def look(self) -> tuple[SeedLine, ...]:
        """Return a line a seed, in the order in which they were asked for."""
        return tuple(self._line(name) for name in self._names())

    def _names(self) -> list[str]:
        """Return what the series was asked for; where that cannot be read, the seeds that are there."""
        try:
            options = Options.read(self._series.options)
        except ReproError:
            return sorted(self._folders(), key=lambda name: (len(name), name))
        names = [str(seed) for seed in options.seeds]
        return [*names[:1], *([f"{names[0]}{_AGAIN}"] if options.twice and names else []), *names[1:]]

    def _folders(self) -> Iterator[str]:
        try:
            found = [each.name for each in self._series.seeds.iterdir() if looks_like_a_run(each)]
        except OSError:
            return
        yield from (name for name in found if name.removesuffix(_AGAIN).isdecimal())

    def _line(self, name: str) -> SeedLine:
        run = RunDirectory(self._series.seeds / name)
        if not looks_like_a_run(run.path):
            self._ended.pop(name, None)  # put aside by a series that goes on
            return SeedLine(run, WAITING)
        if name not in self._ended:
            entry = read_entry(run)
            took = words.duration(entry.duration_s) if entry.duration_s is not None else ""
            if entry.status not in ENDED:
                return SeedLine(run, entry.status, self._doing(name, run))
            self._readers.pop(name, None)
            self._ended[name] = SeedLine(run, entry.status, took)
        return self._ended[name]

    def _doing(self, name: str, run: RunDirectory) -> str:
        reader = self._readers.setdefault(name, RunReader(run))
        while reader.poll():
            pass
        stage = reader.state.current_stage
        return f"{stage.name} {words.amount(stage)}".strip() if stage is not None else ""


def count(lines: tuple[SeedLine, ...]) -> str:
    """Return how many have ended, of how many."""
    return f"{sum(line.word in ENDED for line in lines)} of {len(lines)} ended"
