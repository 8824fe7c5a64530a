"""A linear classifier over the mean of word and word-pair embeddings (fastText: Joulin et al. 2017, arXiv:1607.01759).

Plain PyTorch. All it shares with what runs it is the line format: one JSON object a line, appended to $REPRO_METRICS.
"""

import argparse
import json
import os
import random
from itertools import chain, pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def report(event, **fields):
    with open(os.environ["REPRO_METRICS"], "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"event": event, **fields}) + "\n")


def read(path):
    """Return (label, words and word pairs) of each line; the first three lines are a header."""
    examples = []
    for line in Path(path).read_text(encoding="utf-8").split("\n")[3:]:
        label, _, text = line.partition("\t")
        if label:
            words = text.split()
            examples.append((label, words + [f"{a} {b}" for a, b in pairwise(words)]))
    return examples


def collate(examples, vocabulary, labels):
    """Return the features of a batch one after the other, where each example's begin (B,), and the classes (B,)."""
    numbers = [[vocabulary[f] for f in features if f in vocabulary] or [0] for _, features in examples]
    starts = torch.tensor([0, *map(len, numbers)])[:-1].cumsum(0)
    return torch.tensor(list(chain(*numbers))), starts, torch.tensor([labels.index(label) for label, _ in examples])


class Classifier(nn.Module):
    def __init__(self, features, dimension, classes):
        super().__init__()
        self.embedding = nn.EmbeddingBag(features, dimension, mode="mean")
        self.output = nn.Linear(dimension, classes)

    def forward(self, features, starts):
        return self.output(self.embedding(features, starts))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--min-count", type=int, required=True, help="drop rarer words and pairs")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    random.seed(options.seed)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(mode=True)
    report("runtime", threads=torch.get_num_threads(), torch=torch.__version__)

    train, test = read(options.train), read(options.test)
    labels = sorted({label for label, _ in train})
    counts = {}
    for _, features in train:
        for feature in features:
            counts[feature] = counts.get(feature, 0) + 1
    kept = sorted(feature for feature, count in counts.items() if count >= options.min_count)
    vocabulary = {feature: number for number, feature in enumerate(kept, 1)}  # 0 stands for none of them

    model = Classifier(len(vocabulary) + 1, options.dimension, len(labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate, fused=True)
    starts = range(0, len(train), options.batch_size)
    total = options.epochs * len(starts)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total)

    report("phase", phase="train")
    step = 0
    for _ in range(options.epochs):
        random.shuffle(train)
        for start in starts:
            features, offsets, classes = collate(train[start : start + options.batch_size], vocabulary, labels)
            loss = cross_entropy(model(features, offsets), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            report("step", step=step, total=total, loss=loss.item(), learning_rate=schedule.get_last_lr()[0])

    report("phase", phase="evaluate")
    with torch.inference_mode():
        features, offsets, classes = collate(test, vocabulary, labels)
        predicted = model(features, offsets).argmax(dim=1)
    report("metric", name="accuracy", value=(predicted == classes).float().mean().item(), split="test")

    out = Path(os.environ["REPRO_OUT"])
    torch.save(model.state_dict(), out / "weights.pt")
    report("output", name="weights", path="weights.pt")
    with (out / "predictions.tsv").open("w", encoding="utf-8") as stream:
        stream.write("example\tlabel\tpredicted\n")
        for index, ((label, _), number) in enumerate(zip(test, predicted, strict=True)):
            stream.write(f"{index}\t{label}\t{labels[number]}\n")
    report("output", name="predictions", path="predictions.tsv")


if __name__ == "__main__":
    main()
