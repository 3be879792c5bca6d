"""However a step is made fast, it must stay the same step."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import jit, scalar, to_host
from xpnn.layers import Activation, Dropout, chain, draw, place, walk
from xpnn.optimizers import SGD, Adam, CosineWarmup, clip_by_global_norm
from xpnn.optimizers import chain as optimizer_chain
from xpnn.training import Loss
from xpnn.training.step import Step

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(23, 5))
LABELS = GENERATOR.integers(3, size=23)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 23)
VALUES = GENERATOR.normal(size=(23, 1))
CASES = {
    "plain": ([4, "gelu", 3], {"optimizer": SGD(0.1)}),
    "partial batch, changing rate": (
        [4, "elu", 3],
        {"optimizer": Adam(CosineWarmup(0.05, warmup=1)), "batch_size": 7},
    ),
    "weights, dropout, decay": (
        [Dropout(0.2), 4, Activation("leaky_relu", 0.1), Dropout(0.5), 3],
        {
            "optimizer": optimizer_chain(clip_by_global_norm(0.5), SGD(0.1, momentum=0.9)),
            "sample_weight": WEIGHT,
            "l2": 0.01,
        },
    ),
    "one output": ([3, "tanh", 1], {"optimizer": SGD(0.1), "l2": 0.1}),
    "one row at a time": ([3], {"optimizer": SGD(0.1), "batch_size": 1, "shuffle": False}),
}


def train(name, engine, asarray):
    layers, options = CASES[name]
    options = {k: asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    one = name == "one output"
    loss, t = ("mean_squared_error", VALUES) if one else ("softmax_cross_entropy", LABELS)
    network = Network(5, layers, loss=loss, seed=1)
    history = network.fit(asarray(X), asarray(t), **{"epochs": 2, "engine": engine} | options)
    return network.theta, history.loss


@pytest.mark.skip_backend("jax", reason="slow step by step; test_short_trainings covers it")
@pytest.mark.parametrize("name", CASES)
def test_a_fast_training_is_the_pure_training(name, backend, assert_close):
    theta, losses = train(name, "auto", backend.asarray)
    expected, pure_losses = train(name, "pure", backend.asarray)
    assert_close(theta, to_host(expected), backend)
    assert losses == pytest.approx(pure_losses, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["planned", "native"])
def test_so_is_a_planned_training_to_the_bit(name, engine):
    theta, losses = train(name, engine, np.asarray)
    expected, pure_losses = train(name, "pure", np.asarray)
    np.testing.assert_array_equal(theta, expected)
    assert losses == pure_losses


def test_unknown_engines_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="engine='turbo' is not known; expected one of auto"):
        train("plain", "turbo", np.asarray)


@pytest.mark.usefixtures("current")
def test_the_step_is_the_same_on_every_library(backend, assert_close):
    layer, loss, optimizer = chain([4, "gelu", 3]), Loss("softmax_cross_entropy"), Adam(0.1)
    tree = place(layer.parameters(5))
    theta = draw(tree, np.random.default_rng(1))

    def step(asarray, number, xp, name):
        parameters = asarray(theta)
        carry = (parameters, optimizer.init(parameters, xp=xp), number(0.0))
        batch = (asarray(X), asarray(LABELS), asarray(WEIGHT), None, number(0.1))
        update = jit(Step(layer, tree, loss, optimizer, 0.01).update(xp), name)
        (new, state, _), (value, _) = update(carry, (number(0.0), number(0.0)), batch)
        return new, state, value

    def number(value):
        return scalar(value, backend.xp, backend.device, backend.dtype)

    expected = step(np.asarray, np.asarray, np, "numpy")
    found = step(backend.asarray, number, backend.xp, backend.name)
    for array, reference in zip(walk(found), walk(expected), strict=True):
        assert_close(array, reference, backend)
