from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Button, Input

from repro_tui.engines import choose
from repro_tui.engines.base import Availability
from repro_tui.engines.fake import FakeEngine
from repro_tui.errors import UsageError
from repro_tui.pipeline.plan import Options
from repro_tui.pipeline.preview import EngineAnswer, Need, Preview
from repro_tui.runs.directory import RunDirectory
from repro_tui.tui.planning import missing_words
from repro_tui.tui.screens import plan
from repro_tui.tui.screens.plan import PlanScreen
from repro_tui.tui.settings import Settings
from tests.cli.project import ENVIRONMENT, FAKES, Project
from tests.tui.pilots import SMALL, WIDE, front, opened, until, until_screen, until_text


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: None) -> Project:
    folder = tmp_path / "paper"
    folder.mkdir()
    made = Project(folder)
    made.write()
    engines = {
        "fake": FakeEngine,
        "lazy": lambda: FakeEngine(available=Availability(ok=False, reason="it sleeps", remedy="wake it")),
    }
    monkeypatch.setattr(choose, "ENGINES", engines)
    monkeypatch.setattr(plan, "_ENGINES", (None, "lazy", "fake"))
    # of the worker, which is a process of its own
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("REPRO_TEST_FAKE", json.dumps({"environment": ENVIRONMENT}))
    return made


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_what_it_needs_how_it_runs_and_what_it_pins(size: tuple[int, int], project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest, size=size) as pilot:
        await until_text(pilot, "tiny  READY  A tiny experiment", "beside the", "to build", "6 B")
        await until_text(pilot, "fake: a fake engine for tests", "not known: there is no earlier run of it here")
        await pilot.press("pagedown", "pagedown")
        await until_text(pilot, "manifest_digest", "numbers", "0.6 ± 0.001", "determinism")
        if size == WIDE:
            await until_text(pilot, "problem", "no daemon answers", "start it", "1 to look at")


async def test_the_time_comes_from_earlier_runs(
    project: Project, recorded: Callable[[str], RunDirectory], clock: float
) -> None:
    recorded("reproduced")
    recorded("differs")
    project.change('name = "tiny"', 'name = "two-clouds"')
    async with opened(project.folder.parent / "runs", manifest=project.manifest) as pilot:
        await until_text(pilot, "about 3.3 s (by 2 earlier runs, from 3.3 s to")


async def test_a_faulty_manifest_blocks_the_start_with_every_problem(project: Project) -> None:
    project.change("threads = 1", "threads = 0\nthread = 2")
    async with opened(project.runs, manifest=project.manifest, size=SMALL) as pilot:
        await until_text(pilot, "BLOCKED", "environment.threads", "environment.thread", "tiny.toml:")
        screen = front(pilot, PlanScreen)
        assert screen.query_one("#start", Button).disabled
        assert screen.check_action("start", ()) is None, "neither key nor palette offers it"
        await pilot.press("enter")
        assert not project.runs.exists()
        project.change("threads = 0\nthread = 2", "threads = 1")
        await pilot.press("f5")
        await until_text(pilot, "READY")
        assert not screen.query_one("#start", Button).disabled


