"""The digit tutorial's update, written out, against the layer that reproduces it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from xpnn import Network
from xpnn.layers import Activation, Dense, RawErrorDense
from xpnn.optimizers import SGD

GENERATOR = np.random.default_rng(0)
RECORDS = GENERATOR.integers(0, 256, (7, 12)) / 255 * 0.99 + 0.01
LABELS = GENERATOR.integers(0, 4, 7)
TARGETS = np.full((7, 4), 0.01)
TARGETS[np.arange(7), LABELS] = 0.99
RATE, HIDDEN = 0.3, 5


def tutorial(w1, w2):
    """One epoch, one record at a time, columns as in the text (units, inputs)."""
    w1, w2 = w1.T.copy(), w2.T.copy()
    for x, target in zip(RECORDS[:, :, None], TARGETS[:, :, None], strict=True):
        o1 = expit(w1 @ x)
        o2 = expit(w2 @ o1)
        e2 = target - o2
        e1 = w2.T @ e2
        w2 += RATE * (e2 * o2 * (1 - o2)) @ o1.T
        w1 += RATE * (e1 * o1 * (1 - o1)) @ x.T
    return w1.T, w2.T


def train(layers, backend):
    """The same with xpnn: half the sum of squared errors is what the text's rate is for."""
    network = Network(12, layers, loss="sum_squared_errors", seed=1)
    start = {name: np.array(values) for name, values in network.parameters().items()}
    network.fit(
        backend.asarray(RECORDS), backend.asarray(TARGETS),
        epochs=1, batch_size=1, shuffle=False, optimizer=SGD(RATE / 2),
    )  # fmt: skip
    return list(start.values()), network.parameters()


def raw():
    scale = HIDDEN**-0.5
    return [RawErrorDense(HIDDEN, scale=scale), RawErrorDense(4, scale=scale)]


def test_the_tutorials_update(backend, assert_close):
    start, found = train(raw(), backend)
    for values, expected in zip(found.values(), tutorial(*start), strict=True):
        assert_close(values, expected, backend)


def test_it_is_not_the_gradient():
    def exact(width):
        return [Dense(width, False, "normal", HIDDEN**-0.5), Activation("sigmoid")]

    from xpnn import select

    start, found = train([*exact(HIDDEN), *exact(4)], select("numpy"))
    text = tutorial(*start)
    assert np.abs(found["0.weights"] - text[0]).max() > 1e-3
    # The last layer's own update is the gradient in both, until the first layers differ.
    assert np.abs(found["2.weights"] - text[1]).max() < 1e-2


@pytest.mark.parametrize("activation", ["sigmoid", "gelu"])
def test_the_error_goes_back_before_the_derivative(activation):
    layer = RawErrorDense(3, activation, bias=True)
    x, dy, w = GENERATOR.normal(size=(2, 4)), GENERATOR.normal(size=(2, 3)), np.ones((4, 3))
    _, saved = layer.forward((w, np.zeros(3)), x, None, xp=np)
    dx, (dweights, dbias) = layer.backward((w, np.zeros(3)), saved, dy, xp=np)
    np.testing.assert_allclose(dx, dy @ w.T)
    exact = Activation(activation)
    _, kept = exact.forward((), x @ w, None, xp=np)
    dz, _ = exact.backward((), kept, dy, xp=np)
    np.testing.assert_allclose(dweights, x.T @ dz)
    np.testing.assert_allclose(dbias, dz.sum(axis=0))
