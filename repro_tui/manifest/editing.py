"""Changes to a manifest's TOML that leave every other byte as it is: comments, order, blank lines, line ends.

A change replaces, adds or removes the text of one key; nothing else of the file is written anew. A new key stands
behind the last one of its table, before the comment that leads over to the next table.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_tui.errors import ManifestError, from_os_error
from repro_tui.files import write_whole
from repro_tui.manifest.lines import Lines, Statement
from repro_tui.manifest.loading import read_toml
from repro_tui.manifest.paths import Part, format_path, lookup, parse_path, resolve_names
from repro_tui.manifest.problems import Problem

_BLANK = " \t"


class Document:
    """A TOML text under change. Paths are as people write them: `artifacts.r8-train.bytes`, `artifacts[0].bytes`."""

    def __init__(self, text: str, *, path: Path = Path("manifest.toml")) -> None:
        self.path = path
        self._text = text
        self._sha256 = hashlib.sha256(text.encode()).hexdigest()
        self._parse()

    @classmethod
    def load(cls, path: Path) -> Document:
        """Return the document in a file; raises ManifestError, with the line, where it is not TOML."""
        read = read_toml(path)
        if isinstance(read, Problem):
            where = f"{path}:{read.line}" if read.line else str(path)
            raise ManifestError(
                f"not a manifest: {read.found}", where=where, hint=read.hint or f"wanted {read.allowed}"
            )
        return cls(read[1], path=path)

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Mapping[str, Any]:
        """Return what the text holds now, parsed."""
        return self._data

    def text(self) -> str:
        """Return the text as it is now."""
        return self._text

    def get(self, path: str) -> Any:
        """Return what is at the path, as plain values; None where nothing is."""
        return lookup(self._data, self._parts(path))

    def line(self, path: str) -> int | None:
        """Return the line of the path, or of the table around it."""
        return self._lines.line(self._parts(path))

    @property
    def changed(self) -> bool:
        """Whether the text is another one than when it was loaded."""
        return hashlib.sha256(self._text.encode()).hexdigest() != self._sha256

    # --- changing -----------------------------------------------------------------------------------------------------

    def set(self, path: str, value: Any, comment: str | None = None) -> None:
        """Give a key a value; tables on the way that are not there are made, None as comment keeps the one there is.

        A mapping is written key by key into a table that is there, and as an inline table where none is. Nothing is
        changed where the value is there already. Raises ManifestError for an array element that is not there.
        """
        parts = self._parts(path)
        old = lookup(self._data, parts)
        statement = self._statement(parts)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and statement is None:
            for key, each in value.items():
                self.set(format_path((*parts, key)), each)
            return
        if statement is None and old is not None:
            raise self._error(path, "a table stands there, and a single value cannot take its place")
        if statement is None:
            self._insert(parts, value, comment)
            return
        if not _same(old, value):
            self._splice(statement.value_start, statement.value_end, render(value))
        if comment is not None:
            self._comment(parts, comment)

    def add_table(
        self, path: str, values: Mapping[str, Any], *, array: bool = False, comment: str | None = None
    ) -> None:
        """Add a table, or with `array` an element of an array of tables: behind its like, else at the end of the file.

        An array that is written in brackets gets the element there. `comment` stands on lines of its own above it.
        """
        parts = self._parts(path)
        there = self._statement(parts)
        if there is not None and array:
            self._append_element(there, render(dict(values)))
            return
        if lookup(self._data, parts) is not None and not array:
            raise self._error(path, "that table is there already")
        around = self._statement(parts[:-1])
        if around is not None:
            self._insert_inline(around, f"{_key(str(parts[-1]))} = {render([values] if array else values)}")
            return
        name = format_path(part for part in parts if isinstance(part, str))
        header = f"[[{name}]]" if array else f"[{name}]"
        notes = [f"# {line}".rstrip() for line in comment.split("\n")] if comment else []
        block = self._newline.join([*notes, header, *(f"{_key(key)} = {render(each)}" for key, each in values.items())])
        behind = self._end_of(parts)
        if behind is None and len(parts) > 1 and isinstance(parts[-2], int):
            behind = self._end_of(parts[:-1])
        position = self._line_end(behind or len(self._text.rstrip()))
        gap = self._newline * 2 if self._text[:position].strip() else ""
        tail = self._text[position:] or self._newline
        self._replace(self._text[:position] + gap + block + tail)

    def remove(self, path: str) -> bool:
        """Take away a key, a table, or every element of an array of tables; tell whether there was one."""
        parts = self._parts(path)
        statement = self._statement(parts)
        if statement is not None:
            self._remove_statement(statement)
            return True
        found = [header for header in self._lines.headers if header[0][: len(parts)] == parts]
        for header, start, end in reversed(found):
            stop = max([end, *(each.value_end for each in self._below(header))])
            stop = self._line_end(stop) + len(self._newline)
            while self._text.startswith(self._newline, stop):
                stop += len(self._newline)
            self._text = self._text[: self._line_start(start)] + self._text[stop:]
        self._replace(self._text)
        return bool(found)

    def check_writable(self) -> None:
        """Raise ManifestError where `save` would be refused: before long work is done for nothing."""
        target = self.path.resolve()
        if target.exists():
            self._refuse(target, target.stat().st_mode & 0o777)

    def save(self) -> None:
        """Write the file, whole or not at all; its mode stays, a link is followed, unchanged text is not written.

        Raises ManifestError for a file that is read-only or was changed by someone else since it was loaded, and
        InfrastructureError for what else keeps it from being written.
        """
        if not self.changed and self.path.exists():
            return
        target = self.path.resolve()
        mode = 0o644
        try:
            if target.exists():
                mode = target.stat().st_mode & 0o777
                self._refuse(target, mode)
            content = self._text.encode()
            write_whole(target, content, mode=mode)
        except OSError as error:
            raise from_os_error(error) from error
        self._sha256 = hashlib.sha256(content).hexdigest()

    # --- how ----------------------------------------------------------------------------------------------------------

    def _parse(self) -> None:
        try:
            self._data = tomllib.loads(self._text)
        except ValueError as error:
            raise ManifestError(f"not a manifest: {error}", where=str(self.path)) from None
        self._lines = Lines(self._text)
        self._newline = "\r\n" if "\r\n" in self._text else "\n"

    def _parts(self, path: str) -> tuple[Part, ...]:
        return resolve_names(parse_path(path), self._data)

    def _statement(self, parts: tuple[Part, ...]) -> Statement | None:
        return next((each for each in self._lines.statements if each.path == parts), None)

    def _insert(self, parts: tuple[Part, ...], value: Any, comment: str | None) -> None:
        table, key = parts[:-1], parts[-1]
        if isinstance(key, int):
            raise self._error(format_path(parts), "the array has no such element")
        behind = f"  # {comment}" if comment else ""
        around = self._statement(table)
        if around is not None:  # an inline table, or a value that is none
            self._insert_inline(around, f"{_key(key)} = {render(value)}")
            return
        header = next((each for each in self._lines.headers if each[0] == table), None)
        siblings = [each for each in self._lines.statements if each.table == table and not each.inline]
        if table and header is None:
            dotted = [
                each for each in self._lines.statements
                if not each.inline and each.path[: len(table)] == table and len(each.table) < len(table)
            ]  # fmt: skip
            if not dotted:
                self._new_table(table, key, value, comment)
                return
            siblings = dotted[-1:]
            key_text = format_path(parts[len(dotted[-1].table) :])
        else:
            key_text = _key(key)
        line = f"{key_text} = {render(value)}{behind}"
        if siblings or header is not None:
            end = siblings[-1].value_end if siblings else header[2] if header else 0
            indent = self._text[self._line_start(siblings[-1].start) : siblings[-1].start] if siblings else ""
            position = self._line_end(end)
            indent = indent if not indent.strip(_BLANK) else ""
            self._splice(position, position, f"{self._newline}{indent}{line}")
        else:
            first = self._line_start(self._lines.headers[0][1]) if self._lines.headers else len(self._text)
            self._splice(first, first, f"{line}{self._newline * 2}")

    def _new_table(self, table: tuple[Part, ...], key: str, value: Any, comment: str | None) -> None:
        if any(isinstance(part, int) for part in table) and lookup(self._data, table) is None:
            raise self._error(format_path(table), "the array has no such element")
        if isinstance(lookup(self._data, table[:-1]), list):
            raise self._error(format_path(table), "the array has no element of that name")
        self.add_table(format_path(table), {key: value})
        if comment:
            self._comment((*table, key), comment)

    def _insert_inline(self, around: Statement, pair: str) -> None:
        if self._text[around.value_start] != "{":
            raise self._error(format_path(around.path), "no table stands there")
        inside = [each for each in self._lines.statements if each.inline and each.table == around.path]
        if inside:
            self._splice(inside[-1].value_end, inside[-1].value_end, f", {pair}")
        else:
            self._splice(around.value_start, around.value_end, f"{{ {pair} }}")

    def _append_element(self, array: Statement, element: str) -> None:
        inside = [each for each in self._lines.statements if each.inline and each.table == array.path]
        if not inside:
            self._splice(array.value_start, array.value_end, f"[{element}]")
            return
        last = inside[-1]
        indent = self._text[self._line_start(last.start) : last.start]
        own_line = not indent.strip(_BLANK)
        self._splice(
            last.value_end, last.value_end, f",{self._newline}{indent}{element}" if own_line else f", {element}"
        )

    def _remove_statement(self, statement: Statement) -> None:
        start, end = statement.start, statement.value_end
        if not statement.inline:
            self._splice(self._line_start(start), self._line_end(end) + len(self._newline), "")
            return
        rest = self._text[end:]
        after = len(rest) - len(rest.lstrip(" \t\r\n"))
        if rest[after : after + 1] == ",":
            end += after + 1
            end += len(self._text[end:]) - len(self._text[end:].lstrip(_BLANK))
        else:
            before = self._text[:start].rstrip()
            start = len(before) - 1 if before.endswith(",") else start
        self._splice(start, end, "")

    def _comment(self, parts: tuple[Part, ...], comment: str) -> None:
        """Put a comment behind the value, in place of the one that is there; an empty one takes it away."""
        statement = self._statement(parts)
        if statement is None or statement.inline:
            return
        end = self._line_end(statement.value_end)
        self._splice(statement.value_end, end, f"  # {comment}" if comment else "")

    def _below(self, table: tuple[Part, ...]) -> list[Statement]:
        return [each for each in self._lines.statements if not each.inline and each.table == table]

    def _end_of(self, parts: tuple[Part, ...]) -> int | None:
        """Return where the last of what is called so, or stands below it, ends."""
        ends = [end for path, _, end in self._lines.headers if path[: len(parts)] == parts]
        ends += [each.value_end for each in self._lines.statements if each.path[: len(parts)] == parts]
        return max(ends, default=None)

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _line_end(self, position: int) -> int:
        """Return where the line ends that `position` is on, before its line break."""
        end = self._text.find("\n", position)
        end = len(self._text) if end < 0 else end
        return end - 1 if end > position and self._text[end - 1] == "\r" else end

    def _splice(self, start: int, end: int, new: str) -> None:
        self._replace(self._text[:start] + new + self._text[end:])

    def _replace(self, text: str) -> None:
        self._text = text
        self._parse()

    def _refuse(self, target: Path, mode: int) -> None:
        if not mode & 0o222 or not os.access(target, os.W_OK):
            raise ManifestError("the manifest is read-only", where=str(self.path), hint=f"chmod u+w {self.path}")
        if hashlib.sha256(target.read_bytes()).hexdigest() != self._sha256:
            raise ManifestError(
                "the manifest was changed by someone else in the meantime, and stays as it is now",
                where=str(self.path), hint="run the command again",
            )  # fmt: skip

    def _error(self, path: str, message: str) -> ManifestError:
        line = self.line(path)
        return ManifestError(f"{path}: {message}", where=f"{self.path}:{line}" if line else str(self.path))


def render(value: Any) -> str:
    """Return a plain value as TOML writes it, on one line: tables in braces, arrays in brackets."""
    import tomlkit

    if isinstance(value, Mapping):
        pairs = [f"{_key(key)} = {render(each)}" for key, each in value.items() if each is not None]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(render, value))}]"
    if not isinstance(value, str | bool | int | float | dt.date | dt.time):
        raise TypeError(f"TOML has nothing for {type(value).__name__}")
    return tomlkit.item(value).as_string()


def _key(key: str) -> str:
    return format_path((key,))


def _same(old: Any, new: Any) -> bool:
    """Whether two values are the same to TOML, which tells 1, 1.0 and true apart."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return list(old) == list(new) and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return type(old) is type(new) and bool(old == new)
