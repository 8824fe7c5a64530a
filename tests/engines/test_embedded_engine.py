"""What is the embedded engine's own: running in a root folder, and limits that are only watched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.engines import cgroups, processes, sandbox, user_namespaces, workers
from repro_tui.engines.base import EndReason, Limits, Mount
from repro_tui.engines.embedded import EmbeddedEngine, run_in_root
from repro_tui.errors import EngineError
from repro_tui.images.model import Image
from tests.engines.engine_bench import PYTHON, Bench

pytestmark = pytest.mark.engine
on_embedded = pytest.mark.parametrize("engine", ["embedded"], indirect=True)


@pytest.fixture
def without_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_parents", lambda: (0, {}))


@on_embedded
@pytest.mark.usefixtures("without_groups")
def test_memory_is_sampled_where_no_group_can_be_made(bench: Bench) -> None:
    assert bench.engine.capabilities()["memory"].startswith("sampled")
    outcome = bench.run(
        "import time\nheld = []\nfor _ in range(1000): held.append(b'x' * (8 << 20)); time.sleep(0.01)",
        limits=Limits(memory_bytes=256 << 20, time_s=60),
    )
    assert (outcome.reason, outcome.exit_code) == (EndReason.OUT_OF_MEMORY, 137)
    assert "sampled" in outcome.detail


@on_embedded
@pytest.mark.usefixtures("without_groups")
def test_shared_pages_do_not_count_for_every_process(bench: Bench) -> None:
    """Resident sets of four processes that share 150 MB add up to 600 MB; what they hold is 150 MB."""
    outcome = bench.run(
        "import os, time\nheld = b'x' * (150 << 20)\nchildren = []\n"
        "for _ in range(3):\n    pid = os.fork()\n    if pid == 0: sum(held[::4096]); time.sleep(1.5); os._exit(0)\n    children.append(pid)\n"
        "for pid in children: os.waitpid(pid, 0)",
        limits=Limits(memory_bytes=400 << 20, time_s=60),
    )
    assert outcome.ok, outcome


@on_embedded
@pytest.mark.usefixtures("without_groups")
def test_processes_are_sampled_where_no_group_can_be_made(bench: Bench) -> None:
    outcome = bench.run(
        "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(30); os._exit(0)\ntime.sleep(30)",
        limits=Limits(processes=20, time_s=60),
    )
    assert outcome.reason is EndReason.SIGNALLED
    assert "of 20" in outcome.detail


@on_embedded
@pytest.mark.usefixtures("without_groups")
def test_cpus_are_an_affinity_where_no_group_can_be_made(bench: Bench) -> None:
    assert bench.ask("print(json.dumps(len(os.sched_getaffinity(0))))", limits=Limits(cpus=0.5)) == 1


@on_embedded
def test_a_command_in_a_root_folder_gives_its_exit_code_and_log(bench: Bench, image: Image) -> None:
    given = bench.folder / "given"
    given.mkdir()
    (given / "name").write_text("x")
    code = run_in_root(
        image.root, [PYTHON, "-I", "-S", "-c", "import os; print(os.getcwd(), os.listdir('/inputs/a')); raise SystemExit(9)"],
        environment={"HOME": "/tmp"}, mounts=[(given, "/inputs/a", True), (bench.out, "/out", False)], log=bench.log,
    )  # fmt: skip
    assert code == 9
    assert bench.log.read_text() == "/ ['name']\n"


def test_a_bubblewrap_that_starts_nothing_is_an_error_with_its_words(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    program = sandbox.Bubblewrap(fake, (0, 8), "host")
    monkeypatch.setattr(sandbox, "choose", lambda: (program, ""))
    with pytest.raises(EngineError, match="No permissions to create new namespace"):
        run_in_root(image.root, ["true"], environment={}, mounts=[], log=tmp_path / "log")


def test_without_bubblewrap_the_error_says_how_to_get_it(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "choose", lambda: (None, "no bubblewrap of version 0.8 or later is on PATH"))
    assert not EmbeddedEngine().availability().ok
    with pytest.raises(EngineError) as raised:
        run_in_root(image.root, ["true"], environment={}, mounts=[], log=tmp_path / "log")
    assert "bubblewrap" in raised.value.hint


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"kernel/unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"),
        ({"user/max_user_namespaces": "0"}, "user.max_user_namespaces=15000"),
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_the_remedy_names_the_setting_that_forbids(
    settings: dict[str, str], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name).write_text(value)
    obstacle, restricts = user_namespaces.obstacle, user_namespaces.apparmor_restricts
    monkeypatch.setattr(user_namespaces, "obstacle", lambda: obstacle(tmp_path))
    monkeypatch.setattr(user_namespaces, "apparmor_restricts", lambda: restricts(tmp_path))
    monkeypatch.setattr(user_namespaces, "attempt", lambda: "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sandbox, "choose", lambda: (None, "setting up uid map: Permission denied"))
    answer = EmbeddedEngine().availability()
    assert not answer.ok
    assert remedy in answer.remedy


@on_embedded
def test_the_network_is_the_hosts_where_it_is_asked_for(bench: Bench) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        outcome = bench.run(
            "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)",
            str(server.getsockname()[1]),
            network=True,
        )
    assert outcome.ok


@on_embedded
def test_setup_that_fails_is_lost_with_bubblewraps_words(bench: Bench) -> None:
    outcome = bench.start_python("pass", cwd="/no/such/folder").wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None)
    assert "/no/such/folder" in outcome.detail


@pytest.fixture
def bare(tmp_path: Path, image: Image) -> Image:
    """An image as registries have them: no places for our mounts, and those of the kernel's file systems missing too."""
    root = tmp_path / "bare root"
    shutil.copytree(image.root, root, symlinks=True)
    for name in ("proc", "dev", "tmp", "inputs", "code", "job", "out"):
        (root / name).rmdir()
    return replace(image, root=root)


