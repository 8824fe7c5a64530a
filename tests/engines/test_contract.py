"""What every real engine promises, probed from inside and outside of real containers."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.engines.base import EndReason, Engine, Limits, Mount
from repro_tui.errors import EngineError, ReproError
from repro_tui.images.model import Image
from tests.engines.engine_bench import PYTHON, Bench, kill, python_of_nobody

pytestmark = pytest.mark.engine

MIB = 1 << 20


def test_exit_codes_are_the_commands(bench: Bench) -> None:
    for code in (0, 1, 3, 127):
        outcome = bench.run(f"raise SystemExit({code})")
        assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, code)
        assert outcome.ok == (code == 0)
        assert 0 < outcome.elapsed_s < 30


def test_a_command_that_is_not_there_ends_like_in_a_shell(bench: Bench) -> None:
    outcome = bench.start("/usr/bin/no-such-command").wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, 127)
    assert "no-such-command" in bench.log.read_text()


def test_a_signal_is_told_from_an_exit(bench: Bench) -> None:
    for number in (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT):
        outcome = bench.run(f"import os; os.kill(os.getpid(), {int(number)})")
        assert (outcome.reason, outcome.exit_code) == (EndReason.SIGNALLED, 128 + number)


def test_stop_lets_it_end_by_itself(bench: Bench) -> None:
    running = bench.start_python(
        "import signal, sys, time\n"
        "def end(*_):\n    print('said goodbye', flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(100)"
    )
    wait_for_text(bench.log, "ready")
    before = time.monotonic()
    running.stop(30)
    assert time.monotonic() - before < 2
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.STOPPED, 7)
    assert bench.log.read_text() == "ready\nsaid goodbye\n"


def test_stop_kills_after_the_grace(bench: Bench) -> None:
    running = bench.start_python(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\n"
        "while True: time.sleep(100)"
    )
    wait_for_text(bench.log, "ready")
    before = time.monotonic()
    running.stop(0.5)
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.STOPPED, 137)
    assert 0.4 < time.monotonic() - before < 20


def test_stop_after_the_end_changes_nothing(bench: Bench) -> None:
    running = bench.start_python("raise SystemExit(5)")
    first = running.wait(60)
    running.stop(1)
    assert running.wait(1) == first
    assert first is not None
    assert first.reason is EndReason.EXITED


def test_many_threads_can_wait(bench: Bench) -> None:
    running = bench.start_python("import time; time.sleep(0.5)")
    assert running.wait(0.01) is None
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(running.wait(60))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [running.wait()] * 4
    assert seen[0] is not None


def test_the_time_limit_ends_it(bench: Bench) -> None:
    outcome = bench.run("import time; print('x', flush=True); time.sleep(100)", limits=Limits(time_s=1.0))
    assert outcome.reason is EndReason.TIME_LIMIT
    assert 1 <= outcome.elapsed_s < 20
    assert bench.log.read_text() == "x\n"


def test_memory_past_the_limit_ends_it(bench: Bench) -> None:
    outcome = bench.run(
        "held = []\nwhile True: held.append(bytearray(8 << 20))", limits=Limits(memory_bytes=256 * MIB, time_s=100)
    )
    assert (outcome.reason, outcome.exit_code) == (EndReason.OUT_OF_MEMORY, 137)
    assert outcome.peak_memory_bytes >= 200 * MIB


def test_a_killed_process_under_a_memory_limit_is_not_out_of_memory(bench: Bench) -> None:
    outcome = bench.run("import os; os.kill(os.getpid(), 9)", limits=Limits(memory_bytes=256 * MIB))
    assert outcome.reason is EndReason.SIGNALLED


def test_processes_past_the_limit_are_refused_or_end_it(bench: Bench) -> None:
    outcome = bench.run(
        "import os, sys, time\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "except BlockingIOError:\n    sys.exit(42)\n"
        "time.sleep(20)",
        limits=Limits(processes=20, time_s=60),
    )
    if bench.engine.capabilities()["processes"].startswith("enforced"):
        assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, 42)
    else:
        assert outcome.reason is EndReason.SIGNALLED
        assert "processes of 20" in outcome.detail


def test_cpus_are_limited(bench: Bench) -> None:
    code = (
        "import os, time, json\n"
        "children = 2\n"
        "for _ in range(children):\n"
        "    if os.fork() == 0:\n"
        "        end = time.monotonic() + 1.5\n"
        "        while time.monotonic() < end: pass\n"
        "        os._exit(0)\n"
        "for _ in range(children): os.wait()\n"
        "spent = os.times()\n"
        "print(json.dumps(spent.children_user + spent.children_system))"
    )
    assert bench.ask(code, limits=Limits(cpus=1.0, time_s=60)) < 1.5 * 1.35


def test_shared_memory_and_tmp_have_their_size(bench: Bench) -> None:
    sizes = bench.ask(
        "print(json.dumps([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/dev/shm', '/tmp')]))",
        limits=Limits(shared_memory_bytes=32 * MIB, memory_bytes=512 * MIB),
    )
    assert sizes == [32 * MIB, 512 * MIB]


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


def test_two_at_once_do_not_meet(bench: Bench) -> None:
    runs = []
    for name in ("one", "two"):
        out = bench.folder / name
        out.mkdir()
        runs.append(
            bench.start_python(
                "import sys, time; time.sleep(0.3); open('/inputs/mine/me', 'w').write(sys.argv[1]); print(sys.argv[1])",
                name,
                log=bench.folder / f"{name}.log",
                mounts=[Mount(out, "/inputs/mine", read_only=False)],
            )
        )
    assert all((outcome := running.wait(60)) is not None and outcome.ok for running in runs)
    for name in ("one", "two"):
        assert (bench.folder / name / "me").read_text() == name
        assert (bench.folder / f"{name}.log").read_text() == f"{name}\n"


def test_paths_with_spaces_and_unicode(bench: Bench) -> None:
    source = bench.folder / 'Ünï cödé: 数据, "x"=1'
    source.mkdir()
    (source / "ファイル.txt").write_text("hello")
    text = bench.ask(
        "print(json.dumps([open('/inputs/ein Ordner/ファイル.txt').read(), sys.argv[1], os.environ['NAME']]))",
        "ärg ümént $HOME",
        environment={"PATH": "/bin", "HOME": "/tmp", "NAME": "wert mit ß\nund Zeile", "PYTHONUTF8": "1"},
        mounts=[Mount(source, "/inputs/ein Ordner")],
    )
    assert text == ["hello", "ärg ümént $HOME", "wert mit ß\nund Zeile"]


def test_the_environment_is_exactly_the_given_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_HOST", "1")
    given = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "EMPTY": "", "A": "b=c"}
    seen = bench.ask("print(json.dumps(dict(os.environ)))", environment=given)
    seen.pop("LC_CTYPE", None)  # set by Python itself in the C locale
    assert seen == {**given, "HOSTNAME": "repro-tui", "PWD": "/out"}
    bench.log.unlink()
    without_path = bench.ask("print(json.dumps(dict(os.environ)))", environment={"HOME": "/tmp"})
    assert "PATH" not in without_path


def test_it_starts_where_it_should_with_the_hosts_umask_left_out(bench: Bench) -> None:
    old = os.umask(0o077)
    try:
        seen = bench.ask("open('made', 'w').close()\nprint(json.dumps([os.getcwd(), os.stat('made').st_mode & 0o777]))")
    finally:
        os.umask(old)
    assert seen == ["/out", 0o644]


def test_output_belongs_to_the_caller(bench: Bench) -> None:
    outcome = bench.run(
        "import os\nos.makedirs('/out/a/b')\nopen('/out/a/b/file', 'w').write('x')\nos.symlink('b', '/out/a/l')"
    )
    assert outcome.ok, bench.log.read_text()
    for path in [bench.out, *bench.out.rglob("*")]:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (os.geteuid(), os.getegid()), path
    assert (bench.out / "a/b/file").read_text() == "x"


def test_nothing_it_leaves_runs_with_the_callers_powers(bench: Bench) -> None:
    bench.run(
        "import os\nos.mkdir('/out/d')\nfor name in ('/out/a', '/out/d/b'):\n"
        "    open(name, 'w').close(); os.chmod(name, 0o6755)\n"
        "os.symlink('/etc', '/out/link')"
    )
    for name in ("a", "d/b"):
        assert stat.S_IMODE((bench.out / name).stat().st_mode) == 0o755
    assert (bench.out / "link").is_symlink()


PROBE = r"""
import ctypes, socket, glob
libc = ctypes.CDLL(None, use_errno=True)
def fails(action):
    try:
        return not action() and False
    except OSError as error:
        return error.strerror
