"""What a loaded manifest pins, as plain values: the environment of the process, its job, and what results depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repro_tui.manifest.canonical import canonical, digest
from repro_tui.manifest.code import builtin_code_digest
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Stage
from repro_tui.manifest.paths import format_path
from repro_tui.manifest.placeholders import fill
from repro_tui.manifest.splits import Split
from repro_tui.manifest.tasks import resolve

__all__ = ["canonical", "code_sha256", "command", "container_environment", "differences", "digest", "job", "pinned_job"]

_INSTRUCTIONS = {
    "default": ("default", "SSE41", "SSE4_2"),
    "avx2": ("avx2", "AVX2", "AVX2"),
    "avx512": ("avx512", "AVX512_CORE", "AVX512"),
}
"""What ATen, oneDNN and MKL each call a CPU capability."""

_GPU_VARIABLES = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64:/usr/local/nvidia/lib",
}
"""Of runs on GPUs: devices in one order, and where an engine without a daemon puts the driver's libraries."""


def container_environment(loaded: LoadedManifest) -> dict[str, str]:
    """Return the whole environment of the process in the container; nothing of the host's gets in.

    The seed is left out on purpose (PYTHONHASHSEED is always 0): runs over several seeds share one environment hash.
    """
    environment = loaded.manifest.environment
    aten, onednn, mkl = _INSTRUCTIONS[environment.cpu_capability]
    threads = str(environment.threads)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 - a tmpfs of the container, the only writable folder besides /out
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": "/code",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_DYNAMIC": "FALSE",
        "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads that spin take the processor from working ones
        "MKL_DYNAMIC": "FALSE",  # else MKL takes fewer threads where it sees fewer physical cores
        "ATEN_CPU_CAPABILITY": aten,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic with a fixed workspace only
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": "/tmp/hf",  # noqa: S108 - as HOME
        "TOKENIZERS_PARALLELISM": "false",
        "REPRO_JOB": "/job/job.json",
        "REPRO_METRICS": "/out/metrics.jsonl",
        "REPRO_OUT": "/out",
        "REPRO_INPUTS": "/inputs",
        **(_GPU_VARIABLES if loaded.manifest.resources.gpus else {}),
        **environment.variables,
    }


def job(loaded: LoadedManifest, stage: Stage | None = None) -> dict[str, Any]:
    """Return what the task reads as /job/job.json: paths as the container sees them, no key left out.

    Without a `stage` it is the first one's: the only one's, where the manifest has none by name.
    """
    manifest = loaded.manifest
    stage = stage or manifest.every_stage[0]
    task, splits = stage.task, stage.splits
    determinism = manifest.determinism
    return {
        "schema": 1,
        "task": task.name,
        "model": None if task.model is None else f"/inputs/{task.model}",
        "seed": determinism.seed,
        "data_seed": determinism.seed if determinism.data_seed is None else determinism.data_seed,
        "level": determinism.level,
        "threads": manifest.environment.threads,
        "device": "cuda" if manifest.resources.gpus else "cpu",
        "cpu_capability": manifest.environment.cpu_capability,
        "hyperparameters": resolve(task.name, stage.hyperparameters),
        "splits": {name: _job_split(loaded, splits[name]) for name in _drawing_order(splits)},
        "out": "/out",
    }


def command(loaded: LoadedManifest, stage: Stage | None = None) -> list[str]:
    """Return the arguments of the user's command, placeholders filled in; raises ValueError for a built-in task."""
    stage = stage or loaded.manifest.every_stage[0]
    if stage.task.command is None:
        raise ValueError("a built-in task has no command")
    values = {**stage.hyperparameters, "seed": loaded.manifest.determinism.seed}
    return [fill(argument, values) for argument in stage.task.command]


def code_sha256(loaded: LoadedManifest, stage: Stage | None = None) -> str:
    """Return the digest of the built-in task's code that is used: the installed one's, or the pin of another's."""
    task = (stage or loaded.manifest.every_stage[0]).task
    if task.code_sha256 in loaded.task_code:
        return str(task.code_sha256)
    return builtin_code_digest(task.name or "")


