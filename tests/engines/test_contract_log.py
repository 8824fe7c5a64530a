"""What every real engine promises: a log in which nothing is lost, added or moved."""

from __future__ import annotations

import pytest

from repro_tui.engines.base import EndReason, Mount
from tests.engines.engine_bench import Bench, wait_for_text

pytestmark = pytest.mark.engine


def test_a_million_lines_are_all_there_in_order(bench: Bench) -> None:
    outcome = bench.run(
        "import sys\nfor start in range(0, 1_000_000, 1000):\n"
        "    sys.stdout.write(''.join(f'line {n}\\n' for n in range(start, start + 1000)))"
    )
    assert outcome.ok
    assert bench.log.read_bytes() == b"".join(b"line %d\n" % n for n in range(1_000_000))


def test_unbuffered_lines_of_both_streams_are_all_there(bench: Bench) -> None:
    outcome = bench.run(
        "import os\nfor n in range(20_000):\n    os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n)"
    )
    assert outcome.ok
    lines = bench.log.read_bytes().splitlines()
    assert [line for line in lines if line.startswith(b"out")] == [b"out %d" % n for n in range(20_000)]
    assert [line for line in lines if line.startswith(b"err")] == [b"err %d" % n for n in range(20_000)]
    assert len(lines) == 40_000


@pytest.mark.parametrize(
    "output",
    [b"", b"no newline at the end", b"\x00\xff\xfe\x80binary\r\n\r", b"x" * 300_000],
    ids=lambda data: f"{len(data)} bytes",
)
def test_output_is_kept_as_it_is(bench: Bench, output: bytes) -> None:
    (bench.folder / "given").write_bytes(output)
    outcome = bench.run(
        "import os\ndata = open('/inputs/given', 'rb').read()\nwhile data: data = data[os.write(1, data):]",
        mounts=[Mount(bench.folder / "given", "/inputs/given")],
    )
    assert outcome.ok
    assert bench.log.read_bytes() == output


def test_the_log_is_appended_to(bench: Bench) -> None:
    bench.log.write_text("before\n")
    bench.run("print('after')")
    assert bench.log.read_text() == "before\nafter\n"


def test_a_line_in_parts_is_one_line(bench: Bench) -> None:
    outcome = bench.run(
        "import os, time\nfor part in (b'epoch', b' 1', b' of 3\\n', b'ep'):\n    os.write(1, part); time.sleep(0.3)"
    )
    assert outcome.ok
    assert bench.log.read_bytes() == b"epoch 1 of 3\nep"


def test_what_was_said_before_a_kill_is_kept(bench: Bench) -> None:
    outcome = bench.run("import os\nos.write(1, b'whole\\nhalf a line')\nos.kill(os.getpid(), 9)")
    assert outcome.reason is EndReason.SIGNALLED
    assert bench.log.read_bytes() == b"whole\nhalf a line"


def test_lines_are_there_while_it_runs(bench: Bench) -> None:
    running = bench.start_python("import time; print('first', flush=True); time.sleep(60)")
    wait_for_text(bench.log, "first\n")
    assert running.wait(0) is None
