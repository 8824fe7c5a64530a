"""What every real engine promises: a sandbox, probed from inside (tests/engines/escapes.py), and what a process sees."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from repro_tui.engines.base import Engine
from repro_tui.images.model import Image
from tests.engines.engine_bench import Bench
from tests.engines.escapes import ATTEMPTS, RUNNER, Attempt, judge, targets

pytestmark = pytest.mark.engine


@pytest.fixture(scope="session")
def answers(engine: Engine, image: Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Make every attempt, in one container."""
    folder = tmp_path_factory.mktemp("escapes")
    (folder / "out").mkdir()
    bench = Bench(engine, image, folder, hashlib.sha256(str(folder).encode()).hexdigest()[:12])
    with targets(folder, engine.availability().host.removeprefix("unix://")) as mounts:
        outcome = bench.run(RUNNER, mounts=mounts)
    assert outcome.ok, bench.log.read_text(errors="replace")
    answers: dict[str, list[str]] = json.loads(bench.log.read_text().splitlines()[-1])
    return answers


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_it_is_refused_to(
    engine: Engine, answers: dict[str, list[str]], attempt: Attempt, record_property: Callable[[str, object], None]
) -> None:
    answer = judge(attempt, answers[attempt.name])
    record_property("refused", answer.refused)
    if not answer.refused and not answer.error:
        capability, words = attempt.unless
        assert words, f"it {answer.text}"
        assert words in engine.capabilities()[capability], f"it {answer.text}, and the capabilities do not say so"
        return
    assert answer.refused, f"{answer.error}: {answer.text}; expected {' or '.join(attempt.errors)}"


def test_attempts_have_names_of_their_own() -> None:
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS) >= 20


PROBE = r"""
import glob, resource, socket
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
print(json.dumps({
    "uid": [os.getuid(), os.geteuid(), os.getgid()],
    "capabilities": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status.get("Seccomp", "0").strip(),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "writable_settings": [path for path in glob.glob("/proc/sys/*/*") + ["/proc/sysrq-trigger"] if os.access(path, os.W_OK)],
    "devices": sorted(path for path in glob.glob("/dev/*") if not os.path.islink(path) and not os.path.isdir(path)),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()),
    "core_limit": resource.getrlimit(resource.RLIMIT_CORE),
    "hostname": socket.gethostname(),
    "first_process": open("/proc/1/cmdline").read(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    "mounted_writable": sorted({line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[5].startswith("rw")}),
}))
"""


def test_what_a_process_sees_of_itself_and_around_it(bench: Bench) -> None:
    found = bench.ask(PROBE)
    assert 0 not in found["uid"]
    assert found["capabilities"] == [0] * 5
    assert found["no_new_privileges"] == "1"
    assert found["seccomp"] == ("0" if "no seccomp" in bench.engine.capabilities()["user"] else "2")
    assert found["interfaces"] == ["lo"]
    assert found["writable_settings"] == []
    assert set(found["devices"]) <= {
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
    }
    assert max(found["processes"]) < 50
    assert len(found["processes"]) <= 3
    assert found["core_limit"] == [0, 0]
    assert found["hostname"] == "repro-tui"
    assert str(bench.image.root) not in found["first_process"]
    assert set(found["descriptors"]) <= {0, 1, 2, 3}
    assert "/" not in found["mounted_writable"]
    assert "/out" in found["mounted_writable"]
