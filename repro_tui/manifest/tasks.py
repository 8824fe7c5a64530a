"""The tasks there are: a file each in `repro_tui/tasks`, and those that installed packages add by an entry point.

A package adds one by an entry point of the group `repro_tui.tasks`: the task's name, and its module. The module is
read, never imported: it runs in the image only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from repro_tui.errors import UsageError
from repro_tui.manifest.declarations import TaskType, declared

GROUP = "repro_tui.tasks"
"""Group of the entry points, and the package of the built-in tasks."""

PACKAGE = Path(__file__).resolve().parent.parent


def names() -> list[str]:
    """Return the names of all tasks: the built-in ones, and then those of other packages."""
    return [*builtin_names(), *(name for name in _added() if name not in builtin_names())]


def builtin_names() -> list[str]:
    """Return the names of the built-in tasks."""
    return sorted(path.stem for path in (PACKAGE / "tasks").glob("*.py") if not path.stem.startswith("_"))


def find(name: str) -> TaskType:
    """Return a task; raises KeyError for no such task, UsageError for one that does not declare itself as it must."""
    if name in builtin_names():
        return _declared(name, f"{GROUP}.{name}", PACKAGE / "tasks" / f"{name}.py")
    entry = _added()[name]
    path = module_file(entry.module)
    if path is None:
        raise UsageError(
            f"the task {name} is said to be the module {entry.module}, which is not there", where=f"entry point {name}",
            hint="install the package that brings it again",
        )  # fmt: skip
    return _declared(name, entry.module, path)


def find_or_none(name: object) -> TaskType | None:
    """Return a task by what stands in a manifest, None where that names none."""
    return find(name) if isinstance(name, str) and name in names() else None


def resolve(task: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a run: for a named task all of them, defaults filled in; else as given.

    Raises pydantic.ValidationError where the task does not take them; a loaded manifest holds none of those.
    """
    return dict(given) if task is None else find(task).resolve(given)


def module_file(module: str) -> Path | None:
    """Return the file of a module below `repro_tui`, or of an installed package; None where there is none.

    Nothing is imported: the top package is looked up, what is below it found by its path.
    """
    top, *below = module.split(".")
    if top == PACKAGE.name:
        roots = [PACKAGE]
    else:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if not below:
            return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
        roots = [Path(place) for place in spec.submodule_search_locations or ()]
    for root in roots:
        base = root.joinpath(*below)
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@cache
def _declared(name: str, module: str, path: Path) -> TaskType:
    return declared(name, module, path, module_file)


@cache
def _added() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
