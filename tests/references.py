"""The formulas a second time, in float64 NumPy and SciPy, written another way than in xpnn.

Gradients are not written a second time: they come from the formulas by finite
differences.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from xpnn.functional import l2_penalty, l2_penalty_backward
from xpnn.layers import flatten, unflatten

ACTIVATIONS = {
    "identity": lambda z: z.copy(),
    "heaviside": lambda z: np.heaviside(z, 1.0),
    "sigmoid": special.expit,
    "tanh": lambda z: 2.0 * special.expit(2.0 * z) - 1.0,
    "relu": lambda z: np.where(z > 0, z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0.0)) - 1.0),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: z * special.expit(np.sqrt(8.0 / np.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z: z / (1.0 + np.exp(-z)),
    "softplus": lambda z: np.logaddexp(0.0, z),
    "softmax": lambda z: special.softmax(z, axis=-1),
    "log_softmax": lambda z: z - special.logsumexp(z, axis=-1, keepdims=True),
}

ROW_LOSSES = {
    "sum_squared_errors": lambda s, t: ((s - t) ** 2).sum(axis=1),
    "mean_squared_error": lambda s, t: ((s - t) ** 2).mean(axis=1),
    "mean_absolute_error": lambda s, t: np.abs(s - t).mean(axis=1),
    "huber": lambda s, t: special.huber(1.0, s - t).mean(axis=1),
    "binary_cross_entropy": lambda s, t: (
        -(t * special.log_expit(s) + (1 - t) * special.log_expit(-s)).sum(axis=1)
    ),
    "softmax_cross_entropy": lambda s, t: -(t * special.log_softmax(s, axis=1)).sum(axis=1),
    "hinge": lambda s, t: np.where(t == 1, np.maximum(0, 1 - s), np.maximum(0, 1 + s)).sum(axis=1),
    "poisson": lambda s, t: (np.exp(s) - t * s).mean(axis=1),
}


def loss(name, scores, targets, weight=None):
    """Loss of a whole batch: `sum_squared_errors` is a sum over rows, the others a mean."""
    rows = ROW_LOSSES[name](scores, targets)
    if name == "sum_squared_errors":
        return rows.sum() if weight is None else rows @ weight
    return np.average(rows, weights=weight)


def targets(name, generator, rows, outputs):
    """Targets that fit a loss, as float64 of shape (rows, outputs)."""
    if name == "softmax_cross_entropy":
        return np.eye(outputs)[generator.integers(outputs, size=rows)]
    if name in ("binary_cross_entropy", "hinge"):
        return generator.integers(2, size=(rows, outputs)).astype(float)
    if name == "poisson":
        return generator.poisson(2.0, (rows, outputs)).astype(float)
    return generator.normal(size=(rows, outputs))


def slope(function, step=1e-3):
    """Derivative at 0 of a scalar function: five points, off by about ``step**4``."""
    f = function
    return (8.0 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12.0 * step)


def gradient(function, x):
    """Gradient of a scalar function of an array, entry by entry."""
    found = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        direction = np.zeros(x.shape)
        direction[index] = 1.0
        found[index] = slope(lambda h, d=direction: function(x + h * d))
    return found


def away_from(kinks, values, distance=0.01):
    """Move values off the places where a derivative jumps, which differences would straddle."""
    for kink in kinks:
        near = np.abs(values - kink) < distance
        values = np.where(near, kink + distance * np.where(values >= kink, 2.0, -2.0), values)
    return values


def relative(found, expected):
    """Largest deviation over the largest expected entry."""
    largest = np.max(np.abs(expected))
    return float(np.max(np.abs(np.asarray(found) - expected)) / (largest if largest else 1.0))


def loss_and_gradient(layers, tree, loss, l2, *, xp):
    """``(theta, x, t, weight, noise) -> (loss, gradient)`` of layers, a loss and a penalty."""

    def function(theta, x, t, weight, noise):
        params = unflatten(tree, theta, xp=xp)
        scores, saved = layers.forward(params, x, noise, xp=xp)
        value, kept = loss.forward(scores, t, weight, xp=xp)
        _, gradients = layers.backward(params, saved, loss.backward(kept, xp=xp), xp=xp)
        penalty, theta = l2_penalty(theta, l2, xp=xp)
        gradient = flatten(gradients, xp=xp) + l2_penalty_backward(theta, l2, xp=xp)
        return value + penalty, gradient

    return function
