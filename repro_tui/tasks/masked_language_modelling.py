"""Train a tokenizer and a small BERT from scratch on a corpus of texts: the checkpoint of a later stage.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 3.1, task 1: some tokens are hidden and predicted from all
others. Which ones is drawn anew each time a text is seen (Liu et al. 2019, "RoBERTa", arXiv:1907.11692, section 4.1),
and there is no second task. Run as `python3 -m repro_tui.tasks.masked_language_modelling`;
docs/tasks/masked_language_modelling.md documents it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from repro_tui import wire
from repro_tui.tasks.common import corpus, emit, loop, start, wordpiece
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train",)
FORMATS = ("texts", "tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "none"
METRICS = ("loss", "perplexity", "accuracy", "unigram_loss", "tokens", "parameters")
OUTPUTS = ("weights", "config", "tokenizer", "tokenizer_config", "vocabulary")

UNSCORED = -100
"""Target of a token that is not to be predicted."""

MASKED, REPLACED = 0.8, 0.1
"""Of the chosen tokens: how many become [MASK], and how many a random token; the others stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(corpus.Settings):
    """Hyperparameters of the task besides those of the loop and the corpus."""

    vocabulary_size: Annotated[int, Ge(6)] = 8000
    """Tokens of the WordPiece vocabulary at most; it is learnt from the training split."""
    lowercase: bool = True
    """Lower-case texts and take accents away, as BERT's "uncased" models do."""
    hidden_size: Annotated[int, Ge(1)] = 128
    """Width of the encoder; a multiple of `heads`."""
    layers: Annotated[int, Ge(1)] = 2
    """Layers of the encoder."""
    heads: Annotated[int, Ge(1)] = 2
    """Attention heads of a layer."""
    intermediate_size: Annotated[int, Ge(1)] = 512
    """Width within the feed-forward part of a layer."""
    max_length: Annotated[int, Ge(3)] = 128
    """Texts are cut into pieces of so many tokens, special tokens included; the encoder has so many positions."""
    mask_probability: Annotated[float, Gt(0), Lt(1)] = 0.15
    """Probability that a token is one to be predicted."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Dropout probability everywhere in the model, while it is trained here."""


def main(job: Job) -> None:
    """Read, train tokenizer and encoder, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    if settings.hidden_size % settings.heads:
        raise TaskError(
            f"hidden_size is {settings.hidden_size}, which {settings.heads} heads cannot share",
            "Make it a multiple of heads",
        )
    texts = corpus.load_splits(job.splits, settings)
    vocabulary = wordpiece.learn(texts["train"], size=settings.vocabulary_size, lowercase=settings.lowercase)
    tokenizer = wordpiece.save(vocabulary, job.out, lowercase=settings.lowercase, max_length=settings.max_length)
    splits = {name: pieces(part, tokenizer, settings.max_length) for name, part in texts.items()}
    lengths = {name: [len(piece) for piece in part] for name, part in splits.items()}
    model = BertForMaskedLM(configuration(settings, vocabulary)).to(device)
    for name in splits:
        emit.metrics({"tokens": sum(lengths[name]) - 2 * len(lengths[name])}, split=name)

    def collate(name: str, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest member and hide tokens; returns input_ids, attention_mask, targets (B, T)."""
        ids = torch.full((len(batch), max(lengths[name][i] for i in batch)), tokenizer.pad_token_id)
        for row, i in enumerate(batch):
            ids[row, : lengths[name][i]] = torch.tensor(splits[name][i])
        inputs, targets = hide(ids, settings.mask_probability, tokenizer, generator)
        return {"input_ids": inputs, "attention_mask": (ids != tokenizer.pad_token_id).long(), "targets": targets}

    def evaluate(name: str) -> dict[str, float]:
        """Return the metrics on a split, whose hidden tokens are the same ones each time."""
        generator = torch.Generator().manual_seed(job.seed)
        model.eval()
        nats, right, count = 0.0, 0, 0
        for batch in evaluation_batches(lengths[name], settings.eval_batch_size):
            inputs = {key: tensor.to(device) for key, tensor in collate(name, batch, generator).items()}
            with torch.inference_mode(), loop.autocast(device, settings.precision):
                logits, targets = predict(model, inputs)
            nats += cross_entropy(logits.float(), targets, reduction="sum").item()
            right += int((logits.argmax(-1) == targets).sum())
            count += len(targets)
        if not count:
            raise TaskError(f"splits.{name} is so small that no token of it was hidden", "Take more texts")
        return {"loss": nats / count, "perplexity": math.exp(nats / count), "accuracy": right / count}

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate("validation")
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    drawn = torch.Generator().manual_seed(job.data_seed)
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            lengths["train"], settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=True
        ),
        collate=lambda batch: collate("train", batch, drawn),
        loss=lambda model, inputs: mean_loss(*predict(model, inputs)),
        weigh=lambda batch: sum(lengths["train"][i] for i in batch),
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)
    model.config.to_json_file(job.out / "config.json", use_diff=False)
    for name, file in (
        ("config", "config.json"),
        ("tokenizer", "tokenizer.json"),
        ("tokenizer_config", "tokenizer_config.json"),
        ("vocabulary", "vocab.txt"),
    ):
        emit.output(name, job.out / file, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
    for name in sorted(set(splits) - {"train"}):
        baseline = unigram_loss(splits["train"], splits[name], len(vocabulary))
        emit.metrics({**evaluate(name), "unigram_loss": baseline}, split=name)
    emit.metrics({"parameters": model.num_parameters()}, split="train")


def configuration(settings: Settings, vocabulary: Sequence[str]) -> BertConfig:
    """Return the shape of the model, BERT's but for the sizes."""
    return BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=settings.max_length,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        architectures=["BertForMaskedLM"],
    )


