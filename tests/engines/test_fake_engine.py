"""The fake engine keeps the protocol, so that tests that use it mean something."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_tui.engines import fake
from repro_tui.engines.base import ContainerSpec, EndReason, Limits, Mount, Running
from repro_tui.engines.fake import FakeContainer, FakeEngine
from repro_tui.errors import EngineError
from repro_tui.images.model import Image

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    (tmp_path / "out").mkdir()
    image = Image("none", "linux/amd64", "", "", (), tmp_path, tmp_path, tmp_path)

    def begin(*argv: str, engine: FakeEngine | None = None, **given: object) -> Running:
        mounts = given.pop("mounts", [])
        limits = given.pop("limits", Limits())
        assert isinstance(mounts, list)
        assert isinstance(limits, Limits)
        spec = ContainerSpec(
            name="repro-tui-x-train", run_id="x", argv=argv, log=tmp_path / "log", limits=limits,
            environment={"PATH": "/usr/bin:/bin", "REPRO_OUT": "/out"},
            mounts=[Mount(tmp_path / "out", "/out", read_only=False), *mounts],
        )  # fmt: skip
        return (engine or FakeEngine()).start(image, spec)

    return begin


def test_paths_lead_to_what_is_mounted(start: Start, tmp_path: Path) -> None:
    job, data = tmp_path / "job", tmp_path / "data"
    job.mkdir()
    data.mkdir()
    (data / "f").write_text("content")
    (job / "job.json").write_text(json.dumps({"data": "/inputs/data/f", "out": "/out", "text": "a/out of b"}))
    code = (
        "import json, os\njob = json.load(open('/job/job.json'))\n"
        "open(os.environ['REPRO_OUT'] + '/result', 'w').write(open(job['data']).read() + job['text'])\nprint(os.getcwd() == os.path.realpath(job['out']))"
    )
    outcome = start("python3", "-c", code, mounts=[Mount(job, "/job"), Mount(data, "/inputs/data")]).wait(30)
    assert outcome is not None
    assert outcome.ok
    assert (tmp_path / "out/result").read_text() == "contenta/out of b"
    assert (tmp_path / "log").read_text() == "True\n"
    assert json.loads((job / "job.json").read_text())["out"] == "/out"


@pytest.mark.parametrize(
    ("behaviour", "reason", "code"),
    [
        (fake.out_of_memory, EndReason.OUT_OF_MEMORY, 137),
        (fake.lost, EndReason.LOST, None),
        (lambda _: 3, EndReason.EXITED, 3),
    ],
)
def test_it_ends_as_told(start: Start, behaviour: fake.Behaviour, reason: EndReason, code: int | None) -> None:
    outcome = start("x", engine=FakeEngine({"train": behaviour})).wait(10)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (reason, code)


def test_a_function_can_write_where_the_container_would(start: Start, tmp_path: Path) -> None:
    def behave(container: FakeContainer) -> int:
        container.path("/out/made").write_text("x")
        container.log("said\n")
        return 0

    outcome = start("x", engine=FakeEngine({"-train": behave})).wait(10)
    assert outcome is not None
    assert outcome.ok
    assert (tmp_path / "out/made").read_text() == "x"
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_hang_ends_at_the_time_limit_or_by_stop(start: Start) -> None:
    outcome = start("x", engine=FakeEngine({"train": fake.hang}), limits=Limits(time_s=0.1)).wait(10)
    assert outcome is not None
    assert outcome.reason is EndReason.TIME_LIMIT
    running = start("x", engine=FakeEngine({"train": fake.hang}))
    assert running.wait(0.05) is None
    running.stop(5)
    outcome = running.wait(10)
    assert outcome is not None
    assert outcome.reason is EndReason.STOPPED


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(start: Start, tmp_path: Path) -> None:
    running = start(
        "python3", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    deadline = time.monotonic() + 20
    while (tmp_path / "log").read_text() != "1\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert running.usage() is not None
    running.stop(0.2)
    outcome = running.wait(10)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.STOPPED, 137)


def test_what_is_not_there_cannot_be_mounted(start: Start, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not there"):
        start("x", mounts=[Mount(tmp_path / "no", "/job")])
