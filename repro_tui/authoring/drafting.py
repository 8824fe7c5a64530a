"""From what a project folder tells to the draft of its manifest: code, inputs, command, hyperparameters."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.authoring.inspection.code import Module, Option, Use, read_module, third_party
from repro_tui.authoring.inspection.command import Command, command_of, likely_scripts, options_given, take_apart
from repro_tui.authoring.inspection.dependencies import Dependencies, find_dependencies
from repro_tui.authoring.inspection.folder import Folder, look
from repro_tui.authoring.inspection.people import About, find_about, slug
from repro_tui.errors import UsageError
from repro_tui.manifest.placeholders import PLACEHOLDER

SMALL_BYTES = 1 << 20
"""What the code reads from its own folder goes with the code up to this size."""

_SEEDS = frozenset({"seed", "random_seed", "random_state", "rng_seed", "manual_seed", "global_seed"})
_OUT = re.compile(
    r"^(out|output|outdir|results?|logdir|ckpt|checkpoints?)(_|$)|(^|_)(out|output|outdir|save|log|ckpt|checkpoint)_?(dir|path|folder|file|to)?$"
)
_MODEL = re.compile(r"model|checkpoint|pretrained|backbone|encoder|tokenizer")
_INPUT = re.compile(
    r"(^|_)(data|dataset|train|test|val|valid|validation|dev|eval|input|corpus|vocab|file|path|dir|csv)(_|$)"
)
_LARGEST_SEED = 2**32


@dataclass(slots=True)
class DraftArtifact:
    """One input, still without its digest; `mark` says what nobody could find out."""

    name: str
    kind: str
    path: str
    source: dict[str, Any]
    note: str = ""
    mark: str = ""


@dataclass(slots=True)
class Draft:
    """A manifest that is being made."""

    folder: Folder
    about: About
    dependencies: Dependencies
    imported: list[str]
    script: str
    scripts: list[str]
    modules: Mapping[str, Module]
    command: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    hyperparameters: dict[str, str | int | float | bool] = field(default_factory=dict)
    seed: int | None = None
    artifacts: list[DraftArtifact] = field(default_factory=list)
    code: set[str] = field(default_factory=set)
    marks: list[str] = field(default_factory=list)
    """What the author must see to that belongs to no single key."""
    notes: list[str] = field(default_factory=list)
    """What the author should know."""

    @property
    def fixed_seed(self) -> tuple[int, str] | None:
        """A seed that the code sets itself, and where; None where it sets none."""
        found = ((seed, f"{name}:{line}") for name, module in self.modules.items() for seed, line in module.seeds)
        return next(found, None)

    @property
    def reports(self) -> bool:
        """Whether the code tells its metrics in the line format."""
        return any(module.reports for module in self.modules.values())


def draft(root: Path, words: Sequence[str] = (), *, script: str = "", target: Path | None = None) -> Draft:
    """Return the draft of a project's manifest: by its command in `words`, else by its likely script, or `script`.

    `target` is the manifest: neither it nor what stands beside it under its name is code.
    Raises UsageError for a folder that is none, and for a command that does not fit it.
    """
    if not root.is_dir():
        raise UsageError("this is no folder", where=str(root), hint="repro-tui init FOLDER, the project's own")
    folder = look(root)
    modules = {name: read_module(root, name) for name in folder.files if name.endswith(".py") and folder.is_code(name)}
    scripts = likely_scripts(modules)
    command = take_apart(words, folder) if words else None
    chosen = command.script if command else script or (scripts[0] if scripts else "")
    own = {name.split("/")[0].removesuffix(".py") for name in modules}
    own |= {name.removeprefix("src/").split("/")[0].removesuffix(".py") for name in modules}
    used = _used(chosen, modules) if chosen in modules else modules
    imported = third_party({name for module in used.values() for name in module.imports}, own)
    made = Draft(folder, find_about(folder), find_dependencies(folder, imported), imported, chosen, scripts, used)
    made.code = {
        name
        for name in folder.files
        if folder.is_code(name) and not _is_test(name) and not _of_manifest(root / name, target)
    }
    _Drafter(made, command).make()
    return made


def _used(script: str, modules: Mapping[str, Module]) -> dict[str, Module]:
    """Return the script and the project's modules that it imports, directly or not."""
    found: dict[str, Module] = {}
    left = [script]
    while left:
        name = left.pop()
        if name in found:
            continue
        found[name] = modules[name]
        roots = {"", "src/", f"{posixpath.dirname(name)}/" if "/" in name else ""}
        for imported in modules[name].imports:
            base = imported.replace(".", "/")
            left += [f for root in roots for end in (".py", "/__init__.py") if (f := f"{root}{base}{end}") in modules]
    return found


