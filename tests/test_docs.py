"""The pages of docs/ build without a warning, and say what the models and the parser say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from repro_tui.cli.main import COMMANDS
from repro_tui.manifest.schema import manifest_schema

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-d", folder / "trees", DOCS, folder / "html"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_key_of_the_manifest_is_in_its_reference(built: Path) -> None:
    page = (built / "manifest-reference.html").read_text(encoding="utf-8")
    schema = manifest_schema()
    keys = {key for table in (schema, *schema["$defs"].values()) for key in table.get("properties", {})}
    missing = {key for key in keys if f'<span class="pre">{key}</span>' not in page}
    assert not missing


def test_every_command_is_in_its_reference(built: Path) -> None:
    page = (built / "cli-reference.html").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f'id="{command}"' not in page] == []


def test_every_page_is_reached_from_the_index() -> None:
    pages = ((DOCS / name).read_text(encoding="utf-8") for name in ("index.md", "tasks.md"))
    trees = "".join(
        tree for page in pages for tree in re.findall(r"^```\{toctree\}(.*?)^```", page, re.MULTILINE | re.DOTALL)
    )
    listed = set(re.findall(r"^([a-z-]+)$", trees, re.MULTILINE))
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} == listed
