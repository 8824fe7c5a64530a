"""docs/manifest.md: every table and key is in it, as the models have them, and its example loads."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from repro_tui.manifest import tasks
from repro_tui.manifest.loading import load
from repro_tui.manifest.schema import manifest_schema
from repro_tui.manifest.trees import tree_digest, tree_files

DOCS = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
SCHEMA = manifest_schema()
HEADINGS = {
    "Manifest": "### Top level", "Experiment": "### `experiment`", "Paper": "#### `experiment.paper`",
    "ImagePins": "### `image`", "Environment": "### `environment`", "Artifact": "### `artifacts`",
    "PipSource": '`type = "pip"`', "AptSource": '`type = "apt"`', "NpmSource": '`type = "npm"`',
    "HubSource": '`type = "hub"`', "GitSource": '`type = "git"`', "HttpsSource": '`type = "https"`',
    "LocalSource": '`type = "local"`', "RunSource": '`type = "run"`', "Task": "### `task`", "Split": "### `splits`",
    "Stage": "### `stage`", "Join": "#### `splits.NAME.joins`", "Determinism": "### `determinism`",
    "Resources": "### `resources`", "ExpectedMetric": "#### `expected.metrics`",
    "ExpectedDigest": "#### `expected.digests`", "Verify": "### `verify`", "Claim": "### `claims`", "Recorded": "### `recorded`",
}  # fmt: skip
"""Above which table of the document the keys of a model are; `Expected` has its two keys as headings."""


def documented(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading: the cells after the key, by key."""
    _, found, below = DOCS.partition(f"\n{heading}")
    assert found, f"docs/manifest.md has no {heading}"
    table = re.search(r"^\| key .*?\n\n", below, re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = [row.strip("| ").split(" | ") for row in table[0].strip().splitlines()[2:]]
    return {row[0].strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_every_table_is_documented() -> None:
    of_tasks = {tasks.find(name).hyperparameters.__name__ for name in tasks.builtin_names()}
    assert set(HEADINGS) == {"Manifest", *SCHEMA["$defs"]} - {"Expected"} - of_tasks


@pytest.mark.parametrize("name", HEADINGS)
def test_every_key_is_documented_with_its_default(name: str) -> None:
    table = SCHEMA if name == "Manifest" else SCHEMA["$defs"][name]
    rows = documented(HEADINGS[name])
    assert list(rows) == list(table["properties"])
    for key, schema in table["properties"].items():
        default = rows[key][-2]
        if key in table.get("required", ()):
            assert default == "needed", key
        elif "default" in schema:
            assert default == f"`{as_toml(schema['default'])}`", key
        else:
            assert default == "none", key
        for choice in schema.get("enum", ()):
            assert f'`"{choice}"`' in rows[key][0], key
        assert len(rows[key][-1]) > 5, f"{key} has no meaning"


def example(number: int) -> str:
    return str(re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)[number])


def test_the_example_loads_and_shows_every_table(tmp_path: Path) -> None:
    lock = b"torch==2.13.0\n"
    (tmp_path / "torch-cpu.txt").write_bytes(lock)
    path = tmp_path / "example.toml"
    path.write_text(example(0).replace("3" * 64, hashlib.sha256(lock).hexdigest()))
    loaded = load(path)
    shown = loaded.manifest.model_fields_set
    assert shown == set(type(loaded.manifest).model_fields) - {"recorded", "verify", "stages"}, (
        "a record belongs to a run, a series to seeds, and there is one task or stages"
    )
    assert {source.type for artifact in loaded.manifest.artifacts for source in artifact.sources} >= {"pip", "hub"}


def test_the_example_of_a_command_loads(tmp_path: Path) -> None:
    lock = b"torch==2.13.0\n"
    (tmp_path / "torch-cpu.txt").write_bytes(lock)
    text = example(0).replace("3" * 64, hashlib.sha256(lock).hexdigest())
    task, hyperparameters = example(1).split("[hyperparameters]")
    text = re.sub(r"\[task\].*?\n\n", lambda _: task, text, flags=re.DOTALL)
    text = re.sub(
        r"\[hyperparameters\].*?\n\n", lambda _: f"[hyperparameters]{hyperparameters}\n", text, flags=re.DOTALL
    )
    code = (
        '[[artifacts]]\nname = "my-code"\nkind = "code"\npath = "code"\nbytes = 1\n'
        f'tree_sha256 = "{"0" * 64}"\nsources = [{{ type = "local", path = "code" }}]\n'
    )
    path = tmp_path / "example.toml"
    path.write_text(text.replace("[task]", f"{code}\n[task]"))
    found = load(path).manifest.task
    assert found is not None
    assert found.command is not None


def test_the_shell_line_for_a_folder_gives_its_digest(tmp_path: Path) -> None:
    (line,) = re.findall(r"^    (find \. .*)$", DOCS, re.MULTILINE)
    for name in ("b.txt", "a/z.txt", "a-b/x y.txt", "Z", "é"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
        file.chmod(0o644)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == tree_digest(tree_files(tmp_path))
