"""What a stage of the manifest hands on: its folder, in the store under its digest, and how it is found again there.

    derived/stages/<key>/stage.json     digests of the folder (a tree), of the metrics and of the log (blobs)

The key is a digest of everything the stage depends on. All that the note names is hashed again before it is used.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro_tui.artifacts.digests import sha256_file
from repro_tui.artifacts.store import Store, make_folder, remove_tree
from repro_tui.errors import RunFailedError
from repro_tui.files import read_plain
from repro_tui.manifest import pins
from repro_tui.manifest.models import Stage
from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.pipeline import containers
from repro_tui.pipeline.context import Context
from repro_tui.pipeline.plan import pin
from repro_tui.verify.environment import environment_hash

KIND = "stages"
"""Of the store's derived things."""
_NOTE = "stage.json"
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class HandedOn:
    """The folder in the store that later stages are given, and its tree digest."""

    folder: Path
    tree_sha256: str


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of a stage: digests of what it wrote, the run that made it, and how long that took."""

    tree_sha256: str
    metrics_sha256: str
    log_sha256: str
    run: str
    elapsed_s: float


def key_of(context: Context, stage: Stage) -> str:
    """Return the digest of everything a stage depends on, with its `sha256:` prefix."""
    loaded, summary = context.loaded, context.summary or {}
    host = summary.get("host", {})
    body: dict[str, Any] = {
        "schema": 1,
        "name": stage.name,  # which its metrics, that are kept too, are told under
        "image": context.image.manifest_digest,
        "environment": environment_hash(summary),
        "cpu_vendor": host.get("cpu_vendor"),
        "gpus": host.get("gpus"),
        "argv": containers.task_argv(context, stage),
        "code": pins.code_sha256(loaded, stage)
        if stage.task.code is None
        else pin(loaded.manifest.artifact(stage.task.code)),
        "job": pins.job(loaded, stage),
        "artifacts": {each.path: pin(each) for each in containers.inputs_of(loaded.manifest, stage)},
        "stages": {name: context.handed_on[name].tree_sha256 for name in stage.needs},
    }
    return pins.digest(body)


def is_kept(context: Context) -> bool:
    """Say whether stages of this run may be kept, and taken: not where something else than their pins decides."""
    return not (context.loaded.manifest.resources.network or context.options.allow_drift)


def take(context: Context, stage: Stage, key: str) -> tuple[HandedOn, Note] | None:
    """Take a stage from the store: its outputs, metrics and log are then this run's too. None where it must run."""
    store, run = context.store, context.run
    note = _read(store.folder(KIND, key) / _NOTE)
    if note is None:
        return None
    folder, metrics, log = store.tree(note.tree_sha256), store.blob(note.metrics_sha256), store.blob(note.log_sha256)
    if folder is None or metrics is None or log is None:
        context.notice("warning", f"the stage {stage.name} is in the store, but not as it was kept: it runs again")
        remove_tree(store.folder(KIND, key))
        return None
    _copy(folder, run.out / stage.name)
    with run.metrics.open("ab") as file:
        for line in metrics.read_bytes().splitlines(keepends=True):
            file.write(line)
            context.state.apply_line(line.rstrip(b"\n"))
    with context.log.open("ab") as file, log.open("rb") as kept:
        file.write(f"stage {stage.name}: taken from the run {note.run}, its log:\n".encode())
        shutil.copyfileobj(kept, file)
    return HandedOn(folder, note.tree_sha256), note


def hand_on(context: Context, stage: Stage) -> HandedOn:
    """Put what a stage wrote into the store; raises RunFailedError for what no digest could be taken of."""
    out = context.run.out / stage.name
    try:
        digest = tree_digest(tree_files(out))
        folder = context.store.put_tree(out, tree_sha256=digest, component=f"stage {stage.name}")
    except ValueError as error:
        raise RunFailedError(
            f"the stage {stage.name} cannot hand on what it wrote: {error}", where=str(out),
            hint="what a stage leaves in /out are files and folders; links and the like belong into /tmp",
        ) from None  # fmt: skip
    return HandedOn(folder, digest)


def keep(context: Context, key: str, given: HandedOn, *, metrics_from: int, log_from: int, elapsed_s: float) -> None:
    """Note a stage that has just ended, to be taken by later runs; the two numbers are where its lines begin."""
    store = context.store
    note = Note(
        given.tree_sha256,
        _kept(store, context.run.metrics, metrics_from),
        _kept(store, context.log, log_from),
        context.run.id,
        elapsed_s,
    )
    old = _read(store.folder(KIND, key) / _NOTE)
    if old is not None and old.tree_sha256 != note.tree_sha256:
        context.notice("warning", f"the run {old.run} gave other bytes for the same stage: it is not deterministic")
    with store.scratch() as scratch:
        new = make_folder(scratch / "stage")
        (new / _NOTE).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")
        (new / _NOTE).chmod(0o444)
        remove_tree(store.folder(KIND, key))
        store.publish(new, KIND, key)


def _kept(store: Store, path: Path, begin: int) -> str:
    """Keep a file from a place on, and return the digest of that part."""
    with store.scratch() as scratch:
        part = scratch / "part"
        with path.open("rb") as file, part.open("wb") as new:
            file.seek(begin)
            shutil.copyfileobj(file, new)
        digest = sha256_file(part)
        store.put_file(part, sha256=digest, component="stage", move=True, observed=digest)
    return digest


def _read(path: Path) -> Note | None:
    try:
        return Note(**json.loads(read_plain(path, _MAX_BYTES)))
    except (OSError, ValueError, TypeError):
        return None


def _copy(folder: Path, out: Path) -> None:
    """Copy a tree of the store to where a run has its outputs: the store's own files stay whatever becomes of those."""
    for relative, source in tree_files(folder).items():
        target = out / relative
        make_folder(target.parent)
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o644)
