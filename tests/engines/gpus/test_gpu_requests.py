"""Every request that Docker and Podman get, word for word."""

from __future__ import annotations

import os
from typing import Any

import pytest

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus import cdi
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.requests import (
    docker_settings,
    docker_way,
    is_elsewhere,
    podman_request,
    podman_way,
    refusal,
)
from repro_tui.errors import EngineError, InfrastructureError
from tests.engines.gpus.gpu_lab import MIG, UUIDS, FakeNvml, Lab, divided, gpu

OLD: dict[str, Any] = {"ServerVersion": "20.10.24", "Runtimes": {"runc": {}, "nvidia": {}}}
NEW: dict[str, Any] = {"ServerVersion": "28.3.0", "Runtimes": {"runc": {}}, "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"]}
ONE, ALL = GpuRequest(count=1), GpuRequest(every=True)


def nvidia(lab: Lab) -> Lab:
    lab.driver().nvml = FakeNvml()
    return lab


def docker(lab: Lab, info: dict[str, Any], request: GpuRequest, *, local: bool = True) -> dict[str, Any]:
    found = discover(lab.ground) if local else None
    return docker_settings(docker_way(info, local=local, ground=lab.ground, found=found), request, found, lab.ground)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        (ONE, [UUIDS[0]]),
        (ALL, list(UUIDS)),
        (GpuRequest(ids=("1",)), [UUIDS[1]]),
        (GpuRequest(ids=("GPU-2222",)), [UUIDS[1]]),
    ],
)
def test_docker_with_the_nvidia_runtime(lab: Lab, request_: GpuRequest, ids: list[str]) -> None:
    assert docker(nvidia(lab), OLD, request_) == {
        "device_requests": [
            {"Driver": "nvidia", "Count": 0, "DeviceIDs": ids, "Capabilities": [["gpu", "utility", "compute"]], "Options": {}}
        ]
    }  # fmt: skip


def test_docker_with_the_hook_alone(lab: Lab) -> None:
    nvidia(lab).answers["nvidia-container-runtime-hook"] = "1.17"
    (asked,) = docker(lab, {"ServerVersion": "20.10.24", "Runtimes": {}}, ONE)["device_requests"]
    assert asked["Driver"] == "nvidia"


@pytest.mark.parametrize(
    ("request_", "names"),
    [(ONE, [f"nvidia.com/gpu={UUIDS[0]}"]), (ALL, [f"nvidia.com/gpu={each}" for each in UUIDS])],
)
def test_docker_through_cdi(lab: Lab, request_: GpuRequest, names: list[str]) -> None:
    both = {**NEW, "Runtimes": OLD["Runtimes"]}
    for info in (NEW, both):
        assert docker(nvidia(lab).cdi() if not (lab.root / "etc/cdi").exists() else lab, info, request_) == {
            "device_requests": [{"Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": [], "Options": {}}]
        }


def test_the_sdk_takes_these_requests(lab: Lab) -> None:
    from docker.types import HostConfig

    for info in (OLD, NEW):
        (lab.root / "dev").exists() or nvidia(lab).cdi()
        asked = docker(lab, info, ONE)
        config = HostConfig(version="1.41", **asked)
        assert config["DeviceRequests"] == asked["device_requests"]


def test_a_specification_of_indices_only(lab: Lab) -> None:
    nvidia(lab).cdi("/var/run/cdi", ["0", "1", "all"])
    (asked,) = docker(lab, NEW, GpuRequest(ids=(UUIDS[1],)))["device_requests"]
    assert asked["DeviceIDs"] == ["nvidia.com/gpu=1"]


def test_a_specification_that_is_older_than_the_gpus(lab: Lab) -> None:
    nvidia(lab).cdi(names=["0"])
    with pytest.raises(EngineError, match=f"no CDI specification names GPU 1: .*{UUIDS[1]}") as caught:
        docker(lab, NEW, ALL)
    assert "nvidia-ctk cdi generate" in caught.value.hint
    assert caught.value.where == "/etc/cdi/nvidia.yaml"


