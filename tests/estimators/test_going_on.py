"""Warm starts and partial fits: with other parameters, after a training that ran away."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.neural_network
from beside_sklearn import problem, quietly
from numpy.testing import assert_allclose

import xpnn

X, Y = problem("binary")
VALUES = problem("values")[1]
BOTH = (sklearn.neural_network.MLPClassifier, xpnn.MLPClassifier)


@pytest.mark.parametrize("names", [("tanh", "logistic"), ("relu", "identity")])
@pytest.mark.parametrize("way", ["warm start", "partial_fit"])
def test_a_new_activation_counts_from_the_next_fit_on(way, names):
    curves = []
    for kind in BOTH:
        first, second = names
        model = kind(
            (5,), activation=first, random_state=0, max_iter=5, warm_start=way == "warm start"
        )
        quietly(model.fit, X, Y)
        for name in (second, first):
            model.set_params(activation=name)
            quietly(model.fit if way == "warm start" else model.partial_fit, X, Y)
        curves.append(model.loss_curve_)
    assert_allclose(curves[1], curves[0], rtol=1e-12)


def test_new_dropout_counts_from_the_next_fit_on():
    def curve(dropout):
        model = xpnn.MLPClassifier((5,), random_state=0, max_iter=3, warm_start=True)
        quietly(model.fit, X, Y)
        return quietly(model.set_params(dropout=dropout).fit, X, Y).loss_curve_

    assert curve(0.0)[:3] == curve(0.5)[:3]
    assert curve(0.0)[3:] != curve(0.5)[3:]


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"backend": "array_api_strict"}])
def test_moving_in_silence_is_refused(changed):
    model = xpnn.MLPClassifier((5,), random_state=0, max_iter=3, warm_start=True)
    quietly(model.fit, X, Y)
    with pytest.raises(ValueError, match=r"go on with \(None, None, None\) of"):
        model.set_params(**changed).fit(X, Y)
    model.set_params(**dict.fromkeys(changed))
    quietly(model.fit, X, Y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_training_that_ran_away_can_go_on(solver):
    options = {"solver": solver, "learning_rate_init": 1e-3, "random_state": 0}
    model = xpnn.MLPRegressor(hidden_layer_sizes=(6,), **options).partial_fit(X, VALUES)
    kept = [w.copy() for w in model.coefs_]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"became (inf|nan) in epoch 1"):
        model.partial_fit(X * 1e200, VALUES)
    for weights, before in zip(model.coefs_, kept, strict=True):
        np.testing.assert_array_equal(weights, before)
    losses = [model.partial_fit(X, VALUES).loss_ for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers(kind):
    """As they come out of a search over parameters."""
    floats = {"learning_rate_init": 0.25, "dropout": 0.5, "alpha": 0.125, "clip_norm": 2.0}
    counts = {"max_iter": 2, "batch_size": 16, "n_iter_no_change": 4, "random_state": 3}
    counts |= {"gradient_accumulation_steps": 2}
    one = xpnn.MLPClassifier((5,), **floats, **counts)
    other = xpnn.MLPClassifier(
        np.array([5]),
        **{key: kind(value) for key, value in floats.items()},
        **{key: np.int64(value) for key, value in counts.items()},
    )
    curves = [quietly(model.fit, X, Y).loss_curve_ for model in (one, other)]
    assert curves[0] == curves[1]
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
