"""`Perceptron` on every array library: the same numbers, in and out, and on the move."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from beside_sklearn import needs_sklearn
from perceptrons import problem
from scipy.sparse import csr_array
from sklearn.base import clone

from xpnn import Perceptron, backends

LEARNED = {
    "defaults": {},
    "penalised": {"penalty": "elasticnet", "alpha": 0.01, "l1_ratio": 0.5, "max_iter": 5},
    "validated": {"early_stopping": True, "validation_fraction": 0.25, "max_iter": 5},
    "in order": {"shuffle": False, "tol": None, "max_iter": 7, "class_weight": {1: 0.5}},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LEARNED)
def test_every_library_learns_the_same(name, classes, backend, assert_close):
    x, y = problem(classes, whole=name != "penalised")
    expected = Perceptron(**LEARNED[name]).fit(x, y)
    model = Perceptron(**LEARNED[name]).fit(backend.asarray(x), y)
    assert (model.n_iter_, model.t_) == (expected.n_iter_, expected.t_)
    assert model.history_.updates == expected.history_.updates
    assert_close(model.coef_, expected.coef_, backend, factor=10)
    assert_close(model.intercept_, expected.intercept_, backend, factor=10)
    rows, scores = backend.asarray(x), expected.decision_function(x)
    assert_close(model.decision_function(rows), scores, backend, factor=10)
    assert_close(model.predict(rows), expected.predict(x), backend, dtype=backend.xp.int64)
    assert model.score(rows, y) == expected.score(x, y)


def test_labels_and_weights_may_be_on_the_device(backend, assert_close):
    x, y = problem()
    rows, labels = backend.asarray(x), backend.asarray(y, dtype="int32")
    weight = np.arange(40) % 3
    model = Perceptron().fit(rows, labels, sample_weight=backend.asarray(weight))
    expected = Perceptron().fit(x, y, sample_weight=weight)
    assert_close(model.coef_, expected.coef_, backend)
    assert_close(model.predict(rows), expected.predict(x), backend, dtype=backend.xp.int32)
    assert model.score(rows, labels) == expected.score(x, y)
    part = Perceptron().partial_fit(rows, labels, [0, 1]).partial_fit(rows, labels)
    expected = Perceptron().partial_fit(x, y, [0, 1]).partial_fit(x, y)
    assert_close(part.coef_, expected.coef_, backend)


def test_kinds_of_labels(backend):
    x, y = problem(3)
    rows = backend.asarray(x)
    words, truths, numbers = (
        Perceptron().fit(rows, labels).predict(rows)
        for labels in (np.array(["a", "b", "c"])[y], y > 0, y.astype(float))
    )
    assert isinstance(words, np.ndarray)
    assert set(words) <= {"a", "b", "c"}
    assert truths.dtype == backend.xp.bool
    assert backends.backend_of(numbers).name == backend.name
    assert set(backends.to_host(numbers).tolist()) <= {0.0, 1.0, 2.0}


def test_lists_go_to_the_model_and_arrays_of_others_are_refused(backend, assert_close):
    x, y = problem()
    model = Perceptron().fit(backend.asarray(x), y)
    scores = backends.to_host(model.decision_function(backend.asarray(x)))
    assert_close(model.decision_function(x.tolist()), scores, backend)
    if backend.name == "numpy":
        return
    for call, args in (
        (model.predict, [x]), (model.decision_function, [x]), (model.partial_fit, [x, y]),
        (model.partial_fit, [csr_array(x), y]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"{call.__name__}\(\) must use the same namespace"):
            call(*args)
    with pytest.raises(ValueError, match="only NumPy's can be sparse"):
        model.sparsify()


def test_models_move_and_travel(backend, assert_close):
    x, y = problem(3)
    model = Perceptron().fit(x, y)
    scores = model.decision_function(x)
    moved = clone(model).fit(x.astype(backends.dtype_name(backend.dtype)), y)
    moved.to(backend.name, backends.device_name(backend.device))
    assert_close(moved.decision_function(backend.asarray(x)), scores, backend, factor=10)
    again = pickle.loads(pickle.dumps(moved))
    assert_close(again.decision_function(backend.asarray(x)), scores, backend, factor=10)
    again.partial_fit(backend.asarray(x), y)
    home = again.to("numpy")
    assert isinstance(home.coef_, np.ndarray)
    expected = Perceptron().fit(x, y).partial_fit(x, y)
    np.testing.assert_allclose(home.coef_, expected.coef_, rtol=1e-3, atol=1e-3)


def test_wrong_arrays_of_every_library(backend):
    for x, y, message in (
        ([1.0, 2.0], [0, 1], "Expected 2D array, got 1D array"),
        ([[np.nan], [1.0]], [0, 1], "contains NaN"),
        ([[2.0], [1.0]], [0, 1, 1], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            Perceptron().fit(backend.asarray(x), y)
    model = Perceptron().fit(backend.asarray([[2.0], [1.0]]), [0, 1])
    with pytest.raises(ValueError, match="X has 2 features, but Perceptron is expecting 1"):
        model.predict(backend.asarray([[1.0, 2.0]]))


SCRIPT = """
import sys, warnings
from unittest import SkipTest
from sklearn.utils.estimator_checks import estimator_checks_generator
from xpnn import Perceptron

warnings.simplefilter("ignore")
for estimator, check in estimator_checks_generator(Perceptron()):
    named = " ".join(map(str, check.keywords.values()))
    if not check.func.__name__.startswith("check_array_api"):
        continue
    # PyTorch built with CUDA is asked for it on machines without a GPU too.
    torch = sys.modules.get("torch")
    if "cuda" in named and torch is not None and not torch.cuda.is_available():
        continue
    try:
        check(estimator)
    except SkipTest:
        continue
    print(check.func.__name__, named)
"""


@needs_sklearn
def test_scikit_learns_checks_of_array_libraries(use_library):
    """They are skipped unless SciPy was told at its import."""
    use_library("array_api_strict")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"SCIPY_ARRAY_API": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    passed = [line for line in done.stdout.splitlines() if "array_api_strict" in line]
    assert {line.split()[0] for line in passed} >= {
        "check_array_api_input", "check_array_api_same_namespace",
    }  # fmt: skip
    assert any("float32" in line for line in passed)
    assert any("float64" in line for line in passed)
