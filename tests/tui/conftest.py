"""Recorded runs, a clock that stands still, nobody's own settings, and a terminal under tmux."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repro_tui.artifacts.store import remove_tree
from repro_tui.doctor.finding import Finding
from repro_tui.engines.embedded import EmbeddedEngine
from repro_tui.runs.directory import RunDirectory
from tests.bundles.conftest import bundle, experiment
from tests.system.conftest import downloads, pinned
from tests.system.lab import Lab
from tests.tui.pilots import idle
from tests.tui.record import NOW, RECORDED, laboratory, run_id
from tests.tui.terminal import Terminal

SHIPPED = Path(__file__).parents[2] / "manifests"

__all__ = ["bundle", "downloads", "experiment"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the settings, the store and the runs of whoever starts them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("REPRO_TUI_STORE", str(tmp_path / "store"))
    for name in ("REPRO_TUI_RUNS", "REPRO_TUI_MIRROR", "NO_COLOR", "SSH_CONNECTION", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Give a folder with four of the manifests that ship, few enough for one screen, and what they need beside it."""
    folder = tmp_path / "paper" / "manifests"
    folder.mkdir(parents=True)
    for name in ("plain-pytorch", "reuters-r8-minilm", "reuters-r8-minilm-cuda", "sst2-minilm"):
        for path in SHIPPED.glob(f"{name}.*"):
            shutil.copy(path, folder)
    shutil.copytree(SHIPPED / "plain_pytorch", folder / "plain_pytorch")
    shutil.copytree(SHIPPED.parent / "lockfiles", folder.parent / "lockfiles")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _seldom_collected() -> Iterator[None]:
    """Look for garbage seldom, and never among what was imported: that took a third of the time of these tests."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pilots wait for the event loop, not for the processor."""
    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", idle)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> float:
    """Make the clock on the wall stand still."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return NOW


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor find the same everywhere."""
    findings = [
        Finding("embedded engine", ok=True, message="it works", engine="embedded"),
        Finding("Docker engine", ok=False, message="no daemon answers", remedy="start it", engine="docker"),
    ]
    monkeypatch.setattr("repro_tui.doctor.examine.examine", lambda runs: findings)


@dataclass
class Recordings:
    """Copies of recorded runs under one folder; those that are going on are locked as by their worker."""

    folder: Path
    _locks: ExitStack = field(default_factory=ExitStack)

    def __call__(self, state: str) -> RunDirectory:
        """Return a copy of the run of a state; "died" is the one that was running, without its worker."""
        source = RECORDED / ("running" if state == "died" else state)
        place = self.folder / run_id(source)
        shutil.copytree(source, place)
        run = RunDirectory(place)
        if state.endswith("running"):
            going = [RunDirectory(seed) for seed in run.seeds.glob("*") if not (seed / "report.json").exists()]
            for each in (run, *going):
                self._locks.enter_context(each.locked())
        return run

    def close(self) -> None:
        """Let go of the locks."""
        self._locks.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recordings]:
    """Return a maker of copies of recorded runs, in tmp_path/runs."""
    recordings = Recordings(tmp_path / "runs")
    yield recordings
    recordings.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Lab]:
    """Return an experiment that the embedded engine can really run, pinned; its image is in the store."""
    available = EmbeddedEngine().availability()
    if not available.ok:
        pytest.skip(f"the embedded engine does not work here: {available.reason}")
    folder = tmp_path_factory.mktemp("world")
    lab = laboratory(folder, [downloads])
    lab.manifest = pinned(lab, lab.run("--offline").expect(5, "INCONCLUSIVE"))
    lab.write()
    yield lab
    for each in folder.iterdir():
        remove_tree(each)


@pytest.fixture
def lab(world: Lab, tmp_path: Path) -> Lab:
    """Return the pinned experiment in a folder of its own, with the session's store."""
    folder = tmp_path / "paper"
    shutil.copytree(world.folder, folder, ignore=shutil.ignore_patterns("runs"))
    return Lab(folder, world.store, folder / "runs", world.mirrors, dict(world.manifest))


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[OpenTerminal]:
    """Return a function that opens a terminal with more variables and of another size."""
    with ExitStack() as stack:
        count = 0

        def open_one(environment: dict[str, str] | None = None, *, columns: int = 120, rows: int = 40) -> Terminal:
            nonlocal count
            count += 1
            folder = tmp_path / f"terminal{count}"
            folder.mkdir()
            places = {"XDG_CONFIG_HOME": str(tmp_path / "config"), **(environment or {})}
            terminal = Terminal(folder, places, columns=columns, rows=rows)
            stack.callback(terminal.kill)
            return terminal

        yield open_one
