"""Makes a bundle: gathers what goes in, describes it, and writes it in one pass, the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_tui import __version__
from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.sources.base import Progress
from repro_tui.artifacts.store import Store
from repro_tui.bundles.citation import citation, licence_text
from repro_tui.bundles.contents import Content, Gathered, Wish, add_artifacts, add_experiment, add_image, add_task_code
from repro_tui.bundles.index import MAX_INDEX_BYTES, NAME, Index, Pinned, Role, listing_fault, render
from repro_tui.bundles.recorded import shared_files
from repro_tui.errors import InfrastructureError, StoreFullError, UsageError, from_os_error
from repro_tui.images import tar
from repro_tui.manifest.loading import LoadedManifest
from repro_tui.manifest.models import LocalSource
from repro_tui.report import croissant, rocrate
from repro_tui.report.model import Report
from repro_tui.runs.directory import RunDirectory
from repro_tui.runs.words import size

_CHUNK_BYTES = 1 << 20
_RUN_ROLES: dict[str, Role] = {
    "run/report.json": "report", "run/report.md": "report", "run/events.jsonl": "events", "run/record.json": "record",
    "run/out/metrics.jsonl": "metrics", "run/environment.json": "environment", "run/manifest.toml": "metadata",
}  # fmt: skip
_OF_A_SEED = re.compile(r"^run/seeds/[^/]+/")
_CRATE_ROLES = {
    "recipe": "lock", "base lock": "lock", "wheel": "image", "deb": "image", "metrics": "output", "events": "log",
    "environment": "other", "metadata": "other", "citation": "other", "licence": "other",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle that was written."""

    path: Path
    sha256: str
    size_bytes: int
    index: Index


def pack(
    loaded: LoadedManifest,
    target: Path,
    *,
    store: Store,
    fetcher: Fetcher,
    run: RunDirectory | None,
    wish: Wish,
    mirrors: Sequence[Path] = (),
    offline: bool = False,
    progress: Progress = lambda _done, _total, _text: None,
    say: Callable[[str], None] = lambda _: None,
) -> Packed:
    """Write the bundle of a manifest; it appears at `target` by one rename, in place of an older one.

    Raises UsageError for what cannot be packed, what the fetcher raises, and StoreFullError.
    """
    found = Gathered()
    manifest_path = add_experiment(found, loaded)
    report = _add_run(found, run, loaded)
    add_artifacts(found, loaded.manifest.artifacts, wish, fetcher)
    add_task_code(found, loaded, fetcher)
    how = add_image(
        found, loaded, manifest_path, wish, store=store, fetcher=fetcher, mirrors=mirrors, offline=offline,
        progress=progress, say=say,
    )  # fmt: skip
    _add_metadata(found, loaded, report)
    for told in _told_places(loaded):
        say(f"warning: {told} is a place on this machine, and the manifest goes into the bundle as it is")
    members = found.members
    if (fault := listing_fault([member.path for member in members])) is not None:
        raise UsageError(f"this cannot be one bundle: {fault}", where=str(loaded.path), hint="rename one of them")
    index = Index(
        experiment=loaded.manifest.experiment.name,
        manifest=Pinned(path=manifest_path, sha256=loaded.sha256),
        image=how,
        made_by=f"repro-tui {__version__}",
        files=members,
        left_out=sorted(found.left_out, key=lambda each: each.artifact),
    )
    return _write(target, index, found, progress)


def _add_run(found: Gathered, run: RunDirectory | None, loaded: LoadedManifest) -> Report | None:
    if run is None:
        return None
    files, report = shared_files(run, loaded)
    for path, content in files.items():
        role = _RUN_ROLES.get(_OF_A_SEED.sub("run/", path), "log")
        found.add(path, content, role, name=run.id)
    return report


def _told_places(loaded: LoadedManifest) -> Iterator[str]:
    """Yield each path of this machine that the manifest itself tells: nothing of it can be changed, it is pinned."""
    for artifact in loaded.manifest.artifacts:
        for source in artifact.sources:
            if isinstance(source, LocalSource) and source.path.startswith(("/", "~")):
                yield f"artifacts.{artifact.name}: {source.path}"


def _add_metadata(found: Gathered, loaded: LoadedManifest, report: Report | None) -> None:
    """Add what describes the bundle to people and programs; the crate is last, for it lists all the rest."""
    folder = loaded.path.absolute().parent
    folders = [folder, folder.parent] if (folder.parent / ".git").exists() else [folder]
    if (text := licence_text(folders)) is not None:
        found.add("LICENCE", text, "licence", media_type="text/plain")
    found.add("CITATION.cff", citation(loaded.manifest, folders), "citation")
    if (described := croissant.metadata(loaded.manifest)) is not None:
        found.add("croissant.json", described, "metadata", media_type="application/ld+json")
    files = [
        rocrate.CrateFile(
            path=content.member.path,
            sha256=content.member.sha256,
            bytes=content.member.bytes,
            media_type=content.member.media_type,
            name=content.member.name or content.member.path.rpartition("/")[2],
            role=_CRATE_ROLES.get(content.member.role, content.member.role),
            licence=content.licence,
        )
        for _, content in sorted(found.contents.items())
    ]
    found.add(
        rocrate.FILE_NAME,
        rocrate.metadata(files, loaded.manifest, report),
        "metadata",
        media_type="application/ld+json",
    )


def _write(target: Path, index: Index, found: Gathered, progress: Progress) -> Packed:
    header = render(index)
    if len(header) > MAX_INDEX_BYTES:
        raise UsageError(
            f"the bundle would have {len(index.files)} members, more than one bundle can list", where=index.experiment,
            hint="keep data of many files as one archive",
        )  # fmt: skip
    total = index.size_bytes
    new = target.absolute().with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "no plain file"
            raise UsageError(f"{target} is {what}", where="-o", hint="name a file, like FILE.repro.tar")
        new.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(new.parent).free) < total + (64 << 20):
            raise StoreFullError(
                f"the bundle needs {size(total)}, {size(free)} are free", where=str(new.parent),
                hint="free some space, write it elsewhere with -o, or leave artifacts out with --exclude",
            )  # fmt: skip
        done = 0
        with tar.TarWriter(new) as writer:
            writer.file(NAME, 0o644, len(header), [header])
            for member in index.files:
                mode = 0o755 if member.executable else 0o644
                writer.file(member.path, mode, member.bytes, _checked(found.contents[member.path]))
                done += member.bytes
                progress(done, total, f"writing {target.name}")
            sha256 = writer.finish()
            size_bytes = writer.size_bytes
        new.chmod(0o644)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new, target)
    except OSError as error:
        raise from_os_error(error) from error
    finally:
        new.unlink(missing_ok=True)
    return Packed(target, sha256, size_bytes, index)


def _checked(content: Content) -> Iterator[bytes]:
    """Yield the bytes of a member; raises InfrastructureError where they are not those that the index was made of."""
    if isinstance(content.source, bytes):
        yield content.source
        return
    digest, left = hashlib.sha256(), content.member.bytes
    with content.source.open("rb", buffering=0) as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        left += len(file.read(1))
    if left or digest.hexdigest() != content.member.sha256:
        raise InfrastructureError(
            f"{content.source.name} changed while it was packed", where=str(content.source), hint="pack again"
        )