def test_mig_devices_by_name(lab: Lab) -> None:
    lab.driver().mig().cdi(names=["0:0", "0:2", "1", "all"]).nvml = FakeNvml([divided(), gpu(1)])
    (asked,) = docker(lab, NEW, GpuRequest(ids=(MIG[1], "0:0")))["device_requests"]
    assert asked["DeviceIDs"] == ["nvidia.com/gpu=0:2", "nvidia.com/gpu=0:0"]
    (asked,) = docker(lab, OLD, GpuRequest(ids=("0:2",)))["device_requests"]
    assert asked["DeviceIDs"] == [MIG[1]]


@pytest.mark.parametrize(
    ("info", "why", "remedy"),
    [
        ({"ServerVersion": "20.10.24", "Runtimes": {"runc": {}}}, "no nvidia runtime", "nvidia-ctk runtime configure"),
        ({**NEW, "ServerVersion": "24.0.7"}, "no nvidia runtime", "nvidia-ctk runtime configure"),
        (NEW, "nothing in /etc/cdi, /var/run/cdi names a GPU", "nvidia-ctk cdi generate"),
    ],
)
def test_docker_that_hands_none_on(lab: Lab, info: dict[str, Any], why: str, remedy: str) -> None:
    way = docker_way(info, local=True, ground=nvidia(lab).ground)
    assert way.capability.startswith("not available (")
    told = refusal(way.capability)
    assert told is not None
    assert why in told[0]
    assert remedy in told[1]
    with pytest.raises(EngineError, match=why) as caught:
        docker(lab, info, ONE)
    assert remedy in caught.value.hint


def test_docker_on_a_host_without_gpus(lab: Lab) -> None:
    told = refusal(docker_way(OLD, local=True, ground=lab.ground).capability)
    assert told is not None
    assert "this host has no GPU" in told[0]
    assert told[1]


