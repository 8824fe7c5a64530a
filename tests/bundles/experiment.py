"""A small experiment with everything a bundle can hold, a run of it, and what somebody with bad intentions makes of it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_tui.artifacts.fetch import Fetcher
from repro_tui.artifacts.store import Store
from repro_tui.bundles.contents import Wish
from repro_tui.bundles.index import NAME
from repro_tui.bundles.packing import Packed, pack
from repro_tui.events import (
    CheckResult,
    CheckStatus,
    EngineChosen,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStatus,
    Verdict,
)
from repro_tui.images import tar
from repro_tui.manifest.loading import load
from repro_tui.manifest.pins import pinned_job
from repro_tui.manifest.record import Record, RecordedImage, write_record
from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.report import json as report_json
from repro_tui.report.model import Check, EngineUsed, ExperimentNamed, ManifestUsed, Report, RunIdentity
from repro_tui.runs.directory import RunDirectory
from tests.images.image_parts import DEBS, WHEELS, Parts

MANIFEST = """\
schema = 1

[experiment]
name = "tiny"
title = "A tiny experiment"
authors = ["A. Author"]
licence = "CC0-1.0"

[image]
recipe = "small"

[environment]
lock = "../images/lock.txt"
lock_sha256 = "{lock}"

[[artifacts]]
name = "numbers"
kind = "data"
path = "data/numbers.tsv"
sha256 = "{data}"
bytes = 6
licence = "CC-BY-NC-4.0"
sources = [{{ type = "local", path = "numbers.tsv" }}]

[[artifacts]]
name = "start"
kind = "weights"
path = "weights/start.bin"
sha256 = "{weights}"
bytes = 4096
sources = [{{ type = "local", path = "start.bin" }}]

[[artifacts]]
name = "code"
kind = "code"
path = "code"
tree_sha256 = "{code}"
bytes = {code_bytes}
sources = [{{ type = "local", path = "code" }}]

[task]
code = "code"
command = ["python3", "train.py"]

[determinism]
seed = 1

[[expected.metrics]]
name = "accuracy"
value = 0.5
absolute = 0.1
"""


@dataclass
class Experiment:
    """One experiment in a folder, its runs, and a store to pack it from."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "manifests" / "tiny.toml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def parts(self) -> Parts:
        return Parts(self.folder / "images")

    @property
    def run(self) -> RunDirectory:
        (folder,) = self.runs.iterdir()
        return RunDirectory(folder)

    def write(self) -> None:
        """Write all of it, with a run that reproduced it and tells of the machine it was made on."""
        parts = self.parts
        parts.folder.mkdir(parents=True)
        parts.write(DEBS, WHEELS)
        folder = self.manifest.parent
        (folder / "code" / "model").mkdir(parents=True)
        (folder / "code" / "train.py").write_text("print(1)\n")
        (folder / "code" / "model" / "ünder.py").write_text("VALUE = 1\n", encoding="utf-8")
        (folder / "code" / "run.sh").write_text("#!/bin/sh\n")
        (folder / "code" / "run.sh").chmod(0o755)
        (folder / "numbers.tsv").write_text("1 2 3\n")
        (folder / "start.bin").write_bytes(bytes(range(256)) * 16)
        (folder / "LICENSE").write_text("Anybody may do anything.\n")
        files = tree_files(folder / "code")
        text = MANIFEST.format(
            lock=digest(parts.lock), data=digest(folder / "numbers.tsv"), weights=digest(folder / "start.bin"),
            code=tree_digest(files), code_bytes=sum(file.stat().st_size for file in files.values()),
        )  # fmt: skip
        self.manifest.write_text(text)
        write_run(RunDirectory.create(self.runs, "tiny"), self.manifest)
        (folder / "tiny.record.json").write_bytes(self.run.record.read_bytes())
        pin = digest(folder / "tiny.record.json")
        self.manifest.write_text(f'{text}\n[recorded]\nfile = "tiny.record.json"\nsha256 = "{pin}"\n')

    def pack(self, target: Path, *, run: RunDirectory | None = None, **wish: Any) -> Packed:
        """Pack it; without `run` its own."""
        store = self.store
        fetcher = Fetcher(store, [self.parts.mirror], base=self.manifest.parent, offline=True)
        try:
            return pack(
                load(self.manifest), target, store=store, fetcher=fetcher, run=run or self.run, wish=Wish(**wish),
                offline=True,
            )  # fmt: skip
        finally:
            store.close()


