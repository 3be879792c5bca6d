"""Warm starts and partial fits: with other parameters, after a training that ran away."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.neural_network
from beside_sklearn import problem
from numpy.testing import assert_allclose, assert_array_equal

import xpnn
from xpnn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = problem("binary")
VALUES = problem("values")[1]
WARM = {"hidden_layer_sizes": (5,), "random_state": 0, "warm_start": True}


@pytest.mark.parametrize("names", [("tanh", "logistic"), ("relu", "identity")])
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_a_new_activation_counts_from_the_next_fit_on(way, names):
    curves = []
    for kind in (sklearn.neural_network.MLPClassifier, MLPClassifier):
        model = kind(**WARM, max_iter=5, activation=names[0]).fit(X, Y)
        for name in (names[1], names[0]):
            getattr(model.set_params(activation=name), way)(X, Y)
        curves.append(model.loss_curve_)
    assert_allclose(curves[1], curves[0], rtol=1e-12)


def test_new_dropout_counts_from_the_next_fit_on():
    def curve(dropout):
        model = MLPClassifier(**WARM, max_iter=3).fit(X, Y)
        return model.set_params(dropout=dropout).fit(X, Y).loss_curve_

    assert curve(0.0)[:3] == curve(0.5)[:3]
    assert curve(0.0)[3:] != curve(0.5)[3:]


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"backend": "array_api_strict"}])
def test_moving_in_silence_is_refused(changed):
    model = MLPClassifier(**WARM, max_iter=3).fit(X, Y)
    with pytest.raises(ValueError, match=r"go on with \(None, None, None\) of"):
        model.set_params(**changed).fit(X, Y)
    model.set_params(**dict.fromkeys(changed)).fit(X, Y)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({}, {"early_stopping": True}),
        ({"early_stopping": True}, {"early_stopping": False}),
    ],
    ids=str,
)
def test_a_warm_start_goes_on_with_another_solver_or_way_to_stop(before, after):
    model = MLPClassifier(**WARM, max_iter=4, **before).fit(X, Y)
    model.set_params(**after).fit(X, Y)
    assert len(model.loss_curve_) >= 4
    assert (model.validation_scores_ is None) is not model.early_stopping
    assert (model.best_loss_ is None) is model.early_stopping


TEXT = r"became (inf|nan) in epoch 1; the model keeps the weights"


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_training_that_ran_away_can_go_on(solver):
    options = {"solver": solver, "learning_rate_init": 1e-3, "random_state": 0}
    model = xpnn.MLPRegressor(hidden_layer_sizes=(6,), **options).partial_fit(X, VALUES)
    before = [w.copy() for w in model.coefs_]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=TEXT):
        model.partial_fit(X * 1e200, VALUES)
    for weights, expected in zip(model.coefs_, before, strict=True):
        assert_array_equal(weights, expected)
    losses = [model.partial_fit(X, VALUES).loss_ for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_scalars_of_numpy_are_taken_as_numbers(kind):
    """As they come out of a search over parameters."""
    floats = {"learning_rate_init": 0.25, "dropout": 0.5, "alpha": 0.125, "clip_norm": 2.0}
    counts = {"max_iter": 2, "batch_size": 16, "n_iter_no_change": 4, "random_state": 3}
    counts |= {"gradient_accumulation_steps": 2}
    scalars = {key: kind(value) for key, value in floats.items()}
    scalars |= {key: np.int64(value) for key, value in counts.items()}
    one = MLPClassifier((5,), **floats, **counts).fit(X, Y)
    other = MLPClassifier(np.array([5]), **scalars).fit(X, Y)
    assert one.loss_curve_ == other.loss_curve_
    assert_array_equal(one.coefs_[0], other.coefs_[0])
