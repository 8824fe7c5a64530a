"""The draft of a manifest as TOML: every pin that `repro-tui lock` makes is left out, every gap is a marked line."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import tomlkit

from repro_tui.authoring.drafting import Draft, DraftArtifact
from repro_tui.authoring.inspection.dependencies import DRAFTED
from repro_tui.authoring.inspection.people import one_line
from repro_tui.manifest.marks import MARK

PYTHON = "3.11"
"""Of the images that ship."""
_WIDTH = 110


def manifest_text(made: Draft, *, prefix: str = "") -> str:
    """Return the manifest; `prefix` is the way from its folder to the project's, "" or ending in "/"."""
    sections = (
        _head(made), _experiment(made), _image(made), _environment(made, prefix), _code(made, prefix),
        *(_artifact(artifact, prefix) for artifact in made.artifacts), _task(made), _hyperparameters(made), _rest(made),
    )  # fmt: skip
    return "\n".join("".join(f"{line}\n" for line in section) for section in map(list, sections) if section)


def value(item: Any) -> str:
    """Return a value as TOML writes it."""
    return str(tomlkit.item(item).as_string())


def comment(text: str) -> str:
    """Return a text as a comment: on one line, whatever was in it."""
    return f"# {one_line(text, 400)}"


def _mark(text: str) -> str:
    return comment(f"{MARK}: {text}")


def _head(made: Draft) -> Iterator[str]:
    yield "# Drafted by `repro-tui init` from the project's files. What it could not find out is marked; see to it and"
    yield "# take the mark away; `repro-tui lock` then pins what is loose, `repro-tui record` writes what is expected."
    yield "schema = 1"
    for mark in dict.fromkeys(made.marks):
        yield _mark(mark)
    if not made.script and not made.command:
        yield _mark("the command that trains (task.command); no Python script of the folder looks like it")
    elif not made.reports:
        yield _mark(f"{made.script or 'the program'} reports no metric yet; docs/wire-format.md has the lines to add")


def _experiment(made: Draft) -> Iterator[str]:
    about = made.about
    yield "[experiment]"
    yield f"name = {value(about.name)}"
    yield _found("title", about.title, about.name, "one line that says what is reproduced")
    authors = list(about.authors)
    yield _found("authors", authors, ["A. Author"], "who made it")
    yield _found("licence", about.licence, "CC0-1.0", "SPDX identifier of the manifest's licence; there is no LICENSE")
    if about.doi:
        yield ""
        yield "[experiment.paper]"
        yield f"title = {value(about.title or about.name)}"
        yield f"doi = {value(about.doi)}"


def _found(key: str, known: Any, otherwise: Any, what: str) -> str:
    return f"{key} = {value(known)}" if known else f"{key} = {value(otherwise)}  {_mark(what)}"


def _image(made: Draft) -> Iterator[str]:
    yield "[image]"
    recipe = "torch-cpu" if made.dependencies.torch else "python"
    mark = ""
    if not made.dependencies.allows(PYTHON):
        wanted = f"the project asks for Python {made.dependencies.python}"
        mark = f"  {_mark(f'{wanted}, this image has {PYTHON}: another recipe or reference')}"
    yield f"recipe = {value(recipe)}{mark}"
    yield 'platform = "linux/amd64"'


def _environment(made: Draft, prefix: str) -> Iterator[str]:
    yield "[environment]"
    dependencies = made.dependencies
    if dependencies.file:
        others = ", ".join(dependencies.files[1:])
        yield f"requirements = {value(prefix + dependencies.file)}" + (
            f"  {comment(f'also there: {others}')}" if others else ""
        )
    else:
        what = f"{DRAFTED} was made from what the code imports: see that names and versions are right"
        if not made.script:
            what = "no file names the dependencies: make this one, empty where Python alone will do"
        mark = f"  {_mark(what)}" if made.imported or not made.script else ""
        yield f"requirements = {value(prefix + DRAFTED)}{mark}"
    yield f"threads = {min(2, os.cpu_count() or 1)}"
    yield 'cpu_capability = "avx2"'
    if made.variables:
        yield f"variables = {_inline(made.variables)}"


