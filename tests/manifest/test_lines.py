"""Lines of TOML paths, on hand-made text and on generated documents whose lines are known."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro_tui.manifest.lines import Lines
from repro_tui.manifest.paths import Part, format_path, lookup, parse_path, resolve_names

TRICKY = '''\
# a comment with [brackets] and = signs
title = "a # no comment, \\" and ] }" # = [x]

[a."b.c".'d e'] # header
x.y = 1
x.z = { inline = [1, { deep = "}" }], "quoted key" = 'lit\\' }
multi = """
[not a header]
key = "value" \\
""quoted"" """
literal = \'\'\'
]]\'\'\'
ends = """four""""
array = [
  1, # one ]
  [ "a,b",
    "c" ],
  { k = 2 },
]
date = 1979-05-27 07:32:00
empty = ""

[[list]]
n = 1
[[list.inner]]
[list.inner.table]
v = true
[[list.inner]]
w = 1
[[list]]
  [list.sub]
  s = -0.5e-3
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("a",), 4),
        (("a", "b.c", "d e"), 4),
        (("a", "b.c", "d e", "x"), 5),
        (("a", "b.c", "d e", "x", "z", "inline", 1, "deep"), 6),
        (("a", "b.c", "d e", "x", "z", "quoted key"), 6),
        (("a", "b.c", "d e", "multi"), 7),
        (("a", "b.c", "d e", "literal"), 11),
        (("a", "b.c", "d e", "ends"), 13),
        (("a", "b.c", "d e", "array", 0), 15),
        (("a", "b.c", "d e", "array", 1), 16),
        (("a", "b.c", "d e", "array", 1, 1), 17),
        (("a", "b.c", "d e", "array", 2, "k"), 18),
        (("a", "b.c", "d e", "date"), 20),
        (("a", "b.c", "d e", "empty"), 21),
        (("list",), 23),
        (("list", 0, "n"), 24),
        (("list", 0, "inner", 0), 25),
        (("list", 0, "inner", 0, "table", "v"), 27),
        (("list", 0, "inner", 1, "w"), 29),
        (("list", 1), 30),
        (("list", 1, "sub", "s"), 32),
    ],
)
def test_line_of_each_way_to_write_a_thing(path: tuple[Part, ...], line: int) -> None:
    assert lookup(tomllib.loads(TRICKY), path) is not None, "the test asks for something that is there"
    assert Lines(TRICKY).line(path) == line


def test_windows_line_ends_count_once() -> None:
    windows = TRICKY.replace("\n", "\r\n")
    assert Lines(windows).line(("list", 1, "sub", "s")) == 32


def test_what_is_not_there_is_on_the_line_of_the_table_around_it() -> None:
    lines = Lines(TRICKY)
    assert lines.line(("list", 1, "sub", "missing", "below")) == 31
    assert lines.line(("nothing",)) is None


KEYS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z", "S"]), max_size=6)
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)
SCALARS = st.one_of(
    st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False), STRINGS, st.dates(), st.datetimes()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


QUOTE = '\\"'


def quoted(text: str, *, escape: bool = False) -> str:
    """Return text as a basic string; JSON's escapes are TOML's, but for the surrogates."""
    escape = escape and all(ord(character) < 2**16 for character in text)
    return json.dumps(text, ensure_ascii=escape).replace("\x7f", "\\u007f")


class Writer:
    """Writes TOML in ways that the drawn styles choose, noting the line of each thing as it goes."""

    def __init__(self, draw: Any) -> None:
        self.text = ""
        self.lines: dict[tuple[Part, ...], int] = {}
        self._draw = draw

    def style(self, *names: str) -> str:
        return str(self._draw(st.sampled_from(names)))

    def note(self, path: tuple[Part, ...]) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def key(self, key: str) -> str:
        plain = key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
        if plain and self.style("bare", "quoted") == "bare":
            return key
        if "'" not in key and key.isprintable() and self.style("literal", "basic") == "literal":
            return f"'{key}'"
        return quoted(key, escape=self.style("escaped", "plain") == "escaped")

    def gap(self) -> None:
        """Write what may stand between the items of an array: anything with newlines and comments."""
        self.text += self.style("", " ", "\n", "\n\t", ' # ] } , = "\n', "\n\n # '''\n")

    def value(self, path: tuple[Part, ...], value: Any, *, inline: bool) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for index, (key, child) in enumerate(value.items()):
                self.text += (", " if index else "") + self.style("", " ")
                self.note((*path, key))
                self.text += f"{self.key(key)}{self.style('=', ' = ')}"
                self.value((*path, key), child, inline=True)
            self.text += self.style("", " ") + "}"
        elif isinstance(value, list):
            self.text += "["
            for index, child in enumerate(value):
                if not inline:
                    self.gap()
                self.note((*path, index))
                self.value((*path, index), child, inline=inline)
                if not inline:
                    self.gap()
                if index + 1 < len(value) or self.style("", ",") == ",":
                    self.text += ","
            if not inline:
                self.gap()
            self.text += "]"
        elif isinstance(value, str):
            self.text += self.string(value, inline=inline)
        elif isinstance(value, bool):
            self.text += str(value).lower()
        else:
            self.text += value.isoformat() if hasattr(value, "isoformat") else str(value)

    def string(self, value: str, *, inline: bool) -> str:
        style = self.style("basic", "escaped", "literal", "multi", "multi-literal")
        if style == "literal" and value.isprintable() and "'" not in value:
            return f"'{value}'"
        if style == "multi-literal" and not inline and value.isprintable() and "''" not in value and value[-1:] != "'":
            return f"'''\n{value}'''"
        if style == "multi" and not inline and "\\" not in value:
            body = quoted(value)[1:-1].replace("\\n", "\n")
            plain_quotes = '""' not in value and not value.endswith('"')
            return f'"""\n{body.replace(QUOTE, chr(34)) if plain_quotes else body}"""'
        return quoted(value, escape=style == "escaped")

    def table(self, path: tuple[Part, ...], keys: tuple[str, ...], value: dict[str, Any]) -> None:
        """Write a table's own keys, then its tables and arrays of tables under headers."""
        later = []
        for key, child in value.items():
            below, child_keys = (*path, key), (*keys, key)
            can_wait = self._tables(child) or (isinstance(child, dict) and child)
            if can_wait and self.style("header", "inline") == "header":
                later.append((below, child_keys, child))
            else:
                self.text += self.style("", "  ", "\n", "# = [[\n")
                self.note(below)
                self.text += f"{self.key(key)} = "
                self.value(below, child, inline=False)
                self.text += self.style("", " # comment ]") + "\n"
        for below, child_keys, child in later:
            header = self.style(".", " . ").join(map(self.key, child_keys))
            if isinstance(child, dict):
                self.note(below)
                self.text += f"[{header}]\n"
                self.table(below, child_keys, child)
                continue
            for index, item in enumerate(child):
                if index == 0:
                    self.note(below)
                self.note((*below, index))
                self.text += f"[[ {header} ]] # [x]\n"
                self.table((*below, index), child_keys, item)

    @staticmethod
    def _tables(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


@st.composite
def documents(draw: Any) -> tuple[str, dict[tuple[Part, ...], int]]:
    value = draw(st.dictionaries(KEYS, VALUES, max_size=5))
    writer = Writer(draw)
    writer.table((), (), value)
    assert tomllib.loads(writer.text) == value, "the writer writes what it means"
    return writer.text, writer.lines


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_every_place_of_any_document_is_found(document: tuple[str, dict[tuple[Part, ...], int]]) -> None:
    text, expected = document
    lines = Lines(text)
    assert {path: lines.line(path) for path in expected} == expected
    assert all(path in lines for path in expected), "found itself, not what is around it"


@given(st.lists(st.integers(0, 99) | KEYS, min_size=1).filter(lambda parts: isinstance(parts[0], str)))
def test_paths_read_back_as_written(parts: list[Part]) -> None:
    assert parse_path(format_path(parts)) == tuple(parts)


@pytest.mark.parametrize("text", ["a b", "a..b", "[x]", 'a."b', "a[-1]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a TOML path"):
        parse_path(text)


def test_elements_are_found_by_name() -> None:
    data = {"artifacts": [{"name": "one"}, {"nome": 1}, {"name": "two.three", "sha256": "x"}]}
    assert resolve_names(parse_path('artifacts."two.three".sha256'), data) == ("artifacts", 2, "sha256")
    assert resolve_names(parse_path("artifacts.none.sha256"), data) == ("artifacts", "none", "sha256")
