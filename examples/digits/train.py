"""Softmax regression on the UCI optical digits, in numpy.

The same seed, data and versions give the same bytes in model.npz and metrics.jsonl, also when the run was interrupted and
went on from a checkpoint: each epoch draws its own random order, and the checkpoint holds the metrics so far.
"""

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np

CLASSES = 10
BATCH = 32
TEST_ROWS = 359  # one fifth, the last rows: other writers than the first ones


def load(path):
    """Pixels in 0..1 and labels, split into (train pixels, train labels, test pixels, test labels)."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    pixels, labels = table[:, :-1] / 16.0, table[:, -1].astype(np.int64)
    return pixels[:-TEST_ROWS], labels[:-TEST_ROWS], pixels[-TEST_ROWS:], labels[-TEST_ROWS:]


def probabilities(weights, pixels):
    """Softmax of the linear scores; the last row of weights is the bias."""
    scores = pixels @ weights[:-1] + weights[-1]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def train_epoch(weights, pixels, labels, lr, order):
    """One pass of mini-batch gradient descent in the given order; returns new weights."""
    weights = weights.copy()
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        error = probabilities(weights, pixels[rows])
        error[np.arange(len(rows)), labels[rows]] -= 1.0
        weights[:-1] -= lr * pixels[rows].T @ error / len(rows)
        weights[-1] -= lr * error.mean(axis=0)
    return weights


def evaluate(weights, pixels, labels):
    """Mean cross-entropy and accuracy."""
    predicted = probabilities(weights, pixels)
    loss = -np.log(predicted[np.arange(len(labels)), labels]).mean()
    return float(loss), float((predicted.argmax(axis=1) == labels).mean())


def save(path, **arrays):
    """Write an .npz whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def resume(checkpoint, features):
    """(weights, [(loss, accuracy), ...] of the epochs done) from the checkpoint, or the start."""
    if checkpoint is None or not checkpoint.exists():
        return np.zeros((features + 1, CLASSES)), []
    with np.load(checkpoint) as stored:
        return stored["weights"], [tuple(row) for row in stored["history"].tolist()]


def line(epoch, loss, accuracy):
    return json.dumps({"step": epoch, "loss": round(loss, 6), "accuracy": round(accuracy, 6)}) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    train_pixels, train_labels, test_pixels, test_labels = load(options.data)
    checkpoint = options.checkpoints / "digits.npz" if options.checkpoints else None
    weights, history = resume(checkpoint, train_pixels.shape[1])
    print(f"{len(train_labels)} rows to train, {len(test_labels)} to test; {len(history)} of {options.epochs} epochs done", flush=True)

    with (options.results / "metrics.jsonl").open("w", encoding="ascii") as metrics:
        metrics.writelines(line(epoch, *row) for epoch, row in enumerate(history, start=1))
        for epoch in range(len(history) + 1, options.epochs + 1):
            order = np.random.default_rng([options.seed, epoch]).permutation(len(train_labels))
            weights = train_epoch(weights, train_pixels, train_labels, options.lr, order)
            history.append(evaluate(weights, test_pixels, test_labels))
            metrics.write(line(epoch, *history[-1]))
            metrics.flush()
            print(f"epoch {epoch:3d}  loss {history[-1][0]:.4f}  accuracy {history[-1][1]:.4f}", flush=True)
            if checkpoint:
                save(checkpoint, weights=weights, history=np.array(history))
    save(options.results / "model.npz", weights=weights)


if __name__ == "__main__":
    main()
