"""A run, or a manifest, as a folder that is an RO-Crate: copies of its files, and what they are."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from repro_tui.errors import DigestMismatchError, InfrastructureError, UsageError, from_os_error
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import Manifest
from repro_tui.report import citation, croissant, gather, html, rocrate
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from repro_tui.verify.metrics import open_output

_MEDIA_TYPES = {
    ".cff": "application/yaml",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
}
_OF_A_RUN = (
    ("manifest.toml", "The manifest", "manifest"),
    ("report.json", "The report, for programs", "report"),
    ("report.md", "The report, for people", "report"),
    ("record.json", "The record that a manifest pins", "record"),
    ("environment.json", "What the probe found in the container", "report"),
    ("events.jsonl", "What the worker told", "log"),
    ("out/metrics.jsonl", "What the task told", "output"),
    ("logs/environment.log", "Log of the probe", "log"),
    ("logs/train.log", "Log of the training", "log"),
    ("logs/evaluate.log", "Log of the evaluation", "log"),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file to be copied from below `root`, or made of `content`; `sha256` where it is known what it must be."""

    path: str
    name: str
    role: str
    root: Path | None = None
    content: bytes = b""
    sha256: str | None = None
    source: str | None = None


def of_run(run: RunDirectory, report: Report, folder: Path, *, agents: Sequence[str] = ()) -> list[str]:
    """Write a run as a crate into a folder that is not there yet or empty, and return what was left out, in words.

    `agents` are the people who made the run, as far as somebody says so. Raises UsageError for a folder that holds
    something, InfrastructureError, and DigestMismatchError for an output that is not the reported one.
    """
    manifest = gather.read_manifest(run)
    if manifest is None:
        raise InfrastructureError("the run's copy of its manifest cannot be read", where=str(run.manifest))
    wanted = [_Wanted(path, name, role, run.path) for path, name, role in _OF_A_RUN]
    told = {each.path for each in wanted}
    left_out = []
    for output in report.outputs:
        below = output.path.removeprefix("/out/")
        if output.sha256 is None:
            left_out.append(f"{output.name}: the run could not read {output.path}")
        elif f"out/{below}" not in told:
            told.add(f"out/{below}")
            wanted.append(_Wanted(f"out/{below}", output.name, "output", run.out, sha256=output.sha256, source=below))
    page = html.render(report, gather.beside(run, report)).encode()
    wanted.append(_Wanted("report.html", "The report as a page", "report", content=page))
    gone = _write(folder, [*wanted, *_described(manifest)], manifest, report, agents)
    return left_out + gone


def of_manifest(loaded: LoadedManifest, folder: Path) -> None:
    """Write a manifest with the files that it pins as a crate; raises as `of_run`."""
    manifest = loaded.manifest
    wanted = [_Wanted("manifest.toml", "The manifest", "manifest", content=loaded.text.encode())]
    if manifest.environment.lock:
        wanted.append(_pinned(loaded, manifest.environment.lock, "Dependency lock", "lock"))
    if manifest.recorded:
        wanted.append(_pinned(loaded, manifest.recorded.file, "Record of the published run", "record"))
    _write(folder, [*wanted, *_described(manifest)], manifest, None, None)


def _pinned(loaded: LoadedManifest, relative: str, name: str, role: str) -> _Wanted:
    file = loaded.resolve(relative)
    return _Wanted(f"pinned/{file.name}", name, role, content=file.read_bytes())


def _described(manifest: Manifest) -> Iterator[_Wanted]:
    yield _Wanted(citation.FILE_NAME, "How to cite it", "other", content=citation.metadata(manifest))
    if data := croissant.metadata(manifest):
        yield _Wanted(croissant.FILE_NAME, "The data sets, for programs", "other", content=data)


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(
    folder: Path, wanted: Sequence[_Wanted], manifest: Manifest, report: Report | None, agents: Sequence[str] | None
) -> list[str]:
    """Write everything beside the folder first, so that it is whole under its name. Return what is gone, in words."""
    folder = folder.absolute()
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UsageError(
            "there is something already", where=str(folder), hint="-o names a folder that is not there yet, or empty"
        )
    made = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        put = [(each, _put(made, each)) for each in wanted]
        files = [file for _, file in put if file is not None]
        (made / rocrate.FILE_NAME).write_bytes(rocrate.metadata(files, manifest, report, agents=agents))
        made.chmod(0o755)
        with suppress(FileNotFoundError):
            folder.rmdir()
        os.rename(made, folder)
    except OSError as error:
        raise from_os_error(error) from None
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return [f"{each.name}: {each.path} is no longer there" for each, file in put if file is None and each.sha256]


def _put(root: Path, wanted: _Wanted) -> rocrate.CrateFile | None:
    """Copy or make a file; None where a run does not have it."""
    target = root / wanted.path
    if wanted.root is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wanted.content)
        sha256, size = hashlib.sha256(wanted.content).hexdigest(), len(wanted.content)
    else:
        try:
            source = open_output(wanted.root, wanted.source or wanted.path)
        except ValueError as error:
            if wanted.role == "manifest":
                raise InfrastructureError(str(error), where=str(wanted.root)) from None
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("wb") as copy:
            sha256, size = _copy(source, copy)
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        raise DigestMismatchError(
            component=f"output {wanted.name}",
            expected=wanted.sha256,
            observed=sha256,
            where=str(wanted.root),
            hint="the file is not the one that the report was made of",
        )
    return rocrate.CrateFile(wanted.path, sha256, size, _media_type(wanted.path), wanted.name, wanted.role)


def _copy(source: BinaryIO, copy: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := source.read(1 << 20):
        digest.update(block)
        copy.write(block)
        size += len(block)
    return digest.hexdigest(), size


def _media_type(path: str) -> str:
    return _MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream")
