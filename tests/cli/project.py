"""A small experiment of a user's own command, and the real command line to run it with."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro_tui.manifest.trees import tree_digest, tree_files
from repro_tui.verify.environment import environment_hash

FAKES = Path(__file__).with_name("fakes")

ENVIRONMENT: dict[str, Any] = {
    "schema": 1,
    "python": {"version": "3.11.2"},
    "variables": {"OMP_NUM_THREADS": "1"},
    "base": {"bash": {"version": "5.2", "sha256": "a" * 64}},
    "distributions": {"torch": {"version": "2.13.0", "sha256": "b" * 64}},
    "other": "c" * 64,
    "libraries": {"threads": 1, "cpu_capability": "default"},
    "unreadable": [],
    "host": {"cpu_vendor": "Acme", "cores": 2},
}

TRAIN = """\
import json, os, sys

def tell(**line):
    with open(os.environ["REPRO_METRICS"], "a") as file:
        file.write(json.dumps(line) + "\\n")

data = open(os.path.join(os.environ["REPRO_INPUTS"], "data/numbers.txt")).read().split()
rate = float(sys.argv[1])
tell(event="phase", phase="train")
for step in range(1, 6):
    print("step", step)
    tell(event="step", step=step, total=5, loss=rate / step)
tell(event="phase", phase="evaluate")
value = sum(map(int, data)) * rate
with open(os.path.join(os.environ["REPRO_OUT"], "weights.bin"), "w") as file:
    file.write(f"{value} {sys.argv[2]}")
tell(event="output", name="weights", path="weights.bin")
tell(event="metric", name="accuracy", value=value, split="test")
"""

MANIFEST = """\
schema = 1

[experiment]
name = "tiny"
title = "A tiny experiment"
authors = ["A. Author"]
licence = "CC0-1.0"

[image]
recipe = "torch-cpu"
manifest_digest = "sha256:{lock}"

[environment]
lock = "lock.txt"
lock_sha256 = "{lock}"
hash = "{environment}"
threads = 1
cpu_capability = "default"

[[artifacts]]
name = "numbers"
kind = "data"
path = "data/numbers.txt"
sha256 = "{data}"
bytes = 6
sources = [{{ type = "local", path = "numbers.txt" }}]

[[artifacts]]
name = "code"
kind = "code"
path = "code"
tree_sha256 = "{code}"
bytes = {code_bytes}
sources = [{{ type = "local", path = "code" }}]

[task]
command = ["python3", "train.py", "{{rate}}", "{{seed}}"]
code = "code"

[hyperparameters]
rate = 0.1

[determinism]
seed = 7
level = "bitwise"

[resources]
time_limit_s = {time_limit_s}
silence_limit_s = {silence_limit_s}

[[expected.metrics]]
name = "accuracy"
value = 0.6
absolute = {absolute}

[[expected.digests]]
name = "weights"
sha256 = "{weights}"
"""


@dataclass
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The report that --json printed."""
        body: dict[str, Any] = json.loads(self.out)
        return body


@dataclass
class Project:
    """The experiment's folder, and the command line in it."""

    folder: Path
    script: str = TRAIN
    wish: dict[str, Any] = field(default_factory=lambda: {"environment": ENVIRONMENT})
    values: dict[str, Any] = field(default_factory=dict)
    extra: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def write(self) -> None:
        """Write the manifest and everything it pins."""
        (self.folder / "numbers.txt").write_text("1 2 3\n")
        (self.folder / "lock.txt").write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
        code = self.folder / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(self.script)
        values: dict[str, Any] = {
            "lock": _sha256(self.folder / "lock.txt"),
            "environment": environment_hash(ENVIRONMENT),
            "data": _sha256(self.folder / "numbers.txt"),
            "code": tree_digest(tree_files(code)),
            "code_bytes": (code / "train.py").stat().st_size,
            "absolute": 0.001,
            "time_limit_s": 60,
            "silence_limit_s": 30,
            "weights": hashlib.sha256(b"0.6000000000000001 7").hexdigest(),
            **self.values,
        }
        self.manifest.write_text(MANIFEST.format(**values) + self.extra)

    def change(self, old: str, new: str) -> None:
        """Change the manifest by hand."""
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(FAKES),
            "REPRO_TEST_FAKE": json.dumps(self.wish),
            "REPRO_TUI_STORE": str(self.folder / "store"),
            **self.variables,
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start `repro-tui` with these arguments."""
        return subprocess.Popen(
            [sys.executable, "-m", "repro_tui", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            text=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - no threads here
            **options,
        )

    def command(self, *words: str) -> Finished:
        """Run `repro-tui` with these arguments to its end."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
        return Finished(process.returncode, out, err)

    def run(self, *words: str) -> Finished:
        """Run the experiment and return how that ended; `report` is the report."""
        return self.command("run", str(self.manifest), "--engine", "fake", "--json", *words)

    def only_run(self) -> Path:
        """Return the folder of the only run there is."""
        (folder,) = self.runs.iterdir()
        return folder

    def wait_for(self, stage: str, *, kind: str = "stage_started") -> Path:
        """Wait until the only run is in a stage, and return its folder."""

        def there() -> bool:
            if not self.runs.is_dir() or not list(self.runs.iterdir()):
                return False
            events = self.only_run() / "events.jsonl"
            return events.is_file() and any(
                line.get("kind") == kind and line.get("stage") == stage
                for line in map(json.loads, events.read_text().splitlines(keepends=False))
            )

        eventually(there)
        return self.only_run()


def eventually(holds: Callable[[], object], timeout_s: float = 60) -> None:
    """Wait until something holds."""
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come to be"
        time.sleep(0.02)


def _hear_ctrl_c() -> None:
    """Undo what a shell does to the commands it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line or working folder names a folder: workers and what they started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(folder) in words or place.startswith(str(folder)):
                found.append(int(entry.name))
    return found


def kill(pid: int) -> None:
    """Kill a process that a test started."""
    os.kill(pid, signal.SIGKILL)
