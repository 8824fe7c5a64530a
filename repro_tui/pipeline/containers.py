"""The two containers of a run: what they see of the host, and under which limits they run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repro_tui.engines.base import ContainerSpec, Limits, Mount
from repro_tui.manifest import code, pins, tasks
from repro_tui.manifest.models import Artifact, Manifest, Stage
from repro_tui.manifest.stage_checks import FOLDER
from repro_tui.manifest.trees import tree_files
from repro_tui.pipeline.context import Context

PROBE_LIMIT_S = 600.0
"""A probe that takes longer hangs: it reads 2 GB at most."""


def stage_files(context: Context) -> None:
    """Put into the run directory what the containers read from there: job.json, and a built-in task's code.

    The code is one tree: that of this version, or the pinned one of another. Each stage of several has folders of its
    own by its name, as it has for its outputs.
    """
    loaded, run = context.loaded, context.run
    for stage in loaded.manifest.every_stage:
        job = json.dumps(pins.job(loaded, stage), indent=2, ensure_ascii=False) + "\n"
        write_readable(run.job / stage.name / "job.json", job.encode())
        if stage.name:
            (run.out / stage.name).mkdir(exist_ok=True)
            (run.out / stage.name).chmod(0o755)
        task = stage.task
        if task.name is not None:
            pinned = loaded.task_code.get(task.code_sha256 or "")
            files = code.builtin_code_files(task.name) if pinned is None else tree_files(pinned)
            for relative, source in files.items():
                write_readable(run.code / stage.name / relative, source.read_bytes())


def task_argv(context: Context, stage: Stage) -> list[str]:
    """Return the command that trains."""
    name = stage.task.name
    return pins.command(context.loaded, stage) if name is None else ["python3", "-m", tasks.find(name).module]


def task_spec(context: Context, stage: Stage, log: Path) -> ContainerSpec:
    """Return the container that trains and evaluates: that of one stage, where there are several."""
    resources = context.loaded.manifest.resources
    return ContainerSpec(
        name=f"repro-tui-{context.run.id}-train{stage.name and f'-{stage.name}'}",
        run_id=context.run.id,
        argv=task_argv(context, stage),
        environment=pins.container_environment(context.loaded),
        log=log,
        cwd="/out" if stage.task.name is not None else "/code",
        mounts=[
            *_inputs(context, stage),
            *_code(context, stage),
            Mount(context.run.job / stage.name, "/job"),
            _out(context.run.out / stage.name),
        ],
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


def _inputs(context: Context, stage: Stage) -> list[Mount]:
    return [
        *(
            Mount(context.artifacts[artifact.name], f"/inputs/{artifact.path}")
            for artifact in inputs_of(context.loaded.manifest, stage)
        ),
        *(Mount(context.handed_on[name].folder, f"/inputs/{FOLDER}/{name}") for name in stage.needs),
    ]


def inputs_of(manifest: Manifest, stage: Stage) -> list[Artifact]:
    """Return the artifacts that a stage sees.

    That is all but code; of several stages one with a built-in task sees the data of its own splits only, so that it
    need not run again where another's data have changed.
    """
    codes = {each.task.code for each in manifest.every_stage}
    own = {name for split in stage.splits.values() for name in split.artifacts}
    narrow = bool(stage.name) and stage.task.name is not None
    return [
        artifact
        for artifact in manifest.artifacts
        if artifact.name not in codes and (not narrow or artifact.kind != "data" or artifact.name in own)
    ]


def _code(context: Context, stage: Stage) -> list[Mount]:
    if stage.task.code is not None:
        return [Mount(context.artifacts[stage.task.code], "/code")]
    return [Mount(context.run.code / stage.name, "/code")]


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
