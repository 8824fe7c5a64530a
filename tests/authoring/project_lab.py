"""Little projects to look at."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro_tui.authoring.drafting import draft
from repro_tui.authoring.writing import manifest_text

TRAIN = '''\
"""Train a classifier."""
import argparse
import pandas as pd
from sklearn.linear_model import LogisticRegression
from helpers.metrics import accuracy

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", default="data/train.csv")
    parser.add_argument("--learning-rate", "--lr", type=float, default=1e-3, dest="lr")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output-dir", default="results")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    train = pd.read_csv(args.train)
    labels = open("labels.txt").read().split()
    acc = accuracy(train, labels)
    print(f"epoch {1}, accuracy: {acc:.4f}")

if __name__ == "__main__":
    main()
'''

PROJECT = {
    "train.py": TRAIN,
    "helpers/__init__.py": "",
    "helpers/metrics.py": "def accuracy(a, b):\n    return 1\n",
    "labels.txt": "a\nb\n",
    "data/train.csv": "x,y\n1,2\n",
    "requirements.txt": "scikit-learn==1.5\npandas\n",
    "LICENSE": "MIT License\n\nPermission is hereby granted, free of charge, to any person\n",
    "README.md": "# A classifier of mine\n",
}


def make(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def drafted(folder: Path, *words: str) -> tuple[dict[str, Any], list[str]]:
    """Return the drafted manifest, and what its marked lines say."""
    from repro_tui.manifest.lines import Lines
    from repro_tui.manifest.marks import marked_problems

    text = manifest_text(draft(folder, words))
    marks = [problem.found.partition(": ")[2].strip('"') for problem in marked_problems(Lines(text))]
    return tomllib.loads(text), marks


def sources(manifest: dict[str, Any]) -> dict[str, Any]:
    return {artifact["name"]: artifact["sources"][0] for artifact in manifest["artifacts"]}
