"""Files of a git repository at a commit, read as the objects they are.

Only that commit is fetched, into a bare repository in scratch. Nothing is checked out: no hook, no filter, no
attribute of the repository takes part, so the bytes are the ones that were committed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from repro_tui.artifacts.digests import TooLargeError, copy_hashed
from repro_tui.artifacts.sources.base import Context, SourceUnavailableError
from repro_tui.artifacts.sources.clients import Finished, folder_bytes, run_client, without_credentials

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "credential.interactive=never",
    "-c", "core.askPass=", "-c", "gc.auto=0", "-c", "fetch.fsckObjects=true",
    "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30",
)  # fmt: skip


def fetch_commit(url: str, commit: str, folder: Path, context: Context) -> Path:
    """Fetch a commit into a bare repository in `folder` (of scratch) and return the repository."""
    if shutil.which("git", path=context.environ.get("PATH")) is None:
        raise SourceUnavailableError("there is no git on this host", hint="install git")
    if url.startswith("-"):
        raise SourceUnavailableError("the address begins with a dash")
    if not context.local and ("://" not in url or url.lower().startswith("file:")):
        raise SourceUnavailableError("a place on the machine of the bundle's author")
    if "://" not in url and (context.base / url).exists():
        url = str((context.base / url).absolute())
    repository = folder / "repository.git"
    _git(folder, context, "init", "--quiet", "--bare", str(repository))
    shallow = _git(repository, context, "fetch", "--quiet", "--no-tags", "--depth", "1", "--", url, commit, text=url)
    if shallow.code != 0:
        # A server may refuse to serve a bare commit: then everything that its branches and tags reach is needed.
        refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        whole = _git(repository, context, "fetch", "--quiet", "--", url, *refs, text=url)
        if whole.code != 0:
            raise SourceUnavailableError(f"git: {whole.reason()}")
    if _git(repository, context, "cat-file", "-e", f"{commit}^{{commit}}").code != 0:
        raise SourceUnavailableError(f"no branch or tag there holds the commit {commit[:12]}")
    return repository


def commit_of(url: str, name: str, folder: Path, context: Context) -> str:
    """Return the commit that a branch or tag of a repository is now ("HEAD" for its own branch)."""
    if shutil.which("git", path=context.environ.get("PATH")) is None:
        raise SourceUnavailableError("there is no git on this host", hint="install git")
    if url.startswith("-"):
        raise SourceUnavailableError("the address begins with a dash")
    if "://" not in url and (context.base / url).exists():
        url = str((context.base / url).absolute())
    listing = folder / "refs"
    asked = _git(folder, context, "ls-remote", "--quiet", "--", url, stdout=listing, text=url)
    if asked.code != 0:
        raise SourceUnavailableError(f"git: {asked.reason()}")
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    refs = {ref: commit for commit, _, ref in (line.partition("\t") for line in lines)}
    wanted = ("HEAD",) if name == "HEAD" else (f"refs/heads/{name}", f"refs/tags/{name}^{{}}", f"refs/tags/{name}")
    commit = next((refs[ref] for ref in wanted if ref in refs), "")
    if not _COMMIT.fullmatch(commit):
        raise SourceUnavailableError(f"it has no branch and no tag {name!r}", hint="name a commit by all its digits")
    return commit


def read_blob(repository: Path, commit: str, path: str, target: Path, context: Context, *, limit_bytes: int) -> None:
    """Write the file at `path` of the commit to `target`. Raises TooLargeError past the limit."""
    entry = _entries(repository, commit, path, context).get(path)
    if entry is None:
        raise SourceUnavailableError(f"the commit has no file {path}")
    _write(repository, {target: entry}, context, limit_bytes=limit_bytes)
    with target.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise SourceUnavailableError(f"{path} is kept in Git LFS, and the commit holds only a pointer to it")


def read_tree(
    repository: Path, commit: str, path: str, target: Path, context: Context, *, limit_bytes: int,
    only: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Write the folder at `path` of the commit ("." for all of it) below `target`, with the executable bits.

    `only` are the files that are wanted, by their paths below the folder, where not all are.
    """
    prefix = "" if path == "." else f"{path}/"
    entries = _entries(repository, commit, path, context)
    files = {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}
    if not files:
        raise SourceUnavailableError(f"the commit has no folder {path}")
    wanted = {target / name: entry for name, entry in files.items() if only is None or name in only}
    _write(repository, wanted, context, limit_bytes=limit_bytes)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    mode: str
    blob: str
    size_bytes: int


def _entries(repository: Path, commit: str, path: str, context: Context) -> dict[str, _Entry]:
    """Return the files at or below a path of the commit."""
    listing = repository.parent / "listing"
    within = () if path == "." else ("--", path)
    listed = _git(repository, context, "ls-tree", "-r", "-l", "-z", "--full-tree", commit, *within, stdout=listing)
    if listed.code != 0:
        raise SourceUnavailableError(f"git: {listed.reason()}")
    entries = {}
    for line in listing.read_bytes().split(b"\0"):
        if line:
            facts, _, name = line.partition(b"\t")
            mode, _, blob, size = facts.decode("ascii").split()
            text = os.fsdecode(name)
            if ".." in PurePosixPath(text).parts or text.startswith("/"):
                raise SourceUnavailableError(f"the commit holds the path {text!r}, which leads out of it")
            entries[text] = _Entry(text, mode, blob, int(size) if size.isdigit() else 0)
    return entries


def _write(repository: Path, files: Mapping[Path, _Entry], context: Context, *, limit_bytes: int) -> None:
    """Write blobs to files, all in one call of git."""
    for entry in files.values():
        if not entry.mode.startswith("100"):
            what = "a submodule" if entry.mode == "160000" else "a symbolic link"
            raise SourceUnavailableError(f"{entry.name} is {what}; only files can be pinned")
    if sum(entry.size_bytes for entry in files.values()) > limit_bytes:
        raise TooLargeError(f"more than {limit_bytes} bytes")
    wanted, content = repository.parent / "wanted", repository.parent / "content"
    wanted.write_text("".join(f"{entry.blob}\n" for entry in files.values()), encoding="ascii")
    read = _git(repository, context, "cat-file", "--batch", stdin=wanted, stdout=content)
    if read.code != 0:
        raise SourceUnavailableError(f"git: {read.reason()}")
    with content.open("rb") as stream:
        for file, entry in files.items():
            header = stream.readline().split()
            if len(header) != 3 or int(header[2]) != entry.size_bytes:
                raise SourceUnavailableError(f"git: cannot read {entry.name} of the commit")
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as out:
                copy_hashed(_Limited(stream, entry.size_bytes), out)
            file.chmod(0o755 if entry.mode == "100755" else 0o644)
            stream.read(1)


class _Limited:
    """The next so many bytes of a stream."""

    def __init__(self, stream: BinaryIO, size_bytes: int) -> None:
        self._stream, self._left = stream, size_bytes

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def _git(
    folder: Path,
    context: Context,
    *arguments: str,
    text: str = "",
    stdin: Path | None = None,
    stdout: Path | None = None,
) -> Finished:
    # Variables such as GIT_DIR would point git elsewhere; those about certificates, proxies and ssh keys must stay.
    unwanted = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE"}
    environment = {
        **{name: value for name, value in context.environ.items() if name not in unwanted},
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": context.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }
    shown = without_credentials(text)
    return run_client(
        ["git", *_OPTIONS, *arguments],
        folder=folder,
        environment=environment,
        context=context,
        stdin=stdin,
        stdout=stdout,
        watch=(lambda: context.progress(folder_bytes(folder), 0, shown)) if shown else None,
    )
