"""Docker daemons of the tests' own, on a host that has another name and does not see the tests' folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ENV_DOCKER = "REPRO_TUI_TEST_DOCKER"
"""Names a folder with a newer Docker, as `python -m tests.engines.fetch_docker FOLDER` makes one."""

# Arguments: host name, folder that is not seen there, the daemon's folder, the root it runs in, the number of the socket
# that it gets from here, then the daemon's. /run is empty there: an engine that the host has would lend its containerd.
# Its network is its own, too: a daemon that wants no bridge takes away the one of the host's Docker.
_ENTER = """
set -e
name=$1 hidden=$2 folder=$3 root=$4 listener=$5; shift 5
exec 3<&"$listener"
export LISTEN_FDS=1
again() {  # a daemon that ended is started again where it was: what it left running is in these namespaces
    while :; do
        (export LISTEN_PID=$BASHPID; exec "$@") &
        wait $!
        sleep 1
    done
}
hostname "$name"
if [ "$root" = / ]; then
    mount -t tmpfs tmpfs /run
    [ -z "$hidden" ] || mount -t tmpfs tmpfs "$hidden"
    again dockerd "$@"
fi
mount --bind "$root" "$root"
for each in proc sys dev; do mount --rbind /$each "$root/$each"; done
mount -t tmpfs tmpfs "$root/run"
mount --bind "$folder" "$root/mnt"
again chroot "$root" dockerd "$@"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def newer_docker() -> Path:
    """Return the folder with a newer Docker; skips where there is none."""
    named = os.environ.get(ENV_DOCKER)
    if not named:
        pytest.skip(
            f"no Docker with a containerd image store: {ENV_DOCKER} names no folder (tests/engines/fetch_docker.py)"
        )
    return Path(named).resolve(strict=True)


@dataclass
class Daemon:
    """A dockerd in mount, UTS and network namespaces of its own; it listens on loopback of this one."""

    folder: Path
    """Short, on a disk: its data and its socket are there."""
    hidden: Path | None
    """What it does not see."""
    host_name: str = "elsewhere"
    root: Path = Path("/")
    settings: dict[str, object] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def unix(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self) -> None:
        home = self.folder if self.root == Path("/") else Path("/mnt")
        (self.folder / "daemon.json").write_text(json.dumps(self.settings))
        arguments = [
            "--config-file", f"{home}/daemon.json", "--data-root", f"{home}/data", "--exec-root", f"{home}/exec",
            "--pidfile", f"{home}/docker.pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
            "-H", f"unix://{home}/docker.sock", "-H", "fd://", *(self.options or ("--tls=false",)),
        ]  # fmt: skip
        hidden = "" if self.hidden is None else str(self.hidden)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "-u", "-n", "--propagation", "private", "bash", "-c", _ENTER, "bash", self.host_name,
                 hidden, str(self.folder), str(self.root), str(self.listener.fileno()), *arguments],
                pass_fds=[self.listener.fileno()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 40
        while not self._answers():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"a Docker daemon of the test's own does not start: {self._last_words()}")
            time.sleep(0.1)

    def restart(self) -> None:
        """End the daemon as a service manager does, and wait until it is there again."""
        self._end_daemon()
        self._wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None
            self._end_daemon()

    def _end_daemon(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / "docker.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.05)

    def remove(self) -> None:
        self.stop()
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            return b"200" in client.recv(64)
        return False

    def _last_words(self) -> str:
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:])[-600:]


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon of the test's own needs root")
    if shutil.which("dockerd", path="/usr/sbin:/usr/bin:/sbin:/bin") is None and ENV_DOCKER not in os.environ:
        pytest.skip("Docker is not installed (no dockerd)")
    if subprocess.run(["unshare", "-m", "-u", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this root may not make mount, UTS and network namespaces")


def short_folder(name: str) -> Path:
    """Return a new folder whose path is short enough for a socket's address."""
    folder = Path("/var/tmp") / f"repro-tui-{name}-{os.getpid()}-{time.monotonic_ns() % 10**9}"
    folder.mkdir(mode=0o755)
    return folder


@dataclass
class Ssh:
    """An sshd on loopback with keys of its own, and a folder whose `ssh` knows them and nothing of the user's."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> str:
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    def start(self, *, known: bool = True) -> None:
        sshd, ssh = shutil.which("sshd", path="/usr/sbin:/usr/bin"), shutil.which("ssh")
        if sshd is None or ssh is None:
            pytest.skip("openssh-server or openssh-client is not installed")
        (self.folder / "bin").mkdir(parents=True)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)], check=True)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        kind, key, *_ = (self.folder / "host.pub").read_text().split()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n" if known else "")
        (self.folder / "server").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/authorized\n"
            f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        )
        (self.folder / "client").write_text(
            f"Host gpu-box\n  HostName 127.0.0.1\n  Port {self.port}\n  User root\n"
            f"Host *\n  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known\n"
            "  GlobalKnownHostsFile none\n  IdentityAgent none\n"
        )
        wrapper = self.folder / "bin/ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {ssh} -F {self.folder}/client "$@"\n')
        wrapper.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(self.folder / "server")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        pytest.skip(f"sshd does not start: {(self.folder / 'log').read_text()[-300:]}")

    def sessions(self) -> list[int]:
        """Return the processes of the server that serve a connection."""
        assert self.process is not None
        asked = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(word) for word in asked.stdout.split()]

    def stop(self) -> None:
        if self.process is not None:
            for pid in self.sessions():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            self.process.terminate()
            self.process.wait(10)
