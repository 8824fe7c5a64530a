"""Corpora as texts, and texts as blocks."""

from pathlib import Path
from typing import Any

import pytest

from repro_tui.tasks.common import blocks, corpus
from repro_tui.tasks.common.job import TaskError

PLAYS = {"a_gut.txt": "To be, or not", "b_gut.txt": "Who's thére?", "a_gut_f.txt": "To bee", "notes.md": "no"}


@pytest.fixture
def plays(tmp_path: Path) -> Path:
    folder = tmp_path / "plays"
    folder.mkdir()
    for name, text in PLAYS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def split(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "format": "texts", "text": "text", "label": "label", **more}


def settings(**changed: Any) -> corpus.Settings:
    return corpus.Settings(**{"files": "*_gut.txt", **changed})


def test_a_folder_gives_the_files_of_the_pattern_in_order(plays: Path) -> None:
    assert corpus.read("train", split(plays), settings=settings()) == ["To be, or not", "Who's thére?"]
    assert len(corpus.read("train", split(plays), settings=settings(files="*.txt"))) == 3
    assert corpus.read("train", split(plays / "notes.md"), settings=settings()) == ["no"]
    assert corpus.read("train", split(plays.parent, folder="plays"), settings=settings())[0] == "To be, or not"
    (plays / "list").write_text("b_gut.txt\n\na_gut_f.txt\n")
    assert corpus.read("train", split(plays, listed_in="list"), settings=settings()) == ["Who's thére?", "To bee"]


def test_texts_are_cleaned_and_tables_read_without_a_label(plays: Path, tmp_path: Path) -> None:
    cleaned = corpus.read("train", split(plays, clean=["lowercase"]), settings=settings())
    assert cleaned == ["to be, or not", "who's thére?"]
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    rows = split(tmp_path / "rows.jsonl", format="jsonl")
    assert corpus.read("train", rows, settings=settings()) == ["one", "two"]


def test_parts_are_whole_texts_and_counted(plays: Path, events: Any) -> None:
    specs = {
        "train": split(plays, examples=2), "test": {"part_of": "train", "fraction": 0.5, "seed": 1, "examples": 1},
    }  # fmt: skip
    splits = corpus.load_splits(specs, settings())
    assert sorted(splits["train"] + splits["test"]) == ["To be, or not", "Who's thére?"]
    by_split = {row[0]: row[1:] for row in events("table")[0]["rows"]}
    assert sorted(by_split.values()) == [[1, 12, 13], [1, 13, 13]]  # é is two bytes
    with pytest.raises(TaskError, match=r"splits.train has 2 examples, 3 are pinned"):
        corpus.load_splits({"train": split(plays, examples=3)}, settings())
    with pytest.raises(TaskError, match=r"splits.train has no texts left"):
        corpus.load_splits(
            {"train": split(plays), "test": {"part_of": "train", "fraction": 0.9, "seed": 1}}, settings()
        )


def test_the_encoding_is_what_the_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("thére “so”".encode("cp1252"))
    one = split(tmp_path / "a.txt")
    assert corpus.read("train", one, settings=settings(encoding="cp1252")) == ["thére “so”"]
    with pytest.raises(TaskError, match=r"a.txt is not utf-8 at byte 2. Set hyperparameters.encoding"):
        corpus.read("train", one, settings=settings())


def test_what_gutenberg_adds_is_left_out(tmp_path: Path) -> None:
    text = "Title\n*** START OF THE PROJECT GUTENBERG EBOOK 1 ***\n\nText\nitself.\n\n*** END OF THE PROJECT GUTENBERG EBOOK 1 ***\nLicence\n"
    (tmp_path / "a.txt").write_text(text)
    one = split(tmp_path / "a.txt")
    assert corpus.read("train", one, settings=settings(gutenberg=True)) == ["Text\nitself.\n"]
    assert corpus.read("train", one, settings=settings()) == [text]
    (tmp_path / "a.txt").write_text(
        "*** END OF THIS PROJECT GUTENBERG EBOOK 1 ***\n*** START OF THIS PROJECT GUTENBERG EBOOK 1 ***"
    )
    with pytest.raises(TaskError, match="lacks Project Gutenberg's lines"):
        corpus.read("train", one, settings=settings(gutenberg=True))


def test_a_folder_without_texts_says_which_pattern(plays: Path) -> None:
    with pytest.raises(TaskError, match=r"has no texts named '\*.doc'"):
        corpus.read("train", split(plays), settings=settings(files="*.doc"))
    (plays / "list").write_text("nowhere.txt\n")
    with pytest.raises(TaskError, match=r"nowhere.txt: No such file"):
        corpus.read("train", split(plays, listed_in="list"), settings=settings())


def test_blocks_predict_every_token_once_and_share_out_the_bytes() -> None:
    run = ([0, 5, 6, 7, 0, 8, 0], [0, 1, 2, 1, 0, 3, 0])
    made = blocks.cut(run, 4)
    assert made.tokens == [[0, 5, 6, 7, 0], [0, 8, 0]]
    assert made.scored == [4, 2]
    assert made.bytes == [4, 3]
    assert sum(made.scored) == len(run[0]) - 1
    exact = blocks.cut(run, 3)
    assert [tokens[1:] for tokens in exact.tokens] == [[5, 6, 7], [0, 8, 0]]


def test_spread_takes_blocks_evenly() -> None:
    made = blocks.cut((list(range(21)), [1] * 21), 2)
    assert [tokens[0] for tokens in blocks.spread(made, 4).tokens] == [0, 4, 10, 14]
    assert blocks.spread(made, None) == blocks.spread(made, 99) == made
