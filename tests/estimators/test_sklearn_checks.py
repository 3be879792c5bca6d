"""scikit-learn's own checks of estimators, with none expected to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest
from beside_sklearn import needs_sklearn
from sklearn.utils.estimator_checks import check_estimator

from xpnn import MLPClassifier, MLPRegressor, backends

pytestmark = needs_sklearn

# Only what is not there may be left out.
ABSENT = (
    "SCIPY_ARRAY_API is not set",
    "is not installed",
    "pandas is not installed",
    "does not have a predict_proba method",
    "does not have a decision_function method",  # as scikit-learn's; only the hinge has
)
ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier(
        hidden_layer_sizes=(8, 4), solver="sgd", learning_rate_init=0.2, momentum=0.5, max_iter=60
    ),
    MLPClassifier(loss="hinge", hidden_layer_sizes=(10,), learning_rate_init=0.03, max_iter=60),
    MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", activation="tanh", max_iter=50),
    MLPRegressor(
        hidden_layer_sizes=8,
        loss="huber",
        activation="gelu",
        engine="pure",
        learning_rate_init=0.05,
        max_iter=60,
    ),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_check_estimator(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}
    assert failed == {}
    skipped = [str(r["exception"]) for r in results if r["status"] == "skipped"]
    assert [text for text in skipped if not any(reason in text for reason in ABSENT)] == []
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    passed = {r["check_name"] for r in results if r["status"] == "passed"}
    assert len(passed) > 50
    assert {"check_estimator_sparse_matrix", "check_transformer_general"} <= passed


CHECKS = ("check_array_api_input", "check_array_api_mixed_inputs", "check_array_api_same_namespace")
SCRIPT = """
import json, sys, warnings
from unittest import SkipTest
from sklearn.utils.estimator_checks import estimator_checks_generator
import xpnn

warnings.simplefilter("ignore")
results = []
for name in ("MLPClassifier", "MLPRegressor"):
    for estimator, check in estimator_checks_generator(getattr(xpnn, name)()):
        if not check.func.__name__.startswith("check_array_api"):
            continue
        outcome = "passed"
        try:
            check(estimator)
        except SkipTest as error:
            outcome = f"skipped: {error}"
        except Exception as error:
            outcome = f"failed: {error!r}"
        with_what = " ".join(map(str, check.keywords.values()))
        results.append((name, check.func.__name__, with_what, outcome))
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def array_api_results():
    """Outcomes of the checks that scikit-learn leaves out unless SciPy was told at its import."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"SCIPY_ARRAY_API": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_array_api_checks_are_run_and_pass(name, library, use_library, array_api_results):
    use_library(library)
    own = [row for row in array_api_results if row[0] == name]
    assert {row[1] for row in own} == set(CHECKS)
    assert [row for row in own if row[3].startswith("failed")] == []
    passed = [(check, what) for _, check, what, outcome in own if outcome == "passed"]
    there = {check for check, what in passed if library in what}
    expected = {"check_array_api_input"}
    if library == "array_api_strict":
        expected.add("check_array_api_same_namespace")
    # The inputs that are mixed are of both.
    if backends.status("torch").usable:
        expected.add("check_array_api_mixed_inputs")
    assert there == expected
    dtypes = [what.split()[-1] for check, what in passed if library in what and "float" in what]
    assert set(dtypes) == {"float32", "float64"}
    reasons = [row[3] for row in own if row[3].startswith("skipped")]
    assert not any("SCIPY_ARRAY_API" in reason or library in reason for reason in reasons)
