"""The code of built-in tasks: which files of this package a container is given, and their digest."""

from __future__ import annotations

from pathlib import Path

from repro_tui.manifest.trees import tree_digest

_PACKAGE = Path(__file__).resolve().parent.parent


def builtin_code_files(task: str) -> dict[str, Path]:
    """Return the files of a built-in task as {path below /code: file on this host}; raises KeyError for no such task.

    The package's own `__init__.py` is stood in for by that of `tasks`, which holds a docstring only: the version in it
    must not change the digest.
    """
    tasks = _PACKAGE / "tasks"
    main = tasks / f"{task}.py"
    if not task.isidentifier() or task.startswith("_") or not main.is_file():
        raise KeyError(task)
    files = {
        "repro_tui/__init__.py": tasks / "__init__.py",
        "repro_tui/wire.py": _PACKAGE / "wire.py",
        "repro_tui/tasks/__init__.py": tasks / "__init__.py",
        f"repro_tui/tasks/{task}.py": main,
    }
    files |= {f"repro_tui/tasks/common/{file.name}": file for file in (tasks / "common").glob("*.py")}
    return dict(sorted(files.items()))


def builtin_code_digest(task: str) -> str:
    """Return the tree digest (hex) of a built-in task's code in this version; raises KeyError for no such task."""
    return tree_digest(builtin_code_files(task))
