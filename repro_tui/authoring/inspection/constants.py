"""The value of an expression that is written out in the code: text, paths put together, numbers."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Mapping
from typing import Any

UNKNOWN = object()
"""What an expression is worth that is not written out."""

_PATHS = frozenset({"Path", "PurePath", "PosixPath"})
_SAME = frozenset({"expanduser", "resolve", "absolute", "as_posix", "str", "abspath", "realpath"})


def value_of(node: ast.expr | None, names: Mapping[str, Any]) -> Any:
    """Return the value, UNKNOWN where it is not written out; a path is text, the script's own folder is ''."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names.get(name, UNKNOWN)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = value_of(operand, names)
            return -value if isinstance(value, int | float) and not isinstance(value, bool) else UNKNOWN
        case ast.BinOp(left=left, op=ast.Div() | ast.Add() as operator, right=right):
            return _put_together(value_of(left, names), value_of(right, names), join=isinstance(operator, ast.Div))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(value_of(left, names), value_of(right, names))
        case ast.JoinedStr(values=values):
            return _text([value_of(part, names) for part in values])
        case ast.FormattedValue(value=inner):
            return value_of(inner, names)
        case ast.Attribute(value=inner, attr="parent"):
            return _parent(inner, names)
        case ast.Call():
            return _call(node, names)
    return UNKNOWN


def _call(node: ast.Call, names: Mapping[str, Any]) -> Any:
    last = last_name(node.func)
    if last == "dirname" and node.args and mentions_file(node.args[0]):
        return ""
    if last in _PATHS or last in {"join", "joinpath"}:
        parts = [value_of(argument, names) for argument in node.args]
        if last == "joinpath" and isinstance(node.func, ast.Attribute):
            parts.insert(0, value_of(node.func.value, names))
        whole = parts and all(isinstance(part, str) for part in parts) and not _joins_text(node)
        return posixpath.join(*parts) if whole else UNKNOWN
    if last in _SAME:
        inner = node.args[0] if node.args else node.func.value if isinstance(node.func, ast.Attribute) else None
        return value_of(inner, names)
    return UNKNOWN


def _joins_text(node: ast.Call) -> bool:
    """Say whether this is `", ".join(...)`."""
    return isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant)


def _parent(inner: ast.expr, names: Mapping[str, Any]) -> Any:
    if mentions_file(inner):
        return ""
    value = value_of(inner, names)
    return posixpath.dirname(value) if isinstance(value, str) else UNKNOWN


def _put_together(left: Any, right: Any, *, join: bool) -> Any:
    if not isinstance(left, str) or not isinstance(right, str):
        return UNKNOWN
    return posixpath.join(left, right) if join else left + right


def _power(left: Any, right: Any) -> Any:
    small = isinstance(left, int | float) and isinstance(right, int) and abs(right) <= 64 and abs(left) <= 1e6
    return left**right if small and (left or right >= 0) else UNKNOWN


def _text(parts: list[Any]) -> Any:
    return "".join(map(str, parts)) if all(isinstance(part, str | int) for part in parts) else UNKNOWN


def mentions_file(node: ast.expr) -> bool:
    """Say whether an expression starts from `__file__`."""
    return any(isinstance(part, ast.Name) and part.id == "__file__" for part in ast.walk(node))


def last_name(node: ast.expr) -> str:
    """Return the last name of a call's function: `read_csv` of `pandas.read_csv`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def names_of(tree: ast.AST) -> dict[str, Any]:
    """Return the names that have one written-out value throughout a module."""
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        target, value = None, None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            target, value = node.target, node.value if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name):
            known[target.id] = UNKNOWN if target.id in known else value_of(value, known)
    return {name: value for name, value in known.items() if value is not UNKNOWN}
