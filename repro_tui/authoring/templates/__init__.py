"""Templates: manifests with questions, a file each beside this one; a new one is one more file.

A template is TOML. Its first comment says what it is for. A line that ends in `#? question` has a default, which an
answer replaces; one that ends in `#! question` needs an answer, and is a marked line until it has one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tomlkit

from repro_tui.authoring.inspection.people import About
from repro_tui.errors import UsageError
from repro_tui.manifest.lines import Lines
from repro_tui.manifest.marks import MARK
from repro_tui.manifest.paths import Part, format_path
from repro_tui.manifest.problems import did_you_mean, enumeration

_QUESTION = re.compile(r"^(?P<start>\s*[\w-]+\s*=\s*)(?P<value>.*?)\s+#(?P<kind>[?!])\s+(?P<text>.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Question:
    """What a template asks for."""

    key: str
    """The TOML path that the answer goes to."""
    line: int
    text: str
    default: str
    """"" where an answer is needed."""
    value: Any
    """What stands there; an answer has its type."""


@dataclass(frozen=True)
class Template:
    """A manifest with questions."""

    name: str
    text: str

    @property
    def description(self) -> str:
        """What it is for."""
        return self.text.partition("\n")[0].lstrip("# ").strip()

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """Every question, in the order of the file."""
        lines = Lines(self.text)
        keys = {lines.line(path): (path, value) for path, value in _leaves(tomllib.loads(self.text), ())}
        found = []
        for number, line in enumerate(self.text.splitlines(), start=1):
            if question := _QUESTION.match(line):
                path, value = keys[number]
                default = "" if question["kind"] == "!" else _shown(value)
                found.append(Question(format_path(path), number, question["text"], default, value))
        return tuple(found)

    def answers(self, given: Sequence[str]) -> dict[str, str]:
        """Return answers that were given as KEY=VALUE; raises UsageError for a key that nothing asks for."""
        keys = [question.key for question in self.questions]
        found = {}
        for each in given:
            # A key may hold a `=` nowhere, a value anywhere.
            key, equals, value = each.partition("=")
            if not equals or key not in keys:
                raise UsageError(
                    f"the template {self.name} asks for no {key!r}" if equals else f"{each!r} is no KEY=VALUE",
                    where="--set", hint=did_you_mean(key, keys) or f"it asks for {enumeration(keys, 'and')}",
                )  # fmt: skip
            found[key] = value
        return found

    def known(self, about: About) -> dict[str, str]:
        """Return the answers that a project's own files give."""
        found = {
            "experiment.name": about.name, "experiment.title": about.title,
            "experiment.authors": ", ".join(about.authors), "experiment.licence": about.licence,
        }  # fmt: skip
        return {key: value for key, value in found.items() if value}

    def filled(self, answers: Mapping[str, str]) -> str:
        """Return the manifest with these answers; raises UsageError for one of the wrong type."""
        lines = self.text.splitlines()
        for question in self.questions:
            found = _QUESTION.match(lines[question.line - 1])
            assert found is not None  # noqa: S101 - it is the line that the question was found on
            if question.key in answers:
                written = str(tomlkit.item(_typed(question, answers[question.key])).as_string())
                lines[question.line - 1] = f"{found['start']}{written}"
            elif question.default:
                lines[question.line - 1] = f"{found['start']}{found['value']}"
            else:
                lines[question.line - 1] = f"{found['start']}{found['value']}  # {MARK}: {question.text}"
        return "\n".join(lines) + "\n"


def templates() -> list[Template]:
    """Return every template, by name; first the one of a script of one's own, which most people have."""
    files = sorted(Path(__file__).parent.glob("*.toml"), key=lambda file: (file.stem != "own-script", file.stem))
    return [Template(file.stem, file.read_text(encoding="utf-8")) for file in files]


def find_template(name: str) -> Template:
    """Return a template by name; raises UsageError where there is none."""
    known = {template.name: template for template in templates()}
    wanted = name.replace("_", "-")
    if wanted not in known:
        names = list(known)
        raise UsageError(
            f"there is no template {name!r}", where="--from-template",
            hint=did_you_mean(wanted, names) or f"there are {enumeration(names, 'and')}",
        )  # fmt: skip
    return known[wanted]


def _leaves(value: Any, path: tuple[Part, ...]) -> Iterator[tuple[tuple[Part, ...], Any]]:
    """Yield every value by its path; an array of values is one."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _typed(question: Question, answer: str) -> Any:
    if isinstance(question.value, list):
        return [part for each in answer.split(",") if (part := each.strip())]
    kind = type(question.value)
    if kind is str:
        return answer
    try:
        return tomllib.loads(f"answer = {answer}")["answer"] if kind is bool else kind(answer)
    except ValueError:
        raise UsageError(
            f"{answer!r} is no answer to {question.text!r}", where=question.key, hint=f"like {_shown(question.value)}"
        ) from None
