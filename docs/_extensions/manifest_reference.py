"""Fills in the page of the manifest's keys from the models: a table of keys for every table of a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sphinx.application import Sphinx

from repro_tui.manifest.schema import manifest_schema

PAGE = "manifest-reference"
PLACE = "<!-- the tables -->"
_Schema = Mapping[str, Any]


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of this extension."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "version": "1"}


def _fill(_app: Sphinx, page: str, source: list[str]) -> None:
    if page == PAGE:
        assert PLACE in source[0]
        source[0] = source[0].replace(PLACE, reference(manifest_schema()))


def reference(schema: _Schema) -> str:
    """Return a section for every table, as Markdown."""
    tables = _Tables(schema)
    tables.visit("", schema)
    for rule in schema.get("allOf", ()):
        if "task" not in rule.get("if", {}).get("properties", {}):
            continue  # what the keys of the table owe each other
        task = rule["if"]["properties"]["task"]["properties"]["name"]["const"]
        tables.visit(f"hyperparameters of {task}", tables.resolved(rule["then"]["properties"]["hyperparameters"]))
    return "\n".join(tables.lines)


class _Tables:
    def __init__(self, schema: _Schema) -> None:
        self.lines: list[str] = []
        self._definitions: _Schema = schema["$defs"]

    def visit(self, path: str, table: _Schema) -> None:
        """Write the section of a table, then those of the tables in it."""
        self.lines += [f"## {path or 'Top level'}", "", _one_line(table.get("description", "")), ""]
        properties: _Schema = table.get("properties", {})
        self.lines += ["| key | value | default | |", "| --- | --- | --- | --- |"]
        inner: list[tuple[str, _Schema]] = []
        for key, value in properties.items():
            found = list(self._tables_in(value))
            inner += [(self._place(path, key, value, kind, len(found) > 1), kind) for kind in found]
            self.lines.append(self._row(key, value, needed=key in table.get("required", ())))
        self.lines.append("")
        for place, kind in inner:
            self.visit(place, kind)

    def _row(self, key: str, value: _Schema, *, needed: bool) -> str:
        default = "needed" if needed else _code(value["default"]) if "default" in value else ""
        said = value.get("description") or self.resolved(value).get("description", "")
        cells = (f"`{key}`", self._kind(value), default, _one_line(said))
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    def _kind(self, value: _Schema) -> str:
        value = self.resolved(value)
        if "enum" in value:
            return ", ".join(_code(each) for each in value["enum"])
        if "const" in value:
            return _code(value["const"])
        if choices := value.get("anyOf") or value.get("oneOf"):
            return " or ".join(dict.fromkeys(self._kind(choice) for choice in choices))
        kind = value.get("type", "any")
        if kind == "array":
            return f"list of {self._kind(value.get('items', {}))}"
        if kind == "object":
            return "table"
        names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
        return f"{names.get(kind, kind)}{_bounds(value)}"

    def _tables_in(self, value: _Schema) -> Iterator[_Schema]:
        value = self.resolved(value)
        if value.get("type") == "object" and "properties" in value:
            yield value
        for choice in (*value.get("anyOf", ()), *value.get("oneOf", ())):
            yield from self._tables_in(choice)
        below = [value.get("items"), value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
        for kind in below:
            if isinstance(kind, Mapping):
                yield from self._tables_in(kind)

    def _place(self, path: str, key: str, value: _Schema, kind: _Schema, several: bool) -> str:
        value = self.resolved(value)
        place = f"{path}.{key}" if path else key
        if value.get("type") == "array":
            place = f"{place}[]"
        elif "patternProperties" in value or isinstance(value.get("additionalProperties"), Mapping):
            place = f"{place}.NAME"
        named = kind.get("properties", {}).get("type", {}).get("const")
        return f'{place}, type = "{named}"' if several and named else place

    def resolved(self, value: _Schema) -> _Schema:
        """Follow a reference; what stands beside it counts more."""
        if "$ref" in value:
            return {
                **self._definitions[value["$ref"].rpartition("/")[2]],
                **{k: v for k, v in value.items() if k != "$ref"},
            }
        return value


def _bounds(value: _Schema) -> str:
    words = [
        f"{word} {value[key]:g}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in value
    ]
    return f" {' '.join(words)}" if words else ""


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "\\<")
