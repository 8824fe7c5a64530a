"""The manifest's tables as models. docs/manifest.md documents every key; loading.py turns a file into these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from repro_tui.manifest.fields import (
    MAX_SEEDS,
    EnvironmentValue,
    Gpus,
    HttpUrl,
    InsidePath,
    Name,
    OciDigest,
    Placed,
    Reference,
    Seed,
    Seeds,
    Sha256,
    Size,
    Table,
    Text,
    VariableName,
    any_of,
    excludes,
    needs,
    one_of,
    parse_size,
    pattern,
)
from repro_tui.manifest.paths import Part, format_path
from repro_tui.manifest.sources import (
    AptSource,
    Artifact,
    GitSource,
    HttpsSource,
    HubSource,
    LocalSource,
    NpmSource,
    PipSource,
    RunSource,
    Source,
)
from repro_tui.manifest.splits import Split

__all__ = [
    "AptSource", "Artifact", "Claim", "Determinism", "Environment", "Expected", "ExpectedDigest",
    "ExpectedMetric", "Experiment", "GitSource", "HttpsSource", "HubSource", "ImagePins", "LocalSource",
    "Manifest", "Name", "NpmSource", "OciDigest", "Paper", "PipSource", "Recorded", "Resources", "RunSource",
    "Sha256", "Source", "Split", "Stage", "Table", "Task", "Text", "Verify", "parse_size",
]  # fmt: skip


class Paper(Table):
    """The publication whose result this is; at least one of doi, arxiv and url."""

    rules = (any_of("doi", "arxiv", "url", words="a paper is found by `doi`, `arxiv` or `url`: at least one of them"),)

    title: Text
    """Its title."""
    doi: Annotated[str, pattern(r"^10\.\d{4,9}/\S+$", "a DOI, like 10.1000/182, without an address")] | None = None
    """Its DOI, without an address."""
    arxiv: (
        Annotated[
            str,
            pattern(
                r"^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?$",
                "an arXiv identifier, like 1809.05679 or cs.CL/0501001, with or without a version",
            ),
        ]
        | None
    ) = None
    """Its arXiv identifier."""
    url: HttpUrl | None = None
    """Its address."""


class Experiment(Table):
    """What is reproduced."""

    name: Name
    """Short name; runs are named after it."""
    title: Text
    """One line for people."""
    authors: Annotated[list[Text], Field(min_length=1)]
    """Who made the manifest, or the result."""
    licence: Text
    """SPDX identifier of the manifest's own licence."""
    description: str = ""
    """Whatever a reader should know: cuts that were made, what differs from the paper."""
    paper: Paper | None = None
    """The publication."""


class ImagePins(Table):
    """Where the image comes from and what it must be; at least one of recipe, reference and dockerfile."""

    rules = (
        any_of(
            "recipe", "reference", "dockerfile",
            words="an image comes from a `recipe`, a `reference` or a `dockerfile`: at least one",
        ),
        excludes(
            "dockerfile", "recipe", "reference",
            words="`recipe` and `reference` give the same image everywhere, a `dockerfile` does not: one or the other",
        ),
        excludes(
            "dockerfile", "manifest_digest", "config_digest",
            words="building a `dockerfile` gives another digest each time; `environment.hash` is its pin",
        ),
    )  # fmt: skip

    recipe: Name | None = None
    """Name of an assembly recipe (images/<name>/image.toml)."""
    reference: Reference | None = None
    """The image by digest, as a registry serves it; a tag alone can move and is refused."""
    dockerfile: Text | None = None
    """Path of a Dockerfile, relative to the manifest; its folder is the build's context."""
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    """Operating system and processor the image is for."""
    manifest_digest: OciDigest | None = None
    """Digest of the image's OCI manifest."""
    config_digest: OciDigest | None = None
    """Digest of the image's configuration, which Docker shows as the image ID."""

    @property
    def pinned(self) -> bool:
        """Whether a digest says which image it must be."""
        return any((self.reference, self.manifest_digest, self.config_digest))


class Environment(Table):
    """What the process sees: the dependency lock, variables, threads, CPU capability, and the hash over all of it."""

    rules = (
        needs("lock", "lock_sha256", words="a `lock` needs `lock_sha256`: its SHA-256"),
        needs("lock_sha256", "lock", words="`lock_sha256` needs `lock`: the file it is of"),
    )

    lock: Text | None = None
    """Path of the dependency lock, relative to the manifest; an image `recipe` needs it."""
    lock_sha256: Sha256 | None = None
    """SHA-256 of the lock file."""
    requirements: Text | None = None
    """Path of the file that `repro-tui lock` resolves the lock from, relative to the manifest."""
    hash: OciDigest | None = None
    """Hash of the environment as the probe found it in the recorded run."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of every numerical library; another number may give other bits."""
    cpu_capability: Literal["default", "avx2", "avx512"] = "avx2"
    """Highest instruction set the numerical libraries may use; "default" is the lowest they have."""
    variables: dict[VariableName, EnvironmentValue] = Field(default_factory=dict)
    """Further environment variables of the process."""