def _of_manifest(path: Path, target: Path | None) -> bool:
    """Say whether a file is the manifest, its lock or its record: `repro.toml`, `repro.record.json`."""
    if target is None or path.suffix == ".py" or path.parent.resolve() != target.parent.resolve():
        return False
    return path.name.startswith(f"{target.stem}.")


def _is_test(name: str) -> bool:
    parts = name.split("/")
    return bool({"tests", "test", "docs"} & set(parts[:-1])) or parts[-1].startswith(("test_", "conftest"))


class _Drafter:
    def __init__(self, made: Draft, command: Command | None) -> None:
        self._made = made
        self._folder = made.folder
        self._given = command
        self._options = [option for module in made.modules.values() for option in module.options]
        self._uses = [use for module in made.modules.values() for use in module.uses]
        self._option_kinds = {use.option: use for use in self._uses if use.option and use.kind != "literal"}
        self._mounted: dict[str, str] = {}

    def make(self) -> None:
        made = self._made
        if made.script or self._given:
            self._command()
        first: dict[tuple[str, str, str], Use] = {}
        for use in self._uses:
            first.setdefault((use.kind, use.value, use.option), use)
        for use in first.values():
            self._use(use)
        for name, module in made.modules.items():
            if module.fault:
                made.notes.append(f"{name} could not be read as Python: {module.fault}")
        made.code -= {path for artifact in made.artifacts for path in self._files_of(artifact)}

    # --- the command --------------------------------------------------------------------------------------------------

    def _command(self) -> None:
        made = self._made
        given = self._given or command_of(made.script, self._folder)
        made.variables = dict(given.variables)
        made.command = [*self._paths(given.module), *map(_escaped, given.start)]
        seen = set()
        for option, words in options_given(given.arguments, self._options):
            if option is None:
                made.command += [_escaped(self._input(word) or word) for word in words]
                continue
            seen.add(option.name)
            made.command += self._argument(option, words)
        for option in self._options:
            if option.name in seen or option.name == "help":
                continue
            seen.add(option.name)
            made.command += self._left_out(option)

    def _paths(self, run: str) -> list[str]:
        """Return what makes the project's own modules importable, where the script does not lie beside them."""
        script = self._made.script
        if not script:
            return []
        tops = {name.partition(".")[0] for module in self._made.modules.values() for name in module.imports}
        tops |= {run.partition(".")[0]} if run else set()
        roots = ["" if run else posixpath.dirname(script)]
        for root in ("src", ""):
            prefix = f"{root}/" if root else ""
            holds = {name.removeprefix(prefix).split("/")[0].removesuffix(".py")
                     for name in self._made.modules if name.startswith(prefix)}  # fmt: skip
            if tops & holds and root not in roots and not (root == "" and tops & holds <= {"src"}):
                roots.append(root)
        further = [f"/code/{root}".rstrip("/") for root in roots[1:]]
        return ["env", f"PYTHONPATH={':'.join(further)}"] if further else []

    def _argument(self, option: Option, words: list[str]) -> list[str]:
        """Return the words of an option as they stand in the manifest's command."""
        flag, equals, attached = words[0].partition("=")
        values = [attached] if equals else words[1:] if option.flags else words
        head = [flag] if option.flags else []
        if option.flag:
            return words
        if len(values) != 1 or option.many:
            return [*head, *[_escaped(self._input(value) or value) for value in values]]
        return [*head, self._value(option, values[0])]

    def _left_out(self, option: Option) -> list[str]:
        """Return an option that was not given, with the default that the code gives it."""
        default = option.default
        if option.flag or option.many or isinstance(default, bool) or option.type == "bool":
            return []
        flag = next((flag for flag in option.flags if flag.startswith("--")), option.flags[0] if option.flags else "")
        head = [flag] if flag else []
        if isinstance(default, int | float) or (isinstance(default, str) and default):
            return [*head, self._value(option, str(default))] if flag else []
        if option.required:
            self._made.marks.append(
                f"a value for {flag or option.name}, which {self._made.script} needs (task.command)"
            )
            return [*head, "FILL-IN"]
        return []

    def _value(self, option: Option, value: str) -> str:
        """Return what stands for an option's value: an input, a folder below /out, a placeholder."""
        made = self._made
        use = self._option_kinds.get(option.name)
        if option.name.lower() in _SEEDS and value.isdecimal() and int(value) < _LARGEST_SEED and made.seed is None:
            made.seed = int(value)
            return "{seed}"
        if (use is not None and use.kind == "write") or (_OUT.search(option.name) and not _is_number(value)):
            return _escaped(_below_out(value))
        if mounted := self._input(value):
            return _escaped(mounted)
        if use is not None and use.kind in {"model", "dataset"}:
            return _escaped(self._hub(value, use))
        if _MODEL.search(option.name) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", value):
            made_here = Use("model", value, option.name, made.script, option.line, "")
            return _escaped(self._hub(value, made_here))
        if not _is_number(value) and ((use is not None and use.kind == "file") or _is_path(option.name, value)):
            return _escaped(self._missing(value, f"{option.name} of {made.script}"))
        key = re.sub(r"[^A-Za-z0-9_]", "_", option.name)
        if not re.match(r"^[A-Za-z_]", key) or key == "seed" or key in made.hyperparameters:
            return _escaped(value)
        made.hyperparameters[key] = _typed(value, option.type)
        return f"{{{key}}}"

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _use(self, use: Use) -> None:
        made = self._made
        place = f"{use.file}:{use.line}"
        if use.kind == "download":
            made.marks.append(
                f"{place} fetches data ({use.call}), and a run has no network: name the files as artifacts"
            )
        elif use.kind in {"model", "dataset"} and use.value and self._folder.find(use.value) is None:
            self._hub(use.value, use)
            made.marks.append(
                f"{place} loads {use.value!r} by name, without a network: read it from /inputs/{_below(use.value)}"
            )
        elif use.kind == "write" and use.value and not use.value.startswith(_INSIDE):
            made.marks.append(f"{place} writes {use.value!r}, and only $REPRO_OUT can be written to")
        elif use.kind in {"file", "literal", "model", "dataset"} and use.value:
            self._read(use, place)

    def _read(self, use: Use, place: str) -> None:
        """Take an input that the code names itself: small ones go with the code, which finds them where it looks."""
        made, folder = self._made, self._folder
        found = folder.find(use.value)
        if found is None:
            if link := folder.behind_link(use.value):
                made.marks.append(
                    f"{place} reads {use.value!r}, and {link} is a symbolic link: put the files themselves there"
                )
            elif use.kind == "file" and not use.value.startswith(("/", "~", "http")) and "." in use.value[1:]:
                made.marks.append(f"{place} reads {use.value!r}, which is not there: add it as an artifact")
            elif use.kind == "file" and use.value.startswith(("/", "~", "http")) and not use.value.startswith(_INSIDE):
                made.marks.append(f"{place} reads {use.value!r}, which is outside the project: add it as an artifact")
            return
        if found.endswith(".py") or found in self._mounted or (use.kind == "literal" and found in folder.folders):
            return
        size = folder.bytes_of(found)
        if size <= SMALL_BYTES:
            below = [name for name in folder.files if name == found or name.startswith(f"{found}/")]
            made.code.update(below)
            return
        self._mount(found)
        made.marks.append(
            f"{place} reads {found!r} from its own folder, and it is too large for the code: "
            f'make it an option, or open os.environ["REPRO_INPUTS"] + "/{found}"'
        )

    def _input(self, value: str) -> str:
        """Return where an input is mounted that an argument names, "" where it names none; a link is none."""
        found = self._folder.find(value)
        if found is None:
            if link := self._folder.behind_link(value):
                self._made.marks.append(
                    f"{value!r} is given, and {link} is a symbolic link: put the files themselves there"
                )
            return ""
        if found in self._made.code and found.endswith(
            (".py", ".sh", ".yaml", ".yml", ".toml", ".json", ".ini", ".cfg")
        ):
            return found
        return self._mount(found)

    def _mount(self, found: str) -> str:
        if found not in self._mounted:
            around = [path for path in self._mounted if found.startswith(f"{path}/")]
            if around:
                return f"/inputs/{found}"
            self._made.artifacts = [each for each in self._made.artifacts if not each.path.startswith(f"{found}/")]
            self._mounted[found] = f"/inputs/{found}"
            kind = "weights" if found.endswith((".safetensors", ".pt", ".bin", ".ckpt")) else "data"
            self._add(DraftArtifact(found, kind, found, {"type": "local", "path": found}))
        return self._mounted[found]

    def _missing(self, value: str, place: str) -> str:
        below = _below(value)
        outside = os.path.isabs(value) or value.startswith("..")
        note = "it is outside the project" if outside else "no such file in the project"
        if f"{below}" not in self._mounted:
            self._mounted[below] = f"/inputs/{below}"
            mark = f"{value!r} ({place}): {note}; say where it comes from"
            self._add(DraftArtifact(below, "data", below, {"type": "local", "path": value}, mark=mark))
        return f"/inputs/{below}"

    def _hub(self, value: str, use: Use) -> str:
        below = _below(value)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
            return self._missing(value, f"{use.file}:{use.line}")
        if below not in self._mounted:
            self._mounted[below] = f"/inputs/{below}"
            source: dict[str, Any] = {"type": "hub", "repository": value}
            file = "model.safetensors"
            if use.kind == "dataset":
                source["repository_type"] = "dataset"
                file = "data/train.parquet"
            mark = f"the files of {value!r} on the model hub that {use.file}:{use.line} needs, an artifact each"
            kind = "weights" if use.kind == "model" else "data"
            self._add(
                DraftArtifact(
                    f"{below}-{file}", kind, f"{below}/{file}", {**source, "revision": "main", "path": file}, mark=mark
                )
            )
        return f"/inputs/{below}"

    def _add(self, artifact: DraftArtifact) -> None:
        taken = {each.name for each in self._made.artifacts} | {"code"}
        name = base = slug(artifact.name.replace("/", "-")) or "input"
        count = 2
        while name in taken:
            name, count = f"{base[:60]}-{count}", count + 1
        artifact.name = name
        self._made.artifacts.append(artifact)

    def _files_of(self, artifact: DraftArtifact) -> list[str]:
        path = artifact.source["path"] if artifact.source["type"] == "local" else ""
        return [name for name in self._folder.files if name == path or name.startswith(f"{path}/")]


