"""Training that is slow, greedy, broken, silent, talkative or hostile: the run says so, and keeps the host out of it."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from tests.system.lab import Lab, Result, nothing_left, processes_with

GOOD = "tell('metric', name='accuracy', value=0.75)\n"


def ended(lab: Lab, script: str, **resources: object) -> Result:
    """Run a script in place of the training; whatever it does, nothing of it is left."""
    lab.script(script, **resources)
    done = lab.run()
    assert done.run is not None, str(done)
    nothing_left(done.run.name)
    assert (done.run / "report.json").is_file()
    assert "this should not have happened" not in done.err
    return done


def failed(done: Result, *words: str) -> None:
    """Assert that the run itself failed, and that the summary says how."""
    assert (done.code, done.verdict) == (4, "FAILED"), str(done)
    for word in words:
        assert word in done.summary, done.summary
    assert "hint:" in done.err


def test_the_time_limit(lab: Lab) -> None:
    done = ended(lab, "print('still here', flush=True)\ntime.sleep(60)\n", time_limit_s=1)
    failed(done, "time limit of 1 s")
    assert done.report["timings_s"]["train"] < 10


def test_out_of_memory(lab: Lab) -> None:
    script = "kept = []\nwhile True:\n    kept.append(bytearray(b'x' * (8 << 20)))\n    time.sleep(0.02)\n"
    failed(ended(lab, script, memory="96 MiB"), "out of memory", "0.1 GiB")


def test_a_crash(lab: Lab) -> None:
    done = ended(lab, "print('about to')\nraise ValueError('the third row is odd')\n")
    failed(done, "exit code 1", "ValueError: the third row is odd")
    assert done.run is not None
    log = (done.run / "logs/train.log").read_text()
    assert "about to" in log
    assert log.count("Traceback") == 1


def test_a_signal(lab: Lab) -> None:
    failed(ended(lab, "os.kill(os.getpid(), signal.SIGSEGV)\n"), "signal 11")


def test_a_program_that_is_not_there(lab: Lab) -> None:
    lab.manifest["task"]["command"] = ["no-such-program", "{rate}"]
    failed(ended(lab, ""), "no-such-program")


def test_a_hang(lab: Lab) -> None:
    done = ended(lab, "print('one word', flush=True)\ntime.sleep(60)\n", silence_limit_s=2)
    failed(done, "Hung", "2 s")


def test_a_million_lines_of_log(lab: Lab) -> None:
    done = ended(lab, "for number in range(1_000_000):\n    print(number)\n" + GOOD)
    done.expect(0, "REPRODUCED")
    assert done.run is not None
    log = (done.run / "logs/train.log").read_bytes()
    assert log == b"".join(b"%d\n" % number for number in range(1_000_000))
    assert done.report["timings_s"]["train"] + done.report["timings_s"]["evaluate"] < 20


def test_a_hundred_thousand_steps(lab: Lab) -> None:
    script = """
with open(os.environ["REPRO_METRICS"], "a") as file:
    for step in range(1, 100_001):
        file.write(json.dumps({"event": "step", "step": step, "total": 100_000, "loss": 1 / step}) + "\\n")
tell("metric", name="accuracy", value=0.75)
"""
    done = ended(lab, script)
    done.expect(0, "REPRODUCED")
    assert done.run is not None
    assert (done.run / "out/metrics.jsonl").read_bytes().count(b"\n") == 100_001
    assert (done.run / "events.jsonl").stat().st_size < 1 << 20


@pytest.mark.parametrize("value", ["float('nan')", "'-inf'"])
def test_a_metric_that_is_not_finite(lab: Lab, value: str) -> None:
    done = ended(
        lab, f"tell('step', step=1, total=1, loss=float('nan'))\ntell('metric', name='accuracy', value={value})\n"
    )
    done.expect(1, "METRICS DIFFER")
    assert "not finite" in done.checks["metric test/accuracy"]["detail"]
    json.dumps(done.report, allow_nan=False)


def test_no_metric_at_all(lab: Lab) -> None:
    done = ended(lab, "print('done')\n")
    done.expect(5, "INCONCLUSIVE")
    assert "accuracy" in done.summary
    assert "did not report it" in done.summary


def test_a_metric_that_is_no_number(lab: Lab) -> None:
    ended(lab, "tell('metric', name='accuracy', value='high')\n").expect(5, "INCONCLUSIVE")


def test_malformed_lines_are_told_and_left_out(lab: Lab) -> None:
    script = r"""
