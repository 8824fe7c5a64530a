"""A tiny image for containers: the host's own Python with its libraries, as a folder and as an OCI layout of one layer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from repro_tui.engines.base import ContainerSpec, EndReason, Engine, Limits, Mount, Outcome, Running
from repro_tui.images.model import Image, Layer

NOBODY = 65534
PYTHON = os.path.realpath(sys.executable)
_LEFT_OUT = {"test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
_MOUNT_POINTS = ("proc", "dev", "tmp", "sys", "run", "inputs", "code", "job", "out", "etc", "home/repro")


def _copy(path: str, root: Path) -> None:
    target = root / path.lstrip("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        target.chmod(0o755)


def _libraries(path: str) -> list[str]:
    lines = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout.splitlines()
    return [word for line in lines for word in line.split() if word.startswith("/")]


def make_root(root: Path) -> None:
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True)
    programs = [PYTHON, shutil.which("sh") or "/bin/sh"]
    library = Path(sysconfig.get_path("stdlib")).resolve()
    shutil.copytree(
        library, root / str(library)[1:], symlinks=True,
        ignore=lambda _, names: [name for name in names if name in _LEFT_OUT or name.startswith("config-")],
    )  # fmt: skip
    extensions = [str(path) for path in (library / "lib-dynload").glob("*.so")]
    for program in programs:
        _copy(program, root)
    for needed in {needed for program in [*programs, *extensions] for needed in _libraries(program)}:
        _copy(needed, root)
    identify = shutil.which("id") or "/usr/bin/id"
    for needed in (identify, *_libraries(identify)):
        _copy(needed, root)
    (root / identify[1:]).rename(root / "usr/bin/set-user-id")
    (root / "etc/passwd").write_text("repro:x:1000:1000::/home/repro:/bin/sh\n")
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    (root / "usr/bin/set-user-id").chmod(0o4755)


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def make_layout(root: Path, layout: Path) -> tuple[Layer, str, str]:
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}", len(data)

    packed = layout / "layer.tar"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(root, "", filter=_as_root)
    digest, size = hashlib.sha256(packed.read_bytes()).hexdigest(), packed.stat().st_size
    packed.rename(blobs / digest)
    layer = Layer(f"sha256:{digest}", size, "all")
    config = {
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        # What an image may say of itself and a container of ours must not follow.
        # The label makes the image this test run's own: another one at the same time removes its own image in the end.
        "config": {
            "Env": ["LEAKED=from-the-image", "PATH=/nowhere"], "Entrypoint": ["/nowhere"], "Cmd": ["nothing"],
            "Labels": {"org.repro-tui.test": secrets.token_hex(8)},
        },
    }  # fmt: skip
    config_digest, config_size = put(json.dumps(config).encode())
    media = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2, "mediaType": f"{media}.manifest.v1+json",
        "config": {"mediaType": f"{media}.config.v1+json", "digest": config_digest, "size": config_size},
        "layers": [{"mediaType": f"{media}.layer.v1.tar", "digest": layer.digest, "size": size}],
    }  # fmt: skip
    manifest_digest, manifest_size = put(json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": f"{media}.manifest.v1+json", "digest": manifest_digest, "size": manifest_size}
    ]}  # fmt: skip
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layer, config_digest, manifest_digest


def python_of_nobody(groups: str = "--clear-groups") -> list[str]:
    """Return a command that runs a Python with this one's packages as nobody; skips where nobody cannot read one."""
    checkout = Path(__file__).parents[2]
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", groups, "--inh-caps=-all", "env"]
    become.append(f"PYTHONPATH={sysconfig.get_path('purelib')}:{checkout}")
    refusal = ""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        code = f"import pytest, docker, repro_tui; open({str(checkout / 'tests/engines/conftest.py')!r})"
        can = subprocess.run([*become, python, "-c", code], cwd="/", capture_output=True, text=True, check=False)
        if can.returncode == 0:
            return [*become, python]
        refusal = can.stderr.strip()[-200:]
    pytest.skip(f"an ordinary user cannot read this checkout or its Python: {refusal}")


def kill(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()


@dataclass
class Bench:
    """Starts containers of one engine and keeps what they leave."""

    engine: Engine
    image: Image
    folder: Path
    name: str
    count: int = 0
    running: list[Running] = field(default_factory=list)
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def start(self, *argv: str, **given: Any) -> Running:
        self.count += 1
        given = {
            "environment": {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}, "log": self.log, "limits": Limits(time_s=120),
            "mounts": [], "run_id": self.name, **given,
        }  # fmt: skip
        given["mounts"] = [Mount(self.out, "/out", read_only=False), *given["mounts"]]
        spec = ContainerSpec(name=f"repro-tui-test-{self.name}-{self.count}", argv=argv, **given)
        running = self.engine.start(self.image, spec)
        self.running.append(running)
        return running

    def start_python(self, code: str, *arguments: str, **given: Any) -> Running:
        return self.start(PYTHON, "-I", "-S", "-B", "-c", code, *arguments, **given)

    def run(self, code: str, *arguments: str, **given: Any) -> Outcome:
        outcome = self.start_python(code, *arguments, **given).wait(120)
        assert outcome is not None
        return outcome

    def ask(self, code: str, *arguments: str, **given: Any) -> Any:
        """Run code that prints one JSON document, and return that."""
        outcome = self.run(f"import json, os, sys\n{code}", *arguments, **given)
        assert outcome.reason is EndReason.EXITED, (outcome, self.log.read_text(errors="replace"))
        assert outcome.exit_code == 0, self.log.read_text(errors="replace")
        return json.loads(self.log.read_text())


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


def is_held(engine: Engine, name: str) -> bool:
    """Say whether the engine's daemon, or its store, still has a container of that name."""
    if engine.name == "podman":
        return subprocess.run(["podman", "container", "exists", name], check=False).returncode == 0
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


def remove_behind(engine: Engine, name: str) -> None:
    """Remove a running container as somebody else would: with the engine's own means, or by killing its processes."""
    if engine.name == "docker":
        from repro_tui.engines.docker import remove

        remove([name])
    elif engine.name == "embedded":
        for pid in host_processes(f"repro-tui:{name}:"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        subprocess.run([engine.name, "rm", "--force", name], check=True, capture_output=True)
