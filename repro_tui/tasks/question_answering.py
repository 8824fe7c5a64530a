"""Fine-tune an encoder checkpoint to mark the answer to a question in a paragraph; evaluated once, on the test split.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), sections 4.2 and 4.3: question and paragraph as a pair, one linear layer
that scores every token as the answer's first and as its last, all weights trained. A paragraph that is too long is read
in overlapping windows. Run as `python3 -m repro_tui.tasks.question_answering`; docs/tasks/question_answering.md
documents it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from transformers import AutoModelForQuestionAnswering

from repro_tui import wire
from repro_tui.tasks.common import emit, encoders, loop, squad, start, windows
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("squad",)
CHECKPOINT = "needed"
METRICS = ("exact_match", "f1", "loss", "has_answer_exact_match", "has_answer_f1", "no_answer_exact_match")
OUTPUTS = ("weights", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(loop.Settings):
    """Hyperparameters of the task besides the loop's."""

    max_length: Annotated[int, Ge(8)] = 384
    """Tokens of a window: the question, a stretch of the paragraph, special tokens."""
    doc_stride: Annotated[int, Ge(0)] = 128
    """Tokens of the paragraph that a window shares with the one before it."""
    max_question_length: Annotated[int, Ge(1)] = 64
    """Longer questions are cut to so many tokens."""
    max_answer_length: Annotated[int, Ge(1)] = 30
    """Tokens of the longest answer that is considered."""
    null_threshold: float | None = None
    """By how much an answer's score must exceed that of no answer, for data with unanswerable questions (SQuAD 2.0; tau
    in the paper). Without it every question is answered."""
    length_grouping: bool = True
    """Batch windows of similar length together, which saves padding."""
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    """Dropout probability everywhere in the model. The checkpoint's own without it."""


def main(job: Job) -> None:
    """Read, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    questions = squad.load_splits(job.splits)
    for name in SPLITS:
        if name not in questions:
            raise TaskError(f"there is no split {name!r}", "question_answering needs the splits train and test")
    for name, of_split in questions.items():
        if settings.null_threshold is None and not all(question.answers for question in of_split):
            raise TaskError(
                f"splits.{name} has questions without answer", "Set hyperparameters.null_threshold (0 to start with)"
            )
    tokenizer, model = encoders.load(job, AutoModelForQuestionAnswering, settings, num_labels=2)
    splits = {
        name: windows.encode(
            name,
            of_split,
            tokenizer,
            max_length=settings.max_length,
            doc_stride=settings.doc_stride,
            max_question_length=settings.max_question_length,
        )
        for name, of_split in questions.items()
    }
    model.to(device)

    def collate(split: windows.Windows, batch: Batch) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest member; returns tensors (B, T) and the answer's first and last tokens (B,)."""
        padded = encoders.pad(tokenizer, [split.encoded[i] for i in batch], settings.precision)
        first, last = torch.tensor([split.spans[i] for i in batch]).unbind(dim=1)
        return {**padded, "start_positions": first, "end_positions": last}

    def evaluate(split: windows.Windows) -> tuple[dict[str, str], dict[str, float]]:
        """Return the predicted texts by question id, and the metrics; the loss is the mean over windows, in nats."""
        best = [-math.inf] * len(split.questions)
        null = [math.inf] * len(split.questions)
        texts = [""] * len(split.questions)
        loss = 0.0
        for batch, output in loop.predict(
            model,
            evaluation_batches(split.lengths, settings.eval_batch_size),
            lambda batch: collate(split, batch),
            precision=settings.precision,
        ):
            loss += output.loss.item() * len(batch) / len(split.encoded)
            starts, ends = output.start_logits.float().cpu(), output.end_logits.float().cpu()
            nothing = (starts[:, 0] + ends[:, 0]).tolist()
            found = best_spans(starts, ends, [split.context[i] for i in batch], settings.max_answer_length)
            for place, (score, first, last), empty in zip(batch, found, nothing, strict=True):
                number = split.owner[place]
                null[number] = min(null[number], empty)
                if score > best[number]:
                    best[number] = score
                    texts[number] = split.text(place, first, last)
        threshold = -math.inf if settings.null_threshold is None else settings.null_threshold
        predicted = {
            question.id: text if score - empty > threshold else ""
            for question, text, score, empty in zip(split.questions, texts, best, null, strict=True)
        }
        return predicted, {**squad.score(split.questions, predicted), "loss": loss}

    def validate(step: int) -> Mapping[str, float]:
        _, values = evaluate(splits["validation"])
        emit.metrics(values, split="validation", step=step)
        return values

    emit.phase("train")
    train = splits["train"]
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            train.lengths,
            settings.train_batch_size,
            seed=job.data_seed,
            epoch=epoch,
            grouped=settings.length_grouping,
        ),
        collate=lambda batch: collate(train, batch),
        loss=lambda model, inputs: model(**inputs).loss,
        evaluate=validate if "validation" in splits else None,
    )
    emit.weights(model, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    predicted, values = evaluate(splits["test"])
    emit.metrics(values, split="test")
    rows = (
        (question.id, predicted[question.id], json.dumps(question.texts, ensure_ascii=False))
        for question in splits["test"].questions
    )
    emit.predictions(("id", "predicted", "answers"), rows, job.out)


def best_spans(
    starts: torch.Tensor, ends: torch.Tensor, context: Sequence[tuple[int, int]], max_length: int
) -> list[tuple[float, int, int]]:
    """Return score, first and last token of each window's best span (B).

    `starts`, `ends` (B, T) are the logits; a span's score is the sum of its two. It lies within the paragraph's tokens
    `context` (B,), does not end before it begins, and has at most `max_length` tokens.
    """
    width = starts.shape[1]
    place = torch.arange(width)
    begin, end = torch.tensor(context).T[:, :, None]  # (B, 1) each
    inside = (place >= begin) & (place < end)  # (B, T)
    ordered = torch.ones(width, width, dtype=torch.bool).triu().tril(max_length - 1)
    allowed = ordered & inside[:, :, None] & inside[:, None, :]
    scores = (starts[:, :, None] + ends[:, None, :]).masked_fill(~allowed, -math.inf)  # (B, T, T)
    best, where = scores.flatten(1).max(dim=1)
    return [(score, spot // width, spot % width) for score, spot in zip(best.tolist(), where.tolist(), strict=True)]


if __name__ == "__main__":
    sys.exit(run(main))
