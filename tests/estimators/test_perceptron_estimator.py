"""`Perceptron` against scikit-learn's: the same numbers, and in its tools."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from beside_sklearn import needs_sklearn
from hypothesis import given
from hypothesis import strategies as st
from perceptrons import assert_same, compared, problem
from scipy.sparse import csc_array, csr_array, csr_matrix
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import Perceptron as Theirs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_XFAIL_CHECKS
from sklearn.utils.estimator_checks import parametrize_with_checks

from depth import examples
from xpnn import Perceptron
from xpnn.estimators.sgd_randomness import permutation

pytestmark = needs_sklearn

X, Y = problem(rows=6)

# The same numbers


@pytest.mark.parametrize("load", [load_iris, load_digits])
@pytest.mark.parametrize("shuffle", [True, False])
def test_real_data_with_the_defaults(load, shuffle):
    x, y = load(return_X_y=True)
    theirs, ours = compared(x, y, shuffle=shuffle)
    assert ours.score(x, y) == theirs.score(x, y)
    weight = np.random.default_rng(0).uniform(size=len(y))
    assert ours.score(x, y, weight) == pytest.approx(theirs.score(x, y, weight), rel=1e-12)


PARAMETERS = st.fixed_dictionaries(
    {
        "penalty": st.sampled_from([None, None, "l2", "l1", "elasticnet"]),
        "alpha": st.sampled_from([0.0, 1e-4, 1e-2, 0.3]),
        "l1_ratio": st.sampled_from([0.0, 0.15, 0.8, 1.0]),
        "fit_intercept": st.booleans(),
        "max_iter": st.sampled_from([1, 2, 12, 40]),
        # 0 would tell mean losses apart that are equal but for rounding.
        "tol": st.sampled_from([None, 1e-9, 1e-3, 0.1]),
        "shuffle": st.booleans(),
        "eta0": st.sampled_from([1.0, 0.1, 7.0]),
        "random_state": st.integers(0, 2**31 - 1),
        "early_stopping": st.booleans(),
        "validation_fraction": st.sampled_from([0.1, 0.25, 0.6]),
        "n_iter_no_change": st.sampled_from([1, 2, 5]),
        "class_weight": st.sampled_from([None, "balanced", {0: 2.0, 1: 0.5}, {1: 0.0}]),
    }
)


@examples(150)
@given(
    PARAMETERS, st.integers(2, 4), st.integers(0, 1000), st.sampled_from([0.0, 0.5]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_drawn_parameters(parameters, classes, seed, noise, weighted, sparse):
    x, y = problem(classes, seed=seed, noise=noise)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0, 3, len(y)) * rng.integers(0, 2, len(y)) if weighted else None
    if sparse:
        x = csr_array(np.where(rng.uniform(size=x.shape) < 0.4, 0.0, x))
    compared(x, y, weight, **parameters)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("alpha", [1e-4, 0.02, 1.5])
def test_penalties(alpha, penalty, early_stopping, classes):
    x, y = problem(classes, rows=120)
    options = {"penalty": penalty, "alpha": alpha, "l1_ratio": 0.4, "max_iter": 15}
    _, ours = compared(x, y, early_stopping=early_stopping, n_iter_no_change=2, **options)
    assert ours.n_iter_ <= 15


@given(
    st.integers(0, 1000), st.integers(2, 3), st.booleans(), st.booleans(),
    st.sampled_from([None, 0.0, 1e-3]),
)  # fmt: skip
def test_whole_numbers_where_many_scores_are_zero(seed, classes, shuffle, intercept, tol):
    x, y = problem(classes, rows=15, features=2, seed=seed, whole=True)
    parameters = {"shuffle": shuffle, "fit_intercept": intercept, "tol": tol, "max_iter": 30}
    theirs, ours = compared(x, y, **parameters)
    np.testing.assert_array_equal(getattr(ours, "coef_", 0), getattr(theirs, "coef_", 0))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_random_state_may_be_a_generator(classes, early_stopping):
    x, y = problem(classes)
    options = {"early_stopping": early_stopping}
    theirs = Theirs(random_state=np.random.RandomState(5), **options)
    ours = Perceptron(random_state=np.random.RandomState(5), **options)
    for _ in range(2):  # the second fit goes on with what the first left of it
        assert_same(theirs.fit(x, y), ours.fit(x, y), x)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("penalty", [None, "l2", "elasticnet"])
@pytest.mark.parametrize("sparse", [False, True])
def test_partial_fit(classes, penalty, sparse):
    x, y = problem(classes, rows=60)
    theirs, ours = (kind(penalty=penalty, alpha=0.01) for kind in (Theirs, Perceptron))
    weight = np.random.default_rng(0).uniform(size=60)
    for i in range(0, 60, 20):
        part = csr_array(x[i : i + 20]) if sparse else x[i : i + 20]
        for model in (theirs, ours):
            model.partial_fit(part, y[i : i + 20], np.unique(y), weight[i : i + 20])
        assert_same(theirs, ours, x)
        assert len(ours.history_) == 1 + i // 20


@pytest.mark.parametrize(
    ("classes", "shapes"), [(2, ((1, 4), (1,))), (2, ((4,), ())), (3, ((3, 4), (3,)))]
)
def test_start_values_and_going_on(classes, shapes):
    """One unit takes a vector and a number too; after `fit` a warm start and `partial_fit`."""
    x, y = problem(classes)
    coef, intercept = (np.random.default_rng(1).normal(size=shape) for shape in shapes)
    theirs, ours = (kind(warm_start=True, tol=None, max_iter=2) for kind in (Theirs, Perceptron))
    # scikit-learn learns in the memory of what it is given.
    theirs.fit(x, y, coef.copy(), np.array(intercept))
    assert_same(theirs, ours.fit(x, y, coef, intercept), x)
    for _ in range(2):
        assert_same(theirs.fit(x, y), ours.fit(x, y), x)
    assert_same(theirs.partial_fit(x, y), ours.partial_fit(x, y), x)
    for model in (theirs, ours):
        model.set_params(warm_start=False).fit(x, y)
    assert_same(theirs, ours, x)


@pytest.mark.parametrize("penalty", [None, "l2"])
def test_float32(penalty):
    x, y = problem(3)
    x = x.astype(np.float32)
    theirs, ours = (kind(penalty=penalty).fit(x, y) for kind in (Theirs, Perceptron))
    assert ours.coef_.dtype == theirs.coef_.dtype == np.float32
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]), np.array([True, False]), np.array([2.5, -1.0]) // 1,
        np.array(["a", "b"], dtype=object), np.array([7, -3], dtype=np.int16),
    ],
)  # fmt: skip
def test_labels(labels):
    x, y = problem()
    theirs, ours = compared(x, labels[y])
    assert ours.score(x, labels[y]) == theirs.score(x, labels[y])
    assert ours.history_.units == (ours.classes_[1],)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 57])
def test_permutations_are_scikit_learns(rows):
    from sklearn.utils._seq_dataset import ArrayDataset64

    for seed in (0, 1, 12345, 2**31 - 2, 2**32 - 1):
        data = ArrayDataset64(np.zeros((rows, 1)), np.zeros(rows), np.zeros(rows), seed=1)
        data._shuffle_py(seed)
        assert permutation(rows, seed).tolist() == [data._next_py()[3] for _ in range(rows)]


@pytest.mark.parametrize("kind", [csr_array, csr_matrix, csc_array])
def test_sparse_rows_move_the_bias_less(kind):
    x, y = problem()
    theirs, ours = compared(kind(x), y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), rtol=1e-9)


def test_duplicates_of_a_sparse_matrix_add_up_and_stay():
    dense = csr_matrix([[3.0, 0.0], [0.0, 1.0], [-2.0, 0.5]])
    parts = [1.0, 2.0, 1.0, 0.5, -2.0], [0, 0, 1, 1, 0], [0, 2, 3, 5]
    twice = csr_matrix(parts, shape=(3, 2))  # unsorted, and 3 in two parts
    model, expected = (Perceptron(tol=None, max_iter=3).fit(x, [0, 1, 1]) for x in (twice, dense))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert (twice.data.tolist(), twice.indices.tolist()) == parts[:2]


@pytest.mark.parametrize("penalty", [None, "elasticnet"])
@pytest.mark.parametrize("record", [False, True])
def test_recording_changes_nothing(record, penalty):
    x, y = problem(3, rows=300)
    before, options = x.copy(), {"penalty": penalty, "max_iter": 5, "tol": None}
    expected = Perceptron(**options).fit(x, y)
    model = Perceptron(**options).fit(x, y, record=record)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.history_.updates == expected.history_.updates
    assert bool(model.history_.to_rows()) == record
    np.testing.assert_array_equal(x, before)


# scikit-learn's tools


@parametrize_with_checks(
    [Perceptron(), Perceptron(penalty="elasticnet", shuffle=False, max_iter=20)],
    # Visiting a row twice is not learning twice as much from it: scikit-learn's own numbers.
    expected_failed_checks=lambda model: PER_ESTIMATOR_XFAIL_CHECKS[Theirs],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_checks(estimator, check):
    check(estimator)


def test_it_fits_into_pipelines_searches_and_other_estimators():
    x, y = load_iris(return_X_y=True)
    grid = {"perceptron__penalty": [None, "l1"], "perceptron__eta0": [0.5, 1.0]}
    searches = [
        GridSearchCV(make_pipeline(StandardScaler(), kind()), grid, cv=3).fit(x, y)
        for kind in (Theirs, Perceptron)
    ]
    assert searches[1].best_params_ == searches[0].best_params_
    assert searches[1].best_score_ == pytest.approx(searches[0].best_score_)
    assert cross_val_score(Perceptron(), x, y).tolist() == cross_val_score(Theirs(), x, y).tolist()
    proba = [
        CalibratedClassifierCV(kind(), cv=3).fit(x, y).predict_proba(x)
        for kind in (Theirs, Perceptron)
    ]
    np.testing.assert_allclose(proba[1], proba[0], atol=1e-6)
    kept = [SelectFromModel(kind()).fit(x, y).get_support() for kind in (Theirs, Perceptron)]
    assert kept[1].tolist() == kept[0].tolist()
    assert is_classifier(Perceptron())


def test_clone_repr_and_pickle():
    model = Perceptron(eta0=0.5, shuffle=False)
    assert repr(model) == "Perceptron(eta0=0.5, shuffle=False)"
    assert clone(model.fit(X, Y)).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    assert again.predict(X).tolist() == model.predict(X).tolist()
    assert str(again.history_) == str(model.history_)
    assert_same(model.partial_fit(X, Y), again.partial_fit(X, Y), X)


def test_frames_have_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = Perceptron().fit(frame, Y)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.predict(frame).tolist() == Perceptron().fit(X, Y).predict(X).tolist()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("dcba")])


def test_sparsify_and_densify():
    x, y = problem(3)
    model = Perceptron(penalty="l1", alpha=0.01).fit(x, y)
    dense, scores = model.coef_, model.decision_function(x)
    assert type(model.sparsify().coef_) is csr_array
    np.testing.assert_allclose(model.decision_function(x), scores)
    np.testing.assert_allclose(model.decision_function(csr_array(x)), scores)
    again = pickle.loads(pickle.dumps(model))
    assert again.densify().coef_.tolist() == dense.tolist()
    assert type(model.partial_fit(x, y).coef_) is np.ndarray
    assert model.set_params(warm_start=True).sparsify().fit(x, y).coef_.shape == (3, 4)
    with pytest.raises(NotFittedError):
        Perceptron().sparsify()