class Task(Table):
    """A built-in task by name, or the user's own command with its code tree."""

    rules = (
        one_of("name", "command", words="a task is a built-in one by `name`, or a `command`: one of the two"),
        needs("command", "code", words="a `command` needs `code`: the name of the artifact that holds its code"),
        excludes("name", "code", words="`code` belongs to a `command`; a built-in task brings its own"),
        excludes(
            "command", "code_sha256", words="`code_sha256` belongs to a built-in task; `code` is pinned as artifact"
        ),
    )

    name: Text | None = None
    """Name of a built-in task, or of one that an installed package adds."""
    code_sha256: Sha256 | None = None
    """Tree digest of the built-in task's code; `repro-tui check` prints it."""
    command: Annotated[list[Text], Field(min_length=1)] | None = None
    """The command, an argument an item; `{key}` becomes the hyperparameter of that name, `{seed}` the seed."""
    code: Name | None = None
    """Name of the artifact of kind "code" that is mounted at /code, where the command starts."""
    model: InsidePath | None = None
    """Folder below /inputs that holds the checkpoint, for a built-in task that takes one."""


Hyperparameters = dict[str, str | int | float | bool | list[str | int | float]]


class Stage(Table):
    """One of several stages: a task with splits and hyperparameters of its own, run after the stages before it."""

    name: Name
    """Its name; later stages find what it wrote below /inputs/stages/<name>."""
    task: Task
    """What is run."""
    splits: dict[Name, Split] = Field(default_factory=dict)
    """The splits by name: `train`, `validation`, `test`."""
    hyperparameters: Hyperparameters = Field(default_factory=dict)
    """Of the built-in task, or whatever the command's placeholders name."""
    needs: list[Name] = Field(default_factory=list)
    """Names of the earlier stages whose folders this one is given, read-only."""

    def key(self, *parts: Part) -> str:
        """Return where something of the stage is in the manifest, as a TOML path."""
        return format_path(("stage", self.name, *parts) if self.name else parts)


class Determinism(Table):
    """Seeds, and how far two runs may be apart."""

    seed: Seed
    """Of Python, NumPy and torch, and of everything below where it has none of its own."""
    data_seed: Seed | None = None
    """Of the order of the training examples; without it `seed`."""
    level: Literal["bitwise", "metric", "statistical"] = "metric"
    """What two runs on the same kind of hardware promise each other."""


class Resources(Table):
    """What a run may use. Sizes in bytes or "8 GiB"."""

    engine: Literal["docker", "podman", "embedded"] | None = None
    """The engine the author used; a wish, `--engine` overrules it."""
    gpus: Gpus = 0
    """The GPUs the run needs: how many, "all" of the host, or a list of UUIDs, indices and MIG devices."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """Limit on processor time, in cores; no limit without it."""
    memory: Size | None = None
    """Limit on memory, in bytes; no limit without it."""
    shared_memory: Size | None = None
    """Size of /dev/shm, in bytes; the engine's default without it."""
    processes: Annotated[int, Field(ge=16)] = 1024
    """Limit on processes and threads."""
    time_limit_s: Annotated[int, Field(ge=1)] = 86_400
    """Stop training after so many seconds."""
    silence_limit_s: Annotated[int, Field(ge=1)] | None = None
    """Stop a run that has written nothing, to its log or its metrics, for so many seconds."""
    network: bool = False
    """Whether the run may reach the network."""


class ExpectedMetric(Placed, Table):
    """A metric of the recorded run; the same is |observed - value| <= absolute + relative * |value|."""

    rules = (
        any_of(
            "absolute",
            "relative",
            words="a metric needs a tolerance: `absolute`, `relative` or both",
            hint="`absolute = 0.0` asks for equality",
        ),
        needs("seeds", "samples", words="`seeds` go with `samples`: the value of each"),
    )

    name: Text
    """Name the task gives the metric."""
    stage: Name | None = None
    """The stage that reports it, where the manifest has stages."""
    split: Name = "test"
    """The split it is measured on."""
    value: float
    """What came out, in the metric's own unit; over several seeds their mean."""
    absolute: Annotated[float, Field(ge=0)] | None = None
    """How far off is still the same, in the metric's own unit."""
    relative: Annotated[float, Field(ge=0)] | None = None
    """How far off is still the same, as a fraction of `value`."""
    direction: Literal["two-sided", "at-least", "at-most"] = "two-sided"
    """"at-least": only falling short differs; "at-most": only exceeding does."""
    samples: Annotated[list[float], Field(min_length=1, max_length=MAX_SEEDS)] | None = None
    """The recorded values, one a seed, in the metric's own unit."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS)] | None = None
    """The seeds that `samples` came from, in the same order."""
    margin: Annotated[float, Field(gt=0)] | None = None
    """Largest difference of two means that does not matter, in the metric's own unit; for `verify.test`."""