_INSIDE = ("/inputs", "/out", "/code", "/tmp", "/dev", "/proc")  # noqa: S108 - places of the container


def _escaped(word: str) -> str:
    """Return a word of the command as it is, where it would read as a placeholder."""
    return PLACEHOLDER.sub(lambda found: f"{{{found[0]}}}" if found[2] else found[0], word)


def _below(value: str) -> str:
    """Return where something of another place is put below /inputs."""
    parts = [part for part in value.replace("\\", "/").split("/") if part not in {"", ".", "..", "~"}]
    kept = "/".join(parts[-2:])
    return "".join(letter if letter.isprintable() else "-" for letter in kept) or "input"


def _below_out(value: str) -> str:
    name = posixpath.basename(value.rstrip("/"))
    return f"/out/{name}" if "." in name.strip(".") else "/out"


def _is_path(name: str, value: str) -> bool:
    """Say whether an option's value means a file, as far as name and value tell: it is none of the project's."""
    if value.startswith(("/", "~/", "./", "../")):
        return True
    suffix = posixpath.splitext(value)[1]
    return bool(re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]{0,9}", suffix)) and ("/" in value or bool(_INPUT.search(name)))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _typed(value: str, kind: str) -> str | int | float:
    """Return a value as the script reads it; one that would not come back as it was written stays text."""
    if kind != "str" and re.fullmatch(r"-?(0|[1-9]\d{0,14})", value):
        return int(value)
    if kind != "str" and re.fullmatch(r"-?\d{1,17}(\.\d{1,17})?([eE][-+]?\d{1,2})?|-?\.\d{1,17}", value):
        number = float(value)
        return number if kind == "float" or str(number) == value else value
    return value
