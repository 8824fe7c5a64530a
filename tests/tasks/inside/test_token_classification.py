"""Tags of words: reading, windows of tokens, scores by hand, and the whole task on a tiny random encoder."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from repro_tui.tasks import token_classification
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common import tagged
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.tagged import Sentence

HYPERPARAMETERS: dict[str, Any] = asdict(
    token_classification.Settings(learning_rate=0.02, epochs=6, train_batch_size=8, max_length=8, dropout=0.0)
)

CONLL = {"format": "conll", "text": 0, "label": 1}

Events = Callable[..., list[dict[str, Any]]]
Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Start:
    """Return a function that runs the task on splits, some hyperparameters changed."""

    def start_one(splits: dict[str, Any], **changed: Any) -> tuple[int, str]:
        body = {
            "model": str(checkpoint), "seed": 1, "level": "bitwise", "threads": 1, "cpu_capability": "avx2",
            "hyperparameters": HYPERPARAMETERS | changed, "splits": splits, "out": str(tmp_path),
        }  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(tmp_path / "job.json"))
        capfd.readouterr()
        code = task.run(token_classification.main)
        return code, capfd.readouterr().err

    return start_one


def conll(folder: Path, name: str, count: int) -> dict[str, Any]:
    """Write sentences in which "good bad" is a creative-work and "fine" a place; return the split."""
    lines = []
    for n in range(count):
        lines += [f"w{(n * 7 + i) % 60}\tO" for i in range(n % 9)]
        lines += ["good\tB-creative-work", "bad\tI-creative-work"] if n % 2 else ["fine\tB-place"]
        lines.append("\t" if n % 3 else "")  # an empty line, or one of white space alone
    path = folder / name
    path.write_text("\n".join(lines))
    return {"path": str(path), "examples": count, **CONLL}


def test_entities_are_learnt_and_reported_by_type(start: Start, tmp_path: Path, events: Events) -> None:
    splits = {name: conll(tmp_path, name, count) for name, count in (("train", 64), ("test", 20))}
    splits["validation"] = {"part_of": "train", "fraction": 0.25, "seed": 1, "stratified": False, "examples": 16}
    code, stderr = start(splits, select_best_on="entity_f1", gradient_accumulation_steps=2)
    assert code == 0, stderr
    final = [event for event in events("metric") if event["split"] == "test"]
    overall = {event["name"]: event["value"] for event in final if "class" not in event}
    assert list(overall) == ["accuracy", "entity_precision", "entity_recall", "entity_f1", "loss"]
    assert overall["entity_f1"] > 0.9
    by_type = {(event["class"], event["name"]) for event in final if "class" in event}
    assert ("creative-work", "entity_f1") in by_type
    assert ("place", "entity_recall") in by_type
    lines = (tmp_path / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "sentence\tword\ttag\tpredicted"
    assert len(lines) == 1 + sum(n % 9 + 1 + n % 2 for n in range(20))  # no word is left out
    assert [line.split("\t")[0] for line in lines[1:4]] == ["0", "1", "1"]


def test_parts_of_speech_are_counted_word_by_word(start: Start, tmp_path: Path, events: Events) -> None:
    brown = tmp_path / "brown"
    brown.mkdir()
    for n in range(10):
        (brown / f"c{n}").write_text(f"\n\n\tw{n}/nn-tl good/jj bad/jj-hl\n\n\t1/2/cd fine/rb*\n")
    (brown / "README").write_text("No word of this has a tag.")
    splits = {
        "train": {"path": str(brown), "format": "word-tag", "examples": 20, "classes": {"nn": 10, "jj": 20, "cd": 10,
                  "rb": 10}},
        "test": {"part_of": "train", "fraction": 0.2, "seed": 1, "stratified": False, "examples": 4},
    }  # fmt: skip
    code, stderr = start(splits, tags="basic", files="c?")
    assert code == 0, stderr
    final = {e["name"]: e["value"] for e in events("metric") if e["split"] == "test" and "class" not in e}
    assert list(final) == ["accuracy", "loss"]
    lines = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text().splitlines()[1:]]
    assert final["accuracy"] == pytest.approx(sum(tag == found for _, _, tag, found in lines) / len(lines))
    assert [line[1] for line in lines[3:5]] == ["1/2", "fine"]
    assert [line[1] for line in lines if line[2] == "nn"] == ["w4", "w7"]  # two whole files


@pytest.mark.parametrize(
    ("given", "basic"),
    [
        ("nn", "nn"), ("nn-tl", "nn"), ("fw-in", "in"), ("np$-tl-hl", "np$"), ("ppss+bez", "ppss"),
        ("bez*", "bez"), ("*", "*"), ("*-nc", "*"), ("--", "--"), ("---hl", "--"), ("fw-*-tl", "*"), ("fw-at+nn-tl", "at"),
        ("wps+hvd*", "wps"), ("(-hl", "("), ("``", "``"),
    ],
)  # fmt: skip
def test_brown_tags_lose_their_marks(given: str, basic: str) -> None:
    assert tagged.basic_tag(given) == basic


def test_a_long_sentence_goes_on_in_the_next_input(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    words = ["w1", "\u200d", "w2-w3", "w4", "w5", "w1-w2-w3-w4-w5", "w6"]
    split = tagged.encode([Sentence(words, ["O"] * 7), Sentence(["w7"], ["O"])], [list(range(7)), [9]], tokenizer, 6)
    read = [tokenizer.convert_ids_to_tokens(example["input_ids"]) for example in split.encoded]
    # Four tokens beside [CLS] and [SEP]; the joiner is nothing to the tokenizer; "-" is a token it does not know.
    assert read == [
        ["[CLS]", "w1", "[UNK]", "[SEP]"],
        ["[CLS]", "w2", "[UNK]", "w3", "w4", "[SEP]"],
        ["[CLS]", "w5", "[SEP]"],
        ["[CLS]", "w1", "[UNK]", "w2", "[UNK]", "[SEP]"],
        ["[CLS]", "w6", "[SEP]"],
        ["[CLS]", "w7", "[SEP]"],
    ]
    assert split.places == [[1, 2], [1, 4], [1], [1], [1], [1]]
    assert split.targets == [[0, 1], [2, 3], [4], [5], [6], [9]]
    assert split.sentences == [0, 0, 0, 0, 0, 1]
    assert split.lengths == [4, 6, 3, 6, 3, 3]


def test_scores_are_those_worked_out_by_hand() -> None:
    true = [["B-person", "I-person", "O", "B-place"], ["B-a-work", "O", "B-b-work"]]
    predicted = [["B-person", "I-person", "O", "O"], ["B-b-work", "O", "B-b-work"]]
    # Four entities, three predicted, of which two are right.
    overall, by_type, support = tagged.entity_scores(true, predicted)
    assert overall == pytest.approx({"entity_precision": 2 / 3, "entity_recall": 2 / 4, "entity_f1": 4 / 7})
    assert by_type["b-work"] == pytest.approx({"entity_precision": 0.5, "entity_recall": 1.0, "entity_f1": 2 / 3})
    assert by_type["place"] == {"entity_precision": 0.0, "entity_recall": 0.0, "entity_f1": 0.0}
    assert support == {"person": 1, "place": 1, "a-work": 1, "b-work": 1}
    # An entity that is cut short is wrong, and so is one that two predictions share.
    overall, _, _ = tagged.entity_scores([["B-x", "I-x", "I-x"]], [["B-x", "I-x", "B-x"]])
    assert overall["entity_f1"] == 0.0


def test_entities_that_begin_with_i_are_counted() -> None:
    # IOB1: B- only where an entity follows another of its type.
    true = [["I-x", "I-x", "O", "I-y", "B-y"], ["I-a-b", "I-x"]]
    _, by_type, support = tagged.entity_scores(true, true)
    assert support == {"a-b": 1, "x": 2, "y": 2}
    assert {scores["entity_f1"] for scores in by_type.values()} == {1.0}


def loaded(path: Path, content: str, **changed: Any) -> list[Sentence]:
    path.write_text(content, encoding="utf-8")
    return tagged.load_splits({"train": {"path": str(path), **CONLL, **changed}})["train"]


def test_skip_and_first_count_sentences(tmp_path: Path) -> None:
    content = "".join(f"w{n} O\nx{n} B-x\n\n" for n in range(6))
    some = loaded(tmp_path / "a", content, skip=1, first=3, examples=3, classes={"O": 3, "B-x": 3})
    assert [sentence.words[0] for sentence in some] == ["w1", "w2", "w3"]
    assert [sentence.words[0] for sentence in loaded(tmp_path / "a", content, skip=4)] == ["w4", "w5"]
    train = {"path": str(tmp_path / "a"), **CONLL, "skip": 2}
    part = {"part_of": "train", "fraction": 0.5, "seed": 1, "stratified": False, "first": 1, "examples": 1}
    splits = tagged.load_splits({"train": train, "test": part})
    assert [len(split) for split in splits.values()] == [2, 1]


def test_conll_u_is_read_without_comments_ranges_and_words_that_nobody_wrote(tmp_path: Path) -> None:
    rows = [("1-2", "al", "_"), ("1", "a", "ADP"), ("2", "el", "DET"), ("8.1", "mar", "NOUN"), ("9", "#", "SYM")]
    lines = ["# sent_id = 1", "# text = al #", *("\t".join([n, word, "_", tag, *"______"]) for n, word, tag in rows)]
    assert loaded(tmp_path / "u", "\n".join([*lines, "", ""]), text=1, label=3) == [
        Sentence(["a", "el", "#"], ["ADP", "DET", "SYM"])
    ]
    # With white space between the columns there are no comments, and "1-2" may be a word.
    assert loaded(tmp_path / "w", "# O\n1-2 B-x\n") == [Sentence(["#", "1-2"], ["O", "B-x"])]


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    assert loaded(tmp_path / "b", "\ufeffa\tO\nb\tB-x\n") == [Sentence(["a", "b"], ["O", "B-x"])]
    path = tmp_path / "t"
    path.write_text("\ufeffa/nn b/vb\n", encoding="utf-8")
    assert tagged.read("train", {"path": str(path), "format": "word-tag"}) == [[Sentence(["a", "b"], ["nn", "vb"])]]


def test_the_metrics_are_those_of_the_written_weights(
    start: Start, checkpoint: Path, tmp_path: Path, events: Events
) -> None:
    splits = {name: conll(tmp_path, name, count) for name, count in (("train", 64), ("test", 20))}
    code, stderr = start(splits, epochs=1, learning_rate=0.004)
    assert code == 0, stderr
    found = {e["name"]: e["value"] for e in events("metric") if e["split"] == "test" and "class" not in e}
    lines = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text().splitlines()[1:]]
    assert found["accuracy"] == pytest.approx(sum(tag == predicted for _, _, tag, predicted in lines) / len(lines))

    tags = sorted({tag for _, _, tag, _ in lines})
    model = BertForTokenClassification(BertConfig.from_pretrained(checkpoint, num_labels=len(tags))).eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    numbers = AutoTokenizer.from_pretrained(checkpoint).convert_tokens_to_ids
    nats, predicted = [], []
    for sentence in range(20):
        words = [(word, tag) for number, word, tag, _ in lines if number == str(sentence)]
        for first in range(0, len(words), 6):  # eight tokens, [CLS] and [SEP] among them
            some = words[first : first + 6]
            ids = numbers(["[CLS]", *(word for word, _ in some), "[SEP]"])
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, 1:-1]
            predicted += [tags[place] for place in logits.argmax(-1)]
            nats += [-row.log_softmax(0)[tags.index(tag)].item() for row, (_, tag) in zip(logits, some, strict=True)]
    assert predicted == [line[3] for line in lines]
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert 0 < found["accuracy"] < 1


@pytest.mark.parametrize(
    ("content", "changed", "hyperparameters", "words"),
    [
        ("a\tO\nb\n", {}, {}, "line 2: no word in column 0 with a tag in column 1"),
        ("a\tO\nb\tnn\n", {}, {}, "the tag 'nn', which is none of O, B-…, I-…. Use tags = \"words\""),
        ("a\tO\nb\tO\n", {}, {}, "the tags ['O'] only"),
        ("a\tO\nb\tB-x\n", {"text": "word"}, {}, "columns of the format conll are given by number"),
        ("a\tO\n\nb\tB-x\n", {"examples": 3}, {}, "has 2 examples, 3 are pinned"),
        ("a\tO\n\nb\tB-x\n", {"classes": {"O": 1, "B-x": 2}}, {}, "another class balance: B-x 1 (pinned 2)"),
        ("a/b c\n", {"format": "word-tag"}, {}, "line 1: a word without /tag"),
        ("\n\n", {}, {}, "has no sentences"),
        ("a\tO\nb\tB-x\n", {"clean": ["lowercase"]}, {}, "`clean` is about whole texts"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(
    start: Start, tmp_path: Path, content: str, changed: dict[str, Any], hyperparameters: dict[str, Any], words: str
) -> None:
    (tmp_path / "bad").write_text(content)
    spec = {"path": str(tmp_path / "bad"), **CONLL, **changed}
    code, stderr = start({"train": spec, "test": spec}, **hyperparameters)
    assert code == 1
    assert words in stderr
    assert "Traceback" not in stderr


def test_a_tag_that_training_does_not_have_is_named() -> None:
    with pytest.raises(TaskError, match=r"splits\.test has the tag 'B-y', which no training example has"):
        token_classification.label_numbers("test", [Sentence(["a"], ["B-y"])], ["B-x", "O"])
