"""What a task's file declares of itself, read from its syntax tree: nothing of the task is imported or run.

A declaration is a name at the top of the module with a literal value (SPLITS, FORMATS, CHECKPOINT, METRICS, OUTPUTS),
and the dataclass `Settings`: fields with literal defaults, each followed by its docstring. docs/new-task.md has more.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import Field, create_model

from repro_tui.errors import UsageError
from repro_tui.manifest.fields import Table
from repro_tui.manifest.placeholders import fill

CHECKPOINTS = ("needed", "optional", "none")
"""What CHECKPOINT may say: whether `task.model` has to be there, may be there, or must not."""

_TYPES: Mapping[str, Any] = {
    "int": int, "float": float, "bool": bool, "str": str, "Literal": Literal, "Annotated": Annotated,
    **{name: getattr(annotated_types, name) for name in ("Ge", "Gt", "Le", "Lt")},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskType:
    """A task as a manifest can ask for it."""

    name: str
    module: str
    """Its module's name: `python3 -m` runs it."""
    path: Path
    """Its file on this host."""
    splits: tuple[str, ...]
    """Splits that must be there."""
    formats: tuple[str, ...]
    """Formats of splits that it reads."""
    checkpoint: str
    """One of CHECKPOINTS."""
    metrics: tuple[str, ...]
    """Names of the metrics it can report; `{key}` stands for the value of a hyperparameter."""
    outputs: tuple[str, ...]
    """Names of the outputs whose digests it reports."""
    hyperparameters: type[Table]
    """Model of its hyperparameters, with their defaults."""

    def reported_metrics(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the metrics that it reports with the hyperparameters that are given."""
        defaults = {name: field.get_default() for name, field in self.hyperparameters.model_fields.items()}
        return tuple(fill(metric, {**defaults, **given}) for metric in self.metrics)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every hyperparameter as the task reads it in job.json, defaults filled in, null for what is off.

        Raises pydantic.ValidationError where the task does not take what is given.
        """
        return self.hyperparameters.model_validate(dict(given)).model_dump()


def declared(name: str, module: str, path: Path, find_module: Callable[[str], Path | None]) -> TaskType:
    """Return what the task in a file declares; `find_module` gives the file of a module that it imports.

    Raises UsageError, with file and line, for a declaration that is missing or is not to be read.
    """
    source = _Source.read(path, find_module)
    checkpoint = source.literal("CHECKPOINT", str)
    if checkpoint not in CHECKPOINTS:
        raise source.error("CHECKPOINT", f"is {checkpoint!r}", f"it is one of {', '.join(CHECKPOINTS)}")
    title = "".join(part.capitalize() for part in name.split("_"))
    fields: dict[str, Any] = {each.name: (each.type, each.info) for each in source.settings()}
    model = create_model(title, __base__=Table, **fields)
    model.__doc__ = f"Hyperparameters of `{name}`: {_lowered(source.summary)}"
    return TaskType(
        name=name,
        module=module,
        path=path,
        splits=source.literal("SPLITS", tuple),
        formats=source.literal("FORMATS", tuple),
        checkpoint=checkpoint,
        metrics=source.literal("METRICS", tuple),
        outputs=source.literal("OUTPUTS", tuple),
        hyperparameters=model,
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    type: Any
    info: Any


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    tree: ast.Module
    find_module: Callable[[str], Path | None]

    @classmethod
    def read(cls, path: Path, find_module: Callable[[str], Path | None]) -> _Source:
        try:
            return cls(path, ast.parse(path.read_bytes()), find_module)
        except (OSError, ValueError, SyntaxError) as error:
            raise UsageError(f"the task's file cannot be read: {error}", where=str(path)) from None

    @property
    def summary(self) -> str:
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]

    def literal(self, name: str, kind: type) -> Any:
        """Return the value of a name at the top of the module."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in node.targets
            ):
                try:
                    value = ast.literal_eval(node.value)
                except ValueError:
                    value = None
                if isinstance(value, kind):
                    return value
                raise self.error(name, "is not a literal", f"a {kind.__name__} is written out", node.lineno)
        raise self.error(name, "is missing", f"a task declares it as a {kind.__name__} at the top of its module")

    def settings(self) -> list[_Setting]:
        """Return the fields of `Settings`, those of its base class first."""
        node = next(
            (node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings"), None
        )
        if node is None:
            raise self.error(
                "Settings", "is missing", "a task declares its hyperparameters in a dataclass of that name"
            )
        inherited = [setting for base in node.bases for setting in self._of_base(base)]
        own = list(self._fields(node))
        names = {setting.name for setting in own}
        return [*(setting for setting in inherited if setting.name not in names), *own]

    def _of_base(self, base: ast.expr) -> list[_Setting]:
        """Return the fields of a base class that is written as `module.Settings`."""
        if isinstance(base, ast.Attribute) and base.attr == "Settings" and isinstance(base.value, ast.Name):
            for node in self.tree.body:
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        if (alias.asname or alias.name) == base.value.id:
                            found = self.find_module(f"{node.module}.{alias.name}")
                            if found is not None:
                                return _Source.read(found, self.find_module).settings()
        raise self.error(
            "Settings", f"has the base {ast.unparse(base)}", "a base is `module.Settings`, imported by `from`",
            base.lineno,
        )  # fmt: skip

    def _fields(self, node: ast.ClassDef) -> Iterator[_Setting]:
        for index, statement in enumerate(node.body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                said = node.body[index + 1] if index + 1 < len(node.body) else None
                if not (isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)):
                    raise self.error(f"Settings.{name}", "has no docstring", "say what it means", statement.lineno)
                description = " ".join(str(said.value.value).split())
                try:
                    default = ... if statement.value is None else ast.literal_eval(statement.value)
                    kind = _type(statement.annotation)
                except ValueError as error:
                    raise self.error(
                        f"Settings.{name}", f"is not to be read: {error}",
                        "int, float, bool, str, Literal, tuple[str, ...], `| None`, Annotated with Ge, Gt, Le, Lt; "
                        "defaults are literals", statement.lineno,
                    ) from None  # fmt: skip
                default = list(default) if isinstance(default, tuple) else default
                yield _Setting(name, kind, Field(default, description=description))

    def error(self, what: str, problem: str, hint: str, line: int = 1) -> UsageError:
        return UsageError(f"{what} {problem}", where=f"{self.path}, line {line}", hint=hint)


def _type(node: ast.expr) -> Any:
    """Return the type that an annotation writes; raises ValueError for what is none of the few that there are."""
    match node:
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Constant(value=None):
            return types.NoneType
        case ast.Constant(value=str() | int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=value)])):
            if value is ...:
                return list[_type(item)]  # type: ignore[misc]  # a TOML array
        case ast.Subscript(value=ast.Name(id="Literal" | "Annotated" as name), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _TYPES[name][tuple(_type(part) for part in parts)]
        case ast.Call(func=ast.Name(id="Ge" | "Gt" | "Le" | "Lt" as name), args=[bound], keywords=[]):
            return _TYPES[name](_type(bound))
        case _:
            pass
    raise ValueError(f"{ast.unparse(node)} is no type of a hyperparameter")


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
