"""Whole short trainings: every library ends where NumPy in float64 ends."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from xpnn import Network, select
from xpnn.backends import dtype_name, to_host
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineWarmup,
    InverseScaling,
    RMSprop,
    chain,
    clip_by_global_norm,
)

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(50, 4))
LABELS = (X @ GENERATOR.normal(size=(4, 3))).argmax(axis=1)
VALUES = np.tanh(X @ GENERATOR.normal(size=(4, 2)))
WEIGHT = GENERATOR.uniform(0.5, 2.0, 50)

# 50 rows less 10 for validation, in batches of 16: the last one has 8.
RECIPES = {
    "sgd": {"optimizer": SGD(InverseScaling(0.1))},
    "nesterov": {"optimizer": SGD(0.05, momentum=0.9, nesterov=True)},
    "rmsprop, clipped": {"optimizer": chain(clip_by_global_norm(0.5), RMSprop(0.01))},
    "adam, weighted": {"optimizer": Adam(0.02), "sample_weight": WEIGHT},
    "adamw, cosine": {"optimizer": AdamW(CosineWarmup(0.02, warmup=1.0))},
}
COMMON = {"epochs": 3, "batch_size": 16, "l2": 1e-3, "validation_fraction": 0.2}


def train(name, backend, loss="softmax_cross_entropy"):
    labels = loss == "softmax_cross_entropy"
    options = {
        key: backend.asarray(value) if key == "sample_weight" else value
        for key, value in (COMMON | RECIPES[name]).items()
    }
    network = Network(4, [6, "tanh", Dropout(0.3), 3 if labels else 2], loss=loss, seed=3)
    x, t = backend.asarray(X), backend.asarray(LABELS if labels else VALUES)
    return network, network.fit(x, t, **options)


@cache
def reference(name, loss="softmax_cross_entropy"):
    return train(name, select("numpy", dtype="float64"), loss)


@pytest.mark.parametrize("name", RECIPES)
def test_a_short_training_ends_at_the_same_weights(name, backend, assert_close):
    network, history = train(name, backend)
    expected, figures = reference(name)
    assert_close(network.theta, expected.theta, backend)
    rtol = 1e-3 if dtype_name(backend.dtype) == "float32" else 1e-9
    for figure in ("loss", "validation_loss", "validation_accuracy", "learning_rate"):
        assert getattr(history, figure) == pytest.approx(getattr(figures, figure), rel=rtol)
    x, scores = backend.asarray(X), expected.scores(X)
    assert_close(network.scores(x), scores, backend)
    assert_close(network.predict_proba(x), expected.predict_proba(X), backend)
    clear = np.diff(np.sort(scores, axis=1))[:, -1] > 1e-3
    np.testing.assert_array_equal(to_host(network.predict(x))[clear], expected.predict(X)[clear])


@pytest.mark.parametrize("loss", ["mean_squared_error", "sum_squared_errors"])
def test_a_short_regression_ends_at_the_same_weights(loss, backend64, assert_close):
    network, history = train("sgd", backend64, loss)
    expected, figures = reference("sgd", loss)
    assert_close(network.theta, expected.theta, backend64)
    assert history.loss == pytest.approx(figures.loss, rel=1e-9)
    assert history.validation_accuracy == []


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_integers_become_the_librarys_default_float(kind, backend):
    network = Network(4, [3, "relu", 2], seed=0)
    x = backend.asarray(np.arange(20).reshape(5, 4), kind)
    network.fit(x, backend.asarray([0, 1, 0, 1, 1]), epochs=1)
    default = select(backend.name, backend.device).dtype
    assert dtype_name(network.theta.dtype) == dtype_name(default)
    assert dtype_name(network.scores(x).dtype) == dtype_name(default)


def test_float32_stays_float32_everywhere(backend, assert_close):
    """State, weights, noise, loss, rates: nothing widens (or narrows) what the data is in."""
    network, _ = train("adam, weighted", backend)
    x = backend.asarray(X)
    scores, saved = network.forward(x)
    dx, gradients = network.backward(saved, scores)
    loss, gradient = network.loss_and_gradient(x, backend.asarray(LABELS), l2=0.1)
    for array in (network.theta, scores, dx, *gradients.values(), loss, gradient):
        assert dtype_name(array.dtype) == dtype_name(backend.dtype)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("numpy", "float16"), ("torch", "float16"), ("torch", "bfloat16"), ("jax", "bfloat16")],
)
@pytest.mark.parametrize("optimizer", [SGD(0.05, momentum=0.5), Adam(0.02)], ids=["SGD", "Adam"])
def test_half_precision_learns_and_stays_half(name, dtype, optimizer, use_library):
    use_library(name)
    backend = select(name, dtype=dtype)
    network = Network(4, [8, "relu", 3], seed=3)
    x, t = backend.asarray(X), backend.asarray(LABELS)
    history = network.fit(x, t, epochs=5, batch_size=16, optimizer=optimizer)
    assert dtype_name(network.theta.dtype) == dtype
    assert dtype_name(network.scores(x).dtype) == dtype
    assert history.loss[-1] < 0.9 * history.loss[0]


def test_a_seed_means_the_same_network_on_every_library(backend64):
    initial = Network(4, [6, "tanh", 3], seed=3).theta
    placed = Network(4, [6, "tanh", 3], seed=3, backend=backend64).theta
    np.testing.assert_array_equal(to_host(placed), initial)
