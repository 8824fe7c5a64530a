"""How many seeds run at once: never more than there is room for, and one where that is not known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from repro_tui.engines.base import GpuRequest
from repro_tui.manifest.models import Environment, Resources
from repro_tui.pipeline import series_room
from repro_tui.pipeline.context import Context

GIB = 1 << 30


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a host of 8 processors and 16 GiB."""
    monkeypatch.setattr(series_room, "processors", lambda: 8)
    monkeypatch.setattr(series_room, "available_memory", lambda: 16 * GIB)


def context(
    *, jobs: int | None = None, host: str = "this host", devices: tuple[Any, ...] = (), **resources: Any
) -> Context:
    manifest = SimpleNamespace(resources=Resources.model_validate(resources), environment=Environment(threads=2))
    found = SimpleNamespace(
        options=SimpleNamespace(jobs=jobs),
        loaded=SimpleNamespace(manifest=manifest),
        state=SimpleNamespace(engine=SimpleNamespace(host=host)),
        gpus=GpuRequest(count=len(devices)) if devices else None,
        gpu_devices=devices,
    )
    return cast("Context", found)


@pytest.mark.parametrize(
    ("options", "peak", "seeds"),
    [
        ({"memory": "1 GiB"}, 0, 4),
        ({"memory": "1 GiB", "cpus": 1}, 0, 8),
        ({"memory": "1 GiB", "cpus": 16}, 0, 1),
        ({"memory": "6 GiB"}, 0, 2),
        ({"memory": "64 GiB"}, 0, 1),
        ({}, 0, 1),
        ({}, 4 * GIB, 3),
        ({"memory": "1 GiB", "host": "ssh://elsewhere"}, 0, 1),
        ({"host": "ssh://elsewhere", "jobs": 3}, 0, 3),
        ({"jobs": 20}, 0, 20),
    ],
)
def test_the_scarcest_decides(options: dict[str, Any], peak: int, seeds: int) -> None:
    assert series_room.room(context(**options), peak).seeds == seeds


def test_each_seed_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    every = tuple(gpu(f"GPU-{number}", memory_used=2 * GIB * (number == 3)) for number in range(5))
    monkeypatch.setattr(series_room, "discover", lambda: SimpleNamespace(usable=[*every, gpu("GPU-9", name="other")]))
    two = context(devices=every[:2], memory="1 GiB", cpus=1, gpus=2)
    found = series_room.room(two)
    assert found.seeds == 2
    assert found.gpus == (("GPU-0", "GPU-1"), ("GPU-2", "GPU-4"))
    assert series_room.share_of(two.gpus, found.gpus, {("GPU-0", "GPU-1")}) == ("GPU-2", "GPU-4")


def gpu(uuid: str, *, name: str = "card", memory_used: int = 0) -> Any:
    return SimpleNamespace(uuid=uuid, vendor="nvidia", name=name, memory_used=memory_used)


def test_named_gpus_are_for_one_seed_at_a_time() -> None:
    named = context(devices=(gpu("GPU-0"),), memory="1 GiB", gpus=["GPU-0"], jobs=4)
    assert series_room.room(named).seeds == 1