def _code(made: Draft, prefix: str) -> Iterator[str]:
    yield "[[artifacts]]"
    yield 'name = "code"'
    yield 'kind = "code"'
    yield 'path = "code"'
    files = _folded(made)
    root = prefix.rstrip("/") or "."
    if not files:
        yield f'sources = [{{ type = "local", path = {value(root)} }}]  {_mark("which files are the code (`files`)")}'
        return
    listed = ", ".join(map(value, files))
    if len(listed) <= _WIDTH - 60:
        yield f'sources = [{{ type = "local", path = {value(root)}, files = [{listed}] }}]'
        return
    yield "[[artifacts.sources]]"
    yield 'type = "local"'
    yield f"path = {value(root)}"
    yield "files = ["
    yield from (f"  {value(name)}," for name in files)
    yield "]"


def _folded(made: Draft) -> list[str]:
    """Return the code's files; a folder of which every file belongs to it stands for them."""
    left, found = set(made.code), []
    for folder in sorted(made.folder.folders, key=lambda name: name.count("/")):
        below = {name for name in made.folder.files if name.startswith(f"{folder}/")}
        linked = any(link.startswith(f"{folder}/") for link in made.folder.links)
        strange = any(f"{folder}/" in name for name in made.folder.strange)
        if below and below <= left and len(below) > 1 and not linked and not strange and not _hidden(made, folder):
            found.append(folder)
            left -= below
    return sorted([*found, *left])


def _hidden(made: Draft, folder: str) -> bool:
    """Say whether a folder holds something that was left out, which naming the folder would bring in."""
    for parent, folders, names in os.walk(made.folder.root / folder):
        relative = os.path.relpath(parent, made.folder.root).replace(os.sep, "/")
        folders[:] = [name for name in folders if name != "__pycache__"]
        if any(posixpath.join(relative, name) not in made.folder.files and not name.endswith(".pyc") for name in names):
            return True
    return False


def _artifact(artifact: DraftArtifact, prefix: str) -> Iterator[str]:
    source = dict(artifact.source)
    if source["type"] == "local" and not os.path.isabs(source["path"]):
        source["path"] = posixpath.normpath(prefix + source["path"])
    yield "[[artifacts]]"
    yield f"name = {value(artifact.name)}"
    yield f"kind = {value(artifact.kind)}"
    yield f"path = {value(artifact.path)}"
    yield f"sources = [{_inline(source)}]" + (f"  {_mark(artifact.mark)}" if artifact.mark else "")


def _inline(table: Mapping[str, Any]) -> str:
    """Return an inline table; the keys are ours, or names of variables."""
    return f"{{ {', '.join(f'{key} = {value(item)}' for key, item in table.items())} }}"


def _task(made: Draft) -> Iterator[str]:
    words = made.command or ["python3", made.script or "train.py"]
    yield "[task]"
    yield 'code = "code"'
    listed = ", ".join(map(value, words))
    if len(listed) <= _WIDTH - 15:
        yield f"command = [{listed}]"
        return
    yield "command = ["
    line = ""
    for word in words:
        if line and (word.startswith("-") or len(line) > _WIDTH - 30):
            yield f"  {line},"
            line = ""
        line += f"{', ' if line else ''}{value(word)}"
    yield f"  {line},"
    yield "]"


def _hyperparameters(made: Draft) -> Iterator[str]:
    if made.hyperparameters:
        yield "[hyperparameters]"
        for key, item in made.hyperparameters.items():
            yield f"{key} = {value(item)}"


def _rest(made: Draft) -> Iterator[str]:
    yield "[determinism]"
    if made.seed is None and made.fixed_seed is not None:
        seed, place = made.fixed_seed
        words = f"{place} sets it itself; as an option, `{{seed}}` in task.command, it could be verified over seeds"
        yield f"seed = {seed}  {comment(words)}"
    elif made.seed is None:
        yield "seed = 0  # the command has no option for it; `{seed}` in task.command would stand for it"
    else:
        yield f"seed = {made.seed}"
    yield 'level = "metric"'
    yield ""
    yield "[resources]"
    yield 'memory = "8 GiB"'
    yield "time_limit_s = 7200"