def pinned_job(loaded: LoadedManifest) -> dict[str, Any]:
    """Return everything that results depend on besides image and environment, as JSON-ready values.

    Paths into it are the manifest's keys, artifacts and stages by name: `splits.test.artifact`,
    `artifacts.r8-train.sha256`, `stage.pretrain.hyperparameters.learning_rate`.
    Limits on time and memory, which GPUs of a host are taken, and the number of examples that a split must have change
    no result and are not in it.
    """
    manifest = loaded.manifest
    stages = {stage.name: _pinned_stage(loaded, stage) for stage in manifest.every_stage}
    return {
        **stages.get("", {"stage": stages}),
        "determinism": manifest.determinism.model_dump(),
        "artifacts": {
            artifact.name: {"path": artifact.path, "sha256": artifact.sha256, "tree_sha256": artifact.tree_sha256}
            for artifact in manifest.artifacts
        },
        "resources": {"gpus": len(gpus) if isinstance(gpus := manifest.resources.gpus, list) else gpus},
    }


def _pinned_stage(loaded: LoadedManifest, stage: Stage) -> dict[str, Any]:
    task = stage.task.model_dump(exclude={"code_sha256"})
    if stage.task.name is not None:
        task["code_sha256"] = code_sha256(loaded, stage)
    return {
        "task": task,
        "hyperparameters": resolve(stage.task.name, stage.hyperparameters),
        "splits": {name: split.model_dump(exclude={"examples", "classes"}) for name, split in stage.splits.items()},
        **({"needs": sorted(stage.needs)} if stage.name else {}),
    }


def differences(expected: Any, observed: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (path, expected, observed) for every leaf in which two JSON values differ; paths are TOML paths.

    A key that is absent is the same as one that is None. Numbers are compared by value: 1 and 1.0 are one JSON number.
    """
    return [
        (f"{prefix}.{path}" if prefix and path and not path.startswith("[") else f"{prefix}{path}", left, right)
        for path, left, right in ((format_path(parts), left, right) for parts, left, right in _walk(expected, observed))
    ]


def _walk(expected: Any, observed: Any) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    if isinstance(expected, Mapping) and isinstance(observed, Mapping):
        for key in sorted(expected.keys() | observed.keys()):
            for path, left, right in _walk(expected.get(key), observed.get(key)):
                yield (key, *path), left, right
    elif isinstance(expected, list | tuple) and isinstance(observed, list | tuple):
        for index in range(max(len(expected), len(observed))):
            left = expected[index] if index < len(expected) else None
            right = observed[index] if index < len(observed) else None
            for path, one, other in _walk(left, right):
                yield (index, *path), one, other
    elif expected != observed or isinstance(expected, bool) != isinstance(observed, bool):
        yield (), expected, observed


def _drawing_order(splits: Mapping[str, Split]) -> list[str]:
    """Return the names of the splits: files first, then parts, each after what it is a part of, else by name.

    Which examples a part gets depends on what was drawn before it; so this must not depend on the order in the file.
    """

    def depth(name: str) -> int:
        whole = splits[name].part_of
        return 0 if whole is None else 1 + depth(whole)

    return sorted(splits, key=lambda name: (depth(name), name))


def _job_split(loaded: LoadedManifest, split: Split) -> dict[str, Any]:
    if split.part_of is not None:
        return split.model_dump(include={"part_of", "fraction", "seed", "stratified", "first", "examples", "classes"})
    given = split.model_dump(
        exclude={"artifact", "stage", "file", "targets", "joins", "part_of", "fraction", "seed", "stratified"}
    )

    def inside(artifact: str) -> str:
        return f"/inputs/{loaded.manifest.artifact(artifact).path}"

    path = f"/inputs/stages/{split.stage}/{split.file}" if split.artifact is None else inside(split.artifact)
    targets = None if split.targets is None else inside(split.targets)
    joins = None if split.joins is None else [{"path": inside(join.artifact), "on": join.on} for join in split.joins]
    return {"path": path, "targets": targets, "joins": joins, **given}
