"""Artifacts: what is pinned by digest, and the places where it may be found, one model a kind of place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from repro_tui.manifest.fields import (
    GitCommit,
    HttpUrl,
    InsidePath,
    InsidePathOrWhole,
    Name,
    Sha256,
    Table,
    Text,
    needs,
    one_of,
    pattern,
)


class PipSource(Table):
    """A file or folder inside a wheel or sdist, or (no `path`) the distribution file itself."""

    type: Literal["pip"]
    """The kind of source."""
    package: Text
    """Name of the distribution."""
    version: Text
    """Its exact version."""
    sha256: Sha256
    """SHA-256 of the distribution file."""
    path: InsidePath | None = None
    """Path inside the distribution (in an sdist with or without its one top folder). Without it the file itself."""
    sdist: bool = False
    """True where the source distribution is meant, not a wheel."""


class AptSource(Table):
    """A file or folder inside a Debian package."""

    type: Literal["apt"]
    """The kind of source."""
    package: Text
    """Name of the binary package."""
    version: Text
    """Its exact version, with epoch and revision."""
    architecture: Text = "all"
    """Its architecture, as dpkg names it."""
    sha256: Sha256
    """SHA-256 of the .deb file."""
    path: InsidePath
    """Path inside the package, without the leading slash."""


class NpmSource(Table):
    """A file or folder inside an npm package's tarball."""

    type: Literal["npm"]
    """The kind of source."""
    package: Text
    """Name of the package, with its scope if it has one."""
    version: Text
    """Its exact version."""
    sha256: Sha256
    """SHA-256 of the tarball."""
    path: InsidePath
    """Path inside the tarball, with its top folder (`package/…`)."""


class HubSource(Table):
    """A file of a model-hub repository at a revision (a commit)."""

    type: Literal["hub"]
    """The kind of source."""
    repository: Annotated[str, pattern(r"^[\w.-]+(/[\w.-]+)?$", "a repository: OWNER/NAME or NAME")]
    """OWNER/NAME of the repository."""
    repository_type: Literal["model", "dataset"] = "model"
    """What the repository holds."""
    revision: GitCommit
    """Commit of the repository; a branch or tag can move."""
    path: InsidePath
    """Path inside the repository."""


class GitSource(Table):
    """A file (or, for a tree, a folder; "." the whole) of a git repository at a commit."""

    type: Literal["git"]
    """The kind of source."""
    url: Text
    """Address of the repository, as `git clone` takes it."""
    commit: GitCommit
    """The commit."""
    path: InsidePathOrWhole = "."
    """File or folder inside the repository; "." is the whole."""


class HttpsSource(Table):
    """A file at an address; `path` takes a member out of the archive that is there (then `sha256` pins the archive)."""

    rules = (
        needs("path", "sha256", words="`path` takes a file out of an archive, which then needs its own `sha256` here"),
    )

    type: Literal["https"]
    """The kind of source."""
    url: HttpUrl
    """The address."""
    sha256: Sha256 | None = None
    """SHA-256 of the archive; needed with `path`."""
    path: InsidePath | None = None
    """Path of the member inside the archive."""


class LocalSource(Table):
    """A file or folder beside the manifest."""

    type: Literal["local"]
    """The kind of source."""
    path: Text
    """Path, relative to the manifest."""
    files: Annotated[list[InsidePath], Field(min_length=1)] | None = None
    """Which files and folders of the folder are meant, by their paths below it. All of it without this."""


class RunSource(Table):
    """An output of another manifest's run, looked for in the run directories by its digest."""

    type: Literal["run"]
    """The kind of source."""
    experiment: Name
    """`experiment.name` of the manifest whose runs are looked through, newest first."""
    output: Text
    """What that task calls the output: "weights"."""
    stage: Name | None = None
    """The stage that wrote it, where the manifest has stages."""


Source = Annotated[
    PipSource | AptSource | NpmSource | HubSource | GitSource | HttpsSource | LocalSource | RunSource,
    Field(discriminator="type"),
]


class Artifact(Table):
    """One pinned input: a file (`sha256`) or a folder (`tree_sha256`), and where it may be found.

    It appears read-only at /inputs/<path> in the container; the artifact that is the task's code appears at /code.
    """

    rules = (
        one_of(
            "sha256",
            "tree_sha256",
            words="an artifact is pinned: by `sha256` (a file) or by `tree_sha256` (a folder), one of the two",
            hint="`sha256sum FILE` prints a file's; docs/manifest.md says how a folder's is made",
        ),
        needs("listing", "tree_sha256", words="a `listing` names the files of a folder, which `tree_sha256` pins"),
    )

    name: Name
    """Its name, by which splits and task refer to it."""
    kind: Literal["data", "weights", "code"]
    """What it is."""
    path: InsidePath
    """Where it appears, below /inputs."""
    sha256: Sha256 | None = None
    """SHA-256 of the file."""
    tree_sha256: Sha256 | None = None
    """Digest of the folder: SHA-256 over its sorted list of files with modes and digests."""
    listing: Text | None = None
    """Path, relative to the manifest, of a list of the folder's files as `sha256sum` writes it; none is executable."""
    bytes: Annotated[int, Field(ge=0)]
    """Size of the file, or of all files of the folder together, in bytes; 0 beside a `listing`: not measured yet."""
    licence: str = ""
    """SPDX identifier of its licence, or a word on it."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Where it may be found, tried in this order after the store and the mirror folders."""
