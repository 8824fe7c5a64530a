"""A small but real experiment, and the real command line to run it: what every test of the whole product starts from.

The image is that of images/torch-cpu with two small wheels instead of PyTorch, the training is plain Python.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.manifest.trees import tree_digest, tree_files

PROJECT = Path(__file__).resolve().parents[2]
EXPERIMENT = Path(__file__).with_name("data") / "experiment"
WHEELS = ("idna", "typing-extensions")
SCRIPT = Path(sys.executable).with_name("repro-tui")
COMMAND = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-m", "repro_tui")
TIMEOUT_S = 300
"""A machine that others use too may stand still for a while; a hang is longer."""

Manifest = dict[str, Any]
"""A manifest as plain values; `to_toml` writes it."""


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_toml(manifest: Manifest) -> str:
    """Return a manifest as TOML: one line a top-level key, inline tables below."""
    return "".join(f"{key} = {_inline(value)}\n" for key, value in manifest.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


_HEEDING = ("/usr/bin/env", "--default-signal=INT,HUP")
"""Whoever started the tests may ignore them (nohup, a shell's background job)."""


@dataclass(frozen=True)
class Result:
    """How a command ended, and, for a run, what it left."""

    code: int
    out: str
    err: str
    run: Path | None = None

    @property
    def report(self) -> dict[str, Any]:
        """The report that --json printed."""
        body: dict[str, Any] = json.loads(self.out)
        return body

    @property
    def verdict(self) -> str:
        """The word."""
        return str(self.report["verdict"])

    @property
    def summary(self) -> str:
        """The sentence after the word."""
        return str(self.report["summary"])

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """Checks by name."""
        return {check["name"]: check for check in self.report["checks"]}

    @property
    def differing(self) -> dict[str, dict[str, Any]]:
        """Checks that differ, by name."""
        return {name: check for name, check in self.checks.items() if check["status"] == "differs"}

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out[-6000:]}\n--- stderr\n{self.err[-6000:]}"

    def expect(self, code: int, verdict: str | None = None) -> Result:
        """Assert the exit code and the word, and that nobody was shown a traceback."""
        assert self.code == code, f"expected exit code {code}\n{self}"
        assert "Traceback" not in self.err, str(self)
        assert "this should not have happened" not in self.err + self.out, str(self)
        if verdict is not None:
            assert self.verdict == verdict, str(self)
            assert self.report["exit_code"] == code
        return self


