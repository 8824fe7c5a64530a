"""Two ways to fine-tune the same classifier, as bench/training.py runs them inside the image: `sides.py trainer|task`.

The Trainer's settings come as JSON in $SIDES, the task's in its job. Both append to $REPRO_METRICS, in the wire format,
when training began and each step ended, on the clock ("at") and in the processor time of all threads ("cpu"), both in
seconds, and the accuracy on the test split.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from repro_tui import wire

MODEL = "/inputs/minilm"
BATCH_SIZE = 32
MAX_LENGTH = 128


def tell(event: str, /, **fields: Any) -> None:
    """Append an event with the time of now."""
    _emit(event, at=time.perf_counter(), cpu=time.process_time(), **fields)


_emit = wire.emit


def task() -> int:
    """Run the built-in task as it is, its events timed."""
    from repro_tui.tasks import text_classification
    from repro_tui.tasks.common.job import run

    wire.emit = tell
    return run(text_classification.main)


def trainer(settings: dict[str, Any]) -> int:
    """Run transformers' Trainer with its defaults, besides what `settings` names and what a comparison needs."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    class Clock(TrainerCallback):  # type: ignore[misc]  # of the image's library, which is not at hand here
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            tell("phase", phase="train")

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            tell("step", step=state.global_step, total=state.max_steps)

    torch.set_num_threads(2)
    set_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    train, test = rows("/inputs/r8/train.tab"), rows("/inputs/r8/test.tab")
    labels = sorted({label for _, label in train})

    def encoded(examples: list[tuple[str, str]]) -> Dataset:
        texts = [text for text, _ in examples]
        tokens = tokenizer(texts, truncation=True, max_length=MAX_LENGTH, padding=settings["padding"])
        return Dataset.from_dict({**tokens, "labels": [labels.index(label) for _, label in examples]})

    runner = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=len(labels), **settings["dropout"]),
        args=TrainingArguments(
            output_dir="/tmp/trainer",
            use_cpu=True,
            per_device_train_batch_size=BATCH_SIZE,
            num_train_epochs=1,
            learning_rate=settings["learning_rate"],
            seed=settings["seed"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=encoded(train[: settings["train"]]),
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[Clock()],
    )
    runner.train()
    found = runner.predict(encoded(test[: settings["test"]]))
    accuracy = (found.predictions.argmax(axis=-1) == found.label_ids).mean()
    tell("metric", name="accuracy", value=float(accuracy), split="test")
    return 0


def rows(path: str) -> list[tuple[str, str]]:
    """Return (text, label) of each row of an Orange table, which has three rows of header."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        table = [row for row in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    text, label = table[0].index("Text"), table[0].index("Category")
    return [(row[text], row[label]) for row in table[3:]]


if __name__ == "__main__":
    sys.exit(task() if sys.argv[1] == "task" else trainer(json.loads(os.environ["SIDES"])))
