"""scikit-learn's own checks of estimators, with none expected to fail."""

import json
import os
import subprocess
import sys
import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

from xpnn import MLPClassifier, MLPRegressor, backends

# Only what is not there may be skipped.
ABSENT = (
    "SCIPY_ARRAY_API is not set",
    "is not installed",
    "PyTorch test requires cuda, which is not available",
    "torch does not support float64 on device cuda",
    "no XPU device is available",
    "PYTORCH_ENABLE_MPS_FALLBACK is not set",
    "MPS is not available",
    "does not have a predict_proba method",
    "does not have a decision_function method",  # as scikit-learn's; only the hinge has
)
# scikit-learn asks whether PyTorch was built for CUDA, and not whether there is a GPU.
NO_DRIVER = "CUDA driver version is insufficient for CUDA runtime version"
# With defaults they are checked below.
FAST = [
    MLPClassifier(loss="hinge", hidden_layer_sizes=(10,), learning_rate_init=0.03, max_iter=60),
    MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", activation="tanh", max_iter=50),
]
SLOW = [
    MLPClassifier((8, 4), solver="sgd", learning_rate_init=0.2, momentum=0.5, max_iter=60),
    MLPRegressor("huber", 8, "gelu", engine="pure", learning_rate_init=0.05, max_iter=60),
]
OTHERS = FAST + [pytest.param(estimator, marks=pytest.mark.slow) for estimator in SLOW]


def outcomes(results):
    """Names of the checks with what came of them, after making sure that nothing failed."""
    found = [(r["check_name"], r["status"], str(r["exception"])) for r in results]
    failed = [row for row in found if row[1] not in ("passed", "skipped")]
    assert [row for row in failed if NO_DRIVER not in row[2]] == []
    skipped = [row for row in found if row[1] == "skipped"]
    assert [row for row in skipped if not any(reason in row[2] for reason in ABSENT)] == []
    passed = {name for name, status, _ in found if status == "passed"}
    assert len(passed) > 50
    assert {"check_estimator_sparse_matrix", "check_transformer_general"} <= passed
    return found


@pytest.mark.parametrize("estimator", OTHERS, ids=str)
def test_check_estimator(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes(check_estimator(estimator, on_fail=None, on_skip=None))


ARRAY_API_CHECKS = {
    "check_array_api_input": 15,
    "check_array_api_mixed_inputs": 5,
    "check_array_api_same_namespace": 1,
}
SCRIPT = """
import json, sys, warnings
from sklearn.utils.estimator_checks import check_estimator
import xpnn

warnings.simplefilter("ignore")
found = {}
for name in ("MLPClassifier", "MLPRegressor"):
    results = check_estimator(getattr(xpnn, name)(), on_fail=None, on_skip=None)
    keys = ("check_name", "status", "exception")
    found[name] = [{key: str(result[key]) for key in keys} for result in results]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def with_array_api():
    """Results of all checks, where SciPy was told of the array API before it was imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_check_estimator_with_the_array_api(name, with_array_api):
    found = outcomes(with_array_api[name])
    assert [row for row in found if "SCIPY_ARRAY_API" in row[2]] == []
    own = [row for row in found if row[0].startswith("check_array_api")]
    counts = {check: sum(row[0] == check for row in own) for check in ARRAY_API_CHECKS}
    assert counts == ARRAY_API_CHECKS
    assert len(own) == 21
    # What ran: on array-api-strict two dtypes and the same namespace; on PyTorch's CPU two
    # dtypes; one mixture of both. NumPy has one check of its own.
    ran = {check: sum(row[:2] == (check, "passed") for row in own) for check in ARRAY_API_CHECKS}
    torch = backends.status("torch").usable
    strict = backends.status("array_api_strict").usable
    assert ran["check_array_api_input"] >= 1 + 2 * strict + 2 * torch
    assert ran["check_array_api_mixed_inputs"] >= (strict and torch)
    assert ran["check_array_api_same_namespace"] >= strict
