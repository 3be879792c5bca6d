"""The same trainings by scikit-learn's estimators and by the library's, held side by side."""

import warnings

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.fixes import parse_version

import xpnn
from xpnn.checks.tolerance import deviation

needs_sklearn = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="the estimators are scikit-learn 1.9's",
)
LIMIT = 1e-6
CLASSIFIERS = ("binary", "multiclass", "words", "multilabel")
REGRESSORS = ("values", "several values", "counts", "several counts")
TASKS = CLASSIFIERS + REGRESSORS
NUMBERS = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_")
CURVES = ("loss_curve_", "validation_scores_", "loss_", "best_loss_", "best_validation_score_")


def problem(task, rows=40, features=4, seed=0):
    """Rows and targets that a small network can learn something of, but not everything."""
    source = np.random.default_rng(seed)
    x = source.normal(size=(rows, features))
    scores = x @ source.normal(size=(features, 3)) + 0.5 * source.normal(size=(rows, 3))
    y = {
        "binary": lambda: (scores[:, 0] > 0).astype(int),
        "multiclass": lambda: scores.argmax(axis=1) * 2 - 1,
        "words": lambda: np.array(["pear", "fig", "apple"])[scores.argmax(axis=1)],
        "multilabel": lambda: (scores > 0).astype(int),
        "values": lambda: scores[:, 0],
        "several values": lambda: scores,
        "counts": lambda: source.poisson(np.exp(0.5 * scores[:, 0])).astype(float),
        "several counts": lambda: source.poisson(np.exp(0.5 * scores[:, :2])).astype(float),
    }[task]()
    return x, y


def kind(task):
    """Name of the estimators for a task."""
    return "MLPClassifier" if task in CLASSIFIERS else "MLPRegressor"


def pair(task, **parameters):
    """scikit-learn's estimator and the library's, unfitted, with the same parameters."""
    if task.endswith("counts"):
        parameters["loss"] = "poisson"
    parameters = {"hidden_layer_sizes": (5,), "random_state": 0} | parameters
    name = kind(task)
    theirs = getattr(sklearn.neural_network, name)(**parameters)
    return theirs, getattr(xpnn, name)(**parameters)


def each(models, learn):
    """Let each of several models learn, and check that they warn alike; returns the warnings."""
    said = []
    for model in models:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learn(model)
        said.append([(w.category, str(w.message)) for w in caught])
    assert all(one == said[0] for one in said), said
    return said[0]


def fitted(task, x, y, weight=None, **parameters):
    """Both estimators after `fit`."""
    models = pair(task, **parameters)
    each(models, lambda m: m.fit(x, y) if weight is None else m.fit(x, y, weight))
    return models


def classes_of(task, y):
    """What `partial_fit` takes besides the data."""
    if task not in CLASSIFIERS:
        return {}
    return {"classes": np.arange(3) if task == "multilabel" else np.unique(y)}


def assert_numbers(found, expected, what, limit=LIMIT):
    """Hold one array, number or None against another."""
    if expected is None or isinstance(expected, str):
        assert found == expected, what
        return
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    assert found.dtype == expected.dtype, what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    _, relative = deviation(found, expected)
    assert relative <= limit, f"{what} deviates by {relative:.3g}"


def assert_same(models, x, y, weight=None, limit=LIMIT):
    """Hold everything that is learned, and everything that is made of it, against scikit-learn."""
    theirs, ours = models
    for name in NUMBERS:
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in CURVES:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        assert_numbers(getattr(ours, name, None), getattr(theirs, name, None), name, limit)
    for name in ("coefs_", "intercepts_"):
        assert isinstance(getattr(ours, name), list)
        pairs = zip(getattr(ours, name), getattr(theirs, name), strict=True)
        for i, (found, expected) in enumerate(pairs):
            assert_numbers(found, expected, f"{name}[{i}]", limit)
    assert_same_use(models, x, y, weight, limit)


def assert_same_use(models, x, y, weight=None, limit=LIMIT):
    """Hold predictions and scores against scikit-learn's."""
    theirs, ours = models
    assert_numbers(ours.predict(x), theirs.predict(x), "predict", limit)
    if hasattr(theirs, "classes_"):
        assert_numbers(ours.classes_, theirs.classes_, "classes_")
        for method in ("predict_proba", "predict_log_proba"):
            assert_numbers(getattr(ours, method)(x), getattr(theirs, method)(x), method, limit)
    assert_numbers(ours.score(x, y), theirs.score(x, y), "score", limit)
    if weight is not None:
        assert_numbers(ours.score(x, y, weight), theirs.score(x, y, weight), "score", limit)


def assert_same_fit(task, x, y, weight=None, **parameters):
    """Fit both, and hold everything against scikit-learn; returns them."""
    models = fitted(task, x, y, weight, **parameters)
    assert_same(models, x, y, weight)
    return models


def quietly(function, *args, **kwargs):
    """Call, with warnings about convergence switched off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*args, **kwargs)