@on_embedded
def test_an_image_without_our_mount_points_gets_them_in_an_overlay(bench: Bench, bare: Image) -> None:
    program, refusal = sandbox.choose_overlay(bare.root)
    if program is None:
        pytest.skip(f"no overlay for this user here: {refusal}")
    assert "made in an overlay" in bench.engine.capabilities()["root"]
    bench.image = bare
    before = sorted(str(path) for path in bare.root.rglob("*"))
    (bench.folder / "one").write_text("given")
    seen = bench.ask(
        "refused = {}\n"
        "for path in ('/x', '/new', '/etc/x', '/etc/passwd', '/data/x', '/data/deep/x', '/usr/x'):\n"
        "    try: open(path, 'w').close()\n"
        "    except OSError as error: refused[path] = error.strerror\n"
        "open('/out/written', 'w').close()\n"
        "print(json.dumps([refused, open('/etc/new').read(), os.listdir('/data/deep/set'), oct(os.stat('/data').st_mode),\n"
        "                  sorted(os.listdir('/'))]))",
        mounts=[Mount(bench.folder / "one", "/etc/new"), Mount(bench.folder, "/data/deep/set")],
    )
    assert seen[0] == dict.fromkeys(
        ("/x", "/new", "/etc/x", "/etc/passwd", "/data/x", "/data/deep/x", "/usr/x"), "Read-only file system"
    )
    assert seen[1] == "given"
    assert "one" in seen[2]
    assert seen[3] == oct(0o40755)
    assert {"proc", "dev", "tmp", "out", "data", "etc", "usr"} <= set(seen[4])
    assert (bench.out / "written").exists()
    assert sorted(str(path) for path in bare.root.rglob("*")) == before


@on_embedded
def test_without_an_overlay_the_error_names_the_place_and_the_reason(
    bench: Bench, bare: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "choose_overlay", lambda below: (None, "the kernel says no"))
    bench.image = bare
    with pytest.raises(EngineError, match=r"nothing at /proc to mount on.*the kernel says no") as raised:
        bench.start_python("pass")
    assert "below an empty folder" in raised.value.hint
    assert "the kernel says no" in bench.engine.capabilities()["root"]


def test_a_worker_is_told_from_a_later_process_with_its_id() -> None:
    here = workers.current()
    assert workers.Worker.parse(str(here)) == here
    assert not here.is_dead()
    assert workers.Worker(here.node, here.boot, here.pid_namespace, here.pid, here.start_ticks + 1).is_dead()
    assert workers.Worker(here.node, "another boot", here.pid_namespace, here.pid, here.start_ticks).is_dead()
    assert not workers.Worker("another machine", "b", here.pid_namespace, here.pid, 1).is_dead()
    assert not workers.Worker(here.node, here.boot, "another namespace", here.pid, 1).is_dead()
    assert workers.Worker.parse("nonsense") is None


def test_usage_counts_children_that_ended_and_that_run() -> None:
    code = (
        "import os, sys, time\nheld = b'x' * (50 << 20)\npid = os.fork()\n"
        "if pid == 0:\n    while time.process_time() < 0.3: pass\n    os._exit(0)\n"
        "os.waitpid(pid, 0)\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        usage = processes.usage(process.pid)
        exact = processes.exact_memory_bytes(process.pid)
        process.kill()
    assert usage is not None
    assert usage.cpu_s >= 0.29
    assert usage.memory_bytes > 50 << 20
    assert 50 << 20 < exact < 200 << 20
    assert processes.usage(process.pid) is None
