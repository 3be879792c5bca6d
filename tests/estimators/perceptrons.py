"""Comparing scikit-learn's perceptron with the library's."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import Perceptron as Theirs

from xpnn import Perceptron


def problem(classes=2, rows=40, features=4, seed=0, noise=0.5, whole=False):
    """Rows and labels that a perceptron learns something of, but not everything."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    x = np.round(2 * x) if whole else x
    scores = x @ rng.normal(size=(features, classes)) + noise * rng.normal(size=(rows, classes))
    return x, scores.argmax(axis=1)


def outcome(model, x, y, **options):
    """The outcome of a fit: its warnings' categories, or its error's type."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(x, y, **options)
        except ValueError as error:
            return "error", type(error)
    return "fitted", [w.category for w in caught]


def assert_same(theirs, ours, x=None):
    """Compare everything that was learned."""
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    for name in ("coef_", "intercept_", "classes_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    for name in ("n_iter_", "t_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    if x is not None:
        np.testing.assert_allclose(
            ours.decision_function(x), theirs.decision_function(x), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        assert ours.predict(x).dtype == theirs.predict(x).dtype


def compared(x, y, sample_weight=None, **parameters):
    """Both perceptrons after `fit`: the same warnings or error, and the same numbers."""
    theirs, ours = Theirs(**parameters), Perceptron(**parameters)
    expected = outcome(theirs, x, y, sample_weight=sample_weight)
    assert outcome(ours, x, y, sample_weight=sample_weight) == expected
    if expected[0] == "fitted":
        assert_same(theirs, ours, x)
    return theirs, ours
