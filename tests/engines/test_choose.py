"""Which engine is chosen, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.engines import choose as choosing
from repro_tui.engines.base import Availability
from repro_tui.engines.choose import choose
from repro_tui.engines.fake import FakeEngine
from repro_tui.errors import EngineError, UsageError


def have(monkeypatch: pytest.MonkeyPatch, **works: bool) -> None:
    def named(name: str, works: bool) -> FakeEngine:
        engine = FakeEngine(
            available=Availability(ok=True, reason=f"{name} 1.0")
            if works
            else Availability(ok=False, reason=f"{name} is off", remedy=f"start {name}")
        )
        engine.name = name
        return engine

    engines = {name: (lambda name=name: named(name, works.get(name, False))) for name in choosing.ENGINES}
    monkeypatch.setattr(choosing, "ENGINES", engines)


@pytest.mark.parametrize(
    ("option", "wish", "works", "chosen", "said"),
    [
        ("embedded", "docker", "docker podman embedded", "embedded", "--engine embedded"),
        ("podman", "docker", "docker podman embedded", "podman", "--engine podman"),
        (None, "embedded", "docker podman embedded", "embedded", "the manifest asks for it"),
        (None, "podman", "docker podman embedded", "podman", "the manifest asks for it"),
        (None, None, "docker podman embedded", "docker", "docker 1.0"),
        (None, None, "podman embedded", "podman", "docker does not work here (docker is off)"),
        (None, None, "embedded", "embedded", "podman does not work here (podman is off)"),
        (None, "docker", "embedded", "embedded", "docker does not work here (docker is off)"),
        (None, "embedded", "docker", "docker", "embedded does not work here (embedded is off)"),
    ],
)
def test_option_then_wish_then_docker_podman_embedded(
    monkeypatch: pytest.MonkeyPatch, option: str | None, wish: str | None, works: str, chosen: str, said: str
) -> None:
    have(monkeypatch, **dict.fromkeys(works.split(), True))
    choice = choose(option, wish)
    assert choice.engine.name == chosen
    assert choice.availability.ok
    assert said in choice.reason


def test_an_engine_that_is_named_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, docker=False, embedded=True)
    with pytest.raises(EngineError, match="docker is off") as raised:
        choose("docker", None)
    assert raised.value.hint == "start docker"


def test_none_at_all_names_every_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, docker=False, embedded=False)
    with pytest.raises(EngineError, match="embedded: embedded is off; docker: docker is off") as raised:
        choose(None, "embedded")
    assert "start docker" in raised.value.hint
    assert "start embedded" in raised.value.hint


def test_an_unknown_engine_is_a_usage_error_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as raised:
        choose("dokcer", None)
    assert "docker, podman, embedded" in raised.value.hint


def test_the_engines_are_in_the_place_of_their_name() -> None:
    for name, make in choosing.ENGINES.items():
        engine = make()
        assert engine.name == name
        assert type(engine).__module__ == f"repro_tui.engines.{name}"
        assert Path(f"{choosing.__file__}/../{name}.py").resolve().is_file()