async def test_an_engine_that_does_not_work_blocks_it_with_the_remedy(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY", "Engine: by itself")
        await pilot.press("e")
        await until_text(pilot, "BLOCKED", "Engine: lazy", "it sleeps", "to do: wake it", "none that works")
        await pilot.click("#engine")
        await until_text(pilot, "READY", "Engine: fake", "--engine fake")
        await pilot.press("e")
        await until_text(pilot, "READY", "Engine: by itself")


async def test_offline_only_what_is_here_can_be_used(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY", "Offline: no")
        await pilot.press("f")
        await until_text(pilot, "BLOCKED", "Offline: yes", "offline, and image is not on this host")
        await pilot.click("#offline")
        await until_text(pilot, "READY", "Offline: no")


async def test_another_seed(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY", "Seed: 7")
        await pilot.press("s", *"-1", "enter")
        await until_text(pilot, "is no whole number from 0 to 4294967295")
        screen = front(pilot, PlanScreen)
        field = screen.query_one("#seed-field", Input)
        field.value = "11"
        await pilot.press("enter")
        await until_text(pilot, "Seed: 11", "11 (the manifest says", "the job is not the recorded one")
        await pilot.click("#seed")
        await pilot.press("escape")
        assert screen.seed == 11
        await pilot.press("s")
        field.value = ""
        await pilot.press("enter")
        await until_text(pilot, "Seed: 7")
        assert screen.seed is None


async def test_a_series_over_seeds(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY", "Seeds: one run")
        await pilot.press("n", "0", "enter")
        await until_text(pilot, "neither how many")
        await pilot.press("backspace", "3", "enter")
        await until_text(pilot, "READY", "Seeds: 3 (7 to 9)", "a run each of 7, 8, 9", "every-seed")
        await pilot.press("s", "5", "enter")
        await until_text(pilot, "READY", "Seeds: one run", "Seed: 5")
        await pilot.press("n", *"4,2", "enter")
        await until_text(pilot, "READY", "Seeds: 2 (4, 2)", "Seed: 7")
        spawned: list[RunDirectory] = []

        def spawn(run: RunDirectory) -> subprocess.Popen[bytes]:
            spawned.append(run)
            done = subprocess.Popen(["true"])
            done.wait()
            return done

        monkeypatch.setattr("repro_tui.pipeline.worker.spawn", spawn)
        await pilot.press("enter")
        await until(pilot, lambda: spawned)
    assert Options.read(spawned[0].options).seeds == (4, 2)


async def test_the_series_of_a_manifest_is_what_a_start_begins(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise UsageError("SciPy is not there", hint="pip install 'repro-tui[statistics]'")

    project.change("value = 0.6", "value = 0.6\nsamples = [0.6, 0.61, 0.6]\nseeds = [7, 8, 9]")
    text = project.manifest.read_text(encoding="utf-8")
    rule = '[verify]\nseeds = 2\ntest = "prediction-interval"\n'
    project.manifest.write_text(f"{text}\n{rule}", encoding="utf-8")
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY", "Seeds: 2 (7 to 8)", "prediction-interval")
        monkeypatch.setattr("repro_tui.verify.statistics.require", missing)
        await pilot.press("f5")
        await until_text(pilot, "BLOCKED", "SciPy is not there", "pip install")
        await pilot.press("s", "7", "enter")
        await until_text(pilot, "READY", "Seeds: one run")


async def test_a_manifest_that_lacks_pins_says_how_to_lock_it(project: Project) -> None:
    lines = project.manifest.read_text(encoding="utf-8").splitlines()
    project.manifest.write_text("\n".join(line for line in lines if "lock_sha256" not in line), encoding="utf-8")
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "NOT LOCKED", "one pin is missing", "repro-tui lock", "environment.lock_sha256")
        await pilot.press("escape")
    async with opened(project.runs, folder=project.manifest.parent) as pilot:
        await until_text(pilot, "NOT LOCKED", "finds its missing pins")


async def test_enter_starts_the_run_and_goes_to_it(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY")
        await pilot.press("e", "e")
        await until_text(pilot, "READY", "Engine: fake")
        await pilot.press("enter")
        await until_text(pilot, "REPRODUCED")  # on the run's screen, or already on the verdict's
        (run,) = map(RunDirectory, project.runs.iterdir())
    options = Options.read(run.options)
    assert (options.engine, options.seed, options.offline) == ("fake", None, False)
    assert json.loads(run.report.read_text())["verdict"] == "REPRODUCED"


async def test_the_button_starts_it_too(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest, size=SMALL) as pilot:
        await until_text(pilot, "READY")
        await pilot.press("e", "e")
        await until_text(pilot, "READY", "Engine: fake")
        await pilot.click("#start")
        await until_text(pilot, "REPRODUCED")
        assert [RunDirectory(path).report.is_file() for path in project.runs.iterdir()] == [True]


async def test_a_manifest_that_was_spoiled_meanwhile_is_not_started(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest) as pilot:
        await until_text(pilot, "READY")
        project.change("seed = 7", "seed = -7")
        await pilot.press("enter")
        await until_text(pilot, "BLOCKED", "determinism.seed")
        assert not project.runs.exists()


async def test_escape_leads_home_where_it_was_the_first_screen(project: Project) -> None:
    async with opened(project.runs, manifest=project.manifest, preferences=Settings(ascii=True)) as pilot:
        await until_text(pilot, "READY", "0.6 +- 0.001")
        await pilot.press("escape")
        await until_screen(pilot, "home")


def test_what_is_missing_in_words() -> None:
    def words(*needs: Need) -> str:
        return missing_words(Preview(needs, EngineAnswer(), ()))

    assert words(Need("a", "cached", 5)) == "all of it is here"
    assert words(Need("a", "to fetch", 5000), Need("b", "cached", 5)) == "5.0 kB to be fetched"
    assert words(Need("a", "to fetch", 5), Need("b", "to build", None)) == "over 5 B to be fetched and built"
    assert words(Need("b", "to build", 7, at_least=True)) == "over 7 B to be fetched and built"
    assert words(Need("b", "to fetch", None)) == "not known how much is to be fetched"
