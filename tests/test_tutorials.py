"""Every command of the tutorials, in their order, as their readers would give them: the whole way from a script to a verdict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engines.engine_bench import NOBODY, python_of_nobody

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
_CONSOLE = re.compile(
    r"<!-- append to (?P<file>\S+) -->\n```python\n(?P<code>.*?)```|```console\n(?P<console>.*?)```", re.DOTALL
)
_EXIT = re.compile(r"\s+# exit code (\d+)(?: where|:|$)")


def steps(page: Path) -> list[tuple[str, str]]:
    """Return what a page has its reader do: ("run", a command) or (a file, what is added to it)."""
    found = []
    for block in _CONSOLE.finditer(page.read_text(encoding="utf-8")):
        if block["file"]:
            found.append((block["file"], block["code"]))
        else:
            lines = block["console"].splitlines()
            assert all(line.startswith("$ ") for line in lines), f"{page.name}: a line that is no command: {lines}"
            found += [("run", line.removeprefix("$ ")) for line in lines]
    return found


def follow(
    page: Path, folder: Path, environment: dict[str, str], become: Sequence[str] = ()
) -> list[tuple[str, float]]:
    """Do what a page says; every command has to end as the page says. Return the seconds that each took."""
    taken = []
    for kind, text in steps(page):
        if kind != "run":
            with (folder / kind).open("a", encoding="utf-8") as stream:
                stream.write(text)
            continue
        if text.startswith("cd "):
            folder = folder / text.removeprefix("cd ")
            continue
        expected = _EXIT.search(text)
        start = time.perf_counter()
        done = subprocess.run(
            [*become, "bash", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        taken.append((text, time.perf_counter() - start))
        wanted = int(expected[1]) if expected else 0
        assert done.returncode == wanted, (
            f"{page.name}: {text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return taken


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every user may pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="rt-tutorial-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _nobody() -> list[str] | None:
    """Return a Python of another user; None where there is none that may read this checkout, or nobody to become."""
    try:
        return python_of_nobody() if os.geteuid() == 0 else None
    except pytest.skip.Exception:
        return None


def whole_way(folder: Path) -> list[tuple[str, float]]:
    """Follow the author's tutorial, then the reviewer's: another user if there can be one, no network, nothing cached.

    Return every command with the seconds that it took. The author's store is empty too; downloads are made.
    """
    become = _nobody()
    work = folder / "author"
    shutil.copytree(ROOT / "examples", work / "examples")
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    author = {**os.environ, "PATH": path, "REPRO_TUI_STORE": str(folder / "store")}
    taken = follow(ROOT / "docs/tutorial-author.md", work, author)

    reader = folder / "reader"
    (reader / "home").mkdir(parents=True)
    (reader / "bin").mkdir()
    shutil.copy(work / "my-paper/digits.repro.tar", reader)
    python = become[-1] if become else sys.executable
    program = reader / "bin/repro-tui"
    program.write_text(f'#!/bin/bash\nexec {python} -m repro_tui "$@"\n')
    program.chmod(0o755)
    environment = {"HOME": str(reader / "home"), "PATH": f"{reader / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    if become:
        for owned in (reader, *reader.rglob("*")):
            os.chown(owned, NOBODY, NOBODY)
    without_network = (
        ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-current-user", "--net"]
    )
    without_network += become[:-1] if become else []
    return taken + follow(ROOT / "docs/tutorial-reviewer.md", reader, environment, without_network)


def test_from_a_script_to_a_verdict_without_a_network() -> None:
    with open_folder() as folder:
        taken = whole_way(folder)
    assert sum("--run digits.repro.tar" in command for command, _ in taken) == 2
