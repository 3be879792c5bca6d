"""Many inputs, one neuron: a prediction is a weighted sum.

The tutorial predicts whether a team wins from three numbers, each times its weight; then
it reads the same dot product as similarity of two vectors, and the weights as logic: a
score is high if this input is high, or that one is low.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn.backends import Backend, to_float, to_host
from xpnn.units import Neuron

WEIGHTS = [0.1, 0.2, 0.0]
FINGERS = [8.5, 9.5, 9.0]  # as the text has it: one number short of four games
RECORD = [0.65, 0.8, 0.8, 0.9]
FANS = [1.2, 1.3, 0.5, 1.0]
NAMES = ["fingers", "win/loss record", "fans"]
VECTORS = {
    "a": [0.0, 1.0, 0.0, 1.0],
    "b": [1.0, 0.0, 1.0, 0.0],
    "c": [0.0, 1.0, 1.0, 0.0],
    "d": [0.5, 0.0, 0.5, 0.0],
    "e": [-1.0, 1.0, 0.0, 0.0],
}
LOGIC = ([1, 0, 1], [0, 0, 1], [1, 0, -1], [-1, 0, -1], [0.5, 0, 1])


def run(backend: Backend, out: Path) -> dict[str, Any]:
    """Predict a game, compare vectors, and read weights as logic; there is no picture."""
    neuron = Neuron(backend.asarray(WEIGHTS))
    game = backend.asarray([FINGERS[0], RECORD[0], FANS[0]])
    prediction = to_float(neuron(game))
    print(f"first game: 8.5*0.1 + 0.65*0.2 + 1.2*0 = {prediction:.4g}")
    swapped = to_float(Neuron(backend.asarray(WEIGHTS[::-1]))(game))
    print(f"the weights in another order: {swapped:.4g}")
    try:
        neuron([8.5, 0.65])
    except ValueError as wrong:
        error = str(wrong)
    print(f"two inputs for three weights: {error}\n")
    similarity = _similarity(backend)
    logic = [Neuron(backend.asarray(weights)).logic() for weights in LOGIC]
    print("weights read as logic: the score is high if")
    for weights, text in zip(LOGIC, logic, strict=True):
        print(f"  {weights!s:<12} {text}")
    explanation = neuron.explain(game, NAMES)
    print(f"\n{explanation}")
    return {
        "prediction": prediction,
        "swapped": swapped,
        "error": error,
        "similarity": similarity,
        "logic": logic,
        "most_sensitive": explanation.most_sensitive,
        "largest_contribution": explanation.largest_contribution,
        "ignored": list(explanation.ignored),
    }


def _similarity(backend: Backend) -> dict[str, dict[str, float]]:
    """Dot product of each vector with all: large where they agree."""
    batch = backend.asarray(list(VECTORS.values()))
    table = {}
    print("dot product as similarity\n  " + "".join(f"{name:>6}" for name in VECTORS))
    for name, vector in VECTORS.items():
        row = to_host(Neuron(backend.asarray(vector))(batch)).tolist()
        table[name] = dict(zip(VECTORS, row, strict=True))
        print(f"{name} " + "".join(f"{value:>6g}" for value in row))
    print()
    return table
