"""`Perceptron` takes scikit-learn's parameters, refuses and warns as scikit-learn's does."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from beside_sklearn import needs_sklearn
from perceptrons import problem
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Perceptron as Theirs

from xpnn import Perceptron


def test_parameters_and_defaults_are_scikit_learns():
    theirs = inspect.signature(Theirs.__init__).parameters
    ours = inspect.signature(Perceptron.__init__).parameters
    assert list(ours)[:-1] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default, name
        assert ours[name].kind == parameter.kind, name
    assert ours["fires_at_zero"].default is False
    for method in ("fit", "partial_fit", "predict", "decision_function", "score"):
        expected = list(inspect.signature(getattr(Theirs, method)).parameters)
        found = list(inspect.signature(getattr(Perceptron, method)).parameters)
        assert [name for name in found if name != "record"] == expected, method
    public = {name for name in dir(Theirs) if not name.startswith("_")}
    assert public - set(dir(Perceptron)) == {"loss_functions"}
    x, y = problem()
    learned = {name for name in vars(Theirs().fit(x, y)) if name[-1] == "_" and name[0] != "_"}
    assert learned <= set(vars(Perceptron().fit(x, y)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"penalty": "l3"}, {"alpha": -1}, {"l1_ratio": 1.5}, {"fit_intercept": "no"},
        {"max_iter": 0}, {"max_iter": 2.5}, {"tol": -1.0}, {"shuffle": 3}, {"eta0": 0.0},
        {"eta0": float("nan")}, {"random_state": -1}, {"early_stopping": "yes"},
        {"validation_fraction": 1.0}, {"n_iter_no_change": 0}, {"class_weight": "some"},
        {"warm_start": 2}, {"n_jobs": "all"}, {"verbose": -1},
    ],
)  # fmt: skip
def test_wrong_parameters(parameters):
    x, y = problem()
    with pytest.raises(ValueError) as theirs:
        Theirs(**parameters).fit(x, y)
    with pytest.raises(ValueError) as ours:
        Perceptron(**parameters).fit(x, y)
    if not {"random_state", "penalty"} & set(parameters):  # they list a set, in any order
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(ValueError):
        Perceptron(**parameters).partial_fit(x, y, [0, 1])


pytestmark = needs_sklearn

X, Y = problem(rows=6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((X[:, 0], Y), "Expected 2D array"),
        ((X, Y[:5]), "inconsistent numbers of samples"),
        ((np.full((6, 4), np.nan), Y), "Input X contains NaN"),
        ((X[:0], Y[:0]), "0 sample"),
        ((X, X[:, 0]), "Unknown label type"),
        ((X, np.zeros(6)), "number of classes has to be greater than one; got 1 class"),
        ((X, None), "requires y to be passed, but the target y is None"),
        ((X, np.stack([Y, Y], 1)), "y should be a 1d array"),
        ((X, Y, np.ones((1, 3))), "Provided coef_init does not match dataset"),
        ((X, Y, None, np.ones(2)), "Provided intercept_init does not match dataset"),
        ((X, Y, None, None, np.ones(5)), r"sample_weight.shape == \(5,\), expected \(6,\)"),
        ((X + 1j, Y), "Complex data not supported"),
    ],
)
def test_wrong_data(args, message):
    for kind in (Theirs, Perceptron):
        with pytest.raises(ValueError, match=message):
            kind().fit(*args)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ((np.ones((1, 4)),), r"Its shape is \(1, 4\); expected \(3, 4\)"),
        ((None, np.ones(1)), r"Its shape is \(1,\); expected \(3,\)"),
    ],
)
def test_three_classes_want_start_values_for_three_units(start, message):
    with pytest.raises(ValueError, match=message):
        Perceptron().fit(*problem(3), *start)


def test_not_fitted_and_wrong_width():
    with pytest.raises(NotFittedError):
        Perceptron().predict(X)
    model = Perceptron().fit(X, Y)
    for call, args in ((model.predict, ()), (model.partial_fit, (Y,))):
        with pytest.raises(ValueError, match="X has 3 features, but Perceptron is expecting 4"):
            call(X[:, :3], *args)


def test_partial_fit_refuses_what_scikit_learn_refuses():
    for kind in (Theirs, Perceptron):
        with pytest.raises(ValueError, match="early_stopping should be False with partial_fit"):
            kind(early_stopping=True).partial_fit(X, Y, [0, 1])
        with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
            kind(class_weight="balanced").partial_fit(X, Y, [0, 1])
        with pytest.raises(ValueError, match="classes must be passed on the first call"):
            kind().partial_fit(X, Y)
    model = Perceptron().partial_fit(X, Y, [0, 1])
    # Here scikit-learn would take the unknown label for class 0.
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, Y + 1)


def test_too_few_epochs_warn_as_scikit_learn_does():
    x, y = problem()
    with pytest.warns(ConvergenceWarning) as theirs:
        Theirs(max_iter=2).fit(x, y)
    with pytest.warns(ConvergenceWarning) as ours:
        Perceptron(max_iter=2).fit(x, y)
    said = str(ours[0].message)
    assert said.startswith(str(theirs[0].message))
    assert "did not converge in 2 epochs" in said
    assert ours[0].filename == __file__


def test_overflow():
    x, y = np.array([[1e200], [-1e200], [3e200]]), [0, 1, 1]
    for kind in (Theirs, Perceptron):
        with pytest.raises(ValueError, match=r"under-/overflow occurred at epoch #1\. Scaling"):
            kind(eta0=1e200, shuffle=False).fit(x, y)


@pytest.mark.parametrize("weights", [np.r_[np.zeros(39), 1.0], np.zeros(40)])
def test_validation_rows_without_weight(weights):
    x, y = problem()
    for kind in (Theirs, Perceptron):
        with pytest.raises(ValueError, match="ample weights"):
            kind(early_stopping=True).fit(x, y, sample_weight=weights)


def test_verbose_prints_every_epoch(capsys):
    Perceptron(verbose=1, max_iter=3, tol=None).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Epoch 1", "Epoch 2", "Epoch 3"][: len(lines)]
    assert "updates, average loss" in lines[0]


def test_record_is_one_of_three():
    for call in (Perceptron().fit, Perceptron().partial_fit):
        with pytest.raises(ValueError, match="record is 'some'; expected True, False or 'auto'"):
            call(X, Y, record="some")
