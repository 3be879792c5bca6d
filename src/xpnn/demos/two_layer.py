"""Back-propagation by hand: "introduction to neural networks".

The target is the exclusive or of the first two inputs, which no single unit can learn;
a hidden layer of four sigmoid units can. The loss is the sum of squared errors, and it
falls at every one of the 1,500 iterations.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from xpnn.backends import Backend, generator
from xpnn.layers import Dense, LayerSpec
from xpnn.optimizers import SGD
from xpnn.plots import draw_history, save_figure
from xpnn.training import Network

INPUTS = [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
TARGETS = [0.0, 1.0, 1.0, 0.0]
ITERATIONS = 1_500


def run(backend: Backend, out: Path, seed: int = 1, hidden: int = 4) -> dict[str, Any]:
    """Train the network from weights in [0, 1) and show its predictions and its loss curve."""
    rng = generator(seed)
    layers: list[LayerSpec] = [
        Dense(hidden, bias=False),
        "sigmoid",
        Dense(1, bias=False),
        "sigmoid",
    ]
    network = Network(3, layers, loss="sum_squared_errors")
    first, second = rng.random((3, hidden)), rng.random((hidden, 1))
    network.assign(**{"0.weights": first, "2.weights": second}).to(backend)
    x, y = backend.asarray(INPUTS), backend.asarray(TARGETS)
    history = network.fit(x, y, epochs=ITERATIONS, batch_size=None, optimizer=SGD(1.0))
    predicted = backend.to_host(network.predict(x)).tolist()
    print("x1 x2 x3   y   prediction")
    for row, target, value in zip(INPUTS, TARGETS, predicted, strict=True):
        print(f" {row[0]:g}  {row[1]:g}  {row[2]:g}   {target:g}   {value:.3f}")
    worst = max(abs(p - t) for p, t in zip(predicted, TARGETS, strict=True))
    falls = all(b < a for a, b in pairwise(history.loss))
    how = "at every iteration" if falls else "not at every iteration"
    print(f"loss {history.loss[0]:.4f} -> {history.loss[-1]:.6f}; it fell {how}")
    print(f"loss curve: {save_figure(draw_history(history), out / 'two-layer.png')}")
    return {"predicted": predicted, "worst": worst, "falls": falls, "loss": history.loss[-1]}
