"""Docker on another machine: a daemon of the test's own that has another host name and does not see the test's files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.engines import docker_ssh, docker_volumes
from repro_tui.engines.base import EndReason, Mount
from repro_tui.engines.docker import DockerEngine
from repro_tui.engines.docker_endpoint import Endpoint
from repro_tui.images.model import Image
from repro_tui.wire import ENV_METRICS
from tests.engines.docker_daemons import Daemon, Ssh, free_port, newer_docker, require_root, short_folder
from tests.engines.engine_bench import Bench

pytestmark = [
    pytest.mark.engine,
    # The SDK leaves sockets to the garbage collector, which warns, when a connection is refused or an answer is an error.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# What goes otherwise than on a daemon that mounts folders, and has tests here.
_OTHERWISE = "not ordinary and not callers_powers"


@pytest.fixture(scope="module", params=["the host's Docker", "newer, containerd store"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    require_root()
    root = Path("/")
    settings: dict[str, object] = {}
    if request.param != "the host's Docker":
        root = newer_docker() / "root"
        settings["features"] = {"containerd-snapshotter": True}
    made = Daemon(short_folder("docker"), tmp_path_factory.getbasetemp(), root=root, settings=settings)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def remote(daemon: Daemon, image: Image) -> Iterator[DockerEngine]:
    """The engine with the image loaded, over TCP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", daemon.tcp)
        engine = DockerEngine()
        engine.prepare(image, lambda done, total, text: None)
        yield engine


