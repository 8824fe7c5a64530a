"""Reading splits, drawing parts of them, and ordering their examples."""

from pathlib import Path
from typing import Any

import pytest

from repro_tui.tasks.common.batches import evaluation_batches, training_batches
from repro_tui.tasks.common.data import draw, label_numbers, label_set, load_splits, read
from repro_tui.tasks.common.job import TaskError


def spec(path: Path, **changed: Any) -> dict[str, Any]:
    return {"path": str(path), "format": "tsv", "text": "text", "label": "label", "text_pair": None, **changed}


def written(folder: Path, content: str, name: str = "train.tsv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


HEADED = 'text\tlabel\n"quoted" \u2028 text\tpos\nplain\tneg\n'


@pytest.mark.parametrize(
    ("content", "changed", "expected"),
    [
        (HEADED, {}, [('"quoted" \u2028 text', "pos"), ("plain", "neg")]),
        ("one\t1\r\ntwo\t0\r\n", {"text": 0, "label": 1}, [("one", "1"), ("two", "0")]),
        ('label,text\n1,"a, ""b""\nc"\n', {"format": "csv"}, [('a, "b"\nc', "1")]),
        ('{"text": "a", "label": 1}\n\n{"text": "b", "label": "x"}\n', {"format": "jsonl"}, [("a", "1"), ("b", "x")]),
        ("Category\tText\nd\tstring\nclass\t\nearn\tprofit rose\n", {"format": "orange-tab", "text": "Text",
         "label": "Category"}, [("profit rose", "earn")]),
        ("Category\tText\nd\tstring\nclass\t\nearn\tprofit rose\n", {"format": "orange-tab", "text": 1, "label": 0},
         [("profit rose", "earn")]),
    ],
)  # fmt: skip
def test_every_format_is_read(
    tmp_path: Path, content: str, changed: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    rows = read("train", spec(written(tmp_path, content), **changed))
    assert [(row["text"], row["label"]) for row in rows] == expected


def test_pairs_are_read(tmp_path: Path) -> None:
    rows = read("train", spec(written(tmp_path, "a\tb\tyes\n"), text=0, text_pair=1, label=2))
    assert rows == [{"text": "a", "text_pair": "b", "label": "yes"}]


@pytest.mark.parametrize(
    ("content", "changed", "words"),
    [
        (HEADED, {"text": "body"}, r"splits\.dev: .*line 1: no column 'body' among text, label"),
        ("a\t1\nb\n", {"text": 0, "label": 1}, r"line 2: 1 columns, column 1 is asked for"),
        ("a\t1\nb\t\n", {"text": 0, "label": 1}, r"line 2: the label is empty"),
        ('{"text": "a", "label": 1}\n{"text"\n', {"format": "jsonl"}, r"line 2: not JSON"),
        ('{"text": "a"}\n', {"format": "jsonl"}, r"line 1: no field 'label'"),
        (
            '{"text": "a", "label": 0}\n{"text": "b", "label": null}\n',
            {"format": "jsonl"},
            r"line 2: the label is null",
        ),
        ('{"text": null, "label": "x"}\n', {"format": "jsonl"}, r"line 1: the text is null"),
        ("text\tlabel\n", {}, r"has no examples"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(
    tmp_path: Path, content: str, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        read("dev", spec(written(tmp_path, content), **changed))


def test_a_missing_file_and_one_in_another_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"splits\.dev: .*absent: No such file"):
        read("dev", spec(tmp_path / "absent"))
    (tmp_path / "latin").write_bytes("caf\xe9\t1\n".encode("latin-1"))
    with pytest.raises(TaskError, match="is not UTF-8 at byte 3"):
        read("dev", spec(tmp_path / "latin", text=0, label=1))


def test_a_part_is_a_pure_function_of_count_fraction_and_seed() -> None:
    rest, part = draw(20, 0.13, 1)
    assert sorted(rest + part) == list(range(20))
    assert part == [4, 7, 11]  # as `printf 1:4 | sha256sum` orders them: 7, 11, 4 come first
    assert draw(20, 0.13, 2)[1] != part


def test_a_stratified_part_has_every_label_in_proportion() -> None:
    groups = ["a"] * 70 + ["b"] * 25 + ["c"] * 6
    _, part = draw(101, 0.1, 5, groups=groups)
    chosen = [groups[i] for i in part]
    # 11 in all; shares 7.62, 2.72, 0.65: the two largest remainders get the two that are left.
    assert [chosen.count(label) for label in "abc"] == [7, 3, 1]
    _, part = draw(100, 0.1, 5, groups=["a"] * 60 + ["b"] * 40)
    assert sum(i < 60 for i in part) == 6


def test_parts_leave_their_parent_and_counts_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"text {n}\t{n % 2}\n" for n in range(20)))
    train = spec(path, text=0, label=1, examples=20)
    part = {"part_of": "train", "fraction": 0.2, "seed": 1, "stratified": True, "examples": 4}
    splits = load_splits({"validation": part, "train": train})
    assert (len(splits["train"]), len(splits["validation"])) == (16, 4)
    assert not set(splits["train"]["text"]) & set(splits["validation"]["text"])
    assert sorted(splits["validation"]["label"]) == ["0", "0", "1", "1"]
    assert len(load_splits({"train": {**train, "first": 7, "examples": 7}})["train"]) == 7

    with pytest.raises(TaskError, match=r"splits\.train has 20 examples, 21 are pinned"):
        load_splits({"train": {**train, "examples": 21}})
    with pytest.raises(TaskError, match=r"splits\.validation has 4 examples, 5 are pinned"):
        load_splits({"train": train, "validation": {**part, "examples": 5}})
    with pytest.raises(TaskError, match="no split 'other'"):
        load_splits({"train": train, "validation": {**part, "part_of": "other"}})


def test_labels_come_from_the_training_split(tmp_path: Path) -> None:
    columns = {"text": 0, "label": 1}
    splits = load_splits({
        "train": spec(written(tmp_path, "a\tpos\nb\tneg\n"), **columns),
        "test": spec(written(tmp_path, "c\tneg\nd\tneutral\n", "test.tsv"), **columns),
        "one": spec(written(tmp_path, "c\tneg\n", "one.tsv"), **columns),
    })  # fmt: skip
    labels = label_set(splits["train"])
    assert labels == ["neg", "pos"]
    assert label_numbers("train", splits["train"], labels) == [1, 0]
    with pytest.raises(TaskError, match=r"splits\.test has the label 'neutral', which no training example has"):
        label_numbers("test", splits["test"], labels)
    with pytest.raises(TaskError, match=r"labels \['neg'\] only"):
        label_set(splits["one"])


LENGTHS = [3 + (n * 7919) % 120 for n in range(2003)]


def padded(batches: list[list[int]]) -> int:
    return sum(max(LENGTHS[i] for i in batch) * len(batch) for batch in batches)


@pytest.mark.parametrize("grouped", [True, False])
def test_every_example_is_in_one_batch_and_the_order_depends_on_seed_and_epoch_only(grouped: bool) -> None:
    def batches(seed: int, epoch: int) -> list[list[int]]:
        return training_batches(LENGTHS, 16, seed=seed, epoch=epoch, grouped=grouped)

    assert sorted(i for batch in batches(1, 0) for i in batch) == list(range(2003))
    assert sorted(map(len, batches(1, 0)))[:2] == [2003 % 16, 16]
    assert batches(1, 0) == batches(1, 0)
    assert len({str(batches(seed, epoch)) for seed, epoch in ((1, 0), (1, 1), (5, 0))}) == 3


def test_grouping_saves_padding_without_sorting_the_epoch() -> None:
    grouped = training_batches(LENGTHS, 16, seed=1, epoch=0, grouped=True)
    plain = training_batches(LENGTHS, 16, seed=1, epoch=0, grouped=False)
    tokens = sum(LENGTHS)
    assert padded(grouped) < 1.05 * tokens < 1.5 * tokens < padded(plain)
    longest = [max(LENGTHS[i] for i in batch) for batch in grouped]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_evaluation_goes_from_long_to_short_over_all_examples() -> None:
    batches = evaluation_batches(LENGTHS, 64)
    order = [LENGTHS[i] for batch in batches for i in batch]
    assert order == sorted(LENGTHS, reverse=True)
    assert padded(batches) < 1.05 * sum(LENGTHS)