@pytest.mark.parametrize(
    ("info", "request_", "asked"),
    [
        (OLD, GpuRequest(count=2), {"Driver": "nvidia", "Count": 2, "DeviceIDs": []}),
        (OLD, ALL, {"Driver": "nvidia", "Count": -1, "DeviceIDs": []}),
        (OLD, GpuRequest(ids=("GPU-far",)), {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-far"]}),
        (NEW, ALL, {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=all"]}),
        (
            NEW,
            GpuRequest(count=2),
            {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]},
        ),
    ],
)
def test_a_remote_daemon_is_asked_by_what_it_says_of_itself(
    lab: Lab, info: dict[str, Any], request_: GpuRequest, asked: dict[str, Any]
) -> None:
    (got,) = docker(lab, info, request_, local=False)["device_requests"]
    assert {key: got[key] for key in asked} == asked


def test_a_remote_daemon_that_tells_its_devices(lab: Lab) -> None:
    told = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in ("3", "7", "all", UUIDS[0])]
    info = {**NEW, "DiscoveredDevices": [*told, {"Source": "cdi", "ID": "vendor.com/net=0"}]}
    assert "through CDI" in docker_way(info, local=False).capability
    (asked,) = docker(lab, info, GpuRequest(count=2), local=False)["device_requests"]
    assert asked["DeviceIDs"] == ["nvidia.com/gpu=3", "nvidia.com/gpu=7"]
    for request in (GpuRequest(count=3), GpuRequest(ids=("1",))):
        with pytest.raises(EngineError, match="the daemon's host names 3, 7, "):
            docker(lab, info, request, local=False)


def test_amd_in_docker(lab: Lab) -> None:
    group = (lab.amd().root / "dev/kfd").stat().st_gid  # of /dev/null, which stands for it
    assert docker(lab, OLD, GpuRequest(ids=("1",))) == {
        "devices": ["/dev/kfd:/dev/kfd:rw", "/dev/dri/renderD129:/dev/dri/renderD129:rw"],
        "group_add": [str(group)] if group else [],
    }


def test_amd_groups_are_those_of_the_device_files(lab: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another group")
    lab.amd(1)
    for name, group in (("kfd", 105), ("dri/renderD128", 44)):
        (lab.root / "dev" / name).unlink()
        os.chown(lab.write(f"/dev/{name}"), 0, group)
    assert docker(lab, OLD, ONE)["group_add"] == ["44", "105"]
    as_root = podman_request(ONE, "4.3.1", rootless=False, ground=lab.ground)
    assert as_root.arguments == (
        "--device=/dev/kfd",
        "--device=/dev/dri/renderD128",
        "--group-add=44",
        "--group-add=105",
    )


def test_amd_in_podman_of_an_ordinary_user(lab: Lab) -> None:
    asked = podman_request(ALL, "4.3.1", rootless=True, ground=lab.amd().ground)
    assert asked.options == ()
    assert asked.arguments == (
        "--device=/dev/kfd", "--device=/dev/dri/renderD128", "--device=/dev/dri/renderD129", "--group-add=keep-groups",
    )  # fmt: skip


@pytest.mark.parametrize("rootless", [True, False])
def test_nvidia_in_podman(lab: Lab, rootless: bool) -> None:
    asked = podman_request(ALL, "4.3.1", rootless=rootless, ground=nvidia(lab).cdi().ground)
    assert asked.options == ()
    assert asked.arguments == (f"--device=nvidia.com/gpu={UUIDS[0]}", f"--device=nvidia.com/gpu={UUIDS[1]}")


def test_podman_5_is_told_of_folders_that_it_would_not_look_into(lab: Lab) -> None:
    asked = podman_request(ONE, "5.4.0", rootless=False, ground=nvidia(lab).cdi("/var/run/cdi").ground)
    assert asked.options == ("--cdi-spec-dir=/var/run/cdi",)
    assert asked.arguments == (f"--device=nvidia.com/gpu={UUIDS[0]}",)


def test_an_ordinary_users_own_specification(lab: Lab) -> None:
    nvidia(lab).cdi("/home/me/.config/cdi")
    assert podman_request(ONE, "5.4.0", rootless=True, ground=lab.ground).options == (
        "--cdi-spec-dir=/home/me/.config/cdi",
    )
    lab.variables["XDG_CONFIG_HOME"] = "/config"
    assert not podman_way("5.4.0", rootless=True, ground=lab.ground).how
    lab.cdi("/config/cdi")
    assert podman_request(ONE, "5.4.0", rootless=True, ground=lab.ground).options == ("--cdi-spec-dir=/config/cdi",)
    assert not podman_way("4.3.1", rootless=True, ground=lab.ground).how, "Podman 4 cannot be told of folders"


def test_podman_without_a_specification(lab: Lab) -> None:
    with pytest.raises(EngineError, match="no CDI specification names an NVIDIA GPU in /etc/cdi") as caught:
        podman_request(ONE, "4.3.1", rootless=True, ground=nvidia(lab).ground)
    assert "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" in caught.value.hint


def test_podman_on_a_host_with_too_few(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match="2 can be used"):
        podman_request(GpuRequest(count=4), "4.3.1", rootless=True, ground=nvidia(lab).cdi().ground)


def test_specifications_in_json_and_of_others(lab: Lab) -> None:
    lab.write(
        "/etc/cdi/nvidia.json",
        '{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all"}, {"name": "0"}]}',
    )
    lab.write("/etc/cdi/other.yaml", "kind: vendor.com/net\ndevices:\n- name: eth9\n")
    lab.write("/etc/cdi/half.json", '{"cdiVersion": "0.6')
    lab.write("/etc/cdi/list.json", "[]")
    lab.write("/etc/cdi/notes.txt", "kind: nvidia.com/gpu\nname: never\n")
    found = cdi.read(ground=lab.ground)
    assert found.names == {"all", "0"}
    assert found.files == ("/etc/cdi/nvidia.json",)


def test_amds_of_a_host_with_both_vendors(lab: Lab) -> None:
    nvidia(lab).amd(1)
    ids = GpuRequest(ids=("GPU-000000000000abc0",))
    assert docker(lab, OLD, ids)["devices"][0] == "/dev/kfd:/dev/kfd:rw"
    assert podman_request(ids, "4.3.1", rootless=True, ground=lab.ground).arguments[0] == "--device=/dev/kfd"
    (asked,) = docker(lab, OLD, ALL)["device_requests"]
    assert asked["DeviceIDs"] == list(UUIDS)


def test_gpus_elsewhere_are_told_apart(lab: Lab) -> None:
    assert is_elsewhere(docker_way(OLD, local=False).capability)
    assert not is_elsewhere(docker_way(OLD, local=True, ground=nvidia(lab).ground).capability)


def test_what_capabilities_say() -> None:
    assert refusal("enforced (NVIDIA through the nvidia runtime)") is None
    assert refusal("") == ("it hands no GPU to a container: it does not say how", "")
    assert refusal("not available (fake)") == ("it hands no GPU to a container: fake", "")