@pytest.fixture
def bench(remote: DockerEngine, image: Image, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "out").mkdir()
    made = Bench(remote, image, tmp_path, hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    yield made
    for running in made.running:
        running.stop(0)
        running.wait(30)


def left(url: str) -> list[str]:
    """Return the containers and volumes of ours that a daemon has, inputs that are kept apart."""
    client = Endpoint(url, {"base_url": url}).connect()
    try:
        containers = [
            str(each.name) for each in client.containers.list(all=True, filters={"label": docker_volumes.LABEL})
        ]
        return containers + [str(each.name) for each in client.volumes.list(filters={"label": docker_volumes.LABEL})]
    finally:
        client.close()


def inputs(url: str) -> list[str]:
    client = Endpoint(url, {"base_url": url}).connect()
    try:
        return sorted(str(each.name) for each in client.volumes.list(filters={"label": docker_volumes.LABEL_CONTENT}))
    finally:
        client.close()


def test_it_keeps_its_contract_there(daemon: Daemon, tmp_path: Path) -> None:
    """Run the contract's own tests against that daemon; their folders are below what it does not see."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"docker and {_OTHERWISE}",
         "--basetemp", str(tmp_path / "pytest"), *map(str, sorted(here.glob("test_contract*.py")))],
        cwd=here.parents[1], capture_output=True, text=True, check=False,
        env={**os.environ, "DOCKER_HOST": daemon.tcp, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 40, done.stdout[-500:]
    assert left(daemon.unix) == []


def test_it_says_where_it_is(remote: DockerEngine, daemon: Daemon) -> None:
    answer = remote.availability()
    assert answer.ok
    assert answer.host == daemon.tcp
    assert "on elsewhere, not this machine: files go through volumes" in answer.reason


def test_metrics_are_here_while_it_runs(bench: Bench) -> None:
    running = bench.start_python(
        "import time\nn = 0\nwhile True:\n"
        '    open(\'/out/metrics.jsonl\', \'a\').write(\'{"event": "note", "text": "%d"}\\n\' % n)\n'
        "    n += 1\n    time.sleep(0.05)",
        environment={"PATH": "/bin", ENV_METRICS: "/out/metrics.jsonl"},
    )
    deadline = time.monotonic() + 60
    metrics = bench.out / "metrics.jsonl"
    sizes: set[int] = set()
    inodes: set[int] = set()
    while len(sizes) < 3:
        assert time.monotonic() < deadline, sizes
        if metrics.exists() and (status := metrics.stat()).st_size:
            sizes.add(status.st_size)
            inodes.add(status.st_ino)
        time.sleep(0.05)
    assert running.wait(0) is None
    running.stop(0)
    assert running.wait(30) is not None
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["text"] for line in lines] == [str(n) for n in range(len(lines))]
    assert metrics.stat().st_size >= max(sizes)
    assert inodes == {metrics.stat().st_ino}


def test_outputs_come_as_they_are_and_nothing_else(bench: Bench) -> None:
    (bench.folder / "secret").write_text("mine")
    outcome = bench.run(
        "import os, socket\n"
        "os.makedirs('/out/d/e'); os.mkdir('/out/empty')\n"
        "for name, data in (('/out/a', b'\\0\\xff'), ('/out/d/e/Ünï 数据', b''), ('/out/big', b'x' * 5_000_001)):\n"
        "    open(name, 'wb').write(data)\n"
        "os.chmod('/out/a', 0o6755)\n"
        "os.link('/out/a', '/out/d/same'); os.symlink('e', '/out/d/inside')\n"
        "os.symlink('/etc', '/out/absolute'); os.symlink('../../..', '/out/d/outside'); os.symlink('.', '/out/here')\n"
        "os.symlink('here/../secret', '/out/sly')\n"
        "os.mkfifo('/out/pipe'); socket.socket(socket.AF_UNIX).bind('/out/socket')\n",
        environment={"PATH": "/bin", "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert outcome.ok, bench.log.read_text()
    found = {path.relative_to(bench.out).as_posix(): path for path in bench.out.rglob("*")}
    assert {"a", "d", "d/e", "d/e/Ünï 数据", "d/same", "d/inside", "empty", "big", "here"} <= found.keys()
    assert not {"absolute", "d/outside", "sly", "pipe"} & found.keys()
    assert (bench.out / "a").read_bytes() == b"\0\xff"
    assert stat.S_IMODE((bench.out / "a").stat().st_mode) == 0o755
    assert (bench.out / "big").stat().st_size == 5_000_001
    assert os.readlink(bench.out / "d/inside") == "e"
    assert "absolute" in outcome.detail
    assert all(path.lstat().st_uid == os.geteuid() for path in found.values())


def test_inputs_of_the_store_are_sent_once(bench: Bench, daemon: Daemon) -> None:
    data = b"x" * 3_000_000
    blob = bench.folder / "store/blobs" / hashlib.sha256(data).hexdigest()
    tree = bench.folder / "store/trees" / ("ab" * 32)
    for folder in (blob.parent, tree / "sub"):
        folder.mkdir(parents=True)
    blob.write_bytes(data)
    (tree / "sub/file").write_text("in the tree")
    code = bench.folder / "code"
    code.mkdir()
    (code / "main.py").write_text("print('code')")
    mounts = [Mount(blob, "/inputs/data/train.bin"), Mount(tree, "/inputs/weights"), Mount(code, "/code")]
    ask = (
        "print(json.dumps([os.path.getsize('/inputs/data/train.bin'), open('/inputs/weights/sub/file').read(),"
        " open('/code/main.py').read(), os.access('/inputs', os.W_OK)]))"
    )
    before = set(inputs(daemon.unix))
    expected = [3_000_000, "in the tree", "print('code')", False]
    assert bench.ask(ask, mounts=mounts) == expected
    (kept,) = set(inputs(daemon.unix)) - before
    bench.log.unlink()
    (tree / "sub/file").write_text("IN THE TREE")  # what a digest names is not looked at again
    assert bench.ask(ask, mounts=mounts) == expected
    assert set(inputs(daemon.unix)) - before == {kept}
    assert left(daemon.unix) == []


def test_inputs_that_were_not_sent_to_their_end_are_sent_again(bench: Bench, daemon: Daemon) -> None:
    data = b"y" * 100_000
    blob = bench.folder / "blobs" / hashlib.sha256(data).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(data[:40_000])  # as if the connection had ended there
    ask = "print(json.dumps(os.path.getsize('/inputs/x')))"
    assert bench.ask(ask, mounts=[Mount(blob, "/inputs/x")]) == 40_000
    bench.log.unlink()
    before = inputs(daemon.unix)
    blob.write_bytes(data)
    assert bench.ask(ask, mounts=[Mount(blob, "/inputs/x")]) == 100_000
    assert len(inputs(daemon.unix)) == len(before) + 1


def test_usage_is_the_daemons(bench: Bench) -> None:
    running = bench.start_python("import time\nheld = bytearray(50 << 20)\nprint('ready', flush=True)\ntime.sleep(60)")
    while not bench.log.read_bytes():
        time.sleep(0.02)
    before = time.monotonic()
    usage = running.usage()
    assert usage is not None
    assert usage.memory_bytes > 50 << 20
    assert time.monotonic() - before < 1, "one look, no average"
    running.stop(0)


def test_outputs_that_cannot_be_fetched_are_no_end_to_believe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_volumes, "_LIVE_S", 0.05)
    running = bench.start_python("import time; print('ready', flush=True); time.sleep(2)")
    client = Endpoint.find().connect()
    client.containers.get(f"repro-tui-test-{bench.name}-1{docker_volumes.CARRIER}").remove(force=True)
    client.close()
    outcome = running.wait(60)
    assert outcome is not None
    assert (outcome.reason, outcome.exit_code) == (EndReason.LOST, None)
    assert "/out could not be fetched" in outcome.detail


def test_a_missing_input_is_said_before_anything_is_sent(bench: Bench, daemon: Daemon) -> None:
    from repro_tui.errors import EngineError

    with pytest.raises(EngineError, match="nothing-here"):
        bench.start_python("pass", mounts=[Mount(bench.folder / "nothing-here", "/inputs/x")])
    assert left(daemon.unix) == []


def test_a_worker_that_is_killed_leaves_nothing_there(bench: Bench, daemon: Daemon) -> None:
    from tests.engines.test_contract_lost import start_worker

    worker, name, _ = start_worker(bench)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "started\n"
    assert any(each.startswith(name) for each in left(daemon.unix))
    worker.kill()
    worker.wait()
    worker.stdout.close()
    deadline = time.monotonic() + 30
    while any(each.startswith(name) for each in left(daemon.unix)):
        assert time.monotonic() < deadline, left(daemon.unix)
        time.sleep(0.1)


def test_a_port_that_is_forwarded_to_a_machine_of_the_same_name_is_seen_through(
    daemon: Daemon, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names say "here"; a file that was just made says otherwise."""
    monkeypatch.setenv("DOCKER_HOST", daemon.tcp)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    out, there = tmp_path / "out", Path("/var/tmp") / f"repro-tui-seen-{os.getpid()}"
    engine = DockerEngine()
    assert "not this machine" not in engine.availability().reason
    engine.prepare(image, lambda done, total, text: None)
    out.mkdir()
    there.mkdir()
    try:
        for number, folder in enumerate((out, there)):
            made = Bench(engine, image, tmp_path, f"{tmp_path.name[:20]}-{number}")
            outcome = made.run("open('/out/x', 'w').write('y')", mounts=[Mount(folder, "/inputs/w", read_only=False)])
            assert outcome.ok
            assert (out / "x").read_text() == "y"
    finally:
        there.rmdir()


# --- ssh, TLS, contexts -----------------------------------------------------------------------------------------------


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ssh]:
    require_root()
    made = Ssh(tmp_path / "ssh")
    try:
        made.start()
        monkeypatch.setenv("PATH", made.path)
        yield made
    finally:
        for url in list(docker_ssh._tunnels):
            docker_ssh.forget(url)
        made.stop()


