"""Which GPUs a request gets of those that are there."""

from __future__ import annotations

import pytest

from repro_tui.engines.base import GpuRequest
from repro_tui.engines.gpus.discover import discover
from repro_tui.engines.gpus.model import Found
from repro_tui.engines.gpus.select import request_from, select
from repro_tui.errors import InfrastructureError, ManifestError
from tests.engines.gpus.gpu_lab import MIG, UUIDS, FakeNvml, Lab, divided, gpu


@pytest.mark.parametrize(
    ("value", "request_"),
    [
        (0, None), (2, GpuRequest(count=2)), ("all", GpuRequest(every=True)), ([], None),
        (["0", MIG[0]], GpuRequest(ids=("0", MIG[0]))),
    ],
)  # fmt: skip
def test_what_a_manifest_asks_for(value: int | str | list[str], request_: GpuRequest | None) -> None:
    assert request_from(value) == request_


@pytest.mark.parametrize("value", ["some", True])
def test_what_is_no_request(value: str) -> None:
    with pytest.raises(ManifestError):
        request_from(value)


def whole(lab: Lab, *used: int) -> Found:
    lab.driver().nvml = FakeNvml([gpu(index, used=each) for index, each in enumerate(used or (0, 0))])
    return discover(lab.ground)


def parts(lab: Lab) -> Found:
    lab.driver().mig().nvml = FakeNvml([divided(), gpu(1)])
    return discover(lab.ground)


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (GpuRequest(count=1), ["0"]), (GpuRequest(count=2), ["0", "1"]), (GpuRequest(every=True), ["0", "1"]),
        (GpuRequest(ids=("1",)), ["1"]), (GpuRequest(ids=(UUIDS[1], "0")), ["1", "0"]),
        (GpuRequest(ids=("GPU-2222",)), ["1"]), (GpuRequest(ids=("gpu-2222",)), ["1"]), (GpuRequest(ids=("1", UUIDS[1])), ["1"]),
    ],
)  # fmt: skip
def test_of_two(lab: Lab, request_: GpuRequest, indices: list[str]) -> None:
    assert [each.index for each in select(request_, whole(lab))] == indices


def test_a_count_takes_the_idle_one(lab: Lab) -> None:
    assert [each.index for each in select(GpuRequest(count=1), whole(lab, 60 << 30, 0))] == ["1"]


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (GpuRequest(count=1), ["1"]), (GpuRequest(count=2), ["0:0", "0:2"]), (GpuRequest(every=True), ["0:0", "0:2", "1"]),
        (GpuRequest(ids=("0:2",)), ["0:2"]), (GpuRequest(ids=(MIG[0],)), ["0:0"]), (GpuRequest(ids=("MIG-4444",)), ["0:2"]),
    ],
)  # fmt: skip
def test_of_one_divided_and_one_whole(lab: Lab, request_: GpuRequest, indices: list[str]) -> None:
    assert [each.index for each in select(request_, parts(lab))] == indices


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("5",), "there is no 5"), (("GPU-9",), "there is no GPU-9"), (("GPU-",), "fits 2 of them"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_is(lab: Lab, ids: tuple[str, ...], message: str) -> None:
    with pytest.raises(InfrastructureError, match=message) as caught:
        select(GpuRequest(ids=ids), whole(lab))
    assert (
        f"the manifest asks for {ids[0]}, this host has 0: NVIDIA H100 80GB HBM3 ({UUIDS[0]})" in caught.value.message
    )
    assert caught.value.where == "resources.gpus"
    assert caught.value.hint


def test_too_many(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match=r"asks for 3 GPUs, this host has .*: 2 can be used"):
        select(GpuRequest(count=3), whole(lab))


def test_a_divided_gpu_names_its_parts(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match="0 is in MIG mode") as caught:
        select(GpuRequest(ids=("0",)), parts(lab))
    assert "0:0, 0:2" in caught.value.hint


def test_a_host_without_any_says_why(lab: Lab) -> None:
    with pytest.raises(InfrastructureError, match="asks for 1 GPU: this host has no GPU: no NVIDIA driver") as caught:
        select(GpuRequest(count=1), discover(lab.ground))
    assert caught.value.hint


def test_one_vendor_at_a_time(lab: Lab) -> None:
    lab.amd(1).driver().nvml = FakeNvml()
    found = discover(lab.ground)
    assert [each.vendor for each in select(GpuRequest(every=True), found)] == ["nvidia", "nvidia"]
    assert [each.vendor for each in select(GpuRequest(ids=("GPU-000000000000abc0",)), found)] == ["amd"]
    with pytest.raises(InfrastructureError, match="two vendors"):
        select(GpuRequest(ids=("0", "GPU-000000000000abc0")), found)
