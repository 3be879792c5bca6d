"""scikit-learn's own tests of its MLPs, each run with our estimators in their place."""

import importlib.util
import inspect
from unittest import mock

import pytest
import sklearn.neural_network

import xpnn

# Tests that need a private attribute of scikit-learn's estimators: where, and for what.
EXCUSED = {
    "test_fit": ("mlp._coef_grads = [] * 2", "an estimator is set up by hand, gradients and all"),
    "test_gradient": ("mlp._loss_grad_lbfgs(", "a private method gives the gradients"),
    "test_learning_rate_warmstart": ("mlp._optimizer.learning_rate", "a private learning rate"),
    "test_adaptive_learning_rate": ("clf._optimizer.learning_rate", "a private learning rate"),
}


def suite():
    """Load scikit-learn's test module as if ours were its estimators; its tests by name."""
    found = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    spec = importlib.util.spec_from_file_location("sklearn_mlp_suite", found.origin)
    module = importlib.util.module_from_spec(spec)
    # At import already: its parametrisations hold the classes.
    with mock.patch.multiple(
        sklearn.neural_network,
        MLPClassifier=xpnn.MLPClassifier,
        MLPRegressor=xpnn.MLPRegressor,
    ):
        spec.loader.exec_module(module)
    assert module.MLPClassifier is xpnn.MLPClassifier
    return {name: f for name, f in vars(module).items() if name.startswith("test_")}


TESTS = suite()
for name, (_, reason) in EXCUSED.items():
    # Strict: an excuse that is no longer needed is an error.
    mark = pytest.mark.xfail(strict=True, raises=AttributeError, reason=reason)
    TESTS[name] = mark(TESTS[name])
globals().update(TESTS)

# As in scikit-learn's own run of them: what is warned of is no part of these tests.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture
def global_random_seed():
    return 42


def test_the_whole_suite_is_here():
    assert len(TESTS) >= 43
    assert len(EXCUSED) <= 6


@pytest.mark.parametrize("name", EXCUSED)
def test_an_excuse_names_a_line_with_a_private_attribute(name):
    line, _ = EXCUSED[name]
    assert line in inspect.getsource(TESTS[name])
    assert "._" in line
