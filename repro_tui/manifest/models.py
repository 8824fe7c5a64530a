"""The manifest's tables as models. docs/manifest.md documents every key; loading.py turns a file into these.

Digests are lower-case hex SHA-256 without prefix where they name a file or tree, and `sha256:…` where OCI writes them so.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
OciDigest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
GitCommit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(value: Any) -> Any:
    """Turn "8 GiB" into bytes; whole numbers are bytes already. Raises ValueError for an unknown unit."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"a size is a number and one of {', '.join(_UNITS)}, like \"8 GiB\"")
    return int(float(found[1]) * _UNITS[found[2]])


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value in {"", "."} or "\\" in value or "\0" in value:
        raise ValueError("a relative path without '..' is allowed here")
    return str(path)


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
InsidePath = Annotated[str, AfterValidator(_inside)]


class Table(BaseModel):
    """Base of every table: unknown keys are errors, values are not coerced, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- experiment -------------------------------------------------------------------------------------------------------


class Paper(Table):
    """The publication whose result this is; at least one of doi, arxiv and url."""

    title: Text
    doi: Annotated[str, StringConstraints(pattern=r"^10\.\d{4,9}/\S+$")] | None = None
    arxiv: Annotated[str, StringConstraints(pattern=r"^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?$")] | None = None
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None

    @model_validator(mode="after")
    def _has_an_address(self) -> Paper:
        if self.doi is None and self.arxiv is None and self.url is None:
            raise ValueError("one of doi, arxiv and url is needed")
        return self


class Experiment(Table):
    """What is reproduced."""

    name: Name
    title: Text
    authors: Annotated[list[Text], Field(min_length=1)]
    licence: Text
    """SPDX identifier of the manifest's own licence."""
    description: str = ""
    paper: Paper | None = None


# --- image and environment --------------------------------------------------------------------------------------------


class ImagePins(Table):
    """Where the image comes from and what it must be."""

    recipe: Name | None = None
    reference: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")] | None = None
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    manifest_digest: OciDigest | None = None
    config_digest: OciDigest | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> ImagePins:
        if self.recipe is None and self.reference is None:
            raise ValueError("one of recipe and reference is needed")
        return self


class Environment(Table):
    """What the process sees: the dependency lock, variables, threads, CPU capability, and the hash over all of it."""

    lock: Text
    """Path of the lock file, relative to the manifest."""
    lock_sha256: Sha256
    hash: OciDigest | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    cpu_capability: Literal["default", "avx2", "avx512"] = "avx2"
    variables: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}


# --- artifacts --------------------------------------------------------------------------------------------------------


class PipSource(Table):
    """A file inside a wheel or sdist, or (no `path`) the distribution file itself."""

    type: Literal["pip"]
    package: Text
    version: Text
    sha256: Sha256
    """Of the distribution file."""
    path: InsidePath | None = None
    sdist: bool = False


class AptSource(Table):
    """A file inside a Debian package."""

    type: Literal["apt"]
    package: Text
    version: Text
    architecture: Text = "all"
    sha256: Sha256
    path: InsidePath


class NpmSource(Table):
    """A file inside an npm package's tarball."""

    type: Literal["npm"]
    package: Text
    version: Text
    sha256: Sha256
    path: InsidePath


class HubSource(Table):
    """A file of a model-hub repository at a revision (a commit)."""

    type: Literal["hub"]
    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
    repository_type: Literal["model", "dataset"] = "model"
    revision: GitCommit
    path: InsidePath


class GitSource(Table):
    """A file (or, for a tree, a folder; "." the whole) of a git repository at a commit."""

    type: Literal["git"]
    url: Text
    commit: GitCommit
    path: str = "."


