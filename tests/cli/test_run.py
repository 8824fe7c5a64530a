"""Every verdict and exit code of `repro-tui run`, through the real command line and a real worker."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from repro_tui.events import from_line
from tests.cli.project import ENVIRONMENT, TRAIN, Finished, Project, eventually, kill, processes_of


def checks(finished: Finished) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in finished.report["checks"]}


def test_an_untouched_experiment_is_reproduced_again_and_again(project: Project) -> None:
    assert project.run().code == 0
    done = project.run()
    assert (done.code, done.report["verdict"]) == (0, "REPRODUCED"), done.err
    assert {check["status"] for check in done.report["checks"]} == {"match", "within tolerance"}
    assert done.report["failure"] is None
    assert done.report["environment_hash"] in project.manifest.read_text()
    assert set(done.report["timings_s"]) >= {
        "resolve",
        "image",
        "artifacts",
        "environment",
        "train",
        "evaluate",
        "verify",
    }
    run = project.runs / done.report["run"]["id"]
    assert json.loads((run / "report.json").read_text()) == done.report
    assert "REPRODUCED" in (run / "report.md").read_text()
    assert processes_of(project.folder) == []


def test_the_journal_tells_the_stages_in_order_and_ends_with_the_verdict(project: Project) -> None:
    project.run()
    lines = (project.only_run() / "events.jsonl").read_bytes().splitlines()
    events = [event for line in lines if (event := from_line(line)) is not None]
    assert [getattr(event, "stage", "") for event in events if event.kind == "stage_started"] == [
        "resolve", "image", "artifacts", "environment", "train", "evaluate", "verify", "report",
    ]  # fmt: skip
    assert events[0].kind == "run_started"
    assert events[-1].kind == "run_finished"


def test_a_run_leaves_a_record_that_a_manifest_can_pin(project: Project) -> None:
    import hashlib

    project.run()
    record = (project.only_run() / "record.json").read_bytes()
    (project.folder / "record.json").write_bytes(record)
    project.extra = f'\n[recorded]\nfile = "record.json"\nsha256 = "{hashlib.sha256(record).hexdigest()}"\n'
    project.write()
    done = project.run()
    assert done.code == 0, done.err
    assert checks(done)["job"]["status"] == "match"

    project.change("rate = 0.1", "rate = 0.2")
    drifted = project.run()
    assert (drifted.code, drifted.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert "hyperparameters.rate is 0.2, recorded 0.1" in checks(drifted)["job"]["detail"]
    assert checks(drifted)["metric test/accuracy"]["status"] == "not run", "it stops before anything is trained"

    project.change("rate = 0.2", "rate = 0.1")
    seeded = project.run("--seed", "8")
    assert (seeded.code, seeded.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert "determinism.seed is 8, recorded 7" in checks(seeded)["job"]["detail"]
    assert checks(seeded)["metric test/accuracy"]["status"] == "within tolerance", "--seed goes on"


def test_a_metric_out_of_tolerance_differs(project: Project) -> None:
    project.change("value = 0.6", "value = 0.7")
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "METRICS DIFFER")
    assert "etric test/accuracy is 0.6000000000000001, expected 0.7" in done.report["summary"]


def test_an_output_that_differs_by_a_bit_differs(project: Project) -> None:
    project.values["weights"] = "0" * 64
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "METRICS DIFFER")
    assert checks(done)["digest weights"]["status"] == "differs"


@pytest.mark.parametrize(
    ("value", "verdict", "code"),
    [('"nan"', "METRICS DIFFER", 1), ('"soon"', "INCONCLUSIVE", 5), ("None", "INCONCLUSIVE", 5)],
    ids=["nan", "no number", "none at all"],
)
def test_what_is_no_value_is_never_a_pass(project: Project, value: str, verdict: str, code: int) -> None:
    old = 'tell(event="metric", name="accuracy", value=value, split="test")'
    new = "" if value == "None" else old.replace("value=value", f"value={value}")
    project.script = TRAIN.replace(old, new)
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (code, verdict), done.err


def test_environment_drift_is_named_and_stops_before_training(project: Project) -> None:
    found = copy.deepcopy(ENVIRONMENT)
    found["variables"]["OMP_NUM_THREADS"] = "4"
    project.wish["environment"] = found
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert checks(done)["environment hash"]["status"] == "differs"
    assert not (project.only_run() / "out" / "weights.bin").exists()

    allowed = project.run("--allow-drift")
    assert (allowed.code, allowed.report["verdict"]) == (1, "ENVIRONMENT DRIFT"), "the word stays"
    assert checks(allowed)["metric test/accuracy"]["status"] == "within tolerance", "the metrics are there"


def test_an_image_without_python_says_so_and_where_to_name_one(project: Project) -> None:
    project.wish["environment"] = None
    done = project.run()
    assert (done.code, done.report["verdict"]) == (3, "FAILED")
    assert "the image has no `python3` on PATH (/usr/local/bin:/usr/bin:/bin)" in done.report["failure"]["message"]
    assert "environment.variables" in done.report["failure"]["hint"]


def test_another_image_is_drift(project: Project) -> None:
    project.change('manifest_digest = "sha256:', 'manifest_digest = "sha256:' + "0" * 64 + '"\n#')
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert checks(done)["image manifest digest"]["status"] == "differs"


def test_a_byte_changed_in_the_data_is_drift_that_names_it(project: Project) -> None:
    (project.folder / "numbers.txt").write_text("1 2 4\n")
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "ENVIRONMENT DRIFT"), done.err
    assert checks(done)["artifact numbers"]["status"] == "differs"
    assert checks(done)["artifact code"]["status"] == "not run"


def test_a_changed_script_is_drift_that_names_it(project: Project) -> None:
    (project.folder / "code" / "train.py").write_text(TRAIN + "# another byte\n")
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "ENVIRONMENT DRIFT"), done.err
    assert "code" in done.report["summary"]


def test_a_missing_artifact_says_what_was_tried(project: Project) -> None:
    (project.folder / "numbers.txt").unlink()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (3, "FAILED")
    assert "tried" in done.err
    assert "numbers.txt" in done.err


def test_a_crash_shows_its_last_words(project: Project) -> None:
    project.script = 'import sys\nprint("about to fail")\nraise RuntimeError("no such layer")\n'
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (4, "FAILED")
    assert "exit code 1: RuntimeError: no such layer" in done.report["failure"]["message"]
    assert done.report["failure"]["stage"] == "train"
    assert "about to fail" in done.err


def test_a_crash_while_evaluating_is_of_that_stage(project: Project) -> None:
    project.script = TRAIN.replace("value = sum", 'import time; time.sleep(1); raise SystemExit("bad")\nvalue = sum')
    project.write()
    done = project.run()
    assert (done.code, done.report["failure"]["stage"]) == (4, "evaluate")


def test_silence_is_ended_and_called_so(project: Project) -> None:
    project.script = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n"
    project.values["silence_limit_s"] = 1
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (4, "FAILED")
    assert "hung" in done.report["summary"].lower()
    assert "silence_limit_s" in done.report["failure"]["hint"]
    assert processes_of(project.folder) == []


def test_a_busy_training_is_not_silent(project: Project) -> None:
    project.script = "import time\nfor _ in range(25):\n    print('x', flush=True); time.sleep(0.1)\n" + TRAIN
    project.values["silence_limit_s"] = 1
    project.write()
    assert project.run().code == 0


def test_the_time_limit_has_its_own_words(project: Project) -> None:
    project.script = "import time\nwhile True:\n    print('x', flush=True); time.sleep(0.1)\n"
    project.values["time_limit_s"] = 1
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (4, "FAILED")
    assert "time limit of 1 s" in done.report["failure"]["message"]


@pytest.mark.parametrize(("how", "code", "word"), [("oom", 4, "memory"), ("lost", 3, "lost")])
def test_how_a_container_ended_decides_whose_fault_it_was(project: Project, how: str, code: int, word: str) -> None:
    project.wish["train"] = how
    done = project.run()
    assert (done.code, done.report["verdict"]) == (code, "FAILED")
    assert word in done.report["failure"]["message"]
    assert done.report["failure"]["hint"]


def test_threads_that_the_task_changed_are_drift(project: Project) -> None:
    line = 'tell(event="runtime", threads=4, cpu_capability="DEFAULT")\n'
    project.script = TRAIN.replace('tell(event="phase", phase="train")\n', line)
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (1, "ENVIRONMENT DRIFT")
    assert checks(done)["runtime"]["detail"] == "threads is 4, pinned 1"


def test_bad_lines_are_left_out_and_told_a_few_times(project: Project) -> None:
    bad = 'with open(os.environ["REPRO_METRICS"], "a") as file:\n    file.write("nonsense\\n" * 1000 + "x" * 3000000 + "\\n")\n'
    project.script = TRAIN.replace('tell(event="phase", phase="train")\n', bad)
    project.write()
    done = project.run()
    assert done.code == 0, done.err
    assert "1001 lines" in done.err
    assert done.err.count("left out") < 40


def test_a_metrics_file_that_is_a_link_is_not_followed(project: Project) -> None:
    secret = project.folder / "secret.jsonl"
    secret.write_text(json.dumps({"event": "metric", "name": "accuracy", "value": 0.6, "split": "test"}) + "\n")
    project.script = f'import os\nos.symlink({str(secret)!r}, os.environ["REPRO_METRICS"])\n'
    project.write()
    done = project.run()
    assert (done.code, done.report["verdict"]) == (5, "INCONCLUSIVE")


@pytest.mark.slow
def test_a_million_lines_do_no_harm(project: Project) -> None:
    project.script = TRAIN.replace(
        'print("step", step)', 'sys.stdout.write("a line of output that says little\\n" * 200000)'
    )
    project.write()
    done = project.run()
    assert done.code == 0, done.err
    log = project.only_run() / "logs" / "train.log"
    assert log.read_bytes().count(b"\n") == 1_000_000
    assert len(done.err.splitlines()) < 100


@pytest.mark.parametrize("stage", ["resolve", "image", "artifacts", "environment", "train", "evaluate", "verify"])
def test_a_worker_killed_in_any_stage_is_noticed_and_the_next_run_is_whole(project: Project, stage: str) -> None:
    project.wish |= {"killed": stage, "once": str(project.folder / "once")}
    project.script = TRAIN.replace('phase="evaluate")', 'phase="evaluate"); import time; time.sleep(0.5)')
    project.write()
    killed = project.run()
    assert killed.code == 3
    assert killed.out == ""
    assert "was killed by signal 9" in killed.err
    assert "worker.log" in killed.err
    again = project.run()
    assert (again.code, again.report["verdict"]) == (0, "REPRODUCED"), again.err


def test_a_manifest_written_on_windows_runs(project: Project) -> None:
    project.manifest.write_bytes(project.manifest.read_bytes().replace(b"\n", b"\r\n"))
    assert project.run().code == 0


def test_a_full_disk_is_reported_all_the_same(project: Project) -> None:
    project.wish["full"] = "train"
    done = project.run()
    assert (done.code, done.report["verdict"]) == (3, "FAILED")
    assert "no space left" in done.report["failure"]["message"]
    assert "prune" in done.report["failure"]["hint"]


def test_two_runs_at_once_do_not_meet(project: Project) -> None:
    both = [project.start("run", str(project.manifest), "--engine", "fake", "--json") for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert len({json.loads(out)["run"]["id"] for out, _ in ended}) == 2


def test_a_closed_terminal_does_not_stop_a_run(project: Project) -> None:
    project.script = TRAIN.replace('phase="train")', 'phase="train"); import time; time.sleep(1)')
    project.write()
    with project.start("run", str(project.manifest), "--engine", "fake") as process:
        run = project.wait_for("train")
        kill(process.pid)
        process.communicate()
    eventually((run / "report.json").is_file)
    assert json.loads((run / "report.json").read_text())["verdict"] == "REPRODUCED"
    eventually(lambda: processes_of(project.folder) == [])


def test_without_json_the_verdict_is_on_stdout_and_the_story_on_stderr(project: Project) -> None:
    done = project.command("--run", str(project.manifest), "--engine", "fake")
    assert done.code == 0
    assert "REPRODUCED: " in done.out
    for stage in ("resolve", "image", "artifacts", "environment", "train", "evaluate", "verify", "report"):
        assert f"\n{stage} …\n" in done.err
    assert done.err.index("environment hash: match") < done.err.index("train …"), "told in the order in which it came"


def test_runs_go_where_they_are_told(project: Project, tmp_path: Path) -> None:
    project.variables["REPRO_TUI_RUNS"] = str(tmp_path / "elsewhere")
    assert project.run().code == 0
    assert project.run("--runs", str(tmp_path / "there")).code == 0
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    assert len(list((tmp_path / "there").iterdir())) == 1
    assert not project.runs.exists()
