"""The tutorials and the digit reader, one short module each.

Every module has ``run(backend, out, ...)``, which prints what the text shows, writes its
pictures to the folder `out`, and returns the figures as host values. Its other parameters are
the options of `xpnn demo`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

DEMOS: dict[str, str] = {
    "weighted-sum": "Many inputs, one neuron: prediction as a dot product, weights as logic.",
    "first-network": "One layer, trained: three inputs, one sigmoid unit, 15,000 iterations.",
    "mnist": "Handwritten digits: the tutorial's three layers, record by record, and a modern one.",
    "mcculloch-pitts": "Threshold units: AND, OR, NOT, NAND, NOR, and XOR in two layers.",
    "two-layer": "Back-propagation through a hidden layer, with its loss curve.",
    "neuron": "The artificial neuron: weights, bias, activation.",
    "perceptron": "Rosenblatt's learning rule as a table, epoch by epoch.",
    "digits": "The main job: classify scikit-learn's 1,797 images of digits.",
}


def demo(name: str) -> Callable[..., dict[str, Any]]:
    """Return the function ``run(backend, out, ...)`` of a demo, a key of `DEMOS`."""
    if name not in DEMOS:
        from xpnn.backends import InputError

        raise InputError(f"demo {name!r} is not known; expected one of {', '.join(DEMOS)}")
    return importlib.import_module(f"xpnn.demos.{name.replace('-', '_')}").run
