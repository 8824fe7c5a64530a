"""A full disk, under the store or under the runs: said in plain words, nothing half is kept, and more room is enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.lab import Lab, Result, nothing_left


@dataclass
class SmallDisk:
    """A tmpfs in a mount namespace of its own; `prefix` is what a command is started under to see it."""

    path: Path
    holder: subprocess.Popen[str]
    prefix: list[str]

    def resize(self, size: str) -> None:
        """Make it larger or smaller."""
        subprocess.run([*self.prefix, "mount", "-o", f"remount,size={size}", "tmpfs", str(self.path)], check=True)

    def seen(self, path: Path) -> Path:
        """Return where a path in it is seen from outside."""
        return Path(f"/proc/{self.holder.pid}/root{path}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    own = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    mount = 'mount -t tmpfs -o size=64k,mode=755 tmpfs "$0" && echo mounted && exec sleep 600'
    for tool in ("unshare", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} on this host")
    holder = subprocess.Popen(
        ["unshare", *own, "--mount", "sh", "-c", mount, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"no tmpfs can be mounted here: {holder.stderr.read()}")
        user = ["--user", "--preserve-credentials"] if own else []
        yield SmallDisk(path, holder, ["nsenter", "--target", str(holder.pid), *user, "--mount", "--"])
        holder.kill()


def said_plainly(done: Result) -> None:
    """Assert exit code 3, what is full, and what to do about it."""
    assert done.code == 3, str(done)
    assert re.search("no space (is )?left", done.err), str(done)
    assert "free some space" in done.err, str(done)
    assert "Traceback" not in done.err
    assert "this should not have happened" not in done.err


@pytest.mark.parametrize("size", ["64k", "12m", "70m", "120m"])
def test_the_store_is_on_a_full_disk(lab: Lab, disk: SmallDisk, size: str) -> None:
    lab.store = disk.path / "store"
    lab.prefix = disk.prefix
    disk.resize(size)
    done = lab.run("--offline")
    said_plainly(done)
    assert done.verdict == "FAILED"
    assert str(disk.path) in done.err
    store = disk.seen(lab.store)
    for kind in ("derived/images", "scratch"):
        assert not (store / kind).exists() or not list((store / kind).iterdir()), kind
    assert done.run is not None
    nothing_left(done.run.name)
    if size in {"12m", "120m"}:
        disk.resize("600m")
        lab.expect_reproduced("--offline")


@pytest.mark.parametrize("size", ["16k", "300k", "700k"])
def test_the_runs_are_on_a_full_disk(lab: Lab, disk: SmallDisk, size: str) -> None:
    lab.runs = disk.path / "runs"
    lab.prefix = disk.prefix
    disk.resize(size)
    lab.write()
    done = lab.command(*lab.words())
    said_plainly(done)
    nothing_left(disk.path / "no-such-run")
    disk.resize("40m")
    lab.command(*lab.words()).expect(0, "REPRODUCED")


def test_a_training_that_fills_the_disk(lab: Lab, disk: SmallDisk) -> None:
    lab.runs = disk.path / "runs"
    lab.prefix = disk.prefix
    disk.resize("20m")
    lab.script("with open(OUT / 'big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))\n")
    lab.write()
    done = lab.command(*lab.words())
    said_plainly(done)
    assert done.verdict == "FAILED"
    (run,) = disk.seen(lab.runs).iterdir()
    assert (run / "report.json").is_file()
    assert (run / "report.md").is_file()