def pieces(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[list[int]]:
    """Return the token ids of every text, cut into pieces [CLS] … [SEP] of at most `max_length`."""
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    inner = max_length - 2

    def cut() -> Iterator[list[int]]:
        for ids in encoded:
            for at in range(0, len(ids), inner):
                yield [tokenizer.cls_token_id, *ids[at : at + inner], tokenizer.sep_token_id]

    return list(cut())


def hide(
    ids: torch.Tensor, probability: float, tokenizer: Any, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the model sees and what it is to predict, both (B, T) like `ids`.

    Each token that is not special is chosen with `probability`; of those, 80 % become [MASK], 10 % a random token that
    is not special, 10 % stay. The targets are the chosen tokens as they were, UNSCORED elsewhere.
    """
    special = len(wordpiece.SPECIAL)
    chosen = (torch.rand(ids.shape, generator=generator) < probability) & (ids >= special)
    fate = torch.rand(ids.shape, generator=generator)
    random = torch.randint(special, len(tokenizer), ids.shape, generator=generator)
    seen = torch.where(chosen & (fate < MASKED), tokenizer.mask_token_id, ids)
    seen = torch.where(chosen & (fate >= MASKED) & (fate < MASKED + REPLACED), random, seen)
    return seen, torch.where(chosen, ids, UNSCORED)


def predict(model: Any, inputs: loop.Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (M, V) and targets (M,) of the M chosen tokens; the head sees no others, which saves most of it."""
    chosen = inputs["targets"] != UNSCORED
    hidden = model.bert(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    return model.cls(hidden[chosen]), inputs["targets"][chosen]


def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy () in nats; 0 where nothing was chosen."""
    return cross_entropy(logits.float(), targets, reduction="sum") / max(1, len(targets))


def unigram_loss(train: Sequence[list[int]], other: Sequence[list[int]], size: int) -> float:
    """Return the mean loss in nats on `other` of what knows only how frequent each token is in `train` (plus one)."""
    special = len(wordpiece.SPECIAL)
    counts, seen = (
        torch.bincount(torch.tensor([i for piece in part for i in piece]), minlength=size)[special:].double()
        for part in (train, other)
    )
    log_p = ((counts + 1) / (counts + 1).sum()).log()
    return float(-(seen @ log_p) / seen.sum())


if __name__ == "__main__":
    sys.exit(run(main))
