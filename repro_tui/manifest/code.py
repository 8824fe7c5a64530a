"""The code of tasks that are named: which files a container is given, and their digest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from repro_tui.manifest import tasks
from repro_tui.manifest.trees import tree_digest


def builtin_code_files(task: str) -> dict[str, Path]:
    """Return the files of a task as {path below /code: file on this host}; raises KeyError for no such task.

    They are the task's module and whatever it imports, directly or not, of `repro_tui.tasks`, of `repro_tui.wire` and
    of its own package. A package's `__init__.py` is stood in for by that of `tasks`, which holds a docstring only: what
    a package does when it is imported (its version, say) is not the task.
    """
    module = tasks.find(task).module
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = tasks.module_file(name)
        if path is None or path.name == "__init__.py" or _place(name) in files:
            continue
        files[_place(name)] = path
        waiting += [each for each in _imports(path) if _belongs(each, module)]
    stand_in = tasks.PACKAGE / "tasks" / "__init__.py"
    folders = {parent.as_posix() for place in files for parent in Path(place).parents} - {"."}
    files |= {f"{folder}/__init__.py": stand_in for folder in folders}
    return dict(sorted(files.items()))


def builtin_code_digest(task: str) -> str:
    """Return the tree digest (hex) of a task's code in this version; raises KeyError for no such task."""
    return tree_digest(builtin_code_files(task))


def _place(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def _belongs(module: str, task: str) -> bool:
    top = task.partition(".")[0]
    own = "repro_tui.tasks" if top == tasks.PACKAGE.name else top
    return any(module == root or module.startswith(f"{root}.") for root in ("repro_tui.tasks", "repro_tui.wire", own))


@cache
def _parsed(path: Path, _modified_ns: int) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _imports(path: Path) -> Iterator[str]:
    """Yield the names of modules that a file may import; of `from a import b` both `a` and `a.b`."""
    yield from _parsed(path, path.stat().st_mtime_ns)
