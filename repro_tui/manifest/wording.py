"""Turns what pydantic and the rules say about a table into problems in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from repro_tui.manifest import fields
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path, lookup
from repro_tui.manifest.problems import Problem, did_you_mean, enumeration, listing, show

_KEY_MARK = "[key]"
"""How pydantic marks an error in a key of a table, not in its value."""

_KINDS = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "a number greater than {}"),
    "greater_than_equal": ("ge", "a number from {} on"),
    "less_than": ("lt", "a number less than {}"),
    "less_than_equal": ("le", "a number up to {}"),
}


def validation_problems(
    error: ValidationError,
    model: type[fields.Table],
    data: Mapping[str, Any],
    lines: Lines,
    prefix: tuple[Part, ...] = (),
) -> list[Problem]:
    """Return one problem for each place that pydantic complains about; `prefix` is where `data` is in the file."""
    places: dict[tuple[tuple[Part, ...], bool], list[tuple[ErrorDetails, type[fields.Table] | None]]] = {}
    for details in error.errors(include_url=False):
        if details["type"] != "rule":  # rule_problems tells them, for tables with other errors as well
            path, owner = _locate(model, details["loc"])
            places.setdefault((path, details["loc"][-1:] == (_KEY_MARK,)), []).append((details, owner))
    return [_problem(path, found, data, lines, prefix, of_key=of_key) for (path, of_key), found in places.items()]


def rule_problems(
    model: type[fields.Table], data: Mapping[str, Any], lines: Lines, prefix: tuple[Part, ...] = ()
) -> list[Problem]:
    """Return a problem for every rule between keys that any table in `data` breaks."""
    problems = []
    for path, owner, table in _tables(model, data, ()):
        for rule in owner.broken_rules(table.keys()):
            full = (*prefix, *path)
            found = f"the key{'s' if len(table) > 1 else ''} {listing(table, 'and')}" if table else "an empty table"
            problems.append(Problem(format_path(full), lines.line(full), found, rule.words, rule.hint))
    return problems


def known_keys(model: type[fields.Table]) -> list[str]:
    """Return the keys of a table, as they are written in a manifest."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _problem(
    path: tuple[Part, ...],
    found: Sequence[tuple[ErrorDetails, type[fields.Table] | None]],
    data: Mapping[str, Any],
    lines: Lines,
    prefix: tuple[Part, ...],
    *,
    of_key: bool,
) -> Problem:
    details, owner = found[0]
    full = (*prefix, *path)
    where, line, kind = format_path(full), lines.line(full), details["type"]
    if kind == "extra_forbidden" and owner is not None:
        known = known_keys(owner)
        return Problem(where, line, "an unknown key", listing(known), did_you_mean(path[-1], known))
    if kind == "missing" and owner is not None:
        return Problem(where, line, "nothing", f"this key is needed: {_meaning(owner, path[-1])}")
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        tags = _tags(details)
        value = lookup(data, (*path, "type"))
        where, line = format_path((*full, "type")), lines.line((*full, "type"))
        return Problem(where, line, show(value), listing(tags), did_you_mean(value, tags) if value else "")
    value = path[-1] if of_key else lookup(data, path)
    allowed = list(dict.fromkeys(_allowed(each) for each, _ in found))
    if any(words.endswith("number") and "whole" not in words for words in allowed):
        allowed = [words for words in allowed if words != "a whole number"]
    return Problem(where, line, show(value), enumeration(allowed), _hint(full, found, value))


def _allowed(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return words.format(context[name])
    if kind == "string_pattern_mismatch":
        return fields.WORDS.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "`")
    if kind == "string_too_short":
        return "text that is not empty"
    if kind == "too_short":
        return "at least one item"
    if kind == "value_error":
        return str(context["error"])
    return details["msg"][:1].lower() + details["msg"][1:]


def _hint(path: tuple[Part, ...], found: Sequence[tuple[ErrorDetails, Any]], value: Any) -> str:
    if path == ("schema",) and isinstance(value, int):
        return "this version of repro-tui reads schema 1 only"
    if not isinstance(value, str):
        return ""
    for details, _ in found:
        context = details.get("ctx", {})
        if details["type"] == "literal_error":
            return did_you_mean(value, str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", "))
        if details["type"] == "string_pattern_mismatch":
            return _pattern_hint(context["pattern"], value)
        if details["type"] in {"int_type", "float_type", "bool_type"} and value.strip():
            return "write it without quotes"
    return ""


