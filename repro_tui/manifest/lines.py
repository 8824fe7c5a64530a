"""On which line of a TOML file a path is written, and from where to where.

tomllib gives values without places, so this scans the text once more. It is only ever given text that tomllib has
accepted, and so checks nothing: it finds where keys and values begin and end (TOML 1.0.0).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from repro_tui.manifest.paths import Part, decode_key

Path = tuple[Part, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_COMMENT = re.compile(r"#([^\r\n]*)")
_INLINE_BLANK = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'''
      """(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}
    | \'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}
    | "(?:[^"\\]|\\.)*"
    | '[^']*'
    ''',
    re.VERBOSE | re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


@dataclass(frozen=True, slots=True)
class Statement:
    """One `key = value`, or an element of an array (its key has no text), by positions in the text."""

    table: Path
    """Of the header, or of the inline table, that it stands below; an element's is its array."""
    path: Path
    start: int
    value_start: int
    value_end: int
    inline: bool
    """Whether it stands within the brackets of another value."""


class Lines:
    """Lines, counted from 1, of every table, key and array element of a TOML text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        self._lines: dict[Path, int] = {}
        self._array_lengths: dict[Path, int] = {}
        self._comments: dict[int, str] = {}
        self.statements: list[Statement] = []
        """In the order of their ends: what stands within a value comes before it."""
        self.headers: list[tuple[Path, int, int]] = []
        """Every `[table]` and `[[element]]`: its path, where its line begins and where its brackets end."""
        self._scan()

    def line(self, path: Iterable[Part]) -> int | None:
        """Return the line of the path, else of the nearest table around it; None where that is the whole file."""
        parts = tuple(path)
        while parts and parts not in self._lines:
            parts = parts[:-1]
        return self._lines.get(parts)

    def comments(self) -> list[tuple[int, str]]:
        """Return every comment, without its `#`, with its line."""
        return sorted(self._comments.items())

    def __contains__(self, path: Path) -> bool:
        return path in self._lines

    def _scan(self) -> None:
        table: Path = ()
        position = self._skip(0)
        while position < len(self._text):
            if self._text[position] == "[":
                table, position = self._header(position)
            else:
                position = self._key_value(table, position, inline=False)
            position = self._skip(position)

    def _header(self, start: int) -> tuple[Path, int]:
        """Scan `[a.b]` or `[[a.b]]`; return the path of the table that it opens and where the header ends."""
        brackets = 2 if self._text.startswith("[[", start) else 1
        keys, position = self._keys(start + brackets)
        path: Path = ()
        for key in keys[:-1]:
            path = self._last_element((*path, key))
            self._lines.setdefault(path, self._line_at(start))
        path = (*path, keys[-1])
        if brackets == 2:
            self._lines.setdefault(path, self._line_at(start))
            index = self._array_lengths.get(path, 0)
            self._array_lengths[path] = index + 1
            path = (*path, index)
        self._lines[path] = self._line_at(start)
        self.headers.append((path, start, position + brackets))
        return path, position + brackets

    def _last_element(self, path: Path) -> Path:
        length = self._array_lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _key_value(self, table: Path, start: int, *, inline: bool) -> int:
        keys, position = self._keys(start)
        path = table
        for key in keys:
            path = (*path, key)
            self._lines.setdefault(path, self._line_at(start))
        value = self._skip(position + 1)
        end = self._value(path, value)
        self.statements.append(Statement(table, path, start, value, end, inline))
        return end

    def _keys(self, position: int) -> tuple[list[str], int]:
        """Scan a dotted key; return its keys and the position of what follows the blanks behind it: `=` or `]`."""
        keys = []
        while True:
            position = self._skip_inline(position)
            found = _KEY.match(self._text, position)
            assert found is not None, "tomllib has accepted the text"  # noqa: S101
            keys.append(decode_key(found[0]) if found[0][0] in "\"'" else found[0])
            position = self._skip_inline(found.end())
            if self._text[position] != ".":
                return keys, position
            position += 1

    def _value(self, path: Path, start: int) -> int:
        """Scan one value; return the position behind it."""
        opening = self._text[start]
        if opening == "[":
            return self._array(path, start)
        if opening == "{":
            return self._inline_table(path, start)
        found = (_STRING if opening in "\"'" else _SCALAR).match(self._text, start)
        assert found is not None, "tomllib has accepted the text"  # noqa: S101
        return found.start() + len(found[0].rstrip())

    def _array(self, path: Path, start: int) -> int:
        position = self._skip(start + 1)
        index = 0
        while self._text[position] != "]":
            element = (*path, index)
            self._lines[element] = self._line_at(position)
            end = self._value(element, position)
            self.statements.append(Statement(path, element, position, position, end, inline=True))
            position = self._skip(end)
            index += 1
            if self._text[position] == ",":
                position = self._skip(position + 1)
        return position + 1

    def _inline_table(self, path: Path, start: int) -> int:
        position = self._skip(start + 1)
        while self._text[position] != "}":
            position = self._skip(self._key_value(path, position, inline=True))
            if self._text[position] == ",":
                position = self._skip(position + 1)
        return position + 1

    def _skip(self, position: int) -> int:
        """Return the position of the next thing that is no blank, newline or comment."""
        found = _BLANK.match(self._text, position)
        if found is None:
            return position
        for comment in _COMMENT.finditer(self._text, position, found.end()):
            self._comments[self._line_at(comment.start())] = comment[1]
        return found.end()

    def _skip_inline(self, position: int) -> int:
        found = _INLINE_BLANK.match(self._text, position)
        return found.end() if found else position

    def _line_at(self, position: int) -> int:
        return bisect_left(self._newlines, position) + 1