def call(name, *arguments):
    def attempt():
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fails(attempt)
def connect(address):
    with socket.socket() as client:
        client.settimeout(2)
        client.connect(address)
def write(path):
    with open(path, "w") as file: file.write("x")
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
found = {
    "uid": [os.getuid(), os.geteuid(), os.getgid()],
    "capabilities": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "network": fails(lambda: connect(("192.0.2.1", 80))),
    "host_service": fails(lambda: connect(("127.0.0.1", int(sys.argv[1])))),
    "host_abstract_socket": fails(lambda: socket.socket(socket.AF_UNIX).connect("\0" + sys.argv[2])),
    "write_root": {path: fails(lambda: write(path)) for path in ("/x", "/etc/passwd", "/home/repro/x", "/usr/x")},
    "write_input": fails(lambda: write("/inputs/data/file")),
    "kernel_settings": [path for path in glob.glob("/proc/sys/*/*") + ["/proc/sysrq-trigger"] if os.access(path, os.W_OK)],
    "write_sysctl": fails(lambda: write("/proc/sys/kernel/hostname")),
    "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "remount": call("mount", None, b"/", None, 32 | 4096, None),
    "unshare_user": call("unshare", 0x10000000),
    "unshare_mount": call("unshare", 0x00020000),
    "setuid": call("setuid", 0),
    "chroot": call("chroot", b"/tmp"),
    "mknod": fails(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))),
    "devices": sorted(path for path in glob.glob("/dev/*") if not os.path.islink(path) and not os.path.isdir(path)),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()),
    "kill_host": fails(lambda: os.kill(int(sys.argv[3]), 0)),
    "ptrace_host": call("ptrace", 16, int(sys.argv[3]), 0, 0),
    "host_file": fails(lambda: open(sys.argv[4])),
    "docker_socket": os.path.exists("/var/run/docker.sock") or os.path.exists("/run/docker.sock"),
    "root_listing": sorted(os.listdir("/")),
    "core_limit": __import__("resource").getrlimit(4),
    "hostname": socket.gethostname(),
    "first_process": open("/proc/1/cmdline").read(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    "session_leader_is_not_the_hosts": os.getsid(0),
}
print(json.dumps(found))
"""


def test_the_sandbox_from_inside(bench: Bench) -> None:
    data = bench.folder / "data"
    data.mkdir()
    (data / "file").write_text("pinned")
    data.chmod(0o777)
    (data / "file").chmod(0o666)
    secret = bench.folder / "secret"
    secret.write_text("the host's")
    sleeper = subprocess.Popen(["sleep", "100"])
    abstract = f"repro-tui-test-{os.getpid()}"
    try:
        with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
            server.bind(("127.0.0.1", 0))
            server.listen()
            local.bind("\0" + abstract)
            local.listen()
            found = bench.ask(
                PROBE, str(server.getsockname()[1]), abstract, str(sleeper.pid), str(secret),
                mounts=[Mount(data, "/inputs/data")],
            )  # fmt: skip
    finally:
        sleeper.kill()
        sleeper.wait()
    assert 0 not in found["uid"]
    assert found["capabilities"] == [0] * 5
    assert found["no_new_privileges"] == "1"
    assert found["interfaces"] == ["lo"]
    for name in ("network", "host_service", "host_abstract_socket", "write_input", "write_sysctl", "mount", "remount"):
        assert found[name], name
    for name in (
        "unshare_user",
        "unshare_mount",
        "setuid",
        "chroot",
        "mknod",
        "kill_host",
        "ptrace_host",
        "host_file",
    ):
        if name == "unshare_user" and "may make its own user namespace" in bench.engine.capabilities()["user"]:
            continue  # said, not hidden: this daemon has no seccomp
        assert found[name], name
    assert all(found["write_root"].values()), found["write_root"]
    assert (data / "file").read_text() == "pinned"
    assert set(found["devices"]) <= {
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
    }
    assert max(found["processes"]) < 50
    assert len(found["processes"]) <= 3
    assert not found["docker_socket"]
    assert found["kernel_settings"] == []
    assert found["core_limit"] == [0, 0]
    assert found["hostname"] == "repro-tui"
    assert str(bench.image.root) not in found["first_process"]
    assert set(found["descriptors"]) <= {0, 1, 2, 3}


def test_usage_is_seen_while_it_runs(bench: Bench) -> None:
    running = bench.start_python(
        "import time\nheld = bytearray(100 << 20)\nwhile time.process_time() < 0.5: pass\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    wait_for_text(bench.log, "ready")
    usage = running.usage()
    assert usage is not None
    assert usage.memory_bytes > 100 * MIB
    assert usage.cpu_s >= 0.3
    assert usage.processes >= 1
    running.stop(0)
    assert running.wait(60) is not None
    assert running.usage() is None


def test_processes_left_behind_by_the_command_end_with_it(bench: Bench) -> None:
    mark = f"12{os.getpid()}.5"
    outcome = bench.run(
        "import os, sys, time\n"
        "if os.fork() == 0:\n    os.setsid(); time.sleep(float(sys.argv[1]))\n"
        "time.sleep(0.2)", mark
    )  # fmt: skip
    assert outcome.ok
    assert host_processes(mark) == []


def test_what_cannot_be_mounted_is_said_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(EngineError, match="nothing-here"):
        bench.start_python("pass", mounts=[Mount(bench.folder / "nothing-here", "/inputs/x")])


def test_an_image_that_is_not_there_is_an_error(engine: Engine, image: Image, bench: Bench) -> None:
    other = replace(
        image, config_digest="sha256:" + "0" * 64, root=bench.folder / "no-root", layout=bench.folder / "no"
    )
    with pytest.raises(ReproError):
        engine.prepare(other, lambda done, total, text: None)


def test_sweep_leaves_the_living_alone(bench: Bench) -> None:
    running = bench.start_python("import time; time.sleep(30)")
    assert bench.engine.sweep() == []
    assert running.wait(0.2) is None


WORKER = """
import sys, time
from pathlib import Path
from repro_tui.engines.base import ContainerSpec, Limits, Mount
from repro_tui.engines.choose import ENGINES
from repro_tui.images.model import Image, Layer
engine = ENGINES[sys.argv[1]]()
folder, out, name = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[5]
image = Image("tiny", "linux/amd64", sys.argv[6], sys.argv[7], (Layer(sys.argv[8], 0, "all"),), folder / "layout", folder / "root",
              folder / "inventory.jsonl")