@pytest.fixture
def by_ssh(daemon: Daemon, ssh: Ssh, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("DOCKER_HOST", f"ssh://gpu-box{daemon.socket}")
    engine = DockerEngine()
    engine.prepare(image, lambda done, total, text: None)
    (tmp_path / "out").mkdir()
    made = Bench(engine, image, tmp_path, f"ssh-{tmp_path.name[-20:]}")
    yield made
    for running in made.running:
        running.stop(0)
        running.wait(30)


def test_ssh_carries_image_log_files_and_end(by_ssh: Bench, daemon: Daemon) -> None:
    answer = by_ssh.engine.availability()
    assert answer.ok, answer
    assert answer.host == f"ssh://gpu-box{daemon.socket}"
    data = by_ssh.folder / "data"
    data.mkdir()
    (data / "file").write_bytes(b"z" * 1_000_000)
    outcome = by_ssh.run(
        "import os, sys\nfor n in range(100_000): print('line', n)\n"
        "open('/out/copy', 'wb').write(open('/inputs/data/file', 'rb').read())\nsys.stdout.flush()\nos._exit(9)",
        mounts=[Mount(data, "/inputs/data")],
    )
    assert (outcome.reason, outcome.exit_code) == (EndReason.EXITED, 9)
    assert by_ssh.log.read_bytes() == b"".join(b"line %d\n" % n for n in range(100_000))
    assert (by_ssh.out / "copy").read_bytes() == b"z" * 1_000_000
    assert left(daemon.unix) == []


def test_ssh_that_breaks_in_mid_run_is_made_again(by_ssh: Bench, ssh: Ssh) -> None:
    running = by_ssh.start_python(
        "import time\nfor n in range(400):\n    print('line', n, flush=True)\n    time.sleep(0.02)\nopen('/out/x', 'w')"
    )
    while by_ssh.log.read_bytes().count(b"\n") < 50:
        time.sleep(0.02)
    broken = ssh.sessions()
    assert broken
    for pid in broken:
        os.kill(pid, signal.SIGKILL)
    outcome = running.wait(90)
    assert outcome is not None
    assert outcome.ok, outcome
    assert by_ssh.log.read_bytes() == b"".join(b"line %d\n" % n for n in range(400))
    assert (by_ssh.out / "x").exists()


def test_a_killed_user_of_ssh_leaves_no_connection_and_no_socket(daemon: Daemon, ssh: Ssh, tmp_path: Path) -> None:
    url = f"ssh://root@127.0.0.1:{ssh.port}{daemon.socket}"
    code = (
        "import sys; from repro_tui.engines import docker_ssh; print(docker_ssh.tunnel(sys.argv[1]).socket, flush=True)\n"
        "import time; time.sleep(100)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    forwarded = Path(worker.stdout.readline().strip())
    assert forwarded.is_socket()
    assert stat.S_IMODE(forwarded.parent.stat().st_mode) == 0o700
    worker.kill()
    worker.wait()
    worker.stdout.close()
    deadline = time.monotonic() + 20
    while forwarded.parent.exists() or ssh.sessions():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("what", ["an unknown host key", "no key", "nobody there", "no socket"])
def test_ssh_that_would_ask_or_fails_is_refused_with_a_remedy(
    what: str, ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "ssh://gpu-box/nowhere/docker.sock"
    said, remedy = "Permission denied", "without a question"
    if what == "an unknown host key":
        (ssh.folder / "known").write_text("")
        said = "Host key verification failed"
    elif what == "no key":
        (ssh.folder / "authorized").write_text("")
    elif what == "nobody there":
        url, said = f"ssh://127.0.0.1:{free_port()}", "refused"
    else:
        said, remedy = "no Docker daemon answers there", "group docker"
    monkeypatch.setenv("DOCKER_HOST", url)
    before = time.monotonic()
    answer = DockerEngine().availability()
    assert time.monotonic() - before < 30
    assert not answer.ok
    assert said in answer.reason, answer
    assert remedy in answer.remedy
    assert answer.host == url


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as DOCKER_CERT_PATH names one, with the server's key as well."""
    folder = short_folder("tls")
    sign = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2"]
    (folder / "names").write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
    for command in (
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca-key.pem",
         "-out", "ca.pem"],
        ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server-key.pem", "-out", "s.csr"],
        ["x509", "-req", "-in", "s.csr", *sign, "-extfile", "names", "-out", "server.pem"],
        ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=client", "-keyout", "key.pem", "-out", "c.csr"],
        ["x509", "-req", "-in", "c.csr", *sign, "-out", "cert.pem"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def guarded(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that talks TLS only, to those who have a certificate."""
    require_root()
    files = {"--tlscacert": "ca.pem", "--tlscert": "server.pem", "--tlskey": "server-key.pem"}
    options = ("--tlsverify", *(word for key, name in files.items() for word in (key, str(certificates / name))))
    made = Daemon(short_folder("docker"), tmp_path_factory.getbasetemp(), options=options)
    try:
        made.start()
        yield made
    finally:
        made.remove()
        for path in certificates.iterdir():
            path.unlink()
        certificates.rmdir()


@pytest.mark.parametrize("way", ["DOCKER_HOST", "context"])
def test_tls_and_contexts(
    way: str, guarded: Daemon, certificates: Path, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    if way == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", guarded.tcp)
        refused = DockerEngine().availability()
        assert not refused.ok
        assert "DOCKER_TLS_VERIFY" in refused.remedy
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    else:
        make_context(tmp_path, "gpu-box", guarded.tcp, certificates)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / ".docker"))
    engine = DockerEngine()
    answer = engine.availability()
    assert answer.ok, answer
    assert answer.host == guarded.tcp
    assert ("(context gpu-box)" in answer.reason) == (way == "context")
    engine.prepare(image, lambda done, total, text: None)
    (tmp_path / "out").mkdir()
    made = Bench(engine, image, tmp_path, f"tls-{way.lower()}")
    outcome = made.run("print('over TLS'); open('/out/x', 'w').write('y')")
    assert outcome.ok, outcome
    assert made.log.read_text() == "over TLS\n"
    assert (made.out / "x").read_text() == "y"


def make_context(home: Path, name: str, url: str, certificates: Path) -> None:
    """Write what `docker context create` and `docker context use` write."""
    docker = home / ".docker"
    key = hashlib.sha256(name.encode()).hexdigest()
    meta, tls = docker / "contexts/meta" / key, docker / "contexts/tls" / key / "docker"
    meta.mkdir(parents=True)
    tls.mkdir(parents=True)
    endpoint = {"Host": url, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (tls / file).write_bytes((certificates / file).read_bytes())
    (docker / "config.json").write_text(json.dumps({"currentContext": name}))


def test_a_context_that_does_not_exist_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    answer = DockerEngine().availability()
    assert not answer.ok
    assert "'gone'" in answer.reason
    assert "docker context" in answer.remedy
