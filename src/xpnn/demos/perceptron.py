"""Rosenblatt's learning rule as a table, epoch by epoch and example by example.

Where the prediction is wrong, the weights move by the error times the input; where it is
right nothing changes. Learning stops at the first epoch in which nothing changes. That
comes for every linearly separable problem, and never for one like XOR.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn.backends import Backend, to_host
from xpnn.estimators import Perceptron
from xpnn.plots import save_figure
from xpnn.plots.units import draw_boundaries

TWO = ([[1.0, 0.0], [0.0, 1.0]], [0, 1])
SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
AND = (SQUARE, [0, 0, 0, 1])
XOR = (SQUARE, [0, 1, 1, 0])
# Whole numbers, so that every library and dtype takes exactly the same steps.
POINTS = [
    [1.0, 3.0], [2.0, 5.0], [3.0, 4.0], [1.0, 6.0], [4.0, 7.0], [3.0, 8.0],
    [5.0, 2.0], [6.0, 4.0], [7.0, 5.0], [5.0, 4.0], [8.0, 7.0], [7.0, 2.0],
]  # fmt: skip
SIDES = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def run(backend: Backend, out: Path) -> dict[str, Any]:
    """Learn from two examples, AND, XOR, and points in the plane; the figures are by problem."""
    found: dict[str, Any] = {}
    for name, (x, y) in {"two examples": TWO, "AND": AND, "XOR": XOR}.items():
        unit, found[name] = _learn(backend, x, y, max_iter=10)
        print(f"{name}\n{unit.history_.table(24)}\n")
    unit, found["points"] = _learn(backend, POINTS, SIDES, max_iter=1000)
    print(f"{len(POINTS)} points in the plane: {unit.history_.verdict()}")
    picture = save_figure(draw_boundaries(unit, POINTS, SIDES), out / "perceptron.png")
    print(f"the boundary epoch by epoch: {picture}")
    return found | {"picture": str(picture)}


def _learn(
    backend: Backend, x: list[list[float]], y: list[int], max_iter: int
) -> tuple[Perceptron, dict[str, Any]]:
    # The tutorial's rule: in the order of the rows, until nothing changes; the unit is a
    # threshold unit, which fires at 0.
    unit = Perceptron(max_iter=max_iter, shuffle=False, tol=None, fires_at_zero=True)
    data = backend.asarray(x)
    unit.fit(data, y)
    return unit, {
        "updates": unit.history_.updates,
        "weights": to_host(unit.coef_)[0, :].tolist(),
        "bias": float(to_host(unit.intercept_)[0]),
        "predictions": to_host(unit.predict(data)).tolist(),
        "converged": unit.converged_,
        "verdict": unit.history_.verdict(),
    }