print("starting", flush=True)
running = engine.start(image, ContainerSpec(
    name=name, run_id="killed", argv=[sys.argv[4], "-I", "-S", "-c",
    "import sys, time; open('/out/alive', 'w').close(); time.sleep(300)", sys.argv[9]],
    environment={"PATH": "/bin", "HOME": "/tmp"}, log=out.parent / "killed.log", limits=Limits(memory_bytes=1 << 30, processes=50),
    mounts=[Mount(out, "/out", read_only=False)]))
print("started", flush=True)
running.wait()
"""


def start_worker(bench: Bench) -> tuple[subprocess.Popen[str], str, str]:
    """Return a process that is about to start a container, the container's name, and a word in its arguments."""
    name, mark, image = f"repro-tui-test-{bench.name}", f"{bench.name}.mark", bench.image
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, bench.engine.name, str(image.root.parent), str(bench.out), PYTHON, name,
         image.manifest_digest, image.config_digest, image.layers[0].digest, mark],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    bench.workers.append(worker)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "starting\n"
    return worker, name, mark


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.005, 0.01, 0.02, 0.05, 0.2], ids=lambda value: f"{value}")
def test_a_killed_worker_leaves_nothing(bench: Bench, delay_s: float | None) -> None:
    """SIGKILL while the container is being started (after a delay), and while it runs (None)."""
    worker, name, mark = start_worker(bench)
    if delay_s is None:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "started\n"
        wait_for((bench.out / "alive").exists, "the container runs")
        assert host_processes(mark)
    else:
        time.sleep(delay_s)
    kill(worker)
    time.sleep(0.5)
    wait_for(lambda: not host_processes(mark) and not host_processes(name), "nothing is left", 20)
    wait_for(lambda: not docker_has(bench.engine, name), "no container is left", 20)
    wait_for(
        lambda: not list(Path("/sys/fs/cgroup").rglob(f"repro-tui-{worker.pid}-*")), "no control group is left", 20
    )