@dataclass
class Lab:
    """One experiment's folder, the store and the folder of runs it uses."""

    folder: Path
    store: Path
    runs: Path
    mirrors: Sequence[Path] = ()
    manifest: Manifest = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """What the command line is started under: `unshare`, `setpriv`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = COMMAND

    @property
    def manifest_path(self) -> Path:
        """Where `write` puts the manifest."""
        return self.folder / "manifest.toml"

    def write(self, change: Callable[[Manifest], object] | None = None) -> Path:
        """Write the manifest, with a change if there is one that is for this time only."""
        body = copy.deepcopy(self.manifest)
        if change is not None:
            change(body)
        self.manifest_path.write_text(to_toml(body), encoding="utf-8")
        return self.manifest_path

    def script(self, text: str, **resources: Any) -> None:
        """Make the experiment another one: a script of its own instead of the training, nothing recorded."""
        code = self.folder / "code"
        shutil.rmtree(code)
        code.mkdir()
        (code / "train.py").write_text(PRELUDE + text, encoding="utf-8")
        self.manifest.pop("recorded", None)
        self.manifest["resources"] = {**self.manifest["resources"], **resources}
        self.manifest["expected"] = {"metrics": [{"name": "accuracy", "value": 0.75, "absolute": 0.01}]}
        self.repin_code()

    def repin_code(self) -> None:
        """Pin the code as it is now."""
        for artifact in self.manifest["artifacts"]:
            if artifact["name"] == "code":
                files = tree_files(self.folder / "code")
                artifact["tree_sha256"] = tree_digest(files)
                artifact["bytes"] = sum(path.stat().st_size for path in files.values())

    def artifact(self, name: str) -> Manifest:
        """Return the table of an artifact."""
        found: Manifest = next(each for each in self.manifest["artifacts"] if each["name"] == name)
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the command line: nothing of a user's own settings for this program."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REPRO_TUI_")}
        places = {"REPRO_TUI_STORE": str(self.store), "REPRO_TUI_RUNS": str(self.runs)}
        return {**kept, "NO_COLOR": "1", **places, **self.environment}

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start `repro-tui` with these arguments; its standard streams are pipes unless said otherwise."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            [*_HEEDING, *self.prefix, *self.program, *words],
            cwd=self.folder, env=self.variables, stdin=subprocess.DEVNULL, text=True, **streams,
        )  # fmt: skip

    def command(self, *words: str, timeout_s: float = TIMEOUT_S) -> Result:
        """Run `repro-tui` with these arguments to its end."""
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.returncode, out, err)

    def words(self, *options: str) -> list[str]:
        """Return the arguments of a run of this experiment."""
        mirrors = [word for mirror in self.mirrors for word in ("--mirror", str(mirror))]
        engine = [] if "--engine" in options else ["--engine", "embedded"]
        places = ["--store", str(self.store), "--runs", str(self.runs)]
        return ["--run", str(self.manifest_path), "--json", *engine, *places, *mirrors, *options]

    def run(
        self, *options: str, change: Callable[[Manifest], object] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Result:
        """Write the manifest (with a change) and run it to its end."""
        self.write(change)
        before = self.run_folders()
        done = self.command(*self.words(*options), timeout_s=timeout_s)
        new = self.run_folders() - before
        return Result(done.code, done.out, done.err, next(iter(new)) if len(new) == 1 else None)

    def begin(self, *options: str, change: Callable[[Manifest], object] | None = None) -> Going:
        """Write the manifest and start a run; returns once its folder is there."""
        self.write(change)
        before = self.run_folders()
        process = self.start(*self.words(*options))
        wait_until(lambda: process.poll() is not None or self.run_folders() - before)
        new = self.run_folders() - before
        if not new:
            out, err = process.communicate()
            raise AssertionError(f"no run began: {Result(process.returncode, out, err)}")
        return Going(process, next(iter(new)))

    def run_folders(self) -> set[Path]:
        """Return the folders of all runs."""
        return set(self.runs.iterdir()) if self.runs.is_dir() else set()

    def expect_reproduced(self, *options: str) -> Result:
        """Run the untouched experiment: it is always reproduced."""
        return self.run(*options).expect(0, "REPRODUCED")

    def image_folder(self) -> Path:
        """Return the folder of the one assembled image in the store."""
        (folder,) = (self.store / "derived/images").iterdir()
        return folder


@dataclass
class Going:
    """A run under way: the process in the foreground, and the folder of the run."""

    process: subprocess.Popen[str]
    run: Path

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        try:
            text = (self.run / "events.jsonl").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event, and return it."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [
                event
                for event in self.events()
                if event["kind"] == kind and all(event.get(key) == value for key, value in fields.items())
            ]
            if not found and self.process.poll() is not None and not self.worker_alive():
                out, err = self.process.communicate()
                raise AssertionError(f"the run ended first: {Result(self.process.returncode, out, err)}")
            return bool(found)

        wait_until(there)
        return found[0]

    def worker(self) -> int:
        """Return the worker's process id."""
        return int(self.wait_for("run_started")["pid"])

    def worker_alive(self) -> bool:
        """Say whether the worker that announced itself still lives."""
        started = [event for event in self.events() if event["kind"] == "run_started"]
        return bool(started) and alive(int(started[0]["pid"]))

    def kill_worker(self) -> None:
        """Kill the worker, and nothing else."""
        with suppress(ProcessLookupError):
            os.kill(self.worker(), signal.SIGKILL)

    def end(self, timeout_s: float = TIMEOUT_S) -> Result:
        """Wait for the foreground's end."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Result(self.process.returncode, out, err, self.run)


PRELUDE = """\
import json, os, signal, sys, time
from pathlib import Path

OUT = Path(os.environ["REPRO_OUT"])
INPUTS = Path(os.environ["REPRO_INPUTS"])

def tell(event, **line):
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.write(json.dumps({"event": event, **line}) + "\\n")

"""
"""What the scripts of bad days begin with."""


def alive(pid: int) -> bool:
    """Say whether a process lives; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until something holds."""
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come to be in time"
        time.sleep(0.01)


def processes_with(text: str) -> dict[int, str]:
    """Return the living processes whose command line, environment-free, or mounts name a text (a folder, a run id)."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in words and alive(int(entry.name)):
                found[int(entry.name)] = words
                continue
            if text in (entry / "mountinfo").read_text(errors="replace") and alive(int(entry.name)):
                found[int(entry.name)] = f"(mounts) {words}"
    return found


def nothing_left(*names: Path | str) -> None:
    """Assert that within a moment no process and no mount of this run, or in this store, is left."""

    def left() -> dict[int, str]:
        return {pid: words for name in names for pid, words in processes_with(str(name)).items()}

    with suppress(AssertionError):
        wait_until(lambda: not left(), timeout_s=15)
    assert left() == {}
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert not [name for name in names if str(name) in mounts]


def clone_store(store: Path, target: Path) -> Path:
    """Return a copy of a store that shares its files (hard links): change a file by `replace` only."""
    target.mkdir()
    for name in ("blobs", "trees", "derived"):
        if (store / name).exists():
            subprocess.run(["cp", "-al", str(store / name), str(target / name)], check=True)
    return target


def replace(path: Path, content: bytes | None = None, mode: int | None = None) -> None:
    """Give a file other bytes (by default one of its own changed) under the same name, size, mode and time.

    The file is a new one, so that hard links to the old one are left alone.
    """
    status = path.stat()
    if content is None:
        old = path.read_bytes()
        content = old[:-1] + bytes([old[-1] ^ 1]) if old else b"x"
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(status.st_mode & 0o7777 if mode is None else mode)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(new, path)