def _pattern_hint(expression: str, value: str) -> str:
    bare = value.strip().removeprefix("sha256:").lower()
    is_digest = len(bare) == 64 and set(bare) <= set("0123456789abcdef")
    if expression == fields.SHA256_PATTERN and is_digest:
        return f"write {bare}"
    if expression == fields.OCI_DIGEST_PATTERN and is_digest:
        return f"write sha256:{bare}"
    if expression == fields.REFERENCE_PATTERN and "@" not in value and value.strip():
        name = value.strip()
        return (
            f"a tag can be moved to another image: `docker pull {name}` prints the digest it has now; "
            f"write {_without_tag(name)}@sha256:DIGEST"
        )
    if expression == fields.GIT_COMMIT_PATTERN:
        return (
            "a branch, a tag or a shortened commit can move or become ambiguous; `git rev-parse NAME` prints the commit"
        )
    return ""


def _without_tag(reference: str) -> str:
    folder, slash, last = reference.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def _meaning(model: type[fields.Table], key: Part) -> str:
    field = _field(model, key)
    return (field.description or "").partition("\n")[0] if field else ""


def _tags(details: ErrorDetails) -> list[str]:
    expected = details.get("ctx", {}).get("expected_tags")
    tags = expected.replace("'", "").split(", ") if isinstance(expected, str) else []
    return tags or [tag for candidate in _source_models() for tag in _type_tags(candidate)]


def _source_models() -> list[type[fields.Table]]:
    from repro_tui.manifest.sources import Source

    return _table_choices(Source)


def _locate(model: type[fields.Table], loc: Sequence[Part]) -> tuple[tuple[Part, ...], type[fields.Table] | None]:
    """Return the TOML path of a pydantic location, without the marks of unions, and the table its last key is in."""
    annotation: Any = model
    path: list[Part] = []
    owner: type[fields.Table] | None = None
    for part in loc:
        if part == _KEY_MARK:
            break
        choices = _table_choices(annotation)
        if len(choices) > 1:  # pydantic names the member of a union by its tag
            annotation = next((choice for choice in choices if part in _type_tags(choice)), None)
            continue
        if choices:
            owner = choices[0]
            field = _field(owner, part)
            annotation = field.annotation if field else None
        else:
            item = _item(annotation)
            if item is None:
                break
            annotation, owner = item, None
        path.append(part)
    return tuple(path), owner


def _tables(
    annotation: Any, value: Any, path: tuple[Part, ...]
) -> Iterator[tuple[tuple[Part, ...], type[fields.Table], Mapping[str, Any]]]:
    """Yield every table in `value` that has a model: its path, the model, its keys and values."""
    choices = _table_choices(annotation)
    if choices and isinstance(value, dict):
        if len(choices) > 1:
            choices = [choice for choice in choices if value.get("type") in _type_tags(choice)]
        for model in choices:
            yield path, model, value
            for key, child in value.items():
                field = _field(model, key)
                if field is not None:
                    yield from _tables(field.annotation, child, (*path, key))
        return
    item = _item(annotation)
    if item is not None:
        children: Iterator[tuple[Part, Any]] = iter(())
        if isinstance(value, list):
            children = iter(enumerate(value))
        elif isinstance(value, dict):
            children = iter(value.items())
        for part, child in children:
            yield from _tables(item, child, (*path, part))


def _field(model: type[fields.Table], key: Part) -> FieldInfo | None:
    return next((field for name, field in model.model_fields.items() if (field.alias or name) == key), None)


def _table_choices(annotation: Any) -> list[type[fields.Table]]:
    """Return the models among which a value of this type is chosen; empty where it is no table."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _table_choices(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [choice for argument in get_args(annotation) for choice in _table_choices(argument)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, fields.Table) else []


def _item(annotation: Any) -> Any:
    """Return the type of a list's items or a dictionary's values, None for anything else."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _item(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return next((item for argument in get_args(annotation) if (item := _item(argument)) is not None), None)
    return get_args(annotation)[-1] if origin in {list, dict} else None


def _type_tags(model: type[fields.Table]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