def test_sweep_removes_what_a_dead_worker_left(bench: Bench) -> None:
    """As above with the guard killed first, so that only the next worker's sweep can help."""
    worker, name, mark = start_worker(bench)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "started\n"
    for pid in host_processes("repro_tui.engines.guard"):
        if f"/{worker.pid}/" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    kill(worker)
    swept = bench.engine.sweep()
    assert swept == ([name] if bench.engine.name == "docker" else swept)
    wait_for(lambda: not host_processes(mark) and not docker_has(bench.engine, name), "nothing is left", 20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user; the other tests run as one here")
def test_it_keeps_its_contract_as_an_ordinary_user(engine: Engine) -> None:
    """Run the tests of this module as nobody, in the group that may use Docker's socket."""
    here = Path(__file__).parent
    nobody = pwd.getpwnam("nobody")
    groups = "--clear-groups"
    if engine.name == "docker":
        access = os.stat(engine.availability().host.removeprefix("unix://"))
        if not access.st_gid or access.st_mode & 0o060 != 0o060:
            pytest.skip("no group of ordinary users may use Docker's socket here")
        groups = f"--groups={access.st_gid}"
    python = python_of_nobody(groups)
    base = Path("/var/tmp") / f"repro-tui-test-{os.getpid()}"
    base.mkdir()
    os.chown(base, nobody.pw_uid, nobody.pw_gid)
    try:
        done = subprocess.run(
            [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             "-k", f"{engine.name} and not ordinary", "--basetemp", str(base / "pytest"), str(here / "test_contract.py")],
            cwd=here.parents[1], capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(base), "TMPDIR": str(base), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    assert int(last.split(" passed")[0].split()[-1]) >= 30, last


def wait_for(condition: object, what: str, timeout_s: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def wait_for_text(log: Path, text: str) -> None:
    wait_for(lambda: log.exists() and text in log.read_text(), f"{text!r} in the log")


def host_processes(mark: str) -> list[int]:
    """Return processes, zombies apart, that have `mark` in their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if mark.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def docker_has(engine: Engine, name: str) -> bool:
    if engine.name != "docker":
        return False
    from docker.errors import NotFound

    from repro_tui.engines.docker import Endpoint

    client = Endpoint.find().connect()
    try:
        client.containers.get(name)
    except NotFound:
        return False
    else:
        return True
    finally:
        client.close()
