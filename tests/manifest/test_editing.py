"""Changes to a TOML text leave every other byte as it is."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from repro_tui.errors import InfrastructureError, ManifestError
from repro_tui.manifest.editing import Document, render

TEXT = """\
# what it is
schema = 1

[image]   # where from
recipe = "python"  # the base

# about the environment
[environment]
threads = 2

# below it
[environment.variables]
A = "1"

# data
[[artifacts]]
name = "one"
sources = [{ type = "local", path = "x" }]

# more data
[[artifacts]]
name = "two"

[[artifacts.sources]]
type = "local"
path = "y"

# the end
[task]
command = [
  "python3",  # here
  "train.py",
]
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("schema", 2, "schema = 1\n", "schema = 2\n"),
        ("top", 1, "schema = 1\n", "schema = 1\ntop = 1\n"),
        ("image.recipe", "b", 'recipe = "python"  #', 'recipe = "b"  #'),
        ("image.new", True, "# the base\n", "# the base\nnew = true\n"),
        ("environment.lock", "l.txt", "threads = 2\n", 'threads = 2\nlock = "l.txt"\n'),
        ("environment.variables.B", "2", 'A = "1"\n', 'A = "1"\nB = "2"\n'),
        ("artifacts.one.bytes", 5, 'path = "x" }]\n', 'path = "x" }]\nbytes = 5\n'),
        ("artifacts.one.sources[0].files", ["a"], 'path = "x" }', 'path = "x", files = ["a"] }'),
        ("artifacts.two.bytes", 5, 'name = "two"\n', 'name = "two"\nbytes = 5\n'),
        ("artifacts[1].sources[0].files", ["a"], 'path = "y"\n', 'path = "y"\nfiles = ["a"]\n'),
        ("task.command[1]", "t.py", '  "train.py",', '  "t.py",'),
        ("recorded.file", "r.json", '  "train.py",\n]\n', '  "train.py",\n]\n\n[recorded]\nfile = "r.json"\n'),
    ],
)
def test_one_key_is_changed(path: str, value: object, old: str, new: str) -> None:
    document = Document(TEXT)
    document.set(path, value)
    assert document.text() == TEXT.replace(old, new, 1)
    assert document.get(path) == value
    again = document.text()
    document.set(path, value)
    assert document.text() == again


def test_line_ends_and_indents_stay() -> None:
    document = Document("[a]\r\n  x = 1 # one\r\n\r\n[b]\r\ny.z = 1\r\n")
    document.set("a.w", 2)
    document.set("b.y.k", "s")
    assert document.text() == '[a]\r\n  x = 1 # one\r\n  w = 2\r\n\r\n[b]\r\ny.z = 1\r\ny.k = "s"\r\n'


def test_a_file_without_a_last_line_break() -> None:
    document = Document("[a]\nx = 1")
    document.set("a.y", 2)
    document.set("b.z", 3)
    assert tomllib.loads(document.text()) == {"a": {"x": 1, "y": 2}, "b": {"z": 3}}


def test_comments_come_and_go() -> None:
    document = Document("x = 1  # FILL IN: a number\n")
    document.set("x", 2, comment="")
    assert document.text() == "x = 2\n"
    document.set("x", 2, comment="two")
    assert document.text() == "x = 2  # two\n"


def test_elements_stand_behind_their_like() -> None:
    document = Document(TEXT)
    document.add_table("artifacts", {"name": "three", "sources": [{"type": "local", "path": "z"}]}, array=True)
    assert (
        'path = "y"\n\n[[artifacts]]\nname = "three"\nsources = [{ type = "local", path = "z" }]\n' in document.text()
    )
    document.add_table("artifacts.one.sources", {"type": "https", "url": "u"}, array=True)
    assert document.get("artifacts.one.sources") == [
        {"type": "local", "path": "x"}, {"type": "https", "url": "u"},
    ]  # fmt: skip
    document.add_table("expected.metrics", {"name": "accuracy", "value": 0.5}, array=True, comment="why\nso")
    assert document.text().endswith('# why\n# so\n[[expected.metrics]]\nname = "accuracy"\nvalue = 0.5\n')


def test_what_is_removed_takes_nothing_with_it() -> None:
    document = Document(TEXT)
    assert document.remove("environment.threads")
    assert document.remove("artifacts.one")
    assert document.remove("task.command[0]")
    assert not document.remove("task.code")
    assert tomllib.loads(document.text()) == {
        "schema": 1, "image": {"recipe": "python"}, "environment": {"variables": {"A": "1"}},
        "artifacts": [{"name": "two", "sources": [{"type": "local", "path": "y"}]}], "task": {"command": ["train.py"]},
    }  # fmt: skip
    assert "# more data" in document.text()


def test_shipped_manifests_are_kept_to_the_byte() -> None:
    for path in sorted(Path("manifests").glob("*.toml")):
        document = Document.load(path)
        text = document.text()
        old = document.get("environment.lock_sha256")
        document.set("environment.lock_sha256", "0" * 64)
        assert document.text() == text.replace(old, "0" * 64)
        document.set("environment.lock_sha256", old)
        assert document.text().encode() == path.read_bytes()
        assert not document.changed


def test_values_are_written_as_toml() -> None:
    value = {"a": [1, 2.5, True, 'q"\n'], "b": {"c d": "x", "none": None}}
    assert tomllib.loads(f"v = {render(value)}")["v"] == {"a": [1, 2.5, True, 'q"\n'], "b": {"c d": "x"}}


def test_saving_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("x = 1\n")
    path.chmod(0o640)
    document = Document.load(path)
    document.set("x", 2)
    document.save()
    assert path.read_text() == "x = 2\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["m.toml"]
    document.set("x", 3)
    path.write_text("x = 9\n")
    with pytest.raises(ManifestError, match="changed by someone else"):
        document.save()
    assert path.read_text() == "x = 9\n"


def test_a_read_only_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("x = 1\n")
    path.chmod(0o444)
    document = Document.load(path)
    document.set("x", 2)
    with pytest.raises(ManifestError, match="read-only") as caught:
        document.save()
    assert "chmod u+w" in caught.value.hint
    assert path.read_text() == "x = 1\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("x = 1\n")
    document = Document.load(path)
    document.set("x", 2)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InfrastructureError):
            document.save()
    finally:
        tmp_path.chmod(0o755)
    assert path.read_text() == "x = 1\n"


def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("x = 1\ny = yes\n")
    with pytest.raises(ManifestError) as caught:
        Document.load(path)
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize(("path", "value"), [("artifacts.four.bytes", 1), ("image", 1), ("schema.x", 1)])
def test_a_change_that_cannot_be_made_names_the_line(path: str, value: object) -> None:
    document = Document(TEXT)
    with pytest.raises(ManifestError):
        document.set(path, value)
    assert document.text() == TEXT