class ExpectedDigest(Table):
    """An output that must match bit for bit."""

    name: Text
    """The name the task gives it: "weights", "predictions"."""
    stage: Name | None = None
    """The stage that writes it, where the manifest has stages."""
    sha256: Sha256
    """SHA-256 of the output file."""
    cpu_vendor: str | None = None
    """Vendor as the kernel names it ("AuthenticAMD"); on another the check informs but does not decide."""


class Expected(Table):
    """What came out when the author recorded it."""

    metrics: list[ExpectedMetric] = Field(default_factory=list)
    """Metrics with their tolerances."""
    digests: list[ExpectedDigest] = Field(default_factory=list)
    """Outputs that must match bit for bit."""


class Verify(Table):
    """How a result is verified over several seeds; without it one run with `determinism.seed` is."""

    seeds: Seeds
    """How many seeds, from `determinism.seed` on, or a list of them; each is a run of its own."""
    test: Literal["every-seed", "prediction-interval", "equivalence"] = "every-seed"
    """What decides: every seed's tolerance, a prediction interval for the mean, or two one-sided tests."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Confidence of the interval or of the test."""
    relative_margin: Annotated[float, Field(gt=0)] | None = None
    """Margin of every metric that has none of its own, as a fraction of the mean of its samples."""


class Claim(Placed, Table):
    """What a paper printed; reported beside the observed value, never part of the verdict."""

    metric: Text
    """Name the task gives the metric."""
    stage: Name | None = None
    """The stage that reports it, where the manifest has stages."""
    split: Name = "test"
    """The split it is measured on."""
    value: float
    """What was printed, in the unit of the metric the task reports."""
    within: Annotated[float, Field(ge=0)]
    """How far off is still a match, in the metric's own unit."""
    source: Text
    """Paper, table, row."""
    verified: bool = False
    """True where the manifest's author has seen the number in its source."""
    note: str = ""
    """What a reader should know when comparing."""


class Recorded(Table):
    """The record of the run that the expected values come from; it lets a difference be named down to one key."""

    file: Text
    """Path of the record, relative to the manifest."""
    sha256: Sha256
    """SHA-256 of the record."""
    when: str = ""
    """When the run was made, for people."""
    where: str = ""
    """On what machine it was made, for people."""


class Manifest(Table):
    """A whole manifest."""

    rules = (
        one_of("task", "stage", words="a manifest has one `[task]`, or stages (`[[stage]]`): one of the two"),
        excludes(
            "stage", "splits", "hyperparameters",
            words="with stages, `splits` and `hyperparameters` are those of a stage: `[stage.splits.train]`",
        ),
    )  # fmt: skip

    schema_: Literal[1] = Field(alias="schema")
    """Version of this format."""
    experiment: Experiment
    """What is reproduced."""
    image: ImagePins
    """Where the image comes from and what it must be."""
    environment: Environment
    """What the process sees."""
    artifacts: Annotated[list[Artifact], Field(min_length=1)]
    """Everything the run reads: data, weights, code."""
    task: Task | None = None
    """What is run; needed where there are no stages."""
    splits: dict[Name, Split] = Field(default_factory=dict)
    """The splits by name: `train`, `validation`, `test`."""
    hyperparameters: Hyperparameters = Field(default_factory=dict)
    """Of the built-in task, or whatever the command's placeholders name."""
    stages: Annotated[list[Stage], Field(min_length=1)] | None = Field(default=None, alias="stage")
    """Stages in the order in which they run, each in a container of its own, in place of one `task`."""
    determinism: Determinism
    """Seeds, and how far two runs may be apart."""
    resources: Resources = Resources()
    """What a run may use."""
    expected: Expected = Expected()
    """What came out when the author recorded it."""
    verify: Verify | None = None
    """How a result is verified over several seeds."""
    claims: list[Claim] = Field(default_factory=list)
    """What papers printed."""
    recorded: Recorded | None = None
    """The record of the run that the expected values come from."""

    @property
    def every_stage(self) -> list[Stage]:
        """The stages in their order; of a manifest with one `task` that alone, as a stage whose name is empty."""
        if self.task is None:
            return self.stages or []
        return [
            Stage.model_construct(
                name="", task=self.task, splits=self.splits, hyperparameters=self.hyperparameters, needs=[]
            )
        ]

    @property
    def all_hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of every stage, by the name of the stage too where there are some."""
        return {
            f"{stage.name}.{key}" if stage.name else key: value
            for stage in self.every_stage
            for key, value in stage.hyperparameters.items()
        }

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name; raises KeyError."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)
