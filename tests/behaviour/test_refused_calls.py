"""A call that is refused leaves a model as it was: what it learned, and where it is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from xpnn import MLPClassifier, Network, Perceptron
from xpnn.data import stream

X = np.random.default_rng(0).normal(size=(60, 3))
LABELS = (X[:, 0] > 0).astype(int)
CLASSES = np.arange(60) % 3
TABLE = np.eye(3, dtype=int)[CLASSES] | LABELS[:, None]  # several labels a row
SMALL = X.astype("float32")


def network():
    return Network(3, [4, "tanh", 2], seed=0)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (LABELS + 5, {}, "label"),
        (LABELS, {"early_stopping": True}, "early stopping"),
        (LABELS, {"validation_fraction": 0.2, "engine": "none"}, "engine"),
        (LABELS, {"X_val": stream(iter([(X, LABELS)])), "epochs": 3}, "once"),
    ],
)
def test_a_network(y, options, message):
    here, expected = network(), network()
    with pytest.raises(ValueError, match=message):
        here.fit(SMALL, y, **options)
    histories = [n.fit(X, LABELS, epochs=2) for n in (here, expected)]
    assert here.dtype == "float64"
    assert histories[0].loss == histories[1].loss
    np.testing.assert_array_equal(here.theta, expected.theta)


def test_planning_a_step_changes_nothing():
    here, expected = network(), network()
    here.plan_step(SMALL, LABELS)
    assert not here.placed
    assert here.fit(X, LABELS, epochs=2).loss == expected.fit(X, LABELS, epochs=2).loss


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("change", "refused", "message"),
    [
        ({"compute_dtype": "float16", "dtype": "float16"}, lambda m: m.fit(X, CLASSES), "float16"),
        ({}, lambda m: m.initialize(X[:, :2], X[:, 0]), "label"),
        ({}, lambda m: m.partial_fit(X, TABLE), "label"),
        ({"warm_start": True}, lambda m: m.fit(X, TABLE), "label"),
        ({}, lambda m: m.fit(X, CLASSES, X_val=X, y_val=TABLE), "label"),
        ({}, lambda m: m.fit(X, CLASSES, X_val=stream(iter([(X, CLASSES)]))), "once"),
        ({"solver": "lbfgs"}, lambda m: m.fit(stream(X, CLASSES)), "lbfgs"),
    ],
)
def test_an_estimator(change, refused, message):
    model = MLPClassifier((4,), max_iter=5, random_state=0).fit(X, CLASSES)
    before, classes = model.predict_proba(X), model.classes_
    with pytest.raises(ValueError, match=message):
        refused(model.set_params(**change))
    assert model.classes_ is classes
    assert model.n_iter_ == 5
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize("make", [MLPClassifier, Perceptron])
def test_a_first_partial_fit(make):
    model = make(random_state=0)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(X * np.nan, LABELS, classes=[0, 1])
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]


def test_a_perceptron():
    model = Perceptron(random_state=0).fit(X, LABELS)
    before = model.coef_.copy()
    for y, weight in ((LABELS, np.ones(7)), (LABELS * 0, None)):
        with pytest.raises(ValueError, match=r"sample_weight|class"):
            model.fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(model.coef_, before)
        assert model.predict(X).shape == (60,)
