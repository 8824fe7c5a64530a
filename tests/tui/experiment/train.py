"""Logistic regression in plain Python, which says what it does: metrics, a table by class, a log, a progress bar."""

import json
import math
import os
import random
import sys
import time
from pathlib import Path

INPUTS = Path(os.environ["REPRO_INPUTS"])
OUT = Path(os.environ["REPRO_OUT"])
NAMES = ("below", "above")


def tell(**line: object) -> None:
    with open(os.environ["REPRO_METRICS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def examples(split: dict[str, str]) -> list[tuple[float, float, int]]:
    lines = Path(split["path"]).read_text(encoding="utf-8").splitlines()
    head = lines[0].split("\t")
    x, y, label = head.index("x"), head.index("y"), head.index(split["label"])
    rows = [line.split("\t") for line in lines[1:]]
    return [(float(row[x]), float(row[y]), int(row[label])) for row in rows]


def predict(weights: dict[str, float], example: tuple[float, float, int]) -> float:
    return 1 / (1 + math.exp(-(weights["bias"] + weights["x"] * example[0] + weights["y"] * example[1])))


def matrix(weights: dict[str, float], split: list[tuple[float, float, int]]) -> list[list[int]]:
    counts = [[0, 0], [0, 0]]
    for example in split:
        counts[example[2]][int(predict(weights, example) > 0.5)] += 1
    return counts


def accuracy(counts: list[list[int]]) -> float:
    return (counts[0][0] + counts[1][1]) / sum(map(sum, counts))


def scores(counts: list[list[int]], label: int) -> list[float]:
    hit, other = counts[label][label], 1 - label
    precision, recall = hit / (hit + counts[other][label]), hit / sum(counts[label])
    return [precision, recall, 2 * precision * recall / (precision + recall)]


def main() -> None:
    job = json.loads(Path(os.environ["REPRO_JOB"]).read_text(encoding="utf-8"))
    rate, steps, pause_s = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    order = random.Random(job["seed"])
    train, test = examples(job["splits"]["train"]), examples(job["splits"]["test"])
    weights = json.loads((INPUTS / "weights/start.json").read_text(encoding="utf-8"))
    print(f"{len(train)} examples to train on, {len(test)} to test on", flush=True)
    tell(event="phase", phase="train")
    for step in range(1, steps + 1):
        loss = 0.0
        batch = order.sample(train, 16)
        for example in batch:
            guess = predict(weights, example)
            error = guess - example[2]
            weights["bias"] -= rate * error
            weights["x"] -= rate * error * example[0]
            weights["y"] -= rate * error * example[1]
            loss -= math.log(guess if example[2] else 1 - guess)
        print(f"step {step}/{steps} loss {loss / len(batch):.4f} rate {rate:g}", flush=True)
        tell(event="step", step=step, total=steps, loss=loss / len(batch), learning_rate=rate)
        if step % 10 == 0:
            tell(event="metric", name="accuracy", value=accuracy(matrix(weights, test)), split="test", step=step)
        time.sleep(pause_s)
    tell(event="phase", phase="evaluate")
    for percent in (0, 50, 100):
        print(f"\revaluating {percent:3d} %", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr, flush=True)
    counts = matrix(weights, test)
    (OUT / "weights.json").write_text(json.dumps(weights) + "\n", encoding="utf-8")
    predictions = "".join(f"{predict(weights, example)!r}\n" for example in test)
    (OUT / "predictions.tsv").write_text(predictions, encoding="utf-8")
    tell(event="output", name="weights", path="weights.json")
    tell(event="output", name="predictions", path="predictions.tsv")
    by_class = [scores(counts, 0), scores(counts, 1)]
    tell(event="metric", name="accuracy", value=accuracy(counts), split="test")
    tell(event="metric", name="macro_f1", value=(by_class[0][2] + by_class[1][2]) / 2, split="test")
    rows = [[name, *by_class[label], sum(counts[label])] for label, name in enumerate(NAMES)]
    tell(event="table", name="per_class", columns=["class", "precision", "recall", "f1", "support"], rows=rows)
    rows = [[name, *counts[label]] for label, name in enumerate(NAMES)]
    tell(event="table", name="confusion_matrix", columns=["true class", *NAMES], rows=rows)


main()
