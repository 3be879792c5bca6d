"""Warm starts and partial fits: with other parameters, after a training that ran away."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.neural_network
from beside_sklearn import problem, quietly
from numpy.testing import assert_allclose

import xpnn
from xpnn.training import Callback

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


def test_callbacks_are_one_several_or_none():
    model = xpnn.MLPClassifier((5,), random_state=0, max_iter=3, batch_size=10)
    quietly(model.fit, X, Y, callbacks=None)
    assert model.n_iter_ == 3
    model.fit(X, Y, callbacks=lambda run: run.stop("enough"))
    assert model.n_iter_ == 1

    class Counts:
        batches = 0

        def on_batch_end(self, run):
            self.batches += 1

    counts = Counts()
    quietly(model.fit, X, Y, callbacks=counts)
    assert counts.batches == 3 * -(-len(X) // 10)

    class Stops(Callback):
        def on_epoch_end(self, run):
            run.stop("enough")

    quietly(model.fit, X, Y, callbacks=Stops())
    assert model.n_iter_ == 1
    with pytest.raises(TypeError, match="a callback is 3; expected a Callback, a function of"):
        model.fit(X, Y, callbacks=[3])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers(kind):
    rate, share = kind(0.25), kind(0.5)
    options = {"random_state": 0, "max_iter": 2, "hidden_layer_sizes": (5,)}
    one = xpnn.MLPClassifier(learning_rate_init=rate, dropout=share, **options)
    other = xpnn.MLPClassifier(learning_rate_init=0.25, dropout=0.5, **options)
    curves = [quietly(model.fit, X, Y).loss_curve_ for model in (one, other)]
    assert curves[0] == curves[1]
