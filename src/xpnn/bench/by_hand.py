"""What the library is held against in NumPy: the bare products, and a careful program."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnn.bench.rounds import Work
from xpnn.bench.workloads import BETA1, BETA2, EPS, RATE, Workload


def bare_products(work: Workload, x: Any) -> Work:
    """Make the floor: the matrix products of an epoch and nothing else.

    Forward, both gradients of each layer, but not the first layer's input gradient; into
    buffers allocated once, on slices of unshuffled rows.
    """
    weights = [w for w, _ in work.weights()]
    gradients = [np.empty_like(w) for w in weights]
    rng = np.random.default_rng(2)
    outs: list[Any] = [np.empty((work.batch, w.shape[1]), "f4") for w in weights]
    deltas: list[Any] = [rng.standard_normal(out.shape, dtype="f4") for out in outs]
    backs = [np.empty_like(out) for out in outs]

    def products(batch: Any) -> None:
        n, a = len(batch), batch
        for w, out in zip(weights, outs, strict=True):
            a = np.dot(a, w, out=out[:n])
        for i in reversed(range(len(weights))):
            below = batch if i == 0 else outs[i - 1][:n]
            np.dot(below.T, deltas[i][:n], out=gradients[i])
            if i:
                np.dot(deltas[i][:n], weights[i].T, out=backs[i - 1][:n])

    def epoch() -> None:
        for start in range(0, work.rows, work.batch):
            products(x[start : start + work.batch])

    return epoch


class NumpyByHand:
    """The network as a careful person writes it in NumPy.

    All parameters lie in one vector, so that Adam is a few operations on it; elementwise
    work goes in place where that takes no thought.
    """

    def __init__(self, work: Workload, x: Any, t: Any) -> None:
        self.work, self.x, self.t = work, x, t
        pairs = work.weights()
        self.theta = np.concatenate([part.ravel() for pair in pairs for part in pair])
        self.gradient = np.empty_like(self.theta)
        self.m, self.v, self.scratch = (np.zeros_like(self.theta) for _ in range(3))
        self.layers, self.slopes = self._parts(self.theta), self._parts(self.gradient)
        self.rng = np.random.default_rng(3)
        self.count = 0

    def _parts(self, vector: Any) -> list[tuple[Any, Any]]:
        parts, start = [], 0
        for a, b in zip(self.work.widths[:-1], self.work.widths[1:], strict=True):
            middle, stop = start + a * b, start + a * b + b
            parts.append((vector[start:middle].reshape(a, b), vector[middle:stop]))
            start = stop
        return parts

    def epoch(self) -> float:
        """Go through the rows in a new order; returns the mean loss."""
        order, total = self.rng.permutation(self.work.rows), 0.0
        for start in range(0, self.work.rows, self.work.batch):
            rows = order[start : start + self.work.batch]
            total += self._gradient(self.x[rows], self.t[rows])
            self._adam()
        return total / self.work.rows

    def _gradient(self, x: Any, t: Any) -> float:
        outputs = [x]
        for w, b in self.layers[:-1]:
            z = outputs[-1] @ w
            z += b
            outputs.append(np.maximum(z, 0, out=z))
        w, b = self.layers[-1]
        d = outputs[-1] @ w
        d += b
        d -= d.max(axis=1, keepdims=True)
        numbers = np.arange(len(t))
        chosen = d[numbers, t]
        np.exp(d, out=d)
        sums = d.sum(axis=1, keepdims=True)
        loss = float(np.log(sums).sum() - chosen.sum())
        d /= sums
        d[numbers, t] -= 1
        d /= len(t)
        for i in reversed(range(len(self.layers))):
            dw, db = self.slopes[i]
            np.matmul(outputs[i].T, d, out=dw)
            d.sum(axis=0, out=db)
            if i:
                d = d @ self.layers[i][0].T
                d *= outputs[i] > 0
        return loss

    def _adam(self) -> None:
        self.count += 1
        g, m, v, s = self.gradient, self.m, self.v, self.scratch
        m *= BETA1
        m += np.multiply(g, 1 - BETA1, out=s)
        v *= BETA2
        np.multiply(g, g, out=s)
        v += np.multiply(s, 1 - BETA2, out=s)
        np.sqrt(v, out=s)
        s += EPS
        np.divide(m, s, out=s)
        s *= RATE * math.sqrt(1 - BETA2**self.count) / (1 - BETA1**self.count)
        self.theta -= s