class HttpsSource(Table):
    """A file at an address; `path` takes a member out of the archive that is there (then `sha256` pins the archive)."""

    type: Literal["https"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    sha256: Sha256 | None = None
    path: InsidePath | None = None

    @model_validator(mode="after")
    def _archive_is_pinned(self) -> HttpsSource:
        if self.path is not None and self.sha256 is None:
            raise ValueError("the archive that `path` is taken from needs its sha256")
        return self


class LocalSource(Table):
    """A file or folder relative to the manifest."""

    type: Literal["local"]
    path: Text


Source = Annotated[
    PipSource | AptSource | NpmSource | HubSource | GitSource | HttpsSource | LocalSource, Field(discriminator="type")
]


class Artifact(Table):
    """One pinned input: a file (`sha256`, `bytes`) or a tree (`tree_sha256`, `bytes`), and where it may be found.

    It appears read-only at /inputs/<path> in the container; an artifact that is the task's code appears at /code.
    """

    name: Name
    kind: Literal["data", "weights", "code"]
    path: InsidePath
    sha256: Sha256 | None = None
    tree_sha256: Sha256 | None = None
    bytes: Annotated[int, Field(ge=0)]
    licence: str = ""
    sources: Annotated[list[Source], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_pinned(self) -> Artifact:
        if (self.sha256 is None) == (self.tree_sha256 is None):
            raise ValueError("an artifact is pinned by sha256 (a file) or by tree_sha256 (a folder), one of the two")
        return self


# --- task -------------------------------------------------------------------------------------------------------------


class Task(Table):
    """A built-in task by name, or the user's own command with its code tree."""

    name: Literal["text_classification"] | None = None
    code_sha256: Sha256 | None = None
    """Tree digest of the built-in task's code; `repro-tui check` prints it."""
    command: Annotated[list[Text], Field(min_length=1)] | None = None
    """`{key}` in an argument is replaced by the hyperparameter of that name, `{seed}` by the seed."""
    code: Name | None = None
    """Name of the artifact of kind "code" that is mounted at /code, where the command starts."""
    model: InsidePath | None = None
    """Folder under /inputs that holds the checkpoint (built-in tasks)."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Task:
        if (self.name is None) == (self.command is None):
            raise ValueError("a task is a built-in one by `name`, or a `command`, one of the two")
        if self.command is not None and self.code is None:
            raise ValueError("a command needs `code`: the name of the artifact that holds its code")
        return self


class Split(Table):
    """One split: an artifact, or a part of another split drawn by a stated rule."""

    artifact: Name | None = None
    part_of: Name | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: int | None = None
    stratified: bool = False
    first: Annotated[int, Field(ge=1)] | None = None
    """Keep the first so many examples only (a cut, to be said in the description)."""
    examples: Annotated[int, Field(ge=1)] | None = None
    """How many there must be; a check."""
    format: Literal["tsv", "csv", "jsonl", "orange-tab"] = "tsv"
    text: str | int = "text"
    """Column by name, or by number from 0 where the file has no header."""
    text_pair: str | int | None = None
    label: str | int = "label"

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> Split:
        if (self.artifact is None) == (self.part_of is None):
            raise ValueError("a split is an `artifact` or `part_of` another split, one of the two")
        if self.part_of is not None and (self.fraction is None or self.seed is None):
            raise ValueError("`part_of` needs `fraction` and `seed`")
        return self


# --- determinism, resources -------------------------------------------------------------------------------------------


class Determinism(Table):
    """Seeds, and how far two runs may be apart."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of Python, NumPy and torch, and of everything below where it has none of its own."""
    data_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of the order of the training examples."""
    level: Literal["bitwise", "metric", "statistical"] = "metric"
    """What two runs on the same kind of hardware promise each other."""


class Resources(Table):
    """What a run may use. Sizes in bytes or "8 GiB"."""

    engine: Literal["docker", "embedded"] | None = None
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Size | None = None
    shared_memory: Size | None = None
    processes: Annotated[int, Field(ge=16)] = 1024
    time_limit_s: Annotated[int, Field(ge=1)] = 86_400
    silence_limit_s: Annotated[int, Field(ge=1)] | None = None
    """Stop a run that has written nothing, to its log or its metrics, for so long."""
    network: bool = False


# --- expected results -------------------------------------------------------------------------------------------------


class ExpectedMetric(Table):
    """A metric of the recorded run, and how far off is still the same: |observed - value| <= absolute + relative * |value|."""

    name: Text
    split: Name = "test"
    value: float
    absolute: Annotated[float, Field(ge=0)] | None = None
    relative: Annotated[float, Field(ge=0)] | None = None
    direction: Literal["two-sided", "at-least", "at-most"] = "two-sided"
    """"at-least": only falling short differs; "at-most": only exceeding does."""

    @model_validator(mode="after")
    def _has_a_tolerance(self) -> ExpectedMetric:
        if self.absolute is None and self.relative is None:
            raise ValueError("a metric needs a tolerance: absolute, relative or both (absolute = 0.0 asks for equality)")
        return self


class ExpectedDigest(Table):
    """An output that must match bit for bit."""

    name: Text
    """The name the task gives it: "weights", "predictions"."""
    sha256: Sha256
    cpu_vendor: str | None = None
    """Vendor as the kernel names it ("AuthenticAMD"); on another the check informs but does not decide."""


class Expected(Table):
    """What came out when the author recorded it."""

    metrics: list[ExpectedMetric] = []
    digests: list[ExpectedDigest] = []


class Claim(Table):
    """What a paper printed; reported beside the observed value, never part of the verdict."""

    metric: Text
    split: Name = "test"
    value: float
    within: Annotated[float, Field(ge=0)]
    """How far off is still a match, in the metric's own unit."""
    source: Text
    """Paper, table, row."""
    verified: bool = False
    """True where the manifest's author has seen the number in its source."""
    note: str = ""


class Recorded(Table):
    """The record of the run that the expected values come from; it lets a difference be named down to one key."""

    file: Text
    """Path, relative to the manifest."""
    sha256: Sha256
    when: str = ""
    where: str = ""


class Manifest(Table):
    """A whole manifest."""

    schema_: Literal[1] = Field(alias="schema")
    experiment: Experiment
    image: ImagePins
    environment: Environment
    artifacts: Annotated[list[Artifact], Field(min_length=1)]
    task: Task
    splits: dict[Name, Split] = {}
    hyperparameters: dict[str, str | int | float | bool] = {}
    determinism: Determinism
    resources: Resources = Resources()
    expected: Expected = Expected()
    claims: list[Claim] = []
    recorded: Recorded | None = None

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name; raises KeyError."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)
