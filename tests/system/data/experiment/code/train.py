"""Logistic regression in plain Python: knows nothing of repro-tui but its line format."""

import json
import math
import os
import random
import sys
from pathlib import Path

INPUTS = Path(os.environ["REPRO_INPUTS"])
OUT = Path(os.environ["REPRO_OUT"])


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


def main() -> None:
    job = json.loads(Path(os.environ["REPRO_JOB"]).read_text(encoding="utf-8"))
    rate, epochs = float(sys.argv[1]), int(sys.argv[2])
    order = random.Random(job["seed"])
    train, test = examples(job["splits"]["train"]), examples(job["splits"]["test"])
    weights = json.loads((INPUTS / "weights/start.json").read_text(encoding="utf-8"))
    tell(event="phase", phase="train")
    for epoch in range(1, epochs + 1):
        order.shuffle(train)
        loss = 0.0
        for example in train:
            error = predict(weights, example) - example[2]
            weights["bias"] -= rate * error
            weights["x"] -= rate * error * example[0]
            weights["y"] -= rate * error * example[1]
            loss += error * error
        print(f"epoch {epoch}: loss {loss / len(train):.4f}", flush=True)
        tell(event="step", step=epoch, total=epochs, loss=loss / len(train), learning_rate=rate)
    tell(event="phase", phase="evaluate")
    scores = [predict(weights, example) for example in test]
    right = sum((score > 0.5) == bool(example[2]) for score, example in zip(scores, test, strict=True))
    (OUT / "weights.json").write_text(json.dumps(weights) + "\n", encoding="utf-8")
    (OUT / "predictions.tsv").write_text("".join(f"{score!r}\n" for score in scores), encoding="utf-8")
    tell(event="output", name="weights", path="weights.json")
    tell(event="output", name="predictions", path="predictions.tsv")
    tell(event="metric", name="accuracy", value=right / len(test), split="test")


main()
