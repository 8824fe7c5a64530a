"""Every command of the tutorials, in their order, as their readers would give them: the whole way from a script to a verdict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
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


def follow(page: Path, folder: Path, environment: dict[str, str], become: Sequence[str] = ()) -> None:
    """Do what a page says; every command has to end as the page says."""
    for kind, text in steps(page):
        if kind != "run":
            with (folder / kind).open("a", encoding="utf-8") as stream:
                stream.write(text)
            continue
        if text.startswith("cd "):
            folder = folder / text.removeprefix("cd ")
            continue
        expected = _EXIT.search(text)
        done = subprocess.run(
            [*become, "bash", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        wanted = int(expected[1]) if expected else 0
        assert done.returncode == wanted, (
            f"{page.name}: {text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="rt-tutorial-", dir="/var/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_from_a_script_to_a_verdict_without_a_network(open_folder: Path) -> None:
    """The author's tutorial, then the reviewer's: another user, another folder, no network, nothing cached."""
    become = python_of_nobody() if os.geteuid() == 0 else None
    work = open_folder / "author"
    shutil.copytree(ROOT / "examples", work / "examples")
    bin_folder = Path(sysconfig.get_path("scripts"))
    follow(
        ROOT / "docs/tutorial-author.md",
        work,
        {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "REPRO_TUI_STORE": str(open_folder / "store"),
        },
    )
    bundle = work / "my-paper/digits.repro.tar"
    assert bundle.is_file()

    reader = open_folder / "reader"
    (reader / "home").mkdir(parents=True)
    (reader / "bin").mkdir()
    shutil.copy(bundle, reader)
    command = [*become, "-P"] if become else [sys.executable, "-P"]
    program = reader / "bin/repro-tui"
    program.write_text(f'#!/bin/bash\nexec {command[-2]} -m repro_tui "$@"\n')
    program.chmod(0o755)
    environment = {"HOME": str(reader / "home"), "PATH": f"{reader / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    if become:
        for path in (reader, *reader.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        prefix = ["unshare", "--net", *become[:-1]]
    else:
        prefix = ["unshare", "--user", "--map-current-user", "--net"]
    follow(ROOT / "docs/tutorial-reviewer.md", reader, environment, prefix)
