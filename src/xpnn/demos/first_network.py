"""One layer, trained: "your first neural network".

Four examples of three inputs; the answer is the first of them. A single sigmoid unit
without bias finds that out by following the gradient of its squared error 15,000 times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import Backend, InputError
from xpnn.layers import Dense
from xpnn.optimizers import SGD
from xpnn.plots import draw_history, save_figure
from xpnn.training import Network

INPUTS = [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
TARGETS = [0.0, 1.0, 1.0, 0.0]
ITERATIONS = 15_000


def parse_row(text: str, width: int = 3) -> list[float]:
    """Read so many numbers that a user typed, with spaces or commas between them."""
    row = []
    for word in text.replace(",", " ").split():
        try:
            row.append(float(word))
        except ValueError:
            raise InputError(f"input holds {word!r}; expected {width} numbers") from None
    if len(row) != width:
        raise InputError(f"input holds {len(row)} numbers; expected {width}")
    return row


def run(backend: Backend, out: Path, input: str = "1 0 0") -> dict[str, Any]:
    """Train the unit, show its weights, and ask it about three numbers as a user types them."""
    row = parse_row(input)
    # The text draws its weights with NumPy's legacy generator, seeded with 1.
    start = 2 * np.random.RandomState(1).random((3, 1)) - 1
    network = Network(3, [Dense(1, bias=False), "sigmoid"], loss="sum_squared_errors")
    network.assign(**{"0.weights": start}).to(backend)
    print("weights before training:", start[:, 0])
    x, y = backend.asarray(INPUTS), backend.asarray(TARGETS)
    # The text follows half the squared error at 1: that is the whole at 1/2.
    history = network.fit(x, y, epochs=ITERATIONS, batch_size=None, optimizer=SGD(0.5))
    weights = backend.to_host(network.parameters()["0.weights"])[:, 0]
    print(f"weights after {ITERATIONS:,} iterations: {weights}")
    answer = float(backend.to_host(network.predict(backend.asarray(row))))
    print(f"new situation {row}: {answer:.7f}")
    print(f"loss curve: {save_figure(draw_history(history), out / 'first-network.png')}")
    return {"start": start[:, 0].tolist(), "weights": weights.tolist(), "answer": answer}
