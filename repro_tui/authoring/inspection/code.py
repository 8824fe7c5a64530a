"""What a project's Python code says of itself: its options, what it reads and writes, which modules it needs.

The code is parsed, never imported or run.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from repro_tui.authoring.inspection.constants import last_name, names_of, value_of

MAX_BYTES = 2 << 20
"""A longer file is not parsed."""

_READERS = frozenset(
    {"open", "load", "loadtxt", "genfromtxt", "fromfile", "loadmat", "read_bytes", "read_text", "read_csv",
     "read_table", "read_json", "read_parquet", "read_excel", "read_pickle", "read_feather", "read_hdf",
     "scan_csv", "scan_parquet",
     "imread", "load_svmlight_file", "ImageFolder", "read_image", "load_npz"}
)  # fmt: skip
_WRITERS = frozenset(
    {"save", "savez", "savetxt", "savefig", "dump", "to_csv", "to_json", "to_parquet", "to_pickle", "write_text",
     "write_bytes", "save_file", "save_pretrained", "imwrite", "mkdir", "makedirs", "SummaryWriter", "FileHandler"}
)  # fmt: skip
_SECOND = frozenset({"save", "dump", "save_file"})
"""Of these the file is the second argument as a rule, the first where they are methods of what is saved."""
_MODELS = frozenset({"from_pretrained", "SentenceTransformer", "snapshot_download", "hf_hub_download", "pipeline"})
_DATASETS = frozenset({"load_dataset"})
_BUILDERS = frozenset({"csv", "json", "text", "parquet", "arrow", "imagefolder", "audiofolder", "pandas", "xml"})
_SEEDING = frozenset({"seed", "manual_seed", "default_rng", "set_seed", "seed_everything", "RandomState", "PRNGKey"})
_DOWNLOADS = frozenset({"urlretrieve", "urlopen", "download_url", "download_and_extract_archive"})
_METRIC = re.compile(
    r"(acc(?:uracy)?|f1|macro_f1|precision|recall|auc|auroc|rmse|mse|mae|r2|loss|perplexity|bleu|rouge|score|error)"
    r"\s*[=:]?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Option:
    """An option or positional argument that a script declares."""

    flags: tuple[str, ...]
    """None for a positional argument."""
    name: str
    """The attribute that holds its value."""
    type: str
    """"int", "float", "str", "bool", … as the code writes it; "" where it says nothing."""
    default: Any
    """None where it has none, UNKNOWN where it is not written out."""
    flag: bool
    """True where it takes no value."""
    required: bool
    many: bool
    """True where it takes several values."""
    line: int


@dataclass(frozen=True, slots=True)
class Use:
    """Something that the code reads, writes or fetches by name."""

    kind: Literal["file", "model", "dataset", "write", "download", "literal"]
    value: str
    """The name as the code writes it; "" where it comes from an option or cannot be known."""
    option: str
    """Name of the option that holds the name, "" where it is written out."""
    file: str
    line: int
    call: str
    """Name of the function that is called with it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that the code prints under the name of a metric."""

    name: str
    expression: str
    line: int


@dataclass(slots=True)
class Module:
    """One Python file."""

    file: str
    options: list[Option] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    metrics: list[Metric] = field(default_factory=list)
    seeds: list[tuple[int, int]] = field(default_factory=list)
    """Seeds that are written out in the code, and their lines."""
    reports: bool = False
    """Whether it speaks the line format."""
    has_main: bool = False
    fault: str = ""
    """Why it could not be read, "" where it could."""


def read_module(root: Path, file: str) -> Module:
    """Return what a Python file says; `fault` where it cannot be parsed."""
    module = Module(file)
    path = root / file
    try:
        if path.stat().st_size > MAX_BYTES:
            module.fault = "it is too long"
            return module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in their strings; nobody asked for an opinion on their code
            tree = ast.parse(path.read_bytes(), filename=file)
            _Reader(module, tree).read()
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        module.fault = f"line {line}: {getattr(error, 'msg', error)}" if line else str(error)
    except (RecursionError, MemoryError):
        module.fault = "it is nested too deep"
    except OSError as error:
        module.fault = error.strerror or str(error)
    return module


class _Reader:
    def __init__(self, module: Module, tree: ast.Module) -> None:
        self._module = module
        self._tree = tree
        self._names: Mapping[str, Any] = names_of(tree)
        self._from_options = _option_names(tree)
        self._used: set[int] = set()

    def read(self) -> None:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Import):
                self._module.imports.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                self._module.imports.add(node.module)
                self._module.imports.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level:
                self._module.imports.update(self._relative(node))
            elif isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
                self._module.has_main = True
        self._literals()
        self._module.reports = self._module.reports or bool(
            {"repro_tui.wire", "wire"} & self._module.imports and self._module.file != "wire.py"
        )

    def _relative(self, node: ast.ImportFrom) -> Iterator[str]:
        """Yield what `from .model import Net` imports, by the way from the project's folder."""
        folders = self._module.file.split("/")[: -node.level]
        base = ".".join([*folders, *([node.module] if node.module else [])])
        if base:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)

    def _call(self, node: ast.Call) -> None:
        last = last_name(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        self._seed(node, keywords, last)
        if last == "add_argument" or (last in {"option", "argument"} and isinstance(node.func, ast.Attribute)):
            self._option(node, keywords, last)
        elif last == "print":
            self._printed(node)
        elif last in _MODELS:
            self._model(node, keywords, last)
        elif last in _DATASETS:
            self._dataset(node, keywords, last)
        elif last in _DOWNLOADS or last.startswith("fetch_") or _true(keywords.get("download")):
            self._add("download", node, None, last)
        elif last in _WRITERS or (last == "open" and _writes(node, keywords)):
            self._add("write", node, _written(node, last), last)
        elif last in _READERS:
            self._add("file", node, _first(node, keywords, last), last)

    def _seed(self, node: ast.Call, keywords: Mapping[str, ast.expr], call: str) -> None:
        given = keywords.get("random_state") or keywords.get("seed")
        if given is None and call in _SEEDING and node.args:
            given = node.args[0]
        value = value_of(given, self._names)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
            self._module.seeds.append((value, node.lineno))

    def _option(self, node: ast.Call, keywords: Mapping[str, ast.expr], call: str) -> None:
        flags = tuple(
            each for argument in node.args if isinstance(each := value_of(argument, self._names), str) and each
        )
        if not flags:
            return
        for argument in ast.walk(node):
            self._used.add(id(argument))
        dashed = tuple(flag for flag in flags if flag.startswith("-"))
        longest = next((flag for flag in dashed if flag.startswith("--")), flags[0])
        named = value_of(keywords.get("dest"), {})
        name = named if isinstance(named, str) else longest.lstrip("-").replace("-", "_")
        action = value_of(keywords.get("action"), {})
        default = value_of(keywords["default"], self._names) if "default" in keywords else None
        kind = keywords.get("type")
        given = last_name(kind) if kind is not None else ""
        boolean = "action" in keywords and last_name(keywords["action"]) == "BooleanOptionalAction"
        self._module.options.append(
            Option(
                flags=dashed,
                name=name,
                type=given,
                default=default,
                flag=boolean
                or _true(keywords.get("is_flag"))
                or (isinstance(action, str) and action.startswith(("store_", "count", "help", "version"))),
                required=_true(keywords.get("required"))
                or (not dashed and "nargs" not in keywords and default is None),
                many="nargs" in keywords and value_of(keywords["nargs"], {}) not in {"?", 1},
                line=node.lineno,
            )
            if call != "option" or dashed
            else Option((), name, given, default, flag=False, required=False, many=False, line=node.lineno)
        )

    def _model(self, node: ast.Call, keywords: Mapping[str, ast.expr], call: str) -> None:
        named = keywords.get("model") if call == "pipeline" else None
        named = named or keywords.get("repo_id") or keywords.get("pretrained_model_name_or_path")
        if named is not None or (node.args and call != "pipeline"):
            self._add("model", node, named or node.args[0], call)

    def _dataset(self, node: ast.Call, keywords: Mapping[str, ast.expr], call: str) -> None:
        named = node.args[0] if node.args else keywords.get("path")
        if value_of(named, self._names) not in _BUILDERS:
            self._add("dataset", node, named, call)
            return
        for part in ast.walk(keywords["data_files"]) if "data_files" in keywords else ():
            key = isinstance(part, ast.Constant) and _is_key(keywords["data_files"], part)
            if isinstance(part, ast.Constant | ast.Attribute) and not key:
                self._add("file", node, part, call)

    def _printed(self, node: ast.Call) -> None:
        """Note numbers that are printed behind a metric's name: f"acc: {x}", "acc: %f" % x, print("acc", x)."""
        for argument in node.args:
            if isinstance(argument, ast.JoinedStr):
                for before, part in zip(argument.values, argument.values[1:], strict=False):
                    if isinstance(part, ast.FormattedValue) and isinstance(before, ast.Constant):
                        self._metric(str(before.value), part.value, node.lineno)
            elif (template := _template(argument)) is not None:
                for text, value in zip(_PLACE.split(template[0]), template[1], strict=False):
                    self._metric(text, value, node.lineno)
        for before, part in zip(node.args, node.args[1:], strict=False):
            if isinstance(before, ast.Constant) and isinstance(before.value, str):
                self._metric(before.value, part, node.lineno)

    def _metric(self, text: str, value: ast.expr, line: int) -> None:
        found = _METRIC.search(text)
        if found is not None:
            name = {"acc": "accuracy", "f1": "macro_f1"}.get(found[1].lower(), found[1].lower())
            self._module.metrics.append(Metric(name, ast.unparse(value), line))

    def _add(self, kind: Any, node: ast.Call, named: ast.expr | None, call: str) -> None:
        value = value_of(named, self._names)
        option = self._option_of(named)
        if isinstance(value, str):
            self._used.update(id(part) for part in ast.walk(node))
        elif kind in {"file", "write"} and not option:
            return
        self._module.uses.append(
            Use(kind, value if isinstance(value, str) else "", option, self._module.file, node.lineno, call)
        )

    def _option_of(self, node: ast.expr | None) -> str:
        """Return the option that an expression is made from: `args.model`, or a name that was given its value."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in _HOLDERS:
                return part.attr
            if isinstance(part, ast.Name) and part.id in self._from_options:
                return self._from_options[part.id]
        return ""

    def _literals(self) -> None:
        """Note what else is written out: it may name a file that is there. Reporting is seen by its variable."""
        documentation = {id(node.value) for node in ast.walk(self._tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.expr) or id(node) in documentation:
                continue
            if isinstance(node, ast.Constant) and node.value == "REPRO_METRICS":
                self._module.reports = True
            if id(node) in self._used or not isinstance(node, ast.Constant | ast.BinOp | ast.Call):
                continue
            value = value_of(node, self._names)
            if isinstance(value, str) and 0 < len(value) <= 1024 and "\n" not in value:
                self._module.uses.append(Use("literal", value, "", self._module.file, node.lineno, ""))


_PLACE = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]|\{[^{}]*\}")
"""Where a value goes in a text: `%.3f`, `{:.3f}`."""


def _template(node: ast.expr) -> tuple[str, list[ast.expr]] | None:
    """Return the text and the values of `"…%f" % value` and of `"…{}".format(value)`."""
    match node:
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=ast.Tuple(elts=values)):
            return text, values
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=value):
            return text, [value]
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format"), args=values):
            return text, values
    return None


_HOLDERS = frozenset({"args", "opt", "opts", "options", "arguments", "parsed", "flags", "cfg", "config", "ns", "a"})


def _option_names(tree: ast.Module) -> dict[str, str]:
    """Return names that were given an option's value: `path = args.train`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            continue
        for part in ast.walk(node.value):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in _HOLDERS:
                found.setdefault(node.targets[0].id, part.attr)
    return found


def _first(node: ast.Call, keywords: Mapping[str, ast.expr], last: str) -> ast.expr | None:
    if last in {"read_text", "read_bytes"} or (last == "open" and _is_path(node.func)):
        return node.func.value if isinstance(node.func, ast.Attribute) else None
    named = next(
        (keywords[key] for key in ("file", "filepath_or_buffer", "path", "fname", "root") if key in keywords), None
    )
    return node.args[0] if node.args else named


def _is_path(function: ast.expr) -> bool:
    """Say whether this is the method of a path: `Path("x").open()`, not `io.open("x")`."""
    return isinstance(function, ast.Attribute) and not (
        isinstance(function.value, ast.Name)
        and function.value.id in {"io", "os", "gzip", "bz2", "lzma", "codecs", "Image"}
    )


def _written(node: ast.Call, last: str) -> ast.expr | None:
    if last in {"write_text", "write_bytes", "mkdir"}:
        return node.func.value if isinstance(node.func, ast.Attribute) else None
    if last == "open" and _is_path(node.func):
        return node.func.value if isinstance(node.func, ast.Attribute) else None
    if last in _SECOND and len(node.args) > 1:
        return node.args[1]
    return node.args[0] if node.args else None


def _writes(node: ast.Call, keywords: Mapping[str, ast.expr]) -> bool:
    place = 0 if _is_path(node.func) else 1
    mode = value_of(node.args[place] if len(node.args) > place else keywords.get("mode"), {})
    return isinstance(mode, str) and len(mode) <= 4 and any(letter in mode for letter in "wax")


def _true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_key(files: ast.expr, part: ast.Constant) -> bool:
    return isinstance(files, ast.Dict) and any(key is part for key in files.keys)


def third_party(imports: Iterator[str] | set[str], own: set[str]) -> list[str]:
    """Return the top-level modules that are neither Python's nor the project's own."""
    import sys

    tops = {name.partition(".")[0] for name in imports}
    return sorted(top for top in tops if top not in sys.stdlib_module_names and top not in own)
