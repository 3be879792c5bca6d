"""Gradients of whole networks: every layer with every activation, one's own too, and every loss."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from layer_cases import CUSTOM, noise_for

import references
from xpnn import functional as F
from xpnn.backends import generator, to_host
from xpnn.layers import Activation, Chain, Dense, Dropout, draw, place, unflatten
from xpnn.training import Loss

ROWS, INPUTS, OUTPUTS = 6, 5, 3
ACTIVATIONS = [*F.ACTIVATIONS, *CUSTOM]


def network(kind, activation):
    """Layers of one kind round an activation, ending in scores."""
    act = CUSTOM.get(activation) or Activation(activation)
    return {
        "dense": Chain((Dense(4), act, Dense(OUTPUTS))),
        "no bias": Chain((Dense(4, bias=False), act, Dense(OUTPUTS, bias=False))),
        "dropout": Chain((Dropout(0.2), Dense(4), act, Dropout(0.4), Dense(OUTPUTS))),
        "nested": Chain((Chain((Dense(4), act)), Chain((Chain((Dropout(0.3),)), Dense(OUTPUTS))))),
        "no parameters below": Chain((Chain((act, Dropout(0.3))), act, Dense(OUTPUTS))),
        "activation last": Chain((Dense(OUTPUTS), act)),
    }[kind]


KINDS = ["dense", "no bias", "dropout", "nested", "no parameters below", "activation last"]


@cache
def problem(kind, activation, loss):
    """The network, its parameters, data, fixed noise, and the gradient that NumPy finds."""
    layer, tree = network(kind, activation), place(network(kind, activation).parameters(INPUTS))
    source = generator(7)
    theta = draw(tree, source) + 0.05 * source.normal(size=draw(tree, generator(0)).size)
    x = source.normal(size=(ROWS, INPUTS))
    t = references.targets(loss, source, ROWS, OUTPUTS)
    weight = source.uniform(0.5, 2.0, ROWS)

    noise = noise_for(layer, INPUTS, ROWS, source)
    return layer, tree, theta, x, t, weight, noise


def moved(tree, put):
    if tree is None or not isinstance(tree, tuple):
        return None if tree is None else put(tree)
    return tuple(moved(branch, put) for branch in tree)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", list(F.LOSSES))
def test_gradient_is_the_slope_in_a_random_direction(loss, activation, kind):
    layer, tree, theta, x, t, weight, noise = problem(kind, activation, loss)
    function = references.loss_and_gradient(layer, tree, Loss(loss), 0.1, xp=np)
    direction = np.random.default_rng(1).normal(size=theta.shape)
    direction /= np.linalg.norm(direction)
    expected = references.slope(
        lambda h: function(theta + h * direction, x, t, weight, noise)[0], 1e-4
    )
    gradient = function(theta, x, t, weight, noise)[1]
    scale = max(np.linalg.norm(gradient), 1e-3)
    assert gradient @ direction == pytest.approx(expected, abs=4 * 2**-26 * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_input_gradient_is_the_slope_in_a_random_direction(activation, kind):
    layer, tree, theta, x, _, _, noise = problem(kind, activation, "huber")
    params = unflatten(tree, theta, xp=np)
    dy = np.random.default_rng(2).normal(size=(ROWS, OUTPUTS))
    direction = np.random.default_rng(3).normal(size=x.shape)
    expected = references.slope(
        lambda h: np.sum(dy * layer.forward(params, x + h * direction, noise, xp=np)[0]), 1e-4
    )
    _, saved = layer.forward(params, x, noise, xp=np)
    dx, _ = layer.backward(params, saved, dy, xp=np)
    assert np.sum(dx * direction) == pytest.approx(expected, rel=1e-7, abs=1e-8)


# Every activation and every loss once, and every kind of network.
PAIRS = [(a, "softmax_cross_entropy", "dropout") for a in ACTIVATIONS]
PAIRS += [("tanh", loss, "dense") for loss in F.LOSSES]
PAIRS += [("tanh", "mean_squared_error", kind) for kind in KINDS]
pairs = pytest.mark.parametrize(("activation", "loss", "kind"), PAIRS)


@pairs
def test_gradient_is_what_automatic_differentiation_finds(activation, loss, kind, derive):
    layer, tree, theta, x, t, weight, noise = problem(kind, activation, loss)

    def value(here, vector):
        function = references.loss_and_gradient(layer, tree, Loss(loss), 0.1, xp=here.xp)
        arrays = (here.asarray(a) for a in (x, t, weight))
        return function(vector, *arrays, moved(noise, lambda n: here.asarray(n, "float32")))[0]

    function = references.loss_and_gradient(layer, tree, Loss(loss), 0.1, xp=np)
    gradient = function(theta, x, t, weight, noise)[1]
    assert references.relative(gradient, derive(value, theta)[0]) < 1e-10


@pairs
@pytest.mark.usefixtures("current")
def test_every_library_finds_what_numpy_finds(activation, loss, kind, backend, assert_close):
    layer, tree, theta, x, t, weight, noise = problem(kind, activation, loss)
    expected = references.loss_and_gradient(layer, tree, Loss(loss), 0.1, xp=np)(
        theta, x, t, weight, noise
    )
    function = references.loss_and_gradient(layer, tree, Loss(loss), 0.1, xp=backend.xp)
    arrays = (backend.asarray(a) for a in (theta, x, t, weight))
    value, gradient = function(*arrays, moved(noise, lambda n: backend.asarray(n, "float32")))
    assert_close(value, to_host(expected[0]), backend)
    assert_close(gradient, expected[1], backend)
