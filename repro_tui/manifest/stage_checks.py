"""Checks of a manifest with stages: that names are there, and that each stage says which earlier ones it builds on.

Like those of checks.py they read the parsed TOML, and pass over what the models complain about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from repro_tui.manifest.paths import Part, lookup
from repro_tui.manifest.problems import did_you_mean, listing, show

FOLDER = "stages"
"""Below /inputs, where the folders of earlier stages are."""

_Found = Iterator[tuple[tuple[Part, ...], str, str, str]]
"""(path, found, allowed, hint)"""


def stage_tables(data: Mapping[str, Any]) -> list[tuple[tuple[Part, ...], dict[str, Any]]]:
    """Return each stage of a parsed manifest with its path; one with a single task is itself the only one, at ()."""
    if "stage" not in data:
        return [((), dict(data))]
    stages = data["stage"]
    items = enumerate(stages if isinstance(stages, list) else ())
    return [(("stage", index), item) for index, item in items if isinstance(item, dict)]


def stage_of_model(model: str) -> str | None:
    """Return the stage that a task takes its model from, None where it is a folder of artifacts."""
    parts = PurePosixPath(model).parts
    return parts[1] if len(parts) > 1 and parts[0] == FOLDER else None


def _names(data: Mapping[str, Any]) -> _Found:
    seen: dict[str, Part] = {}
    for at, stage in _stages(data):
        name = stage.get("name")
        if isinstance(name, str) and seen.setdefault(name, at[1]) != at[1]:
            yield (*at, "name"), f"{show(name)}, which stage[{seen[name]}] has already", "a name for one stage only", ""


def _needs(data: Mapping[str, Any]) -> _Found:
    earlier: list[str] = []
    later = [stage.get("name") for _, stage in _stages(data)]
    for at, stage in _stages(data):
        needs = stage.get("needs")
        for index, name in enumerate(needs if isinstance(needs, list) else ()):
            if isinstance(name, str) and name not in earlier:
                hint = "stages run in the order of the file" if name in later else did_you_mean(name, earlier)
                yield (*at, "needs", index), f"{show(name)}, which is no earlier stage", listing(earlier), hint
        earlier += [name] if isinstance(name := stage.get("name"), str) else []


def _used(data: Mapping[str, Any]) -> _Found:
    """Yield what a stage takes of others without saying so in `needs`: their folders are then not there."""
    for at, stage in stage_tables(data):
        needs = stage.get("needs")
        needed = [name for name in needs if isinstance(name, str)] if isinstance(needs, list) else []
        used: list[tuple[tuple[Part, ...], Any]] = []
        model = lookup(stage, ("task", "model"))
        if isinstance(model, str) and (name := stage_of_model(model)) is not None:
            used.append((("task", "model"), name))
        splits = stage.get("splits")
        names = splits if isinstance(splits, dict) else ()
        used += [(("splits", split, "stage"), lookup(splits, (split, "stage"))) for split in names]
        for path, name in used:
            if isinstance(name, str) and name not in needed:
                words = (
                    f"a stage that `needs` names: {listing(needed)}" if at else "stages (`[[stage]]`), to take it from"
                )
                yield (*at, *path), f"the stage {show(name)}", words, did_you_mean(name, needed)


def _artifact_paths(data: Mapping[str, Any]) -> _Found:
    artifacts = data.get("artifacts")
    for index, artifact in enumerate(artifacts if isinstance(artifacts, list) else ()):
        path = lookup(artifact, ("path",))
        if _stages(data) and isinstance(path, str) and PurePosixPath(path).parts[:1] == (FOLDER,):
            allowed = f"another folder: /inputs/{FOLDER} is where the folders of earlier stages are"
            yield ("artifacts", index, "path"), show(path), allowed, ""


def _of_stages(data: Mapping[str, Any]) -> _Found:
    """Yield what is expected or claimed of no stage, or of one that is not there."""
    names = [name for _, stage in _stages(data) if isinstance(name := stage.get("name"), str)]
    for table in (("expected", "metrics"), ("expected", "digests"), ("claims",)):
        items = lookup(data, table)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if not isinstance(item, dict):
                continue
            path, name = (*table, index, "stage"), item.get("stage")
            if "stage" not in data and name is not None:
                yield path, show(name), "no `stage`: the manifest has one task", ""
            elif "stage" in data and name is None:
                yield path, "nothing", f"the stage that it is of: {listing(names)}", ""
            elif "stage" in data and isinstance(name, str) and name not in names:
                yield path, f"{show(name)}, which is no stage", listing(names), did_you_mean(name, names)


def _stages(data: Mapping[str, Any]) -> list[tuple[tuple[Part, ...], dict[str, Any]]]:
    return stage_tables(data) if "stage" in data else []


STAGE_CHECKS = (_names, _needs, _used, _artifact_paths, _of_stages)
