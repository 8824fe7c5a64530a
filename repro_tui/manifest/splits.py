"""The splits of a manifest as models: which files they are, how those are read, and what is counted in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from repro_tui.manifest.fields import InsidePath, Name, Table, Text, excludes, needs, one_of

Format = Literal[
    "tsv", "csv", "jsonl", "orange-tab", "parquet", "conll", "squad", "texts", "idx", "image-folder", "image-masks",
    "voc", "easy-vqa", "word-tag",
]  # fmt: skip
"""How a split's file or folder is written; docs/tasks.md says what each is."""

CleaningStep = Literal["nfc", "strip", "collapse-whitespace", "lowercase", "drop-empty", "drop-duplicates"]

_OF_FILES = (
    "targets", "joins", "folder", "listed_in", "skip", "format", "text", "text_pair", "label", "columns", "clean",
)  # fmt: skip
"""Keys of a split that say how its artifact is read."""


class Join(Table):
    """A second table beside that of a split."""

    artifact: Name
    """Name of the artifact that holds it, in the split's format."""
    on: Text
    """Column of both; no two rows of the joined table have the same value there."""


class Split(Table):
    """One split: an artifact, or a part of another split drawn by a stated rule."""

    rules = (
        one_of(
            "artifact", "part_of", "stage",
            words="a split is an `artifact`, `part_of` another split, or a file of an earlier `stage`: one of them",
        ),
        needs("stage", "file", words="a `stage` needs `file`: which file of that stage's folder is the split"),
        needs("file", "stage", words="a `file` needs `stage`: the earlier stage that wrote it"),
        needs("part_of", "fraction", "seed", words="`part_of` needs `fraction` and `seed`: how much is drawn, and how"),
        excludes(
            "artifact", "fraction", "seed", "stratified",
            words="`fraction`, `seed` and `stratified` go with `part_of`",
        ),
        excludes(
            "stage", "fraction", "seed", "stratified",
            words="`fraction`, `seed` and `stratified` go with `part_of`",
        ),
        excludes(
            "part_of", *_OF_FILES,
            words="keys that say how a file is read go with `artifact`; `part_of` takes those of its split",
        ),
    )  # fmt: skip

    artifact: Name | None = None
    """Name of the artifact that holds the split."""
    stage: Name | None = None
    """Name of the earlier stage that wrote the split."""
    file: InsidePath | None = None
    """The split's file below what that stage saw as /out."""
    targets: Name | None = None
    """Name of the artifact that holds what is to be predicted, where that is not `artifact` itself."""
    joins: list[Join] | None = None
    """Tables whose columns are put beside those of `artifact`."""
    folder: InsidePath | None = None
    """Folder of the artifact (a folder) that holds the split; all of it without this."""
    listed_in: InsidePath | None = None
    """File of the artifact (a folder) that lists the examples of the split."""
    part_of: Name | None = None
    """Name of the split from which this one is drawn, and taken away."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Which part of `part_of` is drawn: a fraction of its examples."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the draw."""
    stratified: bool = False
    """Draw the same fraction of every class."""
    skip: Annotated[int, Field(ge=1)] | None = None
    """Leave out the first so many examples of the file, where it holds several splits one after the other."""
    first: Annotated[int, Field(ge=1)] | None = None
    """Keep the first so many examples only (a cut, to be said in the description)."""
    examples: Annotated[int, Field(ge=1)] | None = None
    """How many examples there must be; a check."""
    classes: dict[str, Annotated[int, Field(ge=0)]] | None = None
    """How many examples of each class there must be; a check."""
    format: Format = "tsv"
    """How the file or folder is written; each built-in task says which it reads."""
    text: Annotated[int, Field(ge=0)] | Text = "text"
    """Column of the text, by name, or by number from 0 where the file has no header."""
    text_pair: Annotated[int, Field(ge=0)] | Text | None = None
    """Column of the second text, where the task is about pairs."""
    label: Annotated[int, Field(ge=0)] | Text = "label"
    """Column of the class."""
    columns: dict[Name, Annotated[int, Field(ge=0)] | Text] | None = None
    """Further columns by what they are to the task."""
    clean: list[CleaningStep] | None = None
    """What is done to texts, in this order, before anything is counted, drawn or cut."""

    @property
    def artifacts(self) -> list[str]:
        """Names of the artifacts that it is read from."""
        named = [self.artifact, self.targets, *(join.artifact for join in self.joins or ())]
        return [name for name in named if name is not None]
