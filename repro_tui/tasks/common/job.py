"""What a task is given (job.json), and how it ends where something is wrong with that."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repro_tui import wire

ENV_JOB = "REPRO_JOB"
"""Environment variable that names the job file."""

SettingsT = TypeVar("SettingsT")


class TaskError(Exception):
    """Something a user can put right: `message` says what and where, `hint` what to do. The task exits with 1."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}"


@dataclass(frozen=True, slots=True)
class Job:
    """job.json: one run of one task. Paths are those of the container."""

    model: Path | None
    """The folder with the checkpoint, where the task takes one."""
    seed: int
    data_seed: int
    level: str
    threads: int
    device: str
    """"cpu", or "cuda" where the manifest asks for a GPU (torch calls AMD's so too)."""
    hyperparameters: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    out: Path

    @property
    def checkpoint(self) -> Path:
        """The folder with the checkpoint; raises TaskError where the job names none."""
        if self.model is None:
            raise TaskError("the job names no checkpoint", "Set task.model to the folder below /inputs that holds it")
        return self.model

    def settings(self, cls: type[SettingsT]) -> SettingsT:
        """Return the dataclass `cls` filled from the hyperparameters of its fields' names; raises TaskError."""
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # a dataclass by contract
        missing = [name for name in names if name not in self.hyperparameters]
        if missing:
            raise TaskError(
                f"job.json: hyperparameters lack {', '.join(missing)}", "A job names every one; null is a value"
            )
        return cls(**{name: _frozen(self.hyperparameters[name]) for name in names})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def load(path: Path) -> Job:
    """Read a job file; raises TaskError for one that is not there, is no JSON object or lacks a key."""
    try:
        body = json.loads(path.read_bytes())
        seed = body["seed"]
        data_seed = body.get("data_seed")
        return Job(
            model=None if body["model"] is None else Path(body["model"]),
            seed=seed,
            data_seed=seed if data_seed is None else data_seed,
            level=body["level"],
            threads=body["threads"],
            device=body.get("device", "cpu"),
            hyperparameters=body["hyperparameters"],
            splits=body["splits"],
            out=Path(body["out"]),
        )
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}", f"Set {ENV_JOB} to the job file") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"{path} is not a job: {error}", "docs/tasks.md shows one") from None
    except KeyError as error:
        raise TaskError(f"{path} lacks the key {error}", "docs/tasks.md shows a whole job") from None


def run(task: Callable[[Job], None]) -> int:
    """Run a task on the job of $REPRO_JOB and return its exit code; a TaskError becomes one line and a note."""
    try:
        _from_environment(wire.ENV_METRICS)
        task(load(_from_environment(ENV_JOB)))
    except TaskError as error:
        print(f"error: {error}", file=sys.stderr)
        if wire.ENV_METRICS in os.environ:
            wire.emit("note", text=str(error))
        return 1
    return 0


def _from_environment(name: str) -> Path:
    if name not in os.environ:
        raise TaskError(f"the environment variable {name} is not set", "docs/tasks.md says how to run a task by hand")
    return Path(os.environ[name])
