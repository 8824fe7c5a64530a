"""The two containers of a run: what they see of the host, and under which limits they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repro_tui.engines.base import ContainerSpec, Limits, Mount
from repro_tui.manifest import code, pins
from repro_tui.manifest.trees import tree_files
from repro_tui.pipeline.context import Context

PROBE_LIMIT_S = 600.0
"""A probe that takes longer hangs: it reads 2 GB at most."""


def stage_files(context: Context) -> None:
    """Put into the run directory what the containers read from there: job.json, and a built-in task's code.

    The code is one tree: that of this version, or the pinned one of another.
    """
    loaded = context.loaded
    job = json.dumps(pins.job(loaded), indent=2, ensure_ascii=False) + "\n"
    write_readable(context.run.job / "job.json", job.encode())
    task = loaded.manifest.task
    if task.name is not None:
        files = code.builtin_code_files(task.name) if loaded.task_code is None else tree_files(loaded.task_code)
        for relative, source in files.items():
            write_readable(context.run.code / relative, source.read_bytes())


def task_argv(context: Context) -> list[str]:
    """Return the command that trains."""
    name = context.loaded.manifest.task.name
    return pins.command(context.loaded) if name is None else ["python3", "-m", f"repro_tui.tasks.{name}"]


def task_spec(context: Context, log: Path) -> ContainerSpec:
    """Return the container that trains and evaluates."""
    resources = context.loaded.manifest.resources
    return ContainerSpec(
        name=f"repro-tui-{context.run.id}-train",
        run_id=context.run.id,
        argv=task_argv(context),
        environment=pins.container_environment(context.loaded),
        log=log,
        cwd="/out" if context.loaded.manifest.task.name is not None else "/code",
        mounts=[*_inputs(context), *_code(context), Mount(context.run.job, "/job"), _out(context.run.out)],
        limits=Limits(
            memory_bytes=resources.memory,
            processes=resources.processes,
            cpus=resources.cpus,
            shared_memory_bytes=resources.shared_memory,
            time_s=float(resources.time_limit_s),
        ),
        network=resources.network,
        gpus=context.gpus,
    )


def probe_spec(context: Context, argv: Sequence[str], out: Path, log: Path) -> ContainerSpec:
    """Return the container that looks at the environment: the same image and variables, nothing of the task.

    It gets no GPU, so that what an engine puts beside one (the driver's libraries) is no part of what is hashed.
    """
    resources = context.loaded.manifest.resources
    return ContainerSpec(
        name=f"repro-tui-{context.run.id}-environment",
        run_id=context.run.id,
        argv=argv,
        environment=pins.container_environment(context.loaded),
        log=log,
        cwd="/out",
        mounts=[Mount(context.run.job, "/job"), _out(out)],
        limits=Limits(processes=resources.processes, time_s=PROBE_LIMIT_S),
    )


def gpu_probe_spec(context: Context, argv: Sequence[str], out: Path, log: Path) -> ContainerSpec:
    """Return the container that looks at the GPUs: that of the environment probe, with the GPUs of the run."""
    name = f"repro-tui-{context.run.id}-gpus"
    return replace(probe_spec(context, argv, out, log), name=name, gpus=context.gpus)


def _inputs(context: Context) -> list[Mount]:
    manifest = context.loaded.manifest
    return [
        Mount(context.artifacts[artifact.name], f"/inputs/{artifact.path}")
        for artifact in manifest.artifacts
        if artifact.name != manifest.task.code
    ]


def _code(context: Context) -> list[Mount]:
    task = context.loaded.manifest.task
    if task.code is not None:
        return [Mount(context.artifacts[task.code], "/code")]
    return [Mount(context.run.code, "/code")]


def _out(folder: Path) -> Mount:
    return Mount(folder, "/out", read_only=False)


def write_readable(path: Path, content: bytes) -> None:
    """Write a file that the container's user can read, whatever the umask is."""
    for folder in reversed([path.parent, *path.parent.parents]):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    path.write_bytes(content)
    path.chmod(0o644)
