"""Causes in the job: hyperparameters, the task, data down to the row, weights, splits, code down to the line, seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from repro_tui.manifest.pins import differences
from repro_tui.report.explain.files import Clock, FileChange, TooLongError, Tree, changed_files, compare_rows
from repro_tui.report.explain.files import source_difference as source
from repro_tui.report.explain.model import Cause, Kind, cause, show
from repro_tui.report.explain.sides import Side, builtin_code, stages_of
from repro_tui.runs.state import of_stage
from repro_tui.runs.words import printable, size

_SHOWN_FILES = 5
_PINS = ("sha256", "tree_sha256")

_WHY = {
    Kind.HYPERPARAMETER: "it decides how the model is trained",
    Kind.TASK: "something else was run",
    Kind.SPLIT: "other examples are trained on, or measured",
    Kind.DETERMINISM: "another promise of how far two runs may be apart; it may choose other algorithms",
    Kind.SEED: "another draw of the initialisation, of dropout and of the order of the examples",
    Kind.GPU: "a GPU sums in another order than a CPU, and two otherwise than one",
}


_WHY_BYTES = {Kind.CODE: "other code was run", Kind.WEIGHTS: "the training starts from other weights"}


def job_causes(left: Side, right: Side, clock: Clock) -> Iterator[Cause]:
    """Yield what differs of the job, of the sections that are known of both sides."""
    stages = (stages_of(left.job), stages_of(right.job))
    for name in (name for name in stages[0] if name in stages[1]):
        for section in ("hyperparameters", "task", "splits"):
            yield from _sections(section, stages[0][name], stages[1][name], name)
    if stages[0].keys() != stages[1].keys():
        names = [", ".join(filter(None, each)) or "one task" for each in stages]
        yield cause(Kind.TASK, "stages", names, _WHY[Kind.TASK])
    for section in ("determinism", "resources"):
        found = _sections(section, left.job, right.job)
        yield from (each for each in found if not (each.name == "seed" and _over_seeds(left, right)))
    yield from _artifacts(left, right, clock)
    for name in (name for name in stages[0] if name in stages[1]):
        yield from _builtin_code(left, right, clock, name)
    if _over_seeds(left, right) and all(ran := [_seeds(left), _seeds(right)]) and ran[0] != ran[1]:
        yield cause(Kind.SEED, "seeds", [", ".join(map(str, each)) for each in ran], _WHY[Kind.SEED])


def _sections(section: str, left: Mapping[str, Any], right: Mapping[str, Any], stage: str = "") -> list[Cause]:
    """Return what differs of a section that both have; what only one side has comes later."""
    one, other = left.get(section), right.get(section)
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return []
    return sorted(_section(section, one, other, stage), key=lambda each: not (each.left and each.right))


def _over_seeds(left: Side, right: Side) -> bool:
    return bool(left.seeds or right.seeds)


def _seeds(side: Side) -> list[int]:
    """Return the seeds that were run for what came out; none where it is what a manifest expects."""
    determinism = side.job.get("determinism")
    if side.seeds or side.named.kind not in {"run", "record"} or not isinstance(determinism, Mapping):
        return sorted(side.seeds)
    return [determinism["seed"]] if isinstance(determinism.get("seed"), int) else []


def _section(section: str, one: Mapping[str, Any], other: Mapping[str, Any], stage: str) -> Iterator[Cause]:
    commands = [each.get("command") for each in (one, other)]
    for path, left, right in differences(one, other):
        kind = {
            "hyperparameters": Kind.HYPERPARAMETER,
            "task": Kind.TASK,
            "splits": Kind.SPLIT,
            "resources": Kind.GPU,
            "determinism": Kind.SEED if path.endswith("seed") else Kind.DETERMINISM,
        }[section]
        if section == "task" and (path == "code_sha256" or path.startswith("command")):
            continue
        name = path if section in {"hyperparameters", "determinism"} else f"{section}.{path}"
        yield cause(kind, of_stage(stage, name), (left, right), _WHY[kind])
    if section == "task" and commands[0] != commands[1]:
        yield cause(Kind.TASK, of_stage(stage, "task.command"), [_command(each) for each in commands], _WHY[Kind.TASK])


def _command(words: Any) -> str:
    return show(" ".join(map(str, words)) if isinstance(words, list) else words)


# --- artifacts --------------------------------------------------------------------------------------------------------


def _artifacts(left: Side, right: Side, clock: Clock) -> Iterator[Cause]:
    one, other = left.job.get("artifacts"), right.job.get("artifacts")
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return
    for key in [*one, *(name for name in other if name not in one)]:
        pins, others = one.get(key), other.get(key)
        name, kind = f"artifact {key}", _kind(str(key), left, right)
        if pins == others:
            continue
        if not (isinstance(pins, Mapping) and isinstance(others, Mapping)):
            what = "the right side has it, the left has not" if others else "the left side has it, the right has not"
            yield cause(kind, name, (_digest(pins), _digest(others)), what)
        elif all(pins.get(pin) == others.get(pin) for pin in _PINS):
            places = (pins.get("path"), others.get("path"))
            yield cause(kind, name, places, "the same bytes under another name below /inputs")
        else:
            why = _WHY_BYTES.get(kind, "the training or the test reads other bytes")
            details = _bytes(str(key), (left, pins), (right, others), kind, clock)
            yield cause(kind, name, (_digest(pins), _digest(others)), why, details)


def _kind(name: str, left: Side, right: Side) -> Kind:
    for side in (left, right):
        for artifact in () if side.manifest is None else side.manifest.artifacts:
            if artifact.name == name:
                return Kind(artifact.kind)
        tasks = [stage.get("task") for stage in stages_of(side.job).values()]
        if any(isinstance(task, Mapping) and task.get("code") == name for task in tasks):
            return Kind.CODE
    return Kind.DATA


def _digest(pins: object) -> Any:
    return next((pins[pin] for pin in _PINS if pins.get(pin)), None) if isinstance(pins, Mapping) else None


def _bytes(
    name: str, one: tuple[Side, Mapping[str, Any]], other: tuple[Side, Mapping[str, Any]], kind: Kind, clock: Clock
) -> tuple[str, ...]:
    """Return how the bytes of an artifact differ, looked for in the places of both sides."""
    (left, pins), (right, others) = one, other
    try:
        first = left.places.find(name, pins, clock) or right.places.find(name, pins, clock)
        second = right.places.find(name, others, clock) or left.places.find(name, others, clock)
        return _details(kind, first, second, clock)
    except TooLongError:
        return ("not compared row by row: there is more to read than there is time for",)
    except OSError as error:
        return (f"not compared row by row: {printable(error.strerror or str(error))}",)


def _details(kind: Kind, left: Tree | None, right: Tree | None, clock: Clock) -> tuple[str, ...]:
    missing = [word for word, tree in (("left", left), ("right", right)) if tree is None]
    if left is None or right is None:
        return (f"the {' and the '.join(missing)} one's bytes are not at hand: which rows differ is not known",)
    return _file_lines(kind, changed_files(left, right, clock), clock)


def _file_lines(kind: Kind, changes: list[FileChange], clock: Clock) -> tuple[str, ...]:
    lines: list[str] = []
    for change in changes[:_SHOWN_FILES]:
        if kind is Kind.CODE:
            counted, hunks = source(change, clock)
            lines += [f"{printable(change.path) or 'the file'}: {counted}", *hunks]
        else:
            lines += _data_lines(change, clock)
    if len(changes) > _SHOWN_FILES:
        lines.append(f"and {len(changes) - _SHOWN_FILES} more files differ")
    return tuple(lines)


def _data_lines(change: FileChange, clock: Clock) -> list[str]:
    name = f"{printable(change.path)}: " if change.path else ""
    if change.left is None or change.right is None:
        return [f"{name}the file was {change.what}"]
    rows = compare_rows(change.left, change.right, clock)
    if rows is None:
        one, other = (path.stat().st_size for path in (change.left, change.right))
        return [f"{name}no text; {size(one)} and {size(other)}"]
    first, *rest = rows.lines()
    return [f"{name}{first}", *rest]


def _builtin_code(left: Side, right: Side, clock: Clock, stage: str) -> Iterator[Cause]:
    tasks = [stages_of(side.job)[stage].get("task") for side in (left, right)]
    digests = [task.get("code_sha256") if isinstance(task, Mapping) else None for task in tasks]
    if digests[0] == digests[1] or None in digests:
        return
    trees = [builtin_code(side, stage) for side in (left, right)]
    details: tuple[str, ...] = ("the files are not at hand on both sides: which lines differ is not known",)
    if trees[0] is not None and trees[1] is not None:
        try:
            details = _file_lines(Kind.CODE, changed_files(trees[0], trees[1], clock), clock)
        except (OSError, TooLongError):
            details = ()
    yield cause(Kind.CODE, of_stage(stage, "code of the built-in task"), digests, "other code was run", details)
