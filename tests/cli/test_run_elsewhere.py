"""Runs seen from other shells: detach, attach, cancel, list, show, logs; and Ctrl-C in the shell that started one."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.project import TRAIN, Project, eventually, processes_of

SLOW = TRAIN.replace('phase="train")', 'phase="train"); import time; time.sleep(1.5)')
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(60)\n"
)


def slow(project: Project, script: str = SLOW) -> Project:
    project.script = script
    project.write()
    return project


def has_begun(run: Path) -> bool:
    log = run / "logs" / "train.log"
    return log.is_file() and "begun" in log.read_text()


def report(run: Path) -> dict[str, object]:
    body: dict[str, object] = json.loads((run / "report.json").read_text())
    return body


def test_detach_returns_at_once_and_attach_sees_the_verdict(project: Project) -> None:
    slow(project)
    detached = project.command("run", str(project.manifest), "--engine", "fake", "--detach")
    assert detached.code == 0
    assert detached.out.strip() == project.only_run().name
    assert f"repro-tui attach {detached.out.strip()}" in detached.err
    assert not (project.only_run() / "report.json").exists()

    attached = project.command("attach", "last", "--json")
    assert (attached.code, attached.report["verdict"]) == (0, "REPRODUCED")
    again = project.command("attach", detached.out.strip()[:12])
    assert again.code == 0, "a run that has ended can be looked at in the same way"
    assert "REPRODUCED" in again.out


@pytest.mark.parametrize("stage", ["resolve", "image", "artifacts", "environment", "train", "evaluate"])
def test_a_cancel_from_another_shell_ends_the_run_in_any_stage(project: Project, stage: str) -> None:
    project.wish["slow"] = {stage: 30}
    with project.start("run", str(project.manifest), "--engine", "fake", "--json") as process:
        run = project.wait_for(stage)
        cancelled = project.command("cancel", "last")
        out, err = process.communicate(timeout=30)
    assert cancelled.code == 0, cancelled.err
    assert process.returncode == 130
    assert json.loads(out)["verdict"] == report(run)["verdict"] == "CANCELLED"
    assert f"{stage} cancelled" in err
    assert processes_of(project.folder) == []


def test_a_training_that_heeds_sigterm_ends_at_once(project: Project) -> None:
    slow(project, "import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    with project.start("run", str(project.manifest), "--engine", "fake") as process:
        run = project.wait_for("train")
        started = time.monotonic()
        assert project.command("cancel", run.name).code == 0
        process.communicate(timeout=30)
    assert time.monotonic() - started < 8
    assert process.returncode == 130


def test_now_kills_a_training_that_does_not_listen(project: Project) -> None:
    slow(project, STUBBORN)
    with project.start("run", str(project.manifest), "--engine", "fake") as process:
        run = project.wait_for("train")
        eventually(lambda: has_begun(run))
        started = time.monotonic()
        assert project.command("cancel", "--now", run.name).code == 0
        process.communicate(timeout=30)
    assert time.monotonic() - started < 8
    assert processes_of(project.folder) == []


def test_ctrl_c_cancels_and_says_that_it_waits(project: Project) -> None:
    slow(project, "import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    with project.start("run", str(project.manifest), "--engine", "fake", "--json") as process:
        run = project.wait_for("train")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["verdict"] == "CANCELLED"
    assert "cancelling" in err
    assert report(run)["exit_code"] == 130


def test_ctrl_c_twice_kills(project: Project) -> None:
    slow(project, STUBBORN)
    with project.start("run", str(project.manifest), "--engine", "fake") as process:
        run = project.wait_for("train")
        eventually(lambda: has_begun(run))
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 8, "the ten seconds were not waited for"


def test_ctrl_c_in_attach_leaves_the_run_alone(project: Project) -> None:
    slow(project)
    project.command("run", str(project.manifest), "--engine", "fake", "--detach")
    run = project.wait_for("train")
    with project.start("attach", "last") as process:
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the run goes on" in err
    eventually((run / "report.json").is_file)
    assert report(run)["verdict"] == "REPRODUCED"


def test_a_cancel_of_a_run_that_has_ended_says_so(project: Project) -> None:
    project.run()
    done = project.command("cancel", "last")
    assert done.code == 1
    assert "is not running" in done.err


def test_list_and_show_and_logs_tell_of_a_run(project: Project) -> None:
    project.run()
    name = project.only_run().name
    (entry,) = json.loads(project.command("list", "--json").out)
    assert (entry["id"], entry["status"], entry["exit_code"]) == (name, "REPRODUCED", 0)
    assert name in project.command("list").out

    assert "REPRODUCED" in project.command("show", "last").out
    assert json.loads(project.command("show", "last", "--json").out)["verdict"] == "REPRODUCED"
    assert project.command("show", "last", "--markdown").out == (project.only_run() / "report.md").read_text()

    assert project.command("logs", "last", "--stage", "train").out == "".join(f"step {n}\n" for n in range(1, 6))
    missing = project.command("logs", "last", "--stage", "no-such")
    assert missing.code == 2
    assert "train" in missing.err


def test_logs_follow_a_run_to_its_end(project: Project) -> None:
    slow(project)
    project.command("run", str(project.manifest), "--engine", "fake", "--detach")
    project.wait_for("train")
    followed = project.command("logs", "-f", "--stage", "train", "last")
    assert followed.code == 0
    assert followed.out.endswith("step 5\n")


def test_a_reader_that_leaves_is_no_error(project: Project) -> None:
    slow(project, "import sys\nsys.stdout.write('line\\n' * 300000)\n" + TRAIN)
    project.run()
    for words in (["logs", "last"], ["list", "--json"], ["show", "last", "--json"], ["--help"]):
        process = subprocess.run(
            f"{sys.executable} -m repro_tui {' '.join(words)} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}",
            shell=True, executable="/bin/bash", cwd=project.folder, env=dict(project.environment), capture_output=True,
            text=True, timeout=60, check=True,
        )  # fmt: skip
        assert process.stderr == "", words


def test_on_a_terminal_the_stages_are_drawn(project: Project) -> None:
    slow(project)
    main, side = pty.openpty()
    with project.start("run", str(project.manifest), "--engine", "fake", stdout=side, stderr=side) as process:
        os.close(side)
        drawn = b""
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:
                break
            if not chunk:
                break
            drawn += chunk
    os.close(main)
    assert process.returncode == 0
    text = drawn.decode(errors="replace")
    assert "A tiny experiment" in text
    for word in ("running", "passed", "environment", "REPRODUCED"):
        assert word in text
    assert text.rstrip().endswith("report.md")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"
