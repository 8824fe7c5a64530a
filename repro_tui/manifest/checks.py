"""Checks across tables: names that must exist, things that must not be there twice, pins that must agree.

They read the parsed TOML, not the models, so that they find their problems in a manifest that has others too; what the
models have to complain about (a wrong type, a missing key) is passed over here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from repro_tui.manifest import tasks
from repro_tui.manifest.declarations import TaskType
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path, lookup
from repro_tui.manifest.placeholders import PLACEHOLDER
from repro_tui.manifest.problems import Problem, did_you_mean, listing, show
from repro_tui.manifest.seed_checks import SEED_CHECKS
from repro_tui.manifest.stage_checks import STAGE_CHECKS, stage_of_model, stage_tables

_LARGEST_INTEGER = 2**53 - 1

_RESERVED_VARIABLES = {
    "OMP_NUM_THREADS": "environment.threads",
    "MKL_NUM_THREADS": "environment.threads",
    "OPENBLAS_NUM_THREADS": "environment.threads",
    "ATEN_CPU_CAPABILITY": "environment.cpu_capability",
    "ONEDNN_MAX_CPU_ISA": "environment.cpu_capability",
    "MKL_ENABLE_INSTRUCTIONS": "environment.cpu_capability",
    "OMP_WAIT_POLICY": "",
    "PYTHONPATH": "",
    "REPRO_JOB": "",
    "REPRO_METRICS": "",
    "REPRO_OUT": "",
    "REPRO_INPUTS": "",
}
"""Variables that another key sets, by that key; those with none belong to the run itself."""


def cross_problems(data: Mapping[str, Any], lines: Lines) -> Iterator[Problem]:
    """Yield the problems between the tables of a parsed manifest."""
    checks = (
        _integers, _variables, _image_lock, _artifact_names, _artifact_paths, _expected_twice, *SEED_CHECKS,
        *STAGE_CHECKS,
    )  # fmt: skip
    of_a_stage = (
        _split_artifacts, _split_parts, _task_name, _task_code, _task_model, _task_splits, _placeholders,
        _expected_names,
    )  # fmt: skip
    for path, found, allowed, hint in (
        *(problem for check in checks for problem in check(data)),
        *(
            problem
            for check in of_a_stage
            for at, stage in stage_tables(data)
            for problem in check(_Of(data, at, stage))
        ),
    ):
        yield Problem(format_path(path), lines.line(path), found, allowed, hint)


_KINDS = ("data", "weights", "code")


class _Of(NamedTuple):
    """A stage of a parsed manifest, and where it is in it."""

    data: Mapping[str, Any]
    at: tuple[Part, ...]
    stage: Mapping[str, Any]


_Found = Iterator[tuple[tuple[Part, ...], str, str, str]]
"""(path, found, allowed, hint)"""


def builtin_task(stage: Mapping[str, Any]) -> TaskType | None:
    """Return the task that a stage of a parsed manifest names, None where it names no (known) one."""
    return tasks.find_or_none(lookup(stage, ("task", "name")))


def _integers(data: Mapping[str, Any]) -> _Found:
    for path, value in _leaves(data, ()):
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            yield (
                path,
                show(value),
                f"whole numbers up to {_LARGEST_INTEGER:,} (2^53 - 1), which JSON holds exactly",
                "",
            )


def _leaves(value: Any, path: tuple[Part, ...]) -> Iterator[tuple[tuple[Part, ...], Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


def _variables(data: Mapping[str, Any]) -> _Found:
    for name in _table(data, "environment", "variables"):
        if name in _RESERVED_VARIABLES:
            key = _RESERVED_VARIABLES[name]
            hint = f"set `{key}` instead" if key else "leave it out: the run sets it"
            yield ("environment", "variables", name), f"a value for {name}", "variables that no other pin sets", hint


def _image_lock(data: Mapping[str, Any]) -> _Found:
    """Yield a recipe without the lock that it is assembled from."""
    environment = data.get("environment")
    if "recipe" in _table(data, "image") and isinstance(environment, dict) and "lock" not in environment:
        yield (
            ("environment", "lock"), "nothing", "the dependency lock from which `image.recipe` is assembled",
            "run `repro-tui lock`: it makes the lock, and pins it",
        )  # fmt: skip


def _artifacts(data: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((index, item) for index, item in enumerate(_list(data, "artifacts")) if isinstance(item, dict))


def _artifact_names(data: Mapping[str, Any]) -> _Found:
    seen: dict[str, int] = {}
    for index, artifact in _artifacts(data):
        name = artifact.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            yield (
                ("artifacts", index, "name"),
                f"{show(name)}, which artifacts[{seen[name]}] has already",
                "a name for one artifact only",
                "",
            )


def _artifact_paths(data: Mapping[str, Any]) -> _Found:
    codes = [code for _, stage in stage_tables(data) if isinstance(code := lookup(stage, ("task", "code")), str)]
    paths = [
        (index, PurePosixPath(artifact["path"]))
        for index, artifact in _artifacts(data)
        if isinstance(artifact.get("path"), str) and artifact.get("name") not in codes
    ]
    by_path: dict[PurePosixPath, int] = {}
    for index, path in paths:
        if by_path.setdefault(path, index) != index:
            yield (
                ("artifacts", index, "path"),
                f"{show(str(path))}, which artifacts[{by_path[path]}] has already",
                "a path for one artifact only",
                "",
            )
    for index, path in paths:
        parent = next((parent for parent in path.parents if parent in by_path and parent.parts), None)
        if parent is not None:
            yield (
                ("artifacts", index, "path"),
                f"{show(str(path))}, which lies inside artifacts[{by_path[parent]}] at {show(str(parent))}",
                "paths that do not overlap: each artifact is mounted by itself, read-only",
                "",
            )


def _reference_to_artifact(data: Mapping[str, Any], path: tuple[Part, ...], kind: str, user: str) -> _Found:
    """Yield what is wrong with the artifact that is named at `path`: whether it is there, its kind, file or folder."""
    name = lookup(data, path)
    if not isinstance(name, str):
        return
    named = {artifact["name"]: artifact for _, artifact in _artifacts(data) if isinstance(artifact.get("name"), str)}
    if name not in named:
        if all(isinstance(lookup(item, ("name",)), str) for item in _list(data, "artifacts")):
            # else the name may be the one that is mistyped up there
            yield path, f"{show(name)}, which is no artifact", listing(named), did_you_mean(name, list(named))
        return
    artifact = named[name]
    if any(artifact.get("kind") == other for other in _KINDS if other != kind):
        yield path, f"{show(name)}, an artifact of kind `{artifact['kind']}`", f"{user} is of kind `{kind}`", ""
    if kind == "code" and "sha256" in artifact and "tree_sha256" not in artifact:
        yield path, f"{show(name)}, a single file", "a folder: an artifact with `tree_sha256`", ""


def _split_artifacts(of: _Of) -> _Found:
    for split in _table(of.stage, "splits"):
        for key in ("artifact", "targets"):
            yield from _reference_to_artifact(of.data, (*of.at, "splits", split, key), "data", "a split")
        for index in range(len(_list(of.stage, "splits", split, "joins"))):
            yield from _reference_to_artifact(
                of.data, (*of.at, "splits", split, "joins", index, "artifact"), "data", "a split"
            )


def _task_name(of: _Of) -> _Found:
    name = lookup(of.stage, ("task", "name"))
    if isinstance(name, str) and name not in (known := tasks.names()):
        hint = did_you_mean(name, known) or "where another package adds the task, install that package"
        yield (*of.at, "task", "name"), show(name), listing(known), hint


def _task_code(of: _Of) -> _Found:
    if lookup(of.stage, ("task", "name")) is None:
        yield from _reference_to_artifact(of.data, (*of.at, "task", "code"), "code", "the task's code")


def _split_parts(of: _Of) -> _Found:
    splits = _table(of.stage, "splits")
    part_of = {name: lookup(split, ("part_of",)) for name, split in splits.items()}
    for name, whole in part_of.items():
        path = (*of.at, "splits", name, "part_of")
        if not isinstance(whole, str):
            continue
        if whole not in splits:
            others = [other for other in splits if other != name]
            yield path, f"{show(whole)}, which is no split", listing(others), did_you_mean(whole, others)
            continue
        chain = [name, whole]
        while isinstance(follows := part_of.get(chain[-1]), str) and follows not in chain:
            chain.append(follows)
        if part_of.get(chain[-1]) == name:
            circle = " → ".join([*chain, name]) if whole != name else f"{name} → {name}"
            yield path, f"a circle: {circle}", "a split that comes from an artifact in the end", ""


def _task_model(of: _Of) -> _Found:
    model = lookup(of.stage, ("task", "model"))
    task = builtin_task(of.stage)
    if task is not None and task.checkpoint == "needed" and model is None:
        allowed = f"`{task.name}` needs `model`: the folder below /inputs that holds the checkpoint"
        yield (*of.at, "task", "model"), "nothing", allowed, ""
    if task is not None and task.checkpoint == "none" and model is not None:
        yield (*of.at, "task", "model"), show(model), f"no `model`: `{task.name}` takes no checkpoint", "leave it out"
    artifacts = [artifact for _, artifact in _artifacts(of.data)]
    sound = all(isinstance(item.get("path"), str) and item.get("kind") in _KINDS for item in artifacts)
    if not isinstance(model, str) or not sound or len(artifacts) != len(_list(of.data, "artifacts")):
        return  # the artifact that is meant may be the one that has another problem
    known: list[str] = [artifact["path"] for artifact in artifacts if artifact["kind"] == "weights"]
    folder = PurePosixPath(model)
    if stage_of_model(model) is not None:
        return  # a check of stages
    if not any(folder == PurePosixPath(path) or folder in PurePosixPath(path).parents for path in known):
        folders = sorted({path.partition("/")[0] for path in known})
        allowed = f"a folder below /inputs that an artifact of kind `weights` fills: {listing(folders)}"
        yield (*of.at, "task", "model"), f"{show(model)}, where no weights are", allowed, did_you_mean(model, folders)


def _task_splits(of: _Of) -> _Found:
    task = builtin_task(of.stage)
    if task is None:
        return
    splits = _table(of.stage, "splits")
    for name in task.splits:
        if name not in splits:
            hint = did_you_mean(name, list(splits))
            yield (*of.at, "splits", name), "nothing", f"`{task.name}` needs the split `{name}`", hint
    for name in splits:
        kind = lookup(of.stage, ("splits", name, "format")) or "tsv"
        if kind not in task.formats and lookup(of.stage, ("splits", name, "part_of")) is None:
            found = f"{show(kind)}, which `{task.name}` does not read"
            yield (*of.at, "splits", name, "format"), found, listing(task.formats), did_you_mean(kind, task.formats)
    for key in ("select_best_on", "evaluate_every"):
        if key in _table(of.stage, "hyperparameters") and "validation" not in splits:
            yield (*of.at, "hyperparameters", key), "no split `validation`", f"`{key}` needs the split `validation`", ""


def _placeholders(of: _Of) -> _Found:
    if lookup(of.stage, ("task", "name")) is not None:
        return
    given = _table(of.stage, "hyperparameters")
    known = [*given, "seed"]
    for index, argument in enumerate(_list(of.stage, "task", "command")):
        for found in PLACEHOLDER.finditer(argument) if isinstance(argument, str) else ():
            name = found[2]
            if name is not None and name not in known:
                hint = did_you_mean(name, known) or f"`{{{{{name}}}}}` stands for `{{{name}}}` itself"
                yield (
                    (*of.at, "task", "command", index),
                    f"`{{{name}}}`, which is no hyperparameter",
                    listing(known),
                    hint,
                )
    if "seed" in given and "command" in _table(of.stage, "task"):
        yield (
            (*of.at, "hyperparameters", "seed"),
            "a seed",
            "the seed is `determinism.seed`; `{seed}` stands for it",
            "",
        )


def _expected_twice(data: Mapping[str, Any]) -> _Found:
    metrics = [
        (item.get("name"), item.get("split", "test"), item.get("stage"))
        for item in _tables(data, "expected", "metrics")
    ]
    for index, (name, split, _) in _repeated(metrics):
        found = f"{show(name)} on {show(split)} a second time"
        yield ("expected", "metrics", index), found, "one expected value for a metric on a split", ""
    digests = [(item.get("name"), item.get("stage")) for item in _tables(data, "expected", "digests")]
    for index, (name, _) in _repeated(digests):
        yield ("expected", "digests", index), f"{show(name)} a second time", "one digest for an output", ""


def _repeated(names: list[tuple[Any, ...]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    return ((index, name) for index, name in enumerate(names) if isinstance(name[0], str) and name in names[:index])


def _expected_names(of: _Of) -> _Found:
    """Yield metrics and outputs that the built-in task does not report: they could only end as unverifiable."""
    task = builtin_task(of.stage)
    if task is None:
        return
    splits = list(_table(of.stage, "splits"))
    hyperparameters = _table(of.stage, "hyperparameters")
    metrics = task.reported_metrics(hyperparameters)
    best = hyperparameters.get("select_best_on")
    if isinstance(best, str) and best not in metrics:
        path = (*of.at, "hyperparameters", "select_best_on")
        yield path, f"{show(best)}, which the task does not report", listing(metrics), did_you_mean(best, metrics)
    for table, key, known in (
        (("expected", "metrics"), "name", metrics),
        (("expected", "digests"), "name", task.outputs),
        (("claims",), "metric", metrics),
    ):
        for index, item in enumerate(_tables(of.data, *table)):
            name = item.get(key)
            if item.get("stage") != (of.stage.get("name") if of.at else None):
                continue
            if isinstance(name, str) and name not in known:
                found = f"{show(name)}, which the task does not report"
                yield (*table, index, key), found, listing(known), did_you_mean(name, known)
            split = item.get("split")
            if isinstance(split, str) and split not in splits:
                found = f"{show(split)}, which is no split"
                yield (*table, index, "split"), found, listing(splits), did_you_mean(split, splits)


def _table(data: Mapping[str, Any], *path: Part) -> dict[str, Any]:
    found = lookup(data, path)
    return found if isinstance(found, dict) else {}


def _list(data: Mapping[str, Any], *path: Part) -> list[Any]:
    found = lookup(data, path)
    return found if isinstance(found, list) else []


def _tables(data: Mapping[str, Any], *path: Part) -> list[dict[str, Any]]:
    """Return the elements of an array of tables; what is no table stands as an empty one, so that indexes hold."""
    return [item if isinstance(item, dict) else {} for item in _list(data, *path)]
