"""Classify handwritten digits, 8 by 8 pixels, with a small neural network."""

import argparse
import gzip

import numpy as np
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="digits.csv.gz")
parser.add_argument("--hidden", type=int, default=64)
parser.add_argument("--learning-rate", type=float, default=0.01)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

with gzip.open(options.data) as stream:
    table = np.loadtxt(stream, delimiter=",")
pixels, digits = table[:, :-1] / 16, table[:, -1].astype(int)
train_x, test_x, train_y, test_y = train_test_split(pixels, digits, test_size=0.3, random_state=7, stratify=digits)

model = MLPClassifier((options.hidden,), learning_rate_init=options.learning_rate, random_state=options.seed)
for epoch in range(1, options.epochs + 1):
    model.partial_fit(train_x, train_y, classes=np.arange(10))
    print(f"epoch {epoch}: loss {model.loss_:.4f}")

predicted = model.predict(test_x)
print("accuracy", accuracy_score(test_y, predicted))
print("macro-F1", f1_score(test_y, predicted, average="macro"))
