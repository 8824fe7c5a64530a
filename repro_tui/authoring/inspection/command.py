"""The command that trains: the one that was given, taken apart, or the likely one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from repro_tui.authoring.inspection.code import Module, Option, read_module
from repro_tui.authoring.inspection.dependencies import entry_points
from repro_tui.authoring.inspection.folder import Folder
from repro_tui.errors import UsageError

_PYTHON = re.compile(r"^(.*/)?python(\d(\.\d+)?)?$")
_VARIABLE = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.DOTALL)
_NUMBER = re.compile(r"^-\d|^-\.\d")
_WITH_VALUE = frozenset({"-W", "-X"})
_LIKELY = ("train", "finetune", "fine_tune", "run", "main", "experiment", "fit")


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was typed."""

    start: tuple[str, ...]
    """What starts the script: `python3 -u train.py`, `python3 -m pkg.train`, or another program."""
    script: str
    """The Python file that is run, "" where it is none of the project's."""
    arguments: tuple[str, ...]
    """What follows."""
    variables: Mapping[str, str]
    """Environment variables that were set before it."""
    module: str = ""
    """The module that is run by its name, "" where it is a file."""


def take_apart(words: Sequence[str], folder: Folder) -> Command:
    """Return a command's parts; raises UsageError where it names a Python script that is not there."""
    rest = list(words)
    variables = {}
    while rest and (found := _VARIABLE.match(rest[0])):
        variables[found[1]] = found[2]
        rest.pop(0)
    if not rest:
        raise UsageError("there is no command after `--`", hint="repro-tui init FOLDER -- python train.py --lr 0.1")
    if rest[0].endswith(".py"):
        rest.insert(0, "python3")
    if not _PYTHON.match(rest[0]):
        return _entry(rest[0], tuple(rest[1:]), variables, folder) or Command(
            (rest[0],), "", tuple(rest[1:]), variables
        )
    place = 1
    while place < len(rest) and rest[place].startswith("-") and rest[place] not in {"-m", "-c", "-"}:
        place += 2 if rest[place] in _WITH_VALUE else 1
    module = place < len(rest) and rest[place] == "-m"
    end = place + (2 if module else 1)
    if len(rest) < end or rest[place] in {"-c", "-"}:
        raise UsageError("the command runs no script", where=" ".join(words), hint="name a Python file, or -m MODULE")
    script = _module_file(rest[end - 1], folder) if module else folder.find(rest[end - 1]) or ""
    if script not in folder.files:
        raise UsageError(
            f"the script {rest[end - 1]!r} is not in {folder.root}", where=" ".join(words),
            hint="paths in the command start from the project's folder",
        )  # fmt: skip
    named = rest[end - 1] if module else script
    start = ("python3", *rest[1 : end - 1], named)
    return Command(start, script, tuple(rest[end:]), variables, named if module else "")


def command_of(script: str, folder: Folder) -> Command:
    """Return the command that runs a script of the project: by its module's name where it lies in a package."""
    for name, (module, _) in entry_points(folder).items():
        if _module_file(module, folder) == script and (found := _entry(name, (), {}, folder)) is not None:
            return found
    package = script.rpartition("/")[0]
    if not package or f"{package}/__init__.py" not in folder.files:
        return Command(("python3", script), script, (), {})
    module = script.removeprefix("src/").removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    return Command(("python3", "-m", module), script, (), {}, module)


def _entry(name: str, arguments: tuple[str, ...], variables: Mapping[str, str], folder: Folder) -> Command | None:
    """Return a command that the project itself installs as the module it stands for: nothing is installed in a run."""
    module, function = entry_points(folder).get(name, ("", ""))
    script = _module_file(module, folder) if module else ""
    if not script:
        return None
    if read_module(folder.root, script).has_main:
        return Command(("python3", "-m", module), script, arguments, variables, module)
    called = f"import sys; from {module} import {function.partition('.')[0]}; sys.exit({function}())"
    return Command(("python3", "-c", called), script, arguments, variables, module)


def likely_scripts(modules: Mapping[str, Module]) -> list[str]:
    """Return the scripts that may be the training, the likeliest first."""
    scored = sorted((-_likelihood(name, module), name) for name, module in modules.items())
    return [name for score, name in scored if score < 0]


def options_given(arguments: Sequence[str], options: Sequence[Option]) -> list[tuple[Option | None, list[str]]]:
    """Return the arguments in groups: each an option with its values, or a word that belongs to none."""
    by_flag = {flag: option for option in options for flag in option.flags}
    positional = [option for option in options if not option.flags]
    groups: list[tuple[Option | None, list[str]]] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        option = by_flag.get(name if equals else word) or _abbreviated(name, by_flag)
        if option is None:
            groups.append((positional.pop(0) if positional and not word.startswith("-") else None, [word]))
        elif option.flag or equals:
            groups.append((option, [word]))
        else:
            values = [word]
            while rest and (not rest[0].startswith("-") or _NUMBER.match(rest[0])):
                values.append(rest.pop(0))
                if not option.many:
                    break
            groups.append((option, values))
    return groups


def _abbreviated(name: str, by_flag: Mapping[str, Option]) -> Option | None:
    """Return the option whose name begins so, as argparse takes it."""
    if not name.startswith("--") or len(name) < 4:
        return None
    found = {id(option): option for flag, option in by_flag.items() if flag.startswith(name)}
    return next(iter(found.values())) if len(found) == 1 else None


def _module_file(module: str, folder: Folder) -> str:
    base = module.replace(".", "/")
    candidates = [f"{root}{base}{end}" for root in ("", "src/") for end in (".py", "/__main__.py")]
    return next((name for name in candidates if name in folder.files), "")


def _likelihood(name: str, module: Module) -> int:
    path = PurePosixPath(name)
    if path.stem.startswith(("test_", "conftest")) or {"tests", "test", "docs"} & set(path.parts[:-1]):
        return 0
    score = 4 * module.has_main + 3 * bool(module.options) + 3 * module.reports + 2 * bool(module.metrics)
    score += next((12 - 2 * place for place, stem in enumerate(_LIKELY) if path.stem == stem), 0)
    score += 6 * any(stem in path.stem for stem in _LIKELY[:3])
    score += any(use.kind in {"file", "dataset"} for use in module.uses)
    return max(0, score - 2 * (len(path.parts) - 1)) if score else (len(path.parts) == 1)
