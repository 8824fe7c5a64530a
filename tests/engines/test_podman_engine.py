"""What only Podman can do wrong: its monitor killed, its image gone, its settings; and the contract without root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro_tui.engines import workers
from repro_tui.engines.base import EndReason
from repro_tui.engines.podman import PodmanEngine, tag
from repro_tui.engines.podman_command import LABEL, Podman, environment
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


@pytest.mark.engine
@on_podman
def test_the_folder_of_a_dead_worker_is_swept(bench: Bench) -> None:
    dead, mine = (Path(tempfile.gettempdir()) / f"repro-tui-podman-{whose}-test" for whose in ("4194303-1", "nobody-1"))
    for folder in (dead, mine):
        folder.mkdir()
        (folder / "mount-0").symlink_to(bench.folder)
    bench.engine.sweep()
    assert not dead.exists()
    shutil.rmtree(mine)  # was left alone
    assert bench.folder.is_dir()


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