bad = [b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"event": "surprise"}', b'{"event": ["metric"]}', b'{"event": "metric"}',
       b'{"event": "metric", "name": "accuracy", "value": [1]}', b'{"event": "step", "step": 1e400}', b"[" * 100_000,
       b'{"event": "note", "text": "' + b"x" * (2 << 20) + b'"}', b"\x1b[2J\x1b]0;title\x07", b'{"event": "table", "name": "t", "columns": [], "rows": [1]}']
with open(os.environ["REPRO_METRICS"], "ab") as file:
    for line in bad:
        file.write(line + b"\n")
    file.write(b'{"event": "metric", "name": "accuracy", "value": 0.75}')
"""
    done = ended(lab, script)
    done.expect(0, "REPRODUCED")
    assert "left out of the metrics file" in done.err
    assert "\x1b" not in done.err


# --- what would lead out of /out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "link to the log"])
def test_a_metrics_file_that_is_none(lab: Lab, what: str) -> None:
    make = {
        "link": "os.symlink('/etc/passwd', OUT / 'metrics.jsonl')",
        "pipe": "os.mkfifo(OUT / 'metrics.jsonl')",
        "folder": "os.mkdir(OUT / 'metrics.jsonl')",
        "link to the log": "os.symlink('../logs/train.log', OUT / 'metrics.jsonl')\n"
        """print('{"event": "metric", "name": "accuracy", "value": 0.75}', flush=True)""",
    }
    done = ended(lab, make[what] + "\ntime.sleep(0.5)\n")
    done.expect(5, "INCONCLUSIVE")
    assert "root:" not in done.err + done.out


def test_outputs_outside_of_out_are_never_hashed(lab: Lab) -> None:
    paths = ["/etc/passwd", "../../../../../../etc/passwd", "link", "folder/passwd", "/proc/self/environ", "", "."]
    lab.script(
        "os.symlink('/etc/passwd', OUT / 'link')\nos.symlink('/etc', OUT / 'folder')\n"
        f"for number, path in enumerate({paths!r}):\n    tell('output', name=f'output-{{number}}', path=path)\n" + GOOD
    )
    host = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
    names = [f"output-{number}" for number in range(len(paths))]
    lab.manifest["expected"]["digests"] = [{"name": name, "sha256": host} for name in names]
    done = lab.run().expect(5, "INCONCLUSIVE")
    assert {done.checks[f"digest {name}"]["status"] for name in names} == {"unverifiable"}
    assert done.run is not None
    assert host not in (done.run / "record.json").read_text()


def test_a_claimed_digest_is_not_believed(lab: Lab) -> None:
    lab.script("(OUT / 'weights').write_text('other')\n"
               f"tell('output', name='weights', path='weights', sha256='{'a' * 64}')\n" + GOOD)  # fmt: skip
    lab.manifest["expected"]["digests"] = [{"name": "weights", "sha256": "a" * 64}]
    lab.run().expect(1, "METRICS DIFFER")


def test_what_the_training_can_reach(lab: Lab) -> None:
    script = """
found = []
for path in ("/code/train.py", "/inputs/data/train.tsv", "/job/job.json", "/usr/bin/env", "/etc/passwd"):
    try:
        open(path, "a").close()
        found.append(path)
    except OSError:
        pass
for path in ("/inputs/new", "/code/new", "/new", "/home/repro/new"):
    try:
        os.mkdir(path)
        found.append(path)
    except OSError:
        pass
import socket
found += [name for _, name in socket.if_nameindex() if name != "lo"]
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=1)
    found.append("the host's loopback")
except OSError:
    pass
found += [key for key in os.environ if key.startswith(("SSH", "SECRET", "REPRO_TUI"))]
if os.getuid() != 1000 or len(os.listdir("/proc")) > 200:
    found.append("not alone")
tell("note", text=json.dumps(found))
tell("metric", name="accuracy", value=0.75 if not found else 0.0)
"""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        lab.manifest["task"]["command"] = ["python3", "train.py", str(server.getsockname()[1])]
        lab.environment = {"SECRET_TOKEN": "hunter2"}
        done = ended(lab, script)
        assert done.run is not None
        done.expect(0, "REPRODUCED"), (done.run / "out/metrics.jsonl").read_text()
    for path in done.run.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_children_that_are_left_behind_are_gone(lab: Lab) -> None:
    script = """
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "98765"])
        time.sleep(98765)
"""
    started = time.monotonic()
    ended(lab, script + GOOD).expect(0, "REPRODUCED")
    assert time.monotonic() - started < 30
    assert not processes_with("sleep 98765")


def test_too_many_processes(lab: Lab) -> None:
    script = "while True:\n    if os.fork() == 0:\n        time.sleep(60)\n"
    done = ended(lab, script, processes=32, time_limit_s=20)
    assert done.code == 4, str(done)
