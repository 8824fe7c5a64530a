"""The task on a tiny random encoder, its windows and spans, and SQuAD's format and metrics."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

from repro_tui.tasks import question_answering
from repro_tui.tasks.common import job as task
from repro_tui.tasks.common import squad, windows
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.windows import Windows, cut
from repro_tui.tasks.question_answering import best_spans

HYPERPARAMETERS: dict[str, Any] = {
    "learning_rate": 0.01, "epochs": 4, "max_steps": None, "train_batch_size": 8, "gradient_accumulation_steps": 1,
    "eval_batch_size": 16, "optimizer": "adamw", "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
    "momentum": 0.9, "weight_decay": 0.0, "schedule": "linear", "warmup_ratio": 0.1, "max_grad_norm": 1.0,
    "precision": "fp32", "select_best_on": None, "evaluate_every": None, "max_length": 16, "doc_stride": 4,
    "max_question_length": 4, "max_answer_length": 3, "null_threshold": None, "length_grouping": True, "dropout": 0.0,
}  # fmt: skip

Events = Callable[..., list[dict[str, Any]]]


def encoded(checkpoint: Path, *questions: squad.Question, **changed: int) -> Windows:
    lengths = {"max_length": 16, "doc_stride": 4, "max_question_length": 4, **changed}
    return windows.encode("dev", list(questions), AutoTokenizer.from_pretrained(checkpoint), **lengths)


def asked(text: str, context: str, *answers: str, number: str = "q") -> squad.Question:
    return squad.Question(number, text, context, tuple(squad.Answer(a, context.index(a)) for a in answers))


def article(number: int, questions: int = 2, *, answerable: bool = True) -> dict[str, Any]:
    """Return an article of one paragraph whose answer is always the word good."""
    context = " ".join([*(f"w{(number * 7 + i) % 60}" for i in range(6 + number % 9)), "good", "w1"])
    answers = [{"text": "good", "answer_start": context.index("good")}] if answerable else []
    entries = [
        {"id": f"{number}-{i}", "question": f" w{i} bad?", "answers": answers, "is_impossible": not answerable}
        for i in range(questions)
    ]
    return {"title": f"T{number}", "paragraphs": [{"context": context, "qas": entries}]}


def written(folder: Path, articles: list[dict[str, Any]], name: str = "squad.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return path


def spec(path: Path, **changed: Any) -> dict[str, Any]:
    return {"path": str(path), "format": "squad", **changed}


@pytest.fixture
def start(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """Return a function that runs the task on these splits and gives its exit code and its folder."""

    def start_one(splits: dict[str, Any], **changed: Any) -> tuple[int, Path]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        body = {
            "model": str(checkpoint), "seed": 1, "level": "bitwise", "threads": 1, "out": str(out),
            "hyperparameters": HYPERPARAMETERS | changed, "splits": splits,
        }  # fmt: skip
        (out / "job.json").write_text(json.dumps(body))
        monkeypatch.setenv("REPRO_JOB", str(out / "job.json"))
        return task.run(question_answering.main), out

    return start_one


def test_a_run_finds_the_answers_reports_and_repeats_to_the_bit(
    start: Callable[..., tuple[int, Path]], tmp_path: Path, events: Events
) -> None:
    path = written(tmp_path, [article(n) for n in range(20)])
    splits = {
        "train": spec(path, examples=40),
        "test": {"part_of": "train", "fraction": 0.25, "seed": 1, "examples": 10},
    }
    runs = [start(splits, epochs=12) for _ in range(2)]
    assert [code for code, _ in runs] == [0, 0]
    first, second = (out for _, out in runs)
    for name in ("model.safetensors", "predictions.tsv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    values = {event["name"]: event["value"] for event in events("metric")}
    assert list(values) == ["exact_match", "f1", "loss"]
    assert values["exact_match"] > 0.8  # "good" is one of ten words or so
    header, row, *_ = (first / "predictions.tsv").read_text().splitlines()
    assert header == "id\tpredicted\tanswers"
    assert row.split("\t")[1:] == ["good", '["good"]']


def test_the_metrics_are_those_of_the_written_weights(
    start: Callable[..., tuple[int, Path]], checkpoint: Path, tmp_path: Path, events: Events
) -> None:
    path = written(tmp_path, [article(n) for n in range(20)])
    splits = {
        "train": spec(path, examples=40),
        "test": {"part_of": "train", "fraction": 0.25, "seed": 1, "examples": 10},
    }
    code, out = start(splits, max_steps=3, eval_batch_size=32)
    assert code == 0
    found = {event["name"]: event["value"] for event in events("metric")}
    model = BertForQuestionAnswering(BertConfig.from_pretrained(checkpoint)).eval()
    model.load_state_dict(load_file(out / "model.safetensors"))
    split = encoded(checkpoint, *squad.load_splits(splits)["test"])
    assert len(split.encoded) <= 32  # one batch, padded to its longest window; the padding has logits as well
    with torch.inference_mode():
        output = model(**AutoTokenizer.from_pretrained(checkpoint).pad(split.encoded, return_tensors="pt"))
    starts, ends = output.start_logits.log_softmax(1), output.end_logits.log_softmax(1)
    nats = [-(starts[row, a] + ends[row, b]).item() / 2 for row, (a, b) in enumerate(split.spans)]
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    predicted = [line.split("\t")[1] for line in (out / "predictions.tsv").read_text().splitlines()[1:]]
    assert found["exact_match"] == pytest.approx(predicted.count("good") / 10)
    overlap = [2 / (1 + len(text.split())) if "good" in text.split() else 0.0 for text in predicted]
    assert found["f1"] == pytest.approx(sum(overlap) / 10)
    assert 0 < found["f1"] < 1


def test_unanswerable_questions_need_a_threshold_and_are_told_apart(
    start: Callable[..., tuple[int, Path]], tmp_path: Path, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [article(n, answerable=n % 2 == 0) for n in range(8)])
    splits = {name: spec(path, classes={"answerable": 8, "unanswerable": 8}) for name in ("train", "test")}
    code, _ = start(splits)
    assert code == 1
    assert "splits.train has questions without answer. Set hyperparameters.null_threshold" in capsys.readouterr().err

    code, out = start(splits, epochs=1, null_threshold=1e9)  # no score is so much higher: nothing is ever answered
    assert code == 0
    values = {event["name"]: event["value"] for event in events("metric")}
    assert values["has_answer_f1"] == 0
    assert values["no_answer_exact_match"] == 1
    assert values["exact_match"] == 0.5
    assert [line.split("\t")[1] for line in (out / "predictions.tsv").read_text().splitlines()[1:]] == [""] * 16


def test_windows_overlap_and_hold_the_answer_or_the_token_of_none(checkpoint: Path) -> None:
    context = "w0 w1  w2 w3 w4 w5 w6 good bad w9 w10 w11"
    question = asked("w1 w2", context, "good bad")
    split = encoded(checkpoint, question, max_length=12, max_question_length=3, doc_stride=2)
    # 12 tokens less [CLS], two of the question and two [SEP] leave 7 of the 12: 0-6, 5-11.
    assert split.owner == [0, 0]
    assert split.context == [(4, 11), (4, 11)]
    words = [[context[left:right] for left, right in offsets] for offsets in split.offsets]
    assert words == [["w0", "w1", "w2", "w3", "w4", "w5", "w6"], ["w5", "w6", "good", "bad", "w9", "w10", "w11"]]
    assert split.spans == [(0, 0), (6, 7)]
    assert split.text(1, 6, 7) == "good bad"
    assert split.lengths == [12, 12]


def test_an_answer_within_a_token_is_that_token_and_questions_are_cut(checkpoint: Path) -> None:
    question = squad.Question("q", "w1", "w2 w34 w5", (squad.Answer("4", 5),))
    assert encoded(checkpoint, question).spans == [(4, 4)]
    assert cut(["w1 w2 w3?", "w1", ""], AutoTokenizer.from_pretrained(checkpoint), 2) == ["w1 w2", "w1", ""]


def test_an_answer_that_the_tokenizer_drops_is_in_no_token(checkpoint: Path) -> None:
    question = asked("w1", "w0 \u200d good w1", "\u200d")  # the joiner is nothing to the tokenizer
    assert encoded(checkpoint, question).spans == [(0, 0)]


def test_settings_that_leave_no_room_and_empty_paragraphs_are_named(checkpoint: Path) -> None:
    with pytest.raises(TaskError, match=r"max_length leaves 4 tokens for the paragraph, doc_stride is 4"):
        encoded(checkpoint, asked("w1", "good", "good"), max_length=11)
    with pytest.raises(TaskError, match=r"splits\.dev: the paragraph of question q is empty"):
        encoded(checkpoint, asked("w1", " "))


def test_the_best_span_is_that_of_a_search_over_all() -> None:
    generator = torch.Generator().manual_seed(3)
    starts, ends = torch.randn(5, 9, generator=generator), torch.randn(5, 9, generator=generator)
    context = [(2, 9), (3, 8), (1, 2), (4, 9), (2, 6)]
    for row, (score, first, last) in enumerate(best_spans(starts, ends, context, 3)):
        spans = {
            (i, j): (starts[row, i] + ends[row, j]).item()
            for i in range(*context[row])
            for j in range(i, min(i + 3, context[row][1]))
        }
        assert (first, last) == max(spans, key=lambda span: spans[span])
        assert score == pytest.approx(spans[first, last])


def test_the_head_is_one_linear_layer_over_the_encoder() -> None:
    # BERT-base (Devlin et al. 2019): embeddings, 12 layers of 7,087,872; the head has 2 x 768 weights and 2 biases.
    with torch.device("meta"):
        model = BertForQuestionAnswering(BertConfig())
    embeddings = (30522 + 512 + 2 + 2) * 768
    assert sum(p.numel() for p in model.parameters()) == embeddings + 12 * 7_087_872 + 2 * 768 + 2


@pytest.mark.parametrize(
    ("predicted", "answers", "exact_match", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, 1),  # case, article, punctuation
        ("A  cat and an  owl", ["cat and owl"], 1, 1),  # surplus white space
        ("Theatre", ["atre"], 0, 0),  # an article is a word of its own
        ("in Paris in 1889", ["Paris"], 0, 2 * (1 / 4) * 1 / (1 / 4 + 1)),
        ("red red blue", ["red green red"], 0, 2 / 3),  # a word counts as often as both have it
        ("10 million", ["ten million dollars", "10 million people"], 0, 2 * 1 * (2 / 3) / (1 + 2 / 3)),  # best of both
        ("U.S.", ["US"], 1, 1),
        ("half-life", ["half life"], 0, 0),  # punctuation goes without leaving a space
        ("", ["something"], 0, 0),
        ("something", [], 0, 0),
        ("", [], 1, 1),
        ("the", [], 1, 1),  # nothing is left of it
    ],
)
def test_the_metrics_are_squads(predicted: str, answers: list[str], exact_match: float, f1: float) -> None:
    question = squad.Question("q", "?", "", tuple(squad.Answer(text, 0) for text in answers))
    found = squad.score([question], {"q": predicted})
    assert found["exact_match"] == exact_match
    assert found["f1"] == pytest.approx(f1)


def test_the_metrics_are_means_over_questions_and_tell_groups_apart() -> None:
    questions = [
        asked("?", "a red house", "red house", number="1"), asked("?", "a red house", "red", number="2"),
        asked("?", "x", number="3"), asked("?", "x", number="4"),
    ]  # fmt: skip
    predicted = {"1": "red", "2": "red", "3": "", "4": "x"}
    assert squad.score(questions, predicted) == pytest.approx({
        "exact_match": 2 / 4, "f1": (2 / 3 + 1 + 1 + 0) / 4,
        "has_answer_exact_match": 1 / 2, "has_answer_f1": (2 / 3 + 1) / 2, "no_answer_exact_match": 1 / 2,
    })  # fmt: skip
    assert list(squad.score(questions[:2], predicted)) == ["exact_match", "f1"]
    assert squad.score(questions[2:], predicted)["no_answer_exact_match"] == 0.5


def test_parts_are_drawn_by_article_and_counts_are_of_questions(tmp_path: Path) -> None:
    path = written(tmp_path, [article(n, questions=n % 3 + 1) for n in range(20)])
    part = {"part_of": "train", "fraction": 0.13, "seed": 1, "examples": 7}
    splits = squad.load_splits({"train": spec(path, examples=39), "test": part})
    assert {question.id.split("-")[0] for question in splits["test"]} == {"4", "7", "11"}  # as `draw` has it
    assert not {question.context for question in splits["test"]} & {question.context for question in splits["train"]}
    assert len(splits["train"]) == 32
    assert splits["train"][0].text == "w0 bad?"
    assert len(squad.load_splits({"train": spec(path, first=4, examples=4)})["train"]) == 4
    some = squad.load_splits({"train": spec(path, skip=2, first=3, examples=3, classes={"answerable": 3})})["train"]
    assert [question.id for question in some] == ["1-1", "2-0", "2-1"]
    assert len(squad.load_splits({"train": spec(path, skip=2, examples=37)})["train"]) == 37
    assert len(squad.load_splits({"train": spec(path), "test": {**part, "first": 2, "examples": 2}})["test"]) == 2
    with pytest.raises(TaskError, match=r"splits\.train has 39 examples, 40 are pinned"):
        squad.load_splits({"train": spec(path, examples=40)})
    with pytest.raises(TaskError, match=r"splits\.test has 7 examples, 8 are pinned"):
        squad.load_splits({"train": spec(path), "test": {**part, "examples": 8}})
    with pytest.raises(TaskError, match=r"another class balance: answerable 39 \(pinned 38\)"):
        squad.load_splits({"train": spec(path, classes={"answerable": 38})})


def moved(start: int) -> list[dict[str, Any]]:
    entry = {"id": "q7", "question": "?", "answers": [{"text": "good", "answer_start": start}]}
    return [{"paragraphs": [{"context": "a good day", "qas": [entry]}]}]


@pytest.mark.parametrize(
    ("articles", "changed", "words"),
    [
        (moved(3), {}, r"splits\.dev: .*question q7: 'good' is not at character 3"),
        ([{"title": "T"}], {}, "is not SQuAD's JSON: no key 'paragraphs'"),
        ([], {}, "has no questions"),
        ([article(1), article(1)], {}, "has the id of a question twice"),
        ([article(1)], {"clean": ["lowercase"]}, "`clean` would move the answers' places"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    tmp_path: Path, articles: list[dict[str, Any]], changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        squad.read("dev", spec(written(tmp_path, articles), **changed))


def test_a_missing_file_and_one_that_is_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"absent: No such file"):
        squad.read("dev", spec(tmp_path / "absent"))
    (tmp_path / "text").write_text("no json")
    with pytest.raises(TaskError, match=r"is not SQuAD's JSON: Expecting value"):
        squad.read("dev", spec(tmp_path / "text"))


def test_a_missing_split_is_named(
    start: Callable[..., tuple[int, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = start({"train": spec(written(tmp_path, [article(1)]))})
    assert code == 1
    assert "there is no split 'test'" in capsys.readouterr().err
