"""scikit-learn's fitted MLPs taken over: the same predictions, and the same training after."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.neural_network
from beside_sklearn import (
    CLASSIFIERS,
    LIMIT,
    TASKS,
    assert_same,
    assert_same_use,
    needs_sklearn,
    pair,
    problem,
    quietly,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from xpnn import MLPClassifier, MLPRegressor, Network
from xpnn.checks.tolerance import deviation
from xpnn.estimators import from_sklearn

pytestmark = needs_sklearn
SETTINGS = {
    "adam": {},
    "two layers": {"hidden_layer_sizes": (6, 4), "activation": "tanh"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "sgd, no momentum": {"solver": "sgd", "momentum": 0.0},
    "inverse scaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 2},
    "a generator": {"random_state": "generator"},
}


def fit(model, x, y):
    model.fit(x, y)


def taken_over(task, settings, learn=fit, dtype="float64", **more):
    """scikit-learn's estimator after some learning, its copy, and the data."""
    parameters = {"max_iter": 6, "batch_size": 16} | settings | more
    if parameters.get("random_state") == "generator":
        parameters["random_state"] = np.random.RandomState(3)
    x, y = problem(task)
    x = x.astype(dtype)
    theirs, _ = pair(task, **parameters)
    quietly(learn, theirs, x, y)
    return theirs, from_sklearn(theirs), x, y


CASES = [
    *((task, name) for task in TASKS for name in ("adam", "sgd")),
    *((task, name) for task in ("words", "several counts") for name in [*SETTINGS][1:]),
]


@pytest.mark.parametrize(("task", "name"), dict.fromkeys(CASES))
def test_the_same_after_fit_and_after_more(task, name):
    """`partial_fit` goes on: with the moments, the count, the rate and the row order."""
    theirs, ours, x, y = taken_over(task, SETTINGS[name])
    assert type(ours) is (MLPClassifier if task in CLASSIFIERS else MLPRegressor)
    if task.endswith("counts"):
        assert ours.loss == "poisson"
    assert_same((theirs, ours), x, y)
    for _ in range(3):
        for model in (theirs, ours):
            quietly(model.partial_fit, x[::-1], y[::-1])
    assert_same((theirs, ours), x, y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_same_after_partial_fit(solver):
    def learn(model, x, y):
        for part in (slice(0, 20), slice(20, 40)):
            model.partial_fit(x[part], y[part], classes=np.unique(y))

    theirs, ours, x, y = taken_over("words", {"solver": solver}, learn)
    for model in (theirs, ours):
        for _ in range(2):
            quietly(model.partial_fit, x, y)
    assert_same((theirs, ours), x, y)


@pytest.mark.parametrize("task", ["multiclass", "values"])
@pytest.mark.parametrize("more", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_a_warm_start_goes_on(task, more):
    theirs, ours, x, y = taken_over(task, more, warm_start=True)
    assert_same((theirs, ours), x, y)
    for model in (theirs, ours):
        quietly(model.fit, x, y)
    # L-BFGS's line searches amplify the last digits.
    assert_same((theirs, ours), x, y, limit=1e-4 if more.get("solver") == "lbfgs" else LIMIT)


@pytest.mark.parametrize("task", ["multiclass", "values"])
def test_a_new_fit_forgets_what_was_taken_over(task):
    theirs, ours, x, y = taken_over(task, {})
    for model in (theirs, ours):
        quietly(model.fit, -x, y)
    assert_same((theirs, ours), -x, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_single_precision(solver):
    theirs, ours, x, y = taken_over("multiclass", {"solver": solver}, dtype="float32")
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype
    assert_same_use((theirs, ours), x, y, limit=1e-5)


def test_the_first_model_stays_as_it_is():
    theirs, ours, x, y = taken_over("multiclass", {})
    before = [w.copy() for w in theirs.coefs_]
    moments = [m.copy() for m in theirs._optimizer.ms]
    for _ in range(3):
        ours.partial_fit(x, y)
    assert all((a == b).all() for a, b in zip(before, theirs.coefs_, strict=True))
    assert all((a == b).all() for a, b in zip(moments, theirs._optimizer.ms, strict=True))
    assert not (ours.coefs_[0] == before[0]).all()
    assert len(theirs.loss_curve_) == 6


def test_names_of_features():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x, y = problem("values")
    frame = pandas.DataFrame(x, columns=list("abcd"))
    theirs, _ = pair("values", max_iter=2)
    ours = from_sklearn(quietly(theirs.fit, frame, y))
    assert ours.feature_names_in_.tolist() == list("abcd")
    assert (ours.predict(frame) == ours.predict(frame.iloc[:, :])).all()
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("task", TASKS)
def test_as_a_network(task):
    x, y = problem(task)
    theirs, _ = pair(task, hidden_layer_sizes=(6, 4), activation="tanh", max_iter=3)
    quietly(theirs.fit, x, y)
    network = from_sklearn(theirs, as_network=True)
    assert isinstance(network, Network)
    if task not in CLASSIFIERS:
        found, expected = network.predict(x), theirs.predict(x)
    else:
        found, expected = network.predict_proba(x), theirs.predict_proba(x)
        expected = expected[:, 1:] if task == "binary" else expected
        labels = network.predict(x)
        chosen = labels if task == "multilabel" else theirs.classes_[labels]
        assert (chosen == theirs.predict(x)).all()
    assert deviation(found, expected)[1] < LIMIT


def test_a_network_goes_where_its_data_is(use_library):
    use_library("torch")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = problem("multiclass")
    theirs, _ = pair("multiclass", max_iter=2)
    network = from_sklearn(quietly(theirs.fit, x, y), as_network=True)
    found = network.predict_proba(torch.asarray(x))
    np.testing.assert_allclose(found.numpy(), theirs.predict_proba(x))


def test_moved_and_pickled_models_go_on(use_library):
    import pickle

    theirs, ours, x, y = taken_over("multiclass", {})
    other = pickle.loads(pickle.dumps(ours))
    for model in (theirs, ours, other):
        model.partial_fit(x, y)
    assert_same((theirs, other), x, y)
    use_library("torch")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    moved = from_sklearn(theirs).to("torch")
    moved.partial_fit(torch.asarray(x), y)
    theirs.partial_fit(x, y)
    assert_same((theirs, moved.to("numpy")), x, y)


def test_what_is_refused():
    for model, kind in (
        (sklearn.linear_model.LogisticRegression(), r"sklearn\.linear_model.*"),
        (MLPClassifier(), r"xpnn\.estimators.*\.MLPClassifier"),
    ):
        with pytest.raises(TypeError, match=f"model is a {kind}; expected a fitted sklearn"):
            from_sklearn(model)
    with pytest.raises(NotFittedError):
        from_sklearn(pair("values")[0])


@pytest.mark.parametrize(("solver", "later"), [("sgd", "adam"), ("adam", "sgd")])
def test_a_solver_that_was_changed_after_the_fit(solver, later):
    """Its state is not that of the other one: learning goes on without."""
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    theirs = sklearn.neural_network.MLPClassifier((3,), max_iter=2, solver=solver, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x, y)
    ours = from_sklearn(theirs.set_params(solver=later))
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-12)
    assert ours.partial_fit(x, y).n_iter_ == theirs.partial_fit(x, y).n_iter_
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 3
