"""Every pin of a manifest as rows for people, in the order in which a run looks at them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import ExpectedMetric, Stage, Task
from repro_tui.manifest.splits import Split


class PinRow(NamedTuple):
    """One pin: the part of the manifest, its key there, and the value; digests are whole."""

    group: str
    name: str
    value: str


def pin_rows(loaded: LoadedManifest) -> Iterator[PinRow]:
    """Yield every pin."""
    yield from _image(loaded)
    yield from _environment(loaded)
    manifest = loaded.manifest
    for artifact in manifest.artifacts:
        yield PinRow("artifacts", artifact.name, artifact.sha256 or artifact.tree_sha256 or "")
    for stage in manifest.every_stage:
        yield from _stage(stage)
    determinism = manifest.determinism
    yield PinRow("determinism", "seed", str(determinism.seed))
    if determinism.data_seed is not None:
        yield PinRow("determinism", "data_seed", str(determinism.data_seed))
    yield PinRow("determinism", "level", determinism.level)
    for metric in manifest.expected.metrics:
        yield PinRow("expected", f"{metric.place}/{metric.name}", _expected(metric))
    for output in manifest.expected.digests:
        yield PinRow("expected", f"{_of(output.stage)}{output.name}", output.sha256)
    if manifest.recorded is not None:
        yield PinRow("recorded", manifest.recorded.file, manifest.recorded.sha256)


def _image(loaded: LoadedManifest) -> Iterator[PinRow]:
    image = loaded.manifest.image
    for name in ("recipe", "reference", "dockerfile", "platform", "manifest_digest", "config_digest"):
        value = getattr(image, name)
        if value is not None:
            yield PinRow("image", name, str(value))


def _environment(loaded: LoadedManifest) -> Iterator[PinRow]:
    environment = loaded.manifest.environment
    if environment.lock is not None:
        yield PinRow("environment", environment.lock, environment.lock_sha256 or "")
    yield PinRow("environment", "hash", environment.hash or "not pinned")
    yield PinRow("environment", "threads", str(environment.threads))
    yield PinRow("environment", "cpu_capability", environment.cpu_capability)
    for name, value in environment.variables.items():
        yield PinRow("environment", name, str(value))


def _stage(stage: Stage) -> Iterator[PinRow]:
    """Yield the pins of one stage; where there are several, its name stands before the part."""
    of, task = _of(stage.name), stage.task
    if task.name is not None:
        yield PinRow(f"{of}task", "name", task.name)
        yield PinRow(f"{of}task", "code", task.code_sha256 or "not pinned")
    else:
        yield PinRow(f"{of}task", "command", " ".join(task.command or ()))
    if stage.needs:
        yield PinRow(f"{of}task", "needs", ", ".join(stage.needs))
    for name, split in stage.splits.items():
        yield PinRow(f"{of}splits", name, _split(split))
    for name, value in stage.hyperparameters.items():
        yield PinRow(f"{of}hyperparameters", name, value if isinstance(value, str) else json.dumps(value))


def _of(stage: str | None) -> str:
    return f"{stage}: " if stage else ""


def _split(split: Split) -> str:
    if split.stage is not None:
        source = f"{split.file} of the stage {split.stage}"
    else:
        source = split.artifact or f"{split.fraction:g} of {split.part_of}, drawn with seed {split.seed}"
    source += "".join(f" with {join.artifact}" for join in split.joins or ())
    counted = f", {split.examples} examples" if split.examples is not None else ""
    source += f", after the first {split.skip}" if split.skip is not None else ""
    return source + (f", the first {split.first}" if split.first is not None else "") + counted


def _expected(metric: ExpectedMetric) -> str:
    within = [f"{metric.absolute:g}"] if metric.absolute is not None else []
    within += [f"{100 * metric.relative:g} %"] if metric.relative is not None else []
    return f"{metric.value:.6g} ± {' ± '.join(within)}" + (
        f", {metric.direction}" if metric.direction != "two-sided" else ""
    )


def image_words(loaded: LoadedManifest) -> str:
    """Return where the image comes from, in a word or two."""
    image = loaded.manifest.image
    if image.reference is not None:
        return image.reference.partition("@")[0]
    return image.recipe or f"built from {image.dockerfile}"


def task_words(loaded: LoadedManifest) -> str:
    """Return what is run, in a word or two, by stages where there are some."""
    return ", then ".join(_task_words(stage.task) for stage in loaded.manifest.every_stage)


def _task_words(task: Task) -> str:
    return task.name.replace("_", " ") if task.name is not None else f"own command ({(task.command or [''])[0]})"


def gpu_words(loaded: LoadedManifest) -> str:
    """Return the need of GPUs in words."""
    gpus = loaded.manifest.resources.gpus
    if not gpus:
        return "no GPU"
    if isinstance(gpus, list):
        return f"GPU {', '.join(map(str, gpus))}"
    return "all GPUs" if gpus == "all" else f"{gpus} GPU{'s' if gpus != 1 else ''}"
