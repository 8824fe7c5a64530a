"""A Docker daemon behind ssh: its socket, forwarded to a private one here by the system's own `ssh`.

So ~/.ssh/config, agents, jump hosts and known_hosts work as they do by hand, and what runs over it is an ordinary unix
socket. The SDK's own ssh transports are not used: one is another ssh client (paramiko) with settings of its own, both
have no socket to attach a stream to, and each opens a session for every request.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from repro_tui.errors import EngineError

REMOTE_SOCKET = "/var/run/docker.sock"
_READY = "repro-tui-ready"
_CONNECT_S = 15
_OPTIONS = (
    "BatchMode=yes",  # a question would wait for ever: nobody sits at a worker
    f"ConnectTimeout={_CONNECT_S}",
    "ExitOnForwardFailure=yes",
    "StreamLocalBindUnlink=yes",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    # A connection of our own, whatever the user's settings share or run.
    "ControlMaster=no",
    "ControlPath=none",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ForwardAgent=no",
    "ForwardX11=no",
)
# Removes the socket's folder whenever ssh ends, also when whoever started it was killed: its standard input ends then,
# with it the far `cat`, and with that ssh.
_WRAPPER = 'ssh "$@"; code=$?; rm -rf -- "$0"; exit $code'
_AGAIN_S = 1.0

_lock = threading.Lock()
_tunnels: dict[str, Tunnel] = {}


class Tunnel:
    """One ssh connection that forwards the daemon's socket; when it breaks it is made again."""

    def __init__(self, url: str) -> None:
        """Connect; raises EngineError with what ssh said."""
        parts = urlsplit(url)
        if not parts.hostname or parts.hostname.startswith("-") or (parts.username or "").startswith("-"):
            raise EngineError(f"{url} names no host", hint="DOCKER_HOST=ssh://[USER@]HOST[:PORT][/PATH/TO/SOCKET]")
        self._folder = Path(tempfile.mkdtemp(prefix="repro-tui-ssh-"))
        self.socket = self._folder / "docker.sock"
        self._url = url
        remote = unquote(parts.path) if parts.path not in {"", "/"} else REMOTE_SOCKET
        self._command = ["sh", "-c", _WRAPPER, str(self._folder), "-T"]
        for option in _OPTIONS:
            self._command += ["-o", option]
        self._command += ["-p", str(parts.port)] if parts.port else []
        self._command += ["-l", unquote(parts.username)] if parts.username else []
        self._command += ["-L", f"{self.socket}:{remote}", "--", parts.hostname, f"echo {_READY} && exec cat"]
        self._closed = threading.Event()
        self._process = self._connect()
        threading.Thread(target=self._keep, name=f"ssh {parts.hostname}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it is connected now."""
        return self._process.poll() is None and not self._closed.is_set()

    def close(self) -> None:
        """End the connection."""
        self._closed.set()
        _end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> subprocess.Popen[bytes]:
        if shutil.which("ssh") is None:
            raise EngineError(
                f"{self._url} needs ssh, which is not installed", hint="sudo apt-get install openssh-client"
            )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        said = tempfile.TemporaryFile()  # noqa: SIM115 - ssh keeps it as its standard error
        with said:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
            )
            timer = threading.Timer(2 * _CONNECT_S, _kill, (process,))
            timer.start()
            try:
                if process.stdout is not None and _READY.encode() in process.stdout.readline():
                    return process
            finally:
                timer.cancel()
            _end(process)
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
        host = urlsplit(self._url).hostname
        raise EngineError(
            f"ssh does not reach {host}: {'; '.join(words[-3:]) or 'it gave no reason'}",
            where=self._url,
            hint=f"`ssh {host} docker version` must work without a question: accept the host key, load the key into an "
            "agent; the server must allow forwarding to sockets (AllowStreamLocalForwarding)",
        )

    def _keep(self) -> None:
        while not self._closed.is_set():
            self._process.wait()
            if self._closed.wait(_AGAIN_S):
                return
            with suppress(EngineError, OSError):
                process = self._connect()
                _end(self._process)
                self._process = process
                if self._closed.is_set():
                    _end(process)


def tunnel(url: str) -> Tunnel:
    """Return this process's tunnel to an ssh:// address; raises EngineError."""
    with _lock:
        made = _tunnels.get(url)
        if made is None:
            made = _tunnels[url] = Tunnel(url)
            if len(_tunnels) == 1:
                atexit.register(_close_all)
        return made


def forget(url: str) -> None:
    """Close the tunnel to an address, if there is one."""
    with _lock:
        made = _tunnels.pop(url, None)
    if made is not None:
        made.close()


def answers(path: Path, timeout_s: float) -> str:
    """Say why the daemon behind a forwarded socket is not there, "" where somebody answers."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            return "" if probe.recv(16) else "nothing listens on its socket there, or this user may not use it"
        except OSError as error:
            return str(error)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    deadline = time.monotonic() + 3
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    _kill(process)
    process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the shell and its ssh


def _close_all() -> None:
    for url in list(_tunnels):
        forget(url)
