"""Arithmetic and memory traffic of a step, counted from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Cost:
    """What a step cannot do without.

    Parameters
    ----------
    flops : float
        Additions and multiplications of the matrix products.
    bytes : float
        Bytes that go to or from memory.
    size : int
        Bytes of a number in the products.
    """

    flops: float
    bytes: float
    size: int = FLOAT

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.bytes


def train_cost(widths: Sequence[int], batch: int, size: int = FLOAT) -> Cost:
    """Count a training step with Adam.

    With `B` rows, layers of `a` inputs and `b` outputs, `P` parameters and `s` bytes for a
    number in the products::

        flops = sum(2 B a b) forward + sum(2 B a b) gradients of the weights
                + sum(2 B a b) gradients of the inputs, without the first layer
        bytes = 4 B inputs                      the rows
                + s sum(4 B b)                  each layer's output and its gradient, written
                                                and read once
                + s 2 P                         the parameters, forward and backward
                + 4 P                           the gradient, written
                + 4 (4 P + 3 P)                 Adam: reads gradient, parameters and two
                                                moments, writes all but the gradient
                + (4 + s) P                     rounding the parameters, where s is not 4

    Biases count among `P`, elementwise arithmetic is left out. It is the least traffic of a
    step whose elementwise operations are all fused with something; what stays in a cache
    between two operations goes to memory even less, so that a small network may stand above
    the line of the memory's bandwidth.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden layers, outputs.
    batch : int
        Rows in the step.
    size : int, default 4
        Bytes of a number in the products.

    Returns
    -------
    Cost
    """
    pairs = list(pairwise(widths))
    products = [2.0 * batch * a * b for a, b in pairs]
    parameters = sum(a * b + b for a, b in pairs)
    traffic = FLOAT * batch * widths[0] + size * sum(4 * batch * b for _, b in pairs)
    traffic += 2 * size * parameters + FLOAT * parameters + FLOAT * 7 * parameters
    if size != FLOAT:
        traffic += (FLOAT + size) * parameters
    return Cost(3 * sum(products) - products[0], float(traffic), size)


def predict_cost(widths: Sequence[int], rows: int) -> Cost:
    """Count a prediction: ``flops = sum(2 B a b)``; bytes of rows, parameters and labels.

    ``bytes = 4 (B inputs + sum(2 B b) + P) + 8 B``: each layer's output is written and read
    once, labels are 8 bytes.
    """
    pairs = list(pairwise(widths))
    numbers = rows * widths[0] + sum(2 * rows * b + a * b + b for a, b in pairs)
    return Cost(sum(2.0 * rows * a * b for a, b in pairs), float(FLOAT * numbers + 8 * rows))
