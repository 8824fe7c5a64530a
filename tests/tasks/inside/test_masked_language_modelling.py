"""The tokenizer, the masking and the whole task on a few made-up texts."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, BertForMaskedLM

from repro_tui.tasks import masked_language_modelling as task
from repro_tui.tasks.common import data, wordpiece
from repro_tui.tasks.common.job import Job, TaskError

DEFAULTS = {field.name: field.default for field in fields(task.Settings)}
HYPERPARAMETERS: dict[str, Any] = {
    "vocabulary_size": 60, "hidden_size": 16, "heads": 2, "layers": 1, "intermediate_size": 32, "max_length": 16,
    "dropout": 0.0, "learning_rate": 0.02, "epochs": 6, "train_batch_size": 8,
}  # fmt: skip
TEXTS = [
    f"the {size} {animal} sat on the {thing}"
    for size in ("big", "small")
    for animal in ("cat", "dog", "cow")
    for thing in ("mat", "log", "bed", "hat")
]


@pytest.fixture
def start(tmp_path: Path, events: Callable[..., list[dict[str, Any]]]) -> Callable[..., dict[str, float]]:
    """Return a function that runs the task and returns its metrics on validation; its files are in the folder `out`."""
    (tmp_path / "out").mkdir()
    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 4)
    (tmp_path / "train.jsonl").write_text(rows)

    def run(**changed: Any) -> dict[str, float]:
        before = len(events())
        splits: dict[str, Any] = {
            "train": {"path": str(tmp_path / "train.jsonl"), "format": "jsonl", "text": "text", "examples": 96},
            "validation": {"part_of": "train", "fraction": 0.5, "seed": 1, "examples": 48},
        }
        job = Job(
            model=None, seed=1, data_seed=1, level="bitwise", threads=1, device="cpu",
            hyperparameters={**DEFAULTS, **HYPERPARAMETERS, **changed}, splits=splits, out=tmp_path / "out",
        )  # fmt: skip
        task.main(job)
        told = [event for event in events()[before:] if event["event"] == "metric" and "step" not in event]
        return {event["name"]: event["value"] for event in told if event["split"] == "validation"}

    return run


def test_it_learns_repeats_and_writes_a_checkpoint_for_a_later_stage(start: Any, tmp_path: Path) -> None:
    first = start()
    assert first["loss"] < first["unigram_loss"] - 0.3
    assert first["perplexity"] == pytest.approx(math.exp(first["loss"]))
    names = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    files = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert start() == first
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == files
    assert str(tmp_path).encode() not in b"".join(files.values())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.model_max_length == 16
    assert tokenizer.decode(tokenizer("The BIG cat")["input_ids"]) == "[CLS] the big cat [SEP]"
    AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    _, loading = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {name.split(".")[0] for name in loading["missing_keys"]} <= {"bert", "classifier"}
    assert all("pooler" in name for name in loading["missing_keys"] if name.startswith("bert."))


def test_the_metrics_are_those_of_the_written_weights(
    start: Any, tmp_path: Path, events: Callable[..., list[dict[str, Any]]]
) -> None:
    found = start(epochs=2, eval_batch_size=32)
    out = tmp_path / "out"
    tokenizer = AutoTokenizer.from_pretrained(out)
    texts = [(TEXTS * 4)[place] for place in data.draw(96, 0.5, 1)[1]]
    pieces = sorted((tokenizer(text)["input_ids"] for text in texts), key=len, reverse=True)  # each fits into one
    assert found["tokens"] == sum(len(piece) - 2 for piece in pieces)
    model = BertForMaskedLM.from_pretrained(out).eval()
    generator = torch.Generator().manual_seed(1)
    nats, right = [], 0
    for batch in (pieces[:32], pieces[32:]):
        ids = torch.tensor([[*piece, *[tokenizer.pad_token_id] * (len(batch[0]) - len(piece))] for piece in batch])
        seen, targets = task.hide(ids, 0.15, tokenizer, generator)
        for row, hidden, target, piece in zip(ids, seen, targets, batch, strict=True):
            assert row[: len(piece)].tolist() == piece
            with torch.inference_mode():
                logits = model(hidden[None, : len(piece)]).logits[0]
            for place in (target != task.UNSCORED).nonzero()[:, 0].tolist():
                nats.append(-logits[place].log_softmax(0)[piece[place]].item())
                right += int(logits[place].argmax()) == piece[place]
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert found["accuracy"] == pytest.approx(right / len(nats))
    assert 0 < found["accuracy"] < 1

    [parameters] = [event["value"] for event in events("metric") if event["name"] == "parameters"]
    embeddings = (len(tokenizer) + 16 + 2) * 16 + 2 * 16
    layer = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 2 * 2 * 16
    head = (16 * 16 + 16) + 2 * 16 + len(tokenizer)  # its matrix is that of the embeddings
    assert parameters == embeddings + layer + head
    assert parameters == sum(tensor.numel() for tensor in load_file(out / "model.safetensors").values())


def test_the_vocabulary_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "import hashlib, sys; from repro_tui.tasks.common import wordpiece; import random; random.seed(0); "
        "texts = [''.join(random.choices('abcdefgh   ', k=400)) for _ in range(50)]; "
        "print(hashlib.sha256('|'.join(wordpiece.learn(texts, size=120, lowercase=True)).encode()).hexdigest())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
        for _ in "ab"
    ]
    found = {process.communicate()[0] for process in started}
    assert len(found) == 1
    assert found != {b""}


def test_the_vocabulary_begins_with_what_bert_begins_with() -> None:
    vocabulary = wordpiece.learn(["Ab ab, abab café"], size=40, lowercase=True)
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert vocabulary[5:11] == [",", "a", "b", "c", "e", "f"]  # lower case, no accents, in order
    assert vocabulary[11:17] == [f"##{character}" for character in ",abcef"]
    assert "ab" in vocabulary
    assert len(set(vocabulary)) == len(vocabulary) <= 40
    with pytest.raises(TaskError, match="vocabulary_size is 10, the texts' 6 characters need 17"):
        wordpiece.learn(["abcdef"], size=10, lowercase=True)


def test_the_saved_tokenizer_splits_as_the_algorithm_does(tmp_path: Path) -> None:
    vocabulary = [*wordpiece.SPECIAL, "un", "##aff", "##able", "a"]
    tokenizer = wordpiece.save(vocabulary, tmp_path, lowercase=True, max_length=8)
    assert tokenizer.tokenize("Unaffable a b") == ["un", "##aff", "##able", "a", "[UNK]"]  # the BERT paper's own words
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a").tokens == ["[CLS]", "a", "[SEP]"]


def test_masking_follows_the_papers_rates(tmp_path: Path) -> None:
    tokenizer = wordpiece.save([*wordpiece.SPECIAL, *map(str, range(995))], tmp_path, lowercase=True, max_length=8)
    ids = torch.randint(5, 1000, (400, 1000))
    ids[:, 0], ids[:, -1], ids[:, -2], ids[:, 1] = 2, 3, 0, 1
    seen, targets = task.hide(ids, 0.15, tokenizer, torch.Generator().manual_seed(0))
    chosen = targets != task.UNSCORED
    assert not chosen[:, [0, 1, -2, -1]].any()  # special tokens, [UNK] among them
    assert chosen.sum().item() / (400 * 996) == pytest.approx(0.15, abs=0.003)
    assert (targets[chosen] == ids[chosen]).all()
    assert (seen[~chosen] == ids[~chosen]).all()

    def share(what: torch.Tensor) -> Any:
        return what[chosen].float().mean().item()

    assert share(seen == 4) == pytest.approx(0.8, abs=0.01)
    assert share((seen != 4) & (seen != ids)) == pytest.approx(0.1, abs=0.01)
    assert share(seen == ids) == pytest.approx(0.1, abs=0.01)
    assert seen.min() >= 0
    again = task.hide(ids, 0.15, tokenizer, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], seen)


def test_texts_are_cut_into_pieces_that_lose_nothing(tmp_path: Path) -> None:
    tokenizer = wordpiece.save([*wordpiece.SPECIAL, *"abcdefg"], tmp_path, lowercase=True, max_length=5)
    assert task.pieces(["a b c d e f g", "", "a"], tokenizer, 5) == [
        [2, 5, 6, 7, 3],
        [2, 8, 9, 10, 3],
        [2, 11, 3],
        [2, 5, 3],
    ]


def test_the_head_over_chosen_tokens_gives_the_models_own_loss() -> None:
    settings = task.Settings(**{**DEFAULTS, **HYPERPARAMETERS})
    torch.manual_seed(0)
    model = BertForMaskedLM(task.configuration(settings, ["x"] * 30)).eval()
    ids = torch.randint(5, 30, (3, 7))
    mask = torch.ones_like(ids)
    mask[2, 4:] = 0
    targets = torch.where(torch.rand(ids.shape) < 0.5, ids, -100) * mask - 100 * (1 - mask)
    own = model(input_ids=ids, attention_mask=mask, labels=targets).loss
    ours = task.mean_loss(*task.predict(model, {"input_ids": ids, "attention_mask": mask, "targets": targets}))
    assert ours.item() == pytest.approx(own.item(), rel=1e-5)
    nothing = {"input_ids": ids, "attention_mask": mask, "targets": torch.full_like(ids, -100)}
    assert task.mean_loss(*task.predict(model, nothing)).item() == 0


def test_the_configuration_is_berts() -> None:
    settings = task.Settings(hidden_size=768, layers=12, heads=12, intermediate_size=3072, max_length=512)
    with torch.device("meta"):
        model = BertForMaskedLM(task.configuration(settings, ["x"] * 30522))
    # BERT-base has 109,482,240 with its pooler of 768 * 769, without the head of masked language modelling
    assert model.bert.num_parameters() + 768 * 769 == 109_482_240


def test_unigram_loss_is_worked_out_by_hand() -> None:
    train, other = [[2, 5, 5, 6, 3]], [[2, 5, 3], [2, 7, 3]]
    expected = -(math.log(3 / 6) + math.log(1 / 6)) / 2  # counts 2, 1, 0 plus one each
    assert task.unigram_loss(train, other, 8) == pytest.approx(expected)


def test_what_a_user_can_put_right_is_said(start: Any) -> None:
    with pytest.raises(TaskError, match="hidden_size is 16, which 3 heads cannot share"):
        start(heads=3)
    with pytest.raises(TaskError, match="vocabulary_size is 20"):
        start(vocabulary_size=20)