def write_run(run: RunDirectory, manifest: Path) -> None:
    """Write what a run leaves behind, with traces of its author's machine."""
    loaded = load(manifest)
    run.manifest.write_text(loaded.text)
    check = CheckResult(
        at=2.0, name="metric test/accuracy", component="metrics", status=CheckStatus.MATCH, expected="0.5", observed="0.5"
    )  # fmt: skip
    reason = "bubblewrap 0.11 (/home/alice/.venv/bin/bwrap); ssh://alice@lab.example:2222 was asked"
    events = [
        RunStarted(
            at=1.0, run_id=run.id, experiment="tiny", title="A tiny experiment", manifest="/home/alice/secret/tiny.toml",
            stages=("resolve", "report"), version="0.1.0", pid=4711,
        ),
        EngineChosen(at=1.5, engine="docker", host="ssh://alice@lab.example:2222", reason=reason, capabilities={}),
        check,
        StageFinished(
            at=3.0, stage="report", status=StageStatus.PASSED, elapsed_s=1.0, detail="/scratch/alice/runs/x/report.md"
        ),
        RunFinished(at=4.0, verdict=Verdict.REPRODUCED, exit_code=0, summary="1 metric holds."),
    ]  # fmt: skip
    run.events.write_text("".join(event.to_line() for event in events))
    run.metrics.write_text('{"event": "metric", "name": "accuracy", "value": 0.5, "split": "test"}\n')
    run.log("train").write_text("reading /inputs/data/numbers.tsv\nlogged in /home/alice/notes\n" + "x" * (2 << 20))
    run.log("worker").write_text("Traceback in /home/alice/.venv/lib/worker.py\n")
    run.options.write_text('{"manifest": "/home/alice/secret/tiny.toml"}')
    record = Record(
        experiment="tiny", job=pinned_job(loaded), environment={},
        image=RecordedImage(manifest_digest="sha256:" + "0" * 64, config_digest="sha256:" + "0" * 64, diff_ids=[]),
    )  # fmt: skip
    write_record(run.record, record)
    report = Report(
        verdict=Verdict.REPRODUCED, exit_code=0, summary="1 metric holds.",
        experiment=ExperimentNamed(name="tiny", title="A tiny experiment", paper=None),
        manifest=ManifestUsed(path="/home/alice/secret/tiny.toml", sha256=loaded.sha256),
        run=RunIdentity(id=run.id, started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:04Z", version="0.1.0"),
        engine=EngineUsed(name="docker", host="ssh://alice@lab.example:2222", reason=reason, capabilities={}),
        image=None, environment_hash=None,
        checks=[
            Check(name=check.name, component="metrics", status=check.status, expected="0.5", observed="0.5"),
        ],
        claims=[], metrics=[], tables=[], outputs=[], timings_s={"resolve": 1.0}, host={}, failure=None,
    )  # fmt: skip
    run.report.write_text(report_json.render(report))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- forgeries --------------------------------------------------------------------------------------------------------


@dataclass
class Forgery:
    """A bundle taken apart: its index as plain values, and each member's bytes."""

    index: dict[str, Any]
    members: dict[str, bytes]

    @classmethod
    def of(cls, bundle: Path) -> Forgery:
        with tarfile.open(bundle) as archive:
            found = {each.name: _content(archive, each) for each in archive}
        return cls(json.loads(found.pop(NAME)), found)

    def change(self, path: str, new: bytes) -> None:
        """Change a member and have the index agree: a forgery that is one in itself."""
        self.members[path] = new
        entry = self.entry(path)
        entry["bytes"], entry["sha256"] = len(new), hashlib.sha256(new).hexdigest()
        if path == self.index["manifest"]["path"]:
            self.index["manifest"]["sha256"] = entry["sha256"]

    def rename(self, path: str, new: str) -> None:
        """Give a member another path, in the index too."""
        self.entry(path)["path"] = new
        self.members[new] = self.members.pop(path)
        self.sort()

    def add(self, path: str, content: bytes, role: str = "log") -> None:
        """Add a member, in the index too."""
        sha256 = hashlib.sha256(content).hexdigest()
        entry = {"path": path, "bytes": len(content), "sha256": sha256, "role": role, "media_type": "text/plain"}
        self.index["files"].append(entry)
        self.members[path] = content
        self.sort()

    def sort(self) -> None:
        self.index["files"].sort(key=lambda each: each["path"].encode(errors="surrogatepass"))

    def entry(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.index["files"] if each["path"] == path)
        return found

    def path(self, role: str) -> str:
        """Return the path of the first member with a role."""
        return str(next(each["path"] for each in self.index["files"] if each["role"] == role))

    def write(self, target: Path, *, behind: bytes = tar.END) -> Path:
        """Write it as the packer would."""
        parts = [entry_bytes(NAME, json.dumps(self.index).encode())]
        parts += [
            entry_bytes(each["path"], self.members[each["path"]], executable=each.get("executable", False))
            for each in self.index["files"]
        ]
        target.write_bytes(b"".join(parts) + behind)
        return target


def entry_bytes(path: str, content: bytes, *, executable: bool = False) -> bytes:
    header = tar.header(path, b"0", 0o755 if executable else 0o644, len(content))
    return header + content + tar.padding(len(content))


def with_member(
    bundle: Path, target: Path, make: Callable[[tarfile.TarInfo], object], *, at: str | None = None
) -> Path:
    """Write a bundle with one more member of any kind at its end, or in the place of the member `at`."""
    info = tarfile.TarInfo("run/extra")
    info.mtime = tar.MTIME_S
    make(info)
    entry = info.tobuf(tarfile.GNU_FORMAT) + b"x" * info.size + tar.padding(info.size)
    if at is not None:
        return spliced(bundle, target, at, [entry])
    target.write_bytes(bundle.read_bytes().removesuffix(tar.END) + entry + tar.END)
    return target


def spliced(bundle: Path, target: Path, path: str, new: Sequence[bytes]) -> Path:
    """Write a bundle in which the bytes of one member, header and all, are others."""
    forged = Forgery.of(bundle)
    parts = [bundle.read_bytes()[: len(entry_bytes(NAME, _index_bytes(bundle)))]]
    for each in forged.index["files"]:
        if each["path"] == path:
            parts += new
        else:
            parts.append(
                entry_bytes(each["path"], forged.members[each["path"]], executable=each.get("executable", False))
            )
    target.write_bytes(b"".join(parts) + tar.END)
    return target


def _index_bytes(bundle: Path) -> bytes:
    with tarfile.open(bundle) as archive:
        return _content(archive, archive.getmember(NAME))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream.read()


def flipped(bundle: Path, target: Path, path: str) -> Path:
    """Write a bundle in which one bit of one member's content is another."""
    data = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as archive:
        member = archive.getmember(path)
        data[member.offset_data + member.size // 2] ^= 1
    target.write_bytes(data)
    return target


def tree(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
