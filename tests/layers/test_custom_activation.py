"""A custom activation: a layer like the others, on every library."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import references
from xpnn import Network
from xpnn.backends import generator, to_host
from xpnn.layers import Chain, CustomActivation, Dense, draw, place, unflatten
from xpnn.training import Loss


def softsign(z, *, xp):
    return z / (1.0 + xp.abs(z))


def softsign_backward(z, a, da, *, xp):
    return da * (1.0 - xp.abs(a)) ** 2


def gudermann(z, *, xp):
    return xp.atan(xp.sinh(z))


def gudermann_backward(z, a, da, *, xp):
    return da / xp.cosh(z)


# Work in front of each unit's own: a gradient that is no product of single numbers.
def centred(z, *, xp):
    return z - xp.mean(z, axis=1, keepdims=True)


def centred_backward(z, a, da, *, xp):
    return da - xp.mean(da, axis=1, keepdims=True)


PAIRS = {
    "softsign": CustomActivation(softsign, softsign_backward),
    "gudermann": CustomActivation(gudermann, gudermann_backward),
    "centred": CustomActivation(centred, centred_backward),
}
every_pair = pytest.mark.parametrize("layer", PAIRS.values(), ids=list(PAIRS))
ROWS, INPUTS, OUTPUTS = 6, 5, 3


def problem(layer):
    """A network with the activation twice, its parameters and data."""
    network = Chain((Dense(4), layer, Dense(4), layer, Dense(OUTPUTS)))
    tree, source = place(network.parameters(INPUTS)), generator(7)
    theta = draw(tree, source)
    theta = theta + 0.05 * source.normal(size=theta.size)
    x, t = source.normal(size=(ROWS, INPUTS)), np.eye(OUTPUTS)[source.integers(3, size=ROWS)]
    return network, tree, theta, x, t


def function(layer, xp):
    network, tree, *_ = problem(layer)
    return references.loss_and_gradient(network, tree, Loss("softmax_cross_entropy"), 0.1, xp=xp)


@every_pair
def test_gradient_is_the_slope_in_a_random_direction(layer):
    _, _, theta, x, t = problem(layer)
    value = function(layer, np)
    direction = np.random.default_rng(1).normal(size=theta.shape)
    expected = references.slope(lambda h: value(theta + h * direction, x, t, None, None)[0], 1e-4)
    assert value(theta, x, t, None, None)[1] @ direction == pytest.approx(expected, rel=1e-6)


@every_pair
def test_input_gradient_is_the_slope_in_a_random_direction(layer):
    source = np.random.default_rng(2)
    x, dy, direction = (source.normal(size=(ROWS, INPUTS)) for _ in range(3))
    expected = references.slope(
        lambda h: np.sum(dy * layer.forward((), x + h * direction, None, xp=np)[0]), 1e-4
    )
    _, saved = layer.forward((), x, None, xp=np)
    dx, gradients = layer.backward((), saved, dy, xp=np)
    assert np.sum(dx * direction) == pytest.approx(expected, rel=1e-7, abs=1e-8)
    assert gradients == ()
    assert layer.backward((), saved, dy, xp=np, input_gradient=False) == (None, ())


@every_pair
def test_gradient_is_what_automatic_differentiation_finds(layer, derive):
    _, _, theta, x, t = problem(layer)

    def value(here, vector):
        return function(layer, here.xp)(vector, here.asarray(x), here.asarray(t), None, None)[0]

    gradient = function(layer, np)(theta, x, t, None, None)[1]
    assert references.relative(gradient, derive(value, theta)[0]) < 1e-10


@every_pair
@pytest.mark.usefixtures("current")
def test_every_library_finds_what_numpy_finds(layer, backend, assert_close):
    _, _, theta, x, t = problem(layer)
    expected = function(layer, np)(theta, x, t, None, None)
    arrays = (backend.asarray(a) for a in (theta, x, t))
    value, gradient = function(layer, backend.xp)(*arrays, None, None)
    assert_close(value, to_host(expected[0]), backend)
    assert_close(gradient, expected[1], backend)


@every_pair
def test_pickles_copies_and_comparisons(layer):
    x = np.random.default_rng(3).normal(size=(4, 3))
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert again == layer
        assert hash(again) == hash(layer)
        np.testing.assert_array_equal(
            again.forward((), x, None, xp=np)[0], layer.forward((), x, None, xp=np)[0]
        )
    assert [other == layer for other in PAIRS.values()].count(True) == 1


@every_pair
def test_it_has_no_parameters_no_noise_and_keeps_the_width(layer):
    assert layer.parameters(7) == ()
    assert layer.noise(7, 2) is None
    assert layer.outputs(7) == 7
    assert unflatten(place(layer.parameters(7)), np.zeros(0), xp=np) == ()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("tanh", softsign_backward), "forward"), ((softsign, None), "backward")],
)
def test_both_have_to_be_functions(arguments, name):
    with pytest.raises(TypeError, match=f"{name} is .*; expected a function"):
        CustomActivation(*arguments)


def test_it_says_what_it_is():
    layer = CustomActivation(forward=np.cos, backward=centred_backward)
    assert repr(layer).startswith("CustomActivation(<ufunc 'cos'>, <function centred_backward at ")


TRAINING = {"epochs": 3, "batch_size": 8, "seed": 2}
X = np.random.default_rng(4).normal(size=(22, INPUTS))
LABELS = np.random.default_rng(5).integers(OUTPUTS, size=22)


@every_pair
@pytest.mark.parametrize("engine", ["auto", "plan"])
def test_the_engine_traces_it_or_steps_aside(layer, engine):
    network, pure = (Network(INPUTS, [6, layer, OUTPUTS], seed=1) for _ in range(2))
    history = network.fit(X, LABELS, engine=engine, **TRAINING)
    expected = pure.fit(X, LABELS, engine="pure", **TRAINING)
    np.testing.assert_array_equal(network.theta, pure.theta)
    assert history.loss == expected.loss
    if layer == PAIRS["gudermann"]:
        with pytest.raises(ValueError, match=r"no rule for (atan|sinh)"):
            network.plan_step(X, LABELS)
    np.testing.assert_array_equal(network.scores(X), pure.scores(X))


@every_pair
def test_a_training_ends_where_numpys_does(layer, backend, assert_close):
    network, expected = (Network(INPUTS, [6, layer, OUTPUTS], seed=1) for _ in range(2))
    network.fit(backend.asarray(X), backend.asarray(LABELS), **TRAINING)
    expected.fit(X, LABELS, **TRAINING)
    assert_close(network.theta, expected.theta, backend)
