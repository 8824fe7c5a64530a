"""Every key of the table does what its help says, on a screen where it is valid; and no key is bound anywhere else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

import repro_tui.tui
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui import actions, settings
from repro_tui.tui.app import scope_of
from repro_tui.tui.settings import Settings
from repro_tui.tui.widgets.stagelog import StageLog
from tests.system.lab import PROJECT
from tests.tui.pilots import SMALL, at_rest, opened, until, until_screen, until_text
from tests.tui.snapshots import text_of

SOURCES = Path(repro_tui.tui.__file__).parent
UNSENDABLE = {"ctrl+m", "ctrl+h", "ctrl+s", "ctrl+q", "ctrl+b", "ctrl+i", "ctrl+j"}
Recorded = Callable[[str], RunDirectory]
Holds = Callable[["Scene"], object]


@dataclass
class Scene:
    """An open UI, and what happened outside of it."""

    pilot: Pilot[str]
    spawned: list[Path]
    suspended: list[int]
    at_first: str = ""
    """What was on the screen before the key was pressed."""

    @property
    def app(self) -> App[str]:
        return self.pilot.app

    @property
    def text(self) -> str:
        return text_of(self.app)

    @property
    def log(self) -> StageLog:
        return self.app.screen.query_one(StageLog)

    @property
    def scope(self) -> str:
        return scope_of(self.app.screen)

    @property
    def focused(self) -> str:
        return (self.app.focused.id if self.app.focused is not None else None) or ""

    def shown(self, selector: str) -> bool:
        return bool(self.app.screen.query_one(selector).display)


@dataclass(frozen=True)
class Trial:
    """Where to begin, what to press before, what must not hold then, and must once the key was pressed."""

    start: str
    holds: Holds
    before: tuple[str, ...] = ()


def left(scene: Scene) -> bool:
    return bool(scene.app._exit)


def _changed(scene: Scene) -> str:
    """Return the lines that are new on the screen since before the key."""
    known = scene.at_first.splitlines()
    return "\n".join(line for line in scene.text.splitlines() if line not in known)


RUN_ENDS = "run:reproduced"
TRIALS: dict[str, Trial] = {
    "app.help": Trial(RUN_ENDS, lambda s: s.scope == "help" and "Go to the charts." in s.text),
    "app.palette": Trial(RUN_ENDS, lambda s: "CommandPalette" in type(s.app.screen).__name__),
    "app.leave": Trial(RUN_ENDS, left),
    "app.suspend": Trial(RUN_ENDS, lambda s: s.suspended),
    "app.theme": Trial(RUN_ENDS, lambda s: s.app.theme != "textual-dark" and s.app.theme == settings.read().theme),
    "run.stages": Trial(RUN_ENDS, lambda s: s.focused == "stages"),
    "run.log": Trial(RUN_ENDS, lambda s: s.focused == "log", ("1",)),
    "run.metrics": Trial(RUN_ENDS, lambda s: s.focused == "metrics"),
    "run.resources": Trial(RUN_ENDS, lambda s: s.focused == "resources"),
    "run.checks": Trial(RUN_ENDS, lambda s: s.focused == "checks"),
    "run.seeds": Trial("run:series", lambda s: s.focused == "seeds", ("2",)),
    "run.zoom": Trial(RUN_ENDS, lambda s: not s.shown("#stages") and s.shown("#log")),
    "run.back": Trial(RUN_ENDS, lambda s: s.shown("#stages"), ("z",)),
    "run.cancel": Trial("run:running", lambda s: s.scope == "confirm" and "Cancel the run" in s.text),
    "run.rerun": Trial(RUN_ENDS, lambda s: s.spawned or "cannot be read" in s.text or "error" in s.text),
    "run.verdict": Trial(RUN_ENDS, lambda s: s.scope == "verdict"),
    "run.error": Trial("run:failed", lambda s: "match 1 of 2" in s.text, ("g", "slash", *"step", "enter")),
    "log.find": Trial(RUN_ENDS, lambda s: s.scope == "find"),
    "log.next": Trial(RUN_ENDS, lambda s: "match 2 of" in s.text, ("g", "slash", *"loss", "enter")),
    "log.previous": Trial(RUN_ENDS, lambda s: "match 1 of" in s.text, ("g", "slash", *"loss", "enter", "n")),
    "log.filter": Trial(RUN_ENDS, lambda s: s.scope == "find"),
    "log.follow": Trial("run:running", lambda s: not s.log.follow),
    "log.top": Trial(RUN_ENDS, lambda s: "160 examples to train on" in s.text),
    "log.bottom": Trial(RUN_ENDS, lambda s: "evaluating 100 %" in s.text, ("g",)),
    "log.wrap": Trial(RUN_ENDS, lambda s: s.log.wrap),
    "log.copy": Trial(RUN_ENDS, lambda s: "step 60/60" in s.app.clipboard),
    "log.stage-before": Trial(RUN_ENDS, lambda s: s.log.stage != "train"),
    "log.stage-after": Trial(RUN_ENDS, lambda s: s.log.stage == "train", ("left_square_bracket",)),
    "chart.metric": Trial(RUN_ENDS, lambda s: "learning_rate" in s.text),
    "chart.log-y": Trial(RUN_ENDS, lambda s: re.search("log", _metrics_title(s))),
    "home.open": Trial("home", lambda s: s.scope == "plan"),
    "home.path": Trial("home", lambda s: s.focused == "path"),
    "home.new": Trial("home", lambda s: s.scope == "template"),
    "home.compare": Trial("home", lambda s: "comparing" in s.text, ("tab",)),
    "home.doctor": Trial("home", lambda s: s.scope == "doctor"),
    "home.refresh": Trial("home", lambda s: s.scope == "home" and "plain-pytorch" in s.text),
    "home.back": Trial("home", lambda s: s.focused != "path", ("o",)),
    "plan.start": Trial("plan", lambda s: s.spawned),
    "plan.engine": Trial("plan", lambda s: "Engine: docker" in s.text),
    "plan.seed": Trial("plan", lambda s: s.focused == "seed-field"),
    "plan.seeds": Trial("plan", lambda s: s.focused == "seeds-field"),
    "plan.offline": Trial("plan", lambda s: "Offline: yes" in s.text),
    "plan.refresh": Trial("plan", lambda s: s.scope == "plan"),
    "plan.back": Trial("plan", lambda s: s.scope == "home"),
    "verdict.report": Trial("verdict:differs", lambda s: s.scope == "report"),
    "verdict.copy": Trial("verdict:differs", lambda s: s.app.clipboard.endswith("report.md")),
    "verdict.log": Trial("verdict:differs", lambda s: s.scope == "run"),
    "verdict.compare": Trial("verdict:differs", lambda s: s.scope == "compare"),
    "verdict.rerun": Trial("verdict:differs", lambda s: s.spawned or "error" in s.text),
    "verdict.seeds": Trial("verdict:series", lambda s: s.focused == "seeds"),
    "verdict.back": Trial("verdict:differs", lambda s: s.scope == "run"),
    "compare.differences": Trial("compare:differs", _changed),
    "compare.swap": Trial("compare:differs", _changed),
    "compare.before": Trial("compare:differs", _changed),
    "compare.after": Trial("compare:differs", _changed, ("left_square_bracket",)),
    "compare.metric": Trial("compare:differs", lambda s: "learning_rate" in s.text),
    "compare.log-y": Trial("compare:differs", _changed),
    "compare.back": Trial("compare:differs", lambda s: s.scope == "verdict"),
    "dialog.close": Trial(RUN_ENDS, lambda s: s.scope == "run", ("question_mark",)),
    "prompt.close": Trial(RUN_ENDS, lambda s: s.scope == "run", ("slash",)),
    "dialog.next": Trial("run:running", lambda s: s.focused == "cancel", ("x",)),
    "dialog.previous": Trial("run:running", lambda s: s.focused == "stay", ("x", "right")),
}
"""By the id of the action."""


def _metrics_title(scene: Scene) -> str:
    widget = scene.app.screen.query_one("#metrics")
    lines = scene.text.splitlines()[widget.region.y : widget.region.bottom]
    return "\n".join(line[widget.region.x : widget.region.right] for line in lines)


def test_every_action_is_tried() -> None:
    assert [action.id for action in actions.ACTIONS if action.id not in TRIALS] == []
    assert [name for name in TRIALS if name not in {action.id for action in actions.ACTIONS}] == []


EVERY_KEY = [(action.id, key) for action in actions.ACTIONS for key in action.keys.split(",")]


@pytest.mark.parametrize(("name", "key"), [each for each in EVERY_KEY if each[0] in TRIALS])
async def test_a_key_does_what_its_help_says(
    name: str,
    key: str,
    tmp_path: Path,
    manifests: Path,
    recorded: Recorded,
    clock: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = TRIALS[name]
    spawned: list[Path] = []
    suspended: list[int] = []

    def spawn(run: RunDirectory) -> subprocess.Popen[bytes]:
        spawned.append(run.path)
        done = subprocess.Popen(["true"])
        done.wait()
        return done

    monkeypatch.setattr("repro_tui.pipeline.worker.spawn", spawn)
    monkeypatch.setattr(App, "action_suspend_process", lambda self: suspended.append(1))
    kind, _, state = trial.start.partition(":")
    options: dict[str, Any] = {}
    if kind == "home":
        recorded("reproduced")
        options["folder"] = manifests
    elif kind == "plan":
        options["manifest"] = manifests / "plain-pytorch.toml"
    else:
        recorded("reproduced" if state != "reproduced" else "drift")
        recorded("inconclusive")
        options["run"] = recorded(state)
    async with opened(tmp_path / "runs", **options) as pilot:
        scene = Scene(pilot, spawned, suspended)
        await until_screen(pilot, "home" if kind == "home" else "plan" if kind == "plan" else "run")
        words = {
            "home": ("plain-pytorch", "REPRODUCED"),
            "plan": ("READY",),
            "run": ("train",),
            "verdict": ("train",),
            "compare": ("train",),
        }
        await until_text(pilot, *words[kind])
        if kind in {"verdict", "compare"}:
            await pilot.press("o")
            await until_screen(pilot, "verdict")
        if kind == "compare":
            await pilot.press("c")
            await until_screen(pilot, "compare")
        await at_rest(pilot)
        for each in trial.before:
            await pilot.press(each)
            await at_rest(pilot)
        scene.at_first = scene.text
        if name not in {"home.refresh", "plan.refresh"}:
            assert not trial.holds(scene), f"it holds before {key} is pressed:\n{scene.text}"
        await pilot.press(key)
        await until(pilot, lambda: trial.holds(scene), f"{name} by {key}")


def test_no_key_is_bound_anywhere_else() -> None:
    elsewhere = [
        f"{path.relative_to(SOURCES)}: {line.strip()}"
        for path in SOURCES.rglob("*.py")
        if path.name != "actions.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bBinding\(|\.bind\(|\bBINDINGS\b.*=\s*\[(?!.*BindingType\]\s*=)", line)
        and "actions.bindings(" not in line
    ]
    assert elsewhere == []


def test_every_key_can_be_sent_by_every_terminal() -> None:
    assert not {key for _, key in EVERY_KEY} & UNSENDABLE


def test_no_two_actions_of_a_screen_have_one_key() -> None:
    for screen in {screen for action in actions.ACTIONS for screen in action.screens}:
        keys = [key for action in actions.on(screen) for key in action.keys.split(",")]
        assert len(keys) == len(set(keys)), screen


def test_the_docs_have_the_table() -> None:
    assert actions.markdown() in (PROJECT / "docs/tui.md").read_text(encoding="utf-8")


async def test_a_key_of_ones_own(tmp_path: Path, recorded: Recorded, clock: float) -> None:
    async with opened(
        tmp_path / "runs", run=recorded("reproduced"), preferences=Settings(keys={"run.checks": "C"})
    ) as pilot:
        await until_text(pilot, "train")
        await pilot.press("C")
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "checks")
        await pilot.press("question_mark")
        await until(pilot, lambda: scope_of(pilot.app.screen) == "help")
        assert re.search(r"C +Checks", await at_rest(pilot))


async def test_detach_is_the_default_and_says_how_to_come_back(
    tmp_path: Path, recorded: Recorded, clock: float
) -> None:
    run = recorded("running")
    async with opened(tmp_path / "runs", run=run, size=SMALL) as pilot:
        await until_text(pilot, "RUNNING")
        await pilot.press("q")
        await until_text(pilot, "Detach")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app._exit)
    assert "repro-tui attach" in str(pilot.app.return_value)
    assert run.cancel_requested() is None


async def test_a_run_is_cancelled_only_after_a_second_word(tmp_path: Path, recorded: Recorded, clock: float) -> None:
    run = recorded("running")
    async with opened(tmp_path / "runs", run=run) as pilot:
        await until_text(pilot, "RUNNING")
        await pilot.press("x")
        await until_text(pilot, "Cancel the run")
        await pilot.press("enter")
        await until_screen(pilot, "run")
        assert run.cancel_requested() is None
        await pilot.press("x")
        await until_text(pilot, "Cancel the run")
        await pilot.press("right", "enter")
        await until(pilot, lambda: run.cancel_requested() is not None)


async def test_seed_and_path_take_what_is_typed(tmp_path: Path, manifests: Path, clock: float) -> None:
    async with opened(tmp_path / "runs", folder=manifests) as pilot:
        await until_text(pilot, "plain-pytorch")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        pilot.app.screen.query_one("#path", Input).value = str(manifests / "plain-pytorch.toml")
        await pilot.press("enter")
        await until_screen(pilot, "plan")
        await until_text(pilot, "READY")
        await pilot.press("s", "7", "enter")
        await until_text(pilot, "Seed: 7")
