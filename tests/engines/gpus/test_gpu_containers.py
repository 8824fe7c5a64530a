"""GPUs through real Docker and Podman, with other device files in the place of a GPU's."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_tui.engines import docker, podman
from repro_tui.engines.base import Engine, GpuRequest
from repro_tui.engines.gpus import amd, cdi, requests
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.model import AMD, Found, Gpu
from repro_tui.errors import EngineError
from tests.engines.engine_bench import Bench
from tests.engines.gpus.gpu_lab import UUIDS, FakeNvml, Lab, gpu

FOLDER = Path("/var/run/cdi")
SPECIFICATION = f"""---
cdiVersion: 0.5.0
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
devices:
- containerEdits:
    deviceNodes:
    - hostPath: /dev/zero
      path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - hostPath: /dev/zero
      path: /dev/nvidia0
  name: {UUIDS[0]}
kind: nvidia.com/gpu
"""
THERE = "print(json.dumps({name: os.path.exists(name) for name in sys.argv[1:]}))"
ONE = GpuRequest(count=1)
STAND_INS = ("/dev/fuse", "/dev/net/tun")
"""Device files that no engine gives to every container."""


@pytest.fixture
def specification() -> Iterator[Path]:
    """Write the specification where Podman looks; skips where that may not be, or where there is one."""
    if os.geteuid() != 0:
        pytest.skip(f"only root can write to {FOLDER}")
    if cdi.read().names:
        pytest.skip("this host has CDI specifications of its own, which are left alone")
    made = not FOLDER.exists()
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    path = FOLDER / "repro-tui-test.yaml"
    path.write_text(SPECIFICATION)
    yield path
    path.unlink()
    if made:
        FOLDER.rmdir()


@pytest.fixture
def amd_host(monkeypatch: pytest.MonkeyPatch) -> Found:
    """A host with an AMD GPU, whose device files are others that are there."""
    missing = [name for name in STAND_INS if not os.path.exists(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here to stand for a GPU")
    found = Found((Gpu(AMD, "0", "GPU-0", "AMD Instinct", (STAND_INS[1],)),), driver="6")
    monkeypatch.setattr(amd, "KFD", STAND_INS[0])
    monkeypatch.setattr(docker, "discover", lambda: found)
    for name in ("podman_way", "podman_request"):
        monkeypatch.setattr(podman, name, functools.partial(getattr(requests, name), found=found))
    return found


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["podman"], indirect=True)
def test_a_gpu_by_its_cdi_name(
    engine: Engine, bench: Bench, specification: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.driver((0,)).nvml = FakeNvml([gpu(0)])
    lab.write(str(specification), specification.read_text())
    for name in ("podman_way", "podman_request"):
        monkeypatch.setattr(podman, name, functools.partial(getattr(requests, name), ground=lab.ground))
    assert engine.capabilities()["gpus"] == f"enforced (NVIDIA through CDI: {specification})"
    look = 'with open("/dev/nvidia0", "rb") as node:\n    print(json.dumps([node.read(2).hex(), os.stat(node.fileno()).st_rdev]))'
    assert bench.ask(look, gpus=ONE) == ["0000", os.stat("/dev/zero").st_rdev]
    bench.log.unlink()
    assert bench.ask(THERE, "/dev/nvidia0") == {"/dev/nvidia0": False}


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["docker", "podman"], indirect=True)
def test_device_files_of_amds(engine: Engine, bench: Bench, amd_host: Found) -> None:
    look = f"print(json.dumps([os.stat(name).st_rdev for name in {STAND_INS}] + os.getgroups()))"
    devices = [os.stat(name).st_rdev for name in STAND_INS]
    seen = bench.ask(look, gpus=ONE)
    assert seen[:2] == devices
    assert {os.stat(name).st_gid for name in STAND_INS} - {0} <= set(seen[2:])
    bench.log.unlink()
    assert bench.ask(THERE, *STAND_INS) == dict.fromkeys(STAND_INS, False)


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves sockets of refusals
@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_a_daemon_that_has_no_such_driver_says_so(
    engine: Engine, bench: Bench, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the toolkit is said to be there and is not: the request arrives, and its refusal is the user's to read."""
    found = discover(lab.driver().ground)
    monkeypatch.setattr(docker, "discover", lambda: found)
    monkeypatch.setattr(docker, "docker_way", lambda *_, **__: requests.Way("nvidia", "said to be there"))
    with pytest.raises(
        EngineError, match=r'could not select device driver "nvidia" with capabilities: \[\[gpu utility'
    ):
        bench.start_python("pass", gpus=ONE)


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["docker", "podman", "embedded"], indirect=True)
def test_an_engine_on_a_host_without_gpus_says_so_before_it_starts(engine: Engine, bench: Bench) -> None:
    if discover().gpus:
        pytest.skip("this host has GPUs")
    assert "this host has no GPU" in engine.capabilities()["gpus"]
    with pytest.raises(Exception, match="this host has no GPU"):
        bench.start_python("pass", gpus=ONE)
