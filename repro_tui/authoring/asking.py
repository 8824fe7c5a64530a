"""Questions to an author at a terminal, each with a default; Enter takes it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from repro_tui.authoring.drafting import Draft
from repro_tui.authoring.inspection.people import About, one_line, slug
from repro_tui.authoring.templates import Template


def ask(question: str, default: str = "") -> str:
    """Return the answer to one question, the default where there is none; raises KeyboardInterrupt for Ctrl-C."""
    shown = f" [{default}]" if default else ""
    sys.stderr.write(f"{question}{shown}: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
    return one_line(line, 1000) or default


def ask_about(about: About) -> About:
    """Return what the manifest says of the experiment, as its author wants it."""
    name = ask("name of the experiment", about.name)
    while slug(name) != name:
        sys.stderr.write("  lower-case letters, digits, '.', '_' and '-'\n")
        name = ask("name of the experiment", slug(name) or about.name)
    authors = ask("authors, with commas", ", ".join(about.authors))
    return replace(
        about,
        name=name,
        title=ask("title, one line", about.title),
        authors=tuple(author for each in authors.split(",") if (author := each.strip())),
        licence=ask("licence of the manifest (SPDX)", about.licence),
    )


def ask_script(made: Draft) -> str:
    """Return which script trains."""
    if not made.scripts:
        return made.script
    for number, name in enumerate(made.scripts[:9], start=1):
        sys.stderr.write(f"  {number}  {name}\n")
    answer = ask("which script trains", made.script)
    if answer.isdecimal() and 1 <= int(answer) <= len(made.scripts[:9]):
        return made.scripts[int(answer) - 1]
    if answer not in made.scripts:
        sys.stderr.write(f"  that is none of them: {made.script}\n")
        return made.script
    return answer


def ask_template(template: Template, given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return the answers to a template's questions; those that were given already are not asked."""
    answers = dict(given)
    for question in template.questions:
        if question.key not in answers and (answer := ask(question.text, known.get(question.key, question.default))):
            answers[question.key] = answer
    return answers
