"""What only Podman can do wrong: its monitor killed, its image gone, its settings; and the contract without root."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro_tui.engines import workers
from repro_tui.engines.base import ContainerSpec, EndReason, Limits, Mount
from repro_tui.engines.podman import PodmanEngine, tag
from repro_tui.engines.podman_arguments import Setting, arguments, furnish
from repro_tui.engines.podman_command import LABEL, Podman, environment, last_words
from repro_tui.engines.podman_seccomp import profile
from repro_tui.errors import DriftError, EngineError
from repro_tui.images.model import Layer
from tests.engines.engine_bench import (
    NOBODY,
    PYTHON,
    Bench,
    host_processes,
    is_held,
    make_layout,
    make_root,
    python_of_nobody,
    wait_for_text,
)

on_podman = pytest.mark.parametrize("engine", ["podman"], indirect=True)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user and give it uids")


def nothing(done: int, total: int, text: str) -> None:
    del done, total, text


# --- The arguments, word for word -------------------------------------------------------------------------------------

SPEC = ContainerSpec(
    name="repro-tui-1-train", run_id="1", argv=["/usr/bin/python3", "-c", 'print("ä")'], environment={"A": "b=c\nd"},
    log=Path("/runs/1/log"), limits=Limits(memory_bytes=1 << 30, processes=64, cpus=1.5, shared_memory_bytes=1 << 20),
    mounts=[Mount(Path("/data/a:b,c"), "/inputs/data"), Mount(Path("/runs/1/out"), "/out", read_only=False)],
)  # fmt: skip
SETTING = Setting("ab" * 32, "1000:1000", rootless=False, held={"memory", "pids", "cpu"}, init="/usr/bin/catatonit")


def test_the_sandbox_is_asked_for_word_for_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "current", lambda: "worker")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert arguments(SPEC, SETTING, Path("/f")) == [
        "--detach", "--pull=never", "--name=repro-tui-1-train", "--label=org.repro-tui.worker=worker",
        "--label=org.repro-tui.run=1", "--conmon-pidfile=/f/monitor", "--pidfile=/f/first", "--log-driver=passthrough",
        "--unsetenv-all", "--env-host=false", "--http-proxy=false", "--env=A=b=c\nd", "--env=HOSTNAME=repro-tui",
        "--env=PWD=/out", "--workdir=/out", "--hostname=repro-tui", "--user=1000:1000", "--passwd=false", "--no-hosts",
        "--network=none", "--ipc=private", "--pid=private", "--uts=private", "--read-only", "--read-only-tmpfs=false",
        "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size=1073741824", "--shm-size=1048576b", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--security-opt=label=disable", "--init",
        "--init-path=/usr/bin/catatonit", "--systemd=false", "--sdnotify=ignore", "--no-healthcheck", "--umask=0022",
        "--ulimit=core=0:0", "--ulimit=nofile=1024:4096", "--ulimit=nproc=1024:1024",
        "--volume=/f/mount-0:/inputs/data:ro,nosuid,nodev,rprivate",
        "--volume=/f/mount-1:/out:rw,nosuid,nodev,rprivate",
        '--entrypoint=["/usr/bin/python3", "-c", "print(\\"\\u00e4\\")"]',
        "--pids-limit=64", "--memory=1073741824b", "--memory-swap=1073741824b", "--cpus=1.5", "ab" * 32,
    ]  # fmt: skip


def test_without_root_the_user_stays_the_caller_and_no_limit_is_asked_for_in_vain() -> None:
    given = arguments(replace(SPEC, network=True), replace(SETTING, rootless=True, held=()), Path("/f"))
    assert "--userns=keep-id" in given
    assert "--network=private" in given
    assert not [word for word in given if word.startswith(("--memory", "--pids-limit", "--cpus"))]


def test_what_cannot_be_mounted_is_an_error(tmp_path: Path) -> None:
    colon = replace(SPEC, mounts=[Mount(tmp_path, "/inputs/a:b")])
    with pytest.raises(EngineError, match="colon"):
        furnish(colon, SETTING, tmp_path)
    with pytest.raises(EngineError, match=r"a:b,c.* is not there"):
        furnish(SPEC, SETTING, tmp_path)


def test_the_filter_takes_namespaces_away_and_keeps_the_rest(tmp_path: Path) -> None:
    given = tmp_path / "seccomp.json"
    rules = [{"names": ["read", "unshare", "clone", "mount"], "action": "SCMP_ACT_ALLOW", "args": []}]
    given.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))
    narrowed = json.loads(profile(given) or "")
    assert narrowed["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [rule for rule in narrowed["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    assert [rule["names"] for rule in allowed] == [["read"], ["socket"], ["clone"], ["clone"]]
    assert all(rule["args"] for rule in allowed[1:])
    assert profile(tmp_path / "none") is None


def test_the_last_error_is_what_is_said() -> None:
    assert last_words('time="…" level=warning msg="x"\nError: no such container\n') == "no such container"
    assert last_words("") == ""


def test_a_run_time_folder_of_somebody_else_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert environment()["XDG_RUNTIME_DIR"] == str(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert "XDG_RUNTIME_DIR" not in environment()


# --- Whether it works here: a program that says what a host would -----------------------------------------------------

INFO: dict[str, Any] = {
    "host": {
        "cgroupVersion": "v2", "cgroupManager": "systemd", "cgroupControllers": ["memory", "pids"],
        "ociRuntime": {"name": "crun"}, "serviceIsRemote": False,
        "security": {"rootless": True, "seccompEnabled": False, "seccompProfilePath": ""},
        "idMappings": {kind: [{"size": 1}, {"size": 65536}] for kind in ("uidmap", "gidmap")},
    },
    "store": {"graphDriverName": "overlay", "graphRoot": "/g", "graphStatus": {"Backing Filesystem": "extfs"}},
    "version": {"Version": "5.2.1"},
}  # fmt: skip


@pytest.fixture
def podman_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PodmanEngine]:
    def says(error: str = "", **changed: dict[str, Any]) -> PodmanEngine:
        (tmp_path / "info").write_text(
            json.dumps({name: {**part, **changed.get(name, {})} for name, part in INFO.items()})
        )
        program = tmp_path / "podman"
        fails = f"echo 'Error: {error}' >&2; exit 125" if error else f"cat {tmp_path}/info"
        program.write_text(f"#!/bin/sh\ncase $1 in info) {fails};; *) echo --unsetenv-all;; esac\n")
        program.chmod(0o755)
        for name in ("catatonit", "cat"):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(shutil.which(name) or "/bin/true")
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("CONTAINER_HOST", "CONTAINER_CONNECTION"):
            monkeypatch.delenv(name, raising=False)
        return PodmanEngine()

    return says


ONE_UID = {kind: [{"size": 1}] for kind in ("uidmap", "gidmap")}


@pytest.mark.parametrize(
    ("changed", "reason", "remedy"),
    [
        ({"version": {"Version": "3.4.4"}}, "Podman 3.4.4 is too old", "4 or later"),
        ({"host": {"serviceIsRemote": True}}, "talk to a service", "remote = true"),
        (
            {"host": {"security": {"rootless": True}, "idMappings": ONE_UID}},
            "no range of subordinate uids",
            "usermod --add-subuids",
        ),
        ({"store": {"graphDriverName": "vfs"}}, "vfs", 'driver = "overlay"'),
        ({"store": {"graphDriverName": "overlay", "graphStatus": {"Backing Filesystem": "nfs"}}}, "nfs", "graphroot"),
        ({"error": 'exec: "newuidmap": executable file not found in $PATH'}, "newuidmap", "install uidmap"),
        ({"error": "mkdir /run/user/0: permission denied"}, "permission denied", "XDG_RUNTIME_DIR"),
    ],
)
def test_what_does_not_work_comes_with_a_remedy(
    podman_says: Callable[..., PodmanEngine], changed: dict[str, Any], reason: str, remedy: str
) -> None:
    answer = podman_says(**changed).availability()
    assert not answer.ok
    assert reason in answer.reason
    assert remedy in answer.remedy


def test_limits_of_an_ordinary_user_are_those_that_are_delegated(podman_says: Callable[..., PodmanEngine]) -> None:
    engine = podman_says()
    assert engine.availability().ok
    held = engine.capabilities()
    assert held["memory"].startswith("enforced (cgroup v2")
    assert held["cpus"] == "enforced (whole CPUs, by affinity)"
    assert "may make its own user namespace" in held["user"]
    engine = podman_says(host={**INFO["host"], "cgroupVersion": "v1", "cgroupManager": "cgroupfs"})
    assert engine.capabilities()["memory"].startswith("sampled")


def test_another_machines_podman_is_refused(
    podman_says: Callable[..., PodmanEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = podman_says()
    monkeypatch.setenv("CONTAINER_HOST", "ssh://elsewhere")
    answer = engine.availability()
    assert (answer.ok, answer.remedy) == (False, "unset CONTAINER_HOST")


def test_without_podman_nothing_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = PodmanEngine()
    assert "not installed" in engine.availability().reason
    assert engine.sweep() == []
    assert engine.capabilities()


# --- Real containers --------------------------------------------------------------------------------------------------


def monitor_of(name: str) -> int:
    asked = subprocess.run(
        ["podman", "container", "inspect", "--format={{.State.ConmonPid}}", name],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    return int(asked.stdout)


@pytest.mark.engine
@on_podman
def test_a_killed_monitor_is_told_and_nothing_goes_on(bench: Bench) -> None:
    running = bench.start_python("import time; print('ready', flush=True); time.sleep(300)", bench.name)
    wait_for_text(bench.log, "ready")
    name = f"repro-tui-test-{bench.name}-1"
    os.kill(monitor_of(name), signal.SIGKILL)
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None)
    assert "conmon" in outcome.detail
    assert not host_processes(bench.name)
    assert not is_held(bench.engine, name)
    assert bench.out.stat().st_uid == os.geteuid()


@pytest.mark.engine
@on_podman
def test_podman_gone_in_mid_run_is_told(bench: Bench) -> None:
    running: Any = bench.start_python("import time; print('ready', flush=True); time.sleep(300)", bench.name)
    wait_for_text(bench.log, "ready")
    podman, running._podman = running._podman, Podman("/nowhere/podman")
    running.stop(0)
    outcome = running.wait(60)
    podman.remove([f"repro-tui-test-{bench.name}-1"])
    assert outcome is not None
    assert outcome.reason is EndReason.LOST
    assert "/nowhere/podman cannot be started" in outcome.detail
    assert not host_processes(bench.name)
    assert bench.out.stat().st_uid == os.geteuid()


@pytest.mark.engine
@on_podman
def test_the_image_removed_meanwhile_is_told_and_prepared_again(bench: Bench) -> None:
    subprocess.run(["podman", "image", "rm", "--force", tag(bench.image)], check=True, capture_output=True)
    try:
        with pytest.raises(EngineError, match="removed meanwhile"):
            bench.run("pass")
        assert bench.log.read_bytes() == b""
    finally:
        bench.engine.prepare(bench.image, nothing)
    assert bench.run("print('again')").ok


@pytest.mark.engine
@on_podman
def test_other_layers_than_the_pinned_ones_are_drift(bench: Bench) -> None:
    other = replace(bench.image, layers=(Layer("sha256:" + "0" * 64, 1, "other"),))
    with pytest.raises(DriftError, match="pinned are sha256:000"):
        bench.engine.prepare(other, nothing)


@pytest.mark.engine
@on_podman
def test_a_layout_at_any_path_is_taken(bench: Bench) -> None:
    """Podman itself takes no path with a colon, and a name of capitals neither."""
    layout = bench.folder / "Ünï: Layout"
    layout.symlink_to(bench.image.layout)
    subprocess.run(["podman", "image", "rm", "--force", tag(bench.image)], check=True, capture_output=True)
    seen: list[tuple[int, int]] = []
    bench.engine.prepare(replace(bench.image, layout=layout), lambda done, total, text: seen.append((done, total)))
    assert seen[-1] == (1, 1)
    listed = subprocess.run(
        ["podman", "images", "--no-trunc", "--format={{.ID}} {{.Digest}} {{.Repository}}:{{.Tag}}"],
        capture_output=True, text=True, check=True, env=environment(),
    ).stdout  # fmt: skip
    assert f"{bench.image.config_digest} {bench.image.manifest_digest} {tag(bench.image)}\n" in listed
    assert f"{bench.image.config_digest} {bench.image.manifest_digest} localhost/repro-tui-" not in listed


@pytest.mark.engine
@on_podman
def test_a_container_that_a_dead_worker_left_gives_way(bench: Bench) -> None:
    name = f"repro-tui-test-{bench.name}-1"
    dead = replace(workers.current(), pid=2**22 - 1, start_ticks=1)
    label = f"--label={LABEL}={dead}"
    subprocess.run(
        ["podman", "create", "--pull=never", f"--name={name}", label, tag(bench.image), "x"],
        check=True, capture_output=True, env=environment(),
    )  # fmt: skip
    assert bench.run("print('mine')").ok
    assert bench.log.read_text() == "mine\n"


# --- Without root -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home folder of nobody, which Podman is set up in; what it holds is removed with it."""
    base = Path("/var/tmp") / f"repro-tui-podman-{os.getpid()}"
    for folder in ("", "run", ".config/containers"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / ".config/containers/storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    (base / "run").chmod(stat.S_IRWXU)
    subprocess.run(["chown", "-R", f"{NOBODY}:{pwd.getpwuid(NOBODY).pw_gid}", str(base)], check=True)
    yield base
    for pause in base.glob("**/run/libpod/tmp/pause.pid"):  # the process that keeps the user's namespace
        with contextlib.suppress(OSError):
            os.kill(int(pause.read_text()), signal.SIGKILL)
    subprocess.run(["rm", "-rf", str(base)], check=False)


@contextlib.contextmanager
def subordinate(name: str) -> Iterator[None]:
    """Give a user a range of subordinate uids and gids that is nobody else's, unless it has one."""
    given: list[tuple[Path, str]] = []
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        lines = path.read_text().splitlines() if path.exists() else []
        if not any(line.startswith(f"{name}:") for line in lines):
            ends = [sum(map(int, line.split(":")[1:3])) for line in lines if line.count(":") == 2]
            line = f"{name}:{max([100_000, *ends])}:65536\n"
            with path.open("a") as file:
                file.write(line)
            given.append((path, line))
    try:
        yield
    finally:
        for path, line in given:
            path.write_text(path.read_text().replace(line, "", 1))


def as_nobody(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        env={**variables, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def usable(home: Path, python: list[str]) -> None:
    code = "from repro_tui.engines.podman import PodmanEngine as P; a = P().availability(); print(a.ok, a.reason, a.remedy)"
    answer = as_nobody(home, *python, "-c", code)
    if not answer.stdout.startswith("True"):
        pytest.skip(f"Podman does not work for an ordinary user here: {answer.stdout}{answer.stderr[-500:]}")


@pytest.mark.engine
@needs_root
@on_podman
def test_it_keeps_its_contract_as_an_ordinary_user(
    engine: PodmanEngine, home: Path, record_property: Callable[[str, object], None]
) -> None:
    """Run the contract, and the tests above, as nobody."""
    del engine
    here = Path(__file__).parent
    python = python_of_nobody()
    files = [str(path) for path in sorted(here.glob("test_contract*.py")) if "ordinary" not in path.name]
    with subordinate("nobody"):
        usable(home, python)
        done = as_nobody(
            home, *python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "podman and not ordinary",
            "--basetemp", str(home / "pytest"), *files, __file__,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    summary = [line for line in done.stdout.splitlines() if line.startswith("podman: ")]
    assert summary, done.stdout
    record_property("engine", "podman")
    record_property("as nobody", summary[0].removeprefix("podman: "))
    assert int(summary[0].split(" passed")[0].split()[-1]) >= 100, summary[0]


@pytest.mark.engine
@needs_root
@on_podman
def test_a_user_without_a_range_of_uids_is_told_what_to_do(engine: PodmanEngine, home: Path) -> None:
    del engine
    if any("nobody:" in Path(path).read_text() for path in ("/etc/subuid", "/etc/subgid") if Path(path).exists()):
        pytest.skip("nobody has a range of uids here")
    code = "from repro_tui.engines.podman import PodmanEngine as P; a = P().availability(); print(a.ok, a.reason, a.remedy)"
    fresh = home / "no-range"  # Podman keeps a user's namespace, with the range that it had, by the run-time folder
    for folder in (fresh, fresh / "run"):
        folder.mkdir(mode=stat.S_IRWXU)
        os.chown(folder, NOBODY, pwd.getpwuid(NOBODY).pw_gid)
    answer = as_nobody(fresh, *python_of_nobody(), "-c", code)
    assert answer.stdout.startswith(f"False uid {NOBODY} has no range of subordinate uids"), answer
    assert "usermod --add-subuids" in answer.stdout


TWO = """
import os, sys, time
from pathlib import Path
from repro_tui.engines.base import ContainerSpec, Mount
from repro_tui.engines.podman import PodmanEngine
from repro_tui.images.model import Image, Layer
base = Path(sys.argv[1])
image = Image("tiny", "linux/amd64", sys.argv[2], sys.argv[3], (Layer(sys.argv[4], 0, "all"),), base / "layout", base / "root", base / "none")
engine = PodmanEngine()
engine.prepare(image, lambda *_: None)
out = base / f"out-{os.geteuid()}"
out.mkdir()
running = engine.start(image, ContainerSpec("repro-tui-test-two-users", "two", [sys.argv[5], "-I", "-S", "-c",
    "import os, time; open('/out/here', 'w').close(); print(os.getuid(), flush=True); time.sleep(3)"], {}, base / f"log-{os.geteuid()}",
    mounts=[Mount(out, "/out", read_only=False)]))
engine.sweep()
print(running.wait(60).ok, (out / "here").stat().st_uid == os.geteuid())
"""


@pytest.mark.engine
@needs_root
@on_podman
def test_two_users_do_not_meet(engine: PodmanEngine, home: Path) -> None:
    """Root and nobody, the same image and the same name at once; each sweeps meanwhile."""
    del engine
    python = python_of_nobody()
    base = home / "two"
    (base / "root").mkdir(parents=True)
    make_root(base / "root")
    layer, config, manifest = make_layout(base / "root", base / "layout")
    os.chown(base, NOBODY, NOBODY)
    given = [TWO, str(base), manifest, config, layer.digest, PYTHON]
    with subordinate("nobody"):
        usable(home, python)
        mine = subprocess.Popen(
            [sys.executable, "-c", *given], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        theirs = as_nobody(home, *python, "-c", *given)
        said, _ = mine.communicate(timeout=120)
    subprocess.run(
        ["podman", "image", "rm", "--force", config.removeprefix("sha256:")], check=False, capture_output=True
    )
    assert (said, theirs.stdout) == ("True True\n", "True True\n"), theirs.stderr
    assert (base / "log-0").read_text() == "1000\n"
    assert (base / f"log-{NOBODY}").read_text() == f"{NOBODY}\n"
