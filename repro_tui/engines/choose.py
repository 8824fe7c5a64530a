"""Which engine runs the containers, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from repro_tui.engines.base import Availability, Engine
from repro_tui.engines.gpus.requests import refusal
from repro_tui.errors import EngineError, UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that works here, and the reason for it in words."""

    engine: Engine
    availability: Availability
    reason: str


def check_name(name: str) -> None:
    """Raise UsageError for the name of no engine."""
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}", where="--engine", hint=f"engines: {', '.join(ENGINES)}")


def engine(name: str) -> Engine:
    """Return an engine by name; raises UsageError for one that does not exist."""
    check_name(name)
    return ENGINES[name]()


def choose(option: str | None, wish: str | None, *, gpus: bool = False) -> Choice:
    """Return the engine that `--engine` names, else the manifest's wish, else the first of ENGINES that works.

    An engine that the user names must work. A wish that does not is passed over, and the reason says so. With `gpus`,
    an engine works only if it can hand GPUs to a container.

    Raises UsageError for an unknown name, EngineError with what to do when the named engine or none at all works.
    """
    if option is not None:
        named = engine(option)
        answer = _answer(named, gpus=gpus)
        if not answer.ok:
            raise EngineError(f"engine {option} does not work here: {answer.reason}", hint=answer.remedy)
        return Choice(named, answer, f"--engine {option}; {answer.reason}")
    order = dict.fromkeys([*([wish] if wish is not None else []), *ENGINES])
    refusals: dict[str, Availability] = {}
    for name in order:
        candidate = engine(name)
        answer = _answer(candidate, gpus=gpus)
        if answer.ok:
            why = ["the manifest asks for it"] if name == wish else []
            why += [f"{other} does not work here ({refusal.reason})" for other, refusal in refusals.items()]
            return Choice(candidate, answer, "; ".join([*why, answer.reason]))
        refusals[name] = answer
    raise EngineError(
        "no container engine works here: "
        + "; ".join(f"{name}: {refusal.reason}" for name, refusal in refusals.items()),
        hint=" Or: ".join(f"{refusal.remedy} ({name})" for name, refusal in refusals.items() if refusal.remedy),
    )


def _answer(candidate: Engine, *, gpus: bool) -> Availability:
    answer = candidate.availability()
    refused = refusal(candidate.capabilities().get("gpus", "")) if gpus and answer.ok else None
    if refused is None:
        return answer
    return Availability(ok=False, reason=refused[0], remedy=refused[1], host=answer.host)


def _docker() -> Engine:
    from repro_tui.engines.docker import DockerEngine

    return DockerEngine()


def _podman() -> Engine:
    from repro_tui.engines.podman import PodmanEngine

    return PodmanEngine()


def _embedded() -> Engine:
    from repro_tui.engines.embedded import EmbeddedEngine

    return EmbeddedEngine()


ENGINES: dict[str, Callable[[], Engine]] = {"docker": _docker, "podman": _podman, "embedded": _embedded}
"""Every engine, in the order in which they are tried."""
