"""Back-propagation by hand: "introduction to neural networks".

The target is the exclusive or of the first two inputs, which no single unit can learn;
a hidden layer of four sigmoid units can. The loss is the sum of squared errors, and it
falls at every one of the 1,500 iterations.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import Backend, generator
from xpnn.layers import Dense
from xpnn.optimizers import SGD
from xpnn.plots.curves import plot_history
from xpnn.training import Network

INPUTS = [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
TARGETS = [0, 1, 1, 0]
ITERATIONS = 1_500


def run(backend: Backend, out: Path, seed: int = 1, hidden: int = 4) -> dict[str, Any]:
    """Train the network and show its predictions and its loss curve.

    Parameters
    ----------
    backend : Backend
        Where it runs.
    out : Path
        Folder for the picture.
    seed : int, default 1
        For the initial weights, uniform in [0, 1).
    hidden : int, default 4
        Width of the hidden layer.

    Returns
    -------
    dict
        Predictions, largest error, and whether the loss fell at every iteration.
    """
    source = generator(seed)
    network = Network(
        3,
        [Dense(hidden, bias=False), "sigmoid", Dense(1, bias=False), "sigmoid"],
        loss="sum_squared_errors",
    )
    network.assign(
        **{"0.weights": source.random((3, hidden)), "2.weights": source.random((hidden, 1))}
    ).to(backend)
    x = backend.asarray(np.asarray(INPUTS, float))
    history = network.fit(
        x,
        backend.asarray(np.asarray(TARGETS, float)),
        epochs=ITERATIONS,
        batch_size=None,
        optimizer=SGD(1.0),
    )
    predicted = backend.to_host(network.predict(x)).tolist()
    print("x1 x2 x3   y   prediction")
    for row, target, value in zip(INPUTS, TARGETS, predicted, strict=True):
        print(f" {row[0]}  {row[1]}  {row[2]}   {target}   {value:.3f}")
    worst = max(abs(p - t) for p, t in zip(predicted, TARGETS, strict=True))
    falls = all(b < a for a, b in pairwise(history.loss))
    print(f"loss {history.loss[0]:.4f} -> {history.loss[-1]:.6f}", end="; ")
    print("it fell at every iteration" if falls else "it did not fall at every iteration")
    picture = plot_history(history, out / "two-layer.png")
    print(f"loss curve: {picture}")
    return {"predicted": predicted, "worst": worst, "falls": falls, "loss": history.loss[-1]}
