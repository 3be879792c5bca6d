"""Input that cannot be learned from is refused, in scikit-learn's words where it has any."""

import copy
import re

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from beside_sklearn import CLASSIFIERS, assert_same, fitted, pair, problem
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from small import assert_same_bytes

import xpnn
from xpnn.backends import InputError
from xpnn.training import DivergenceError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, BINARY = problem("binary")
VALUES, TABLE, CLASSES = (problem(task)[1] for task in ("values", "multilabel", "multiclass"))
Y = {"binary": BINARY, "values": VALUES}


def error_of(function, *args, **kwargs):
    """The error of a call that must fail."""
    with pytest.raises(Exception) as caught:
        function(*args, **kwargs)
    return caught.value


def assert_alike(errors):
    """Hold our error against scikit-learn's; the library's own is a kind of `ValueError`."""
    theirs, ours = (ValueError if type(e) is InputError else type(e) for e in errors)
    assert ours is theirs
    assert str(errors[1]) == str(errors[0])


def with_value(array, value):
    array = np.array(array, dtype=float)
    array.flat[5] = value
    return array


def warm(model):
    return model.set_params(warm_start=True)


def early(model, **options):
    return model.set_params(early_stopping=True, **options)


def first(model):
    return model.partial_fit(X, BINARY, classes=[0, 1])


# What is done with a fresh model of either kind; `y` are targets of its kind.
OF_BOTH = {
    "NaN in X": lambda m, y: m.fit(with_value(X, np.nan), y),
    "infinity in X": lambda m, y: m.fit(with_value(X, np.inf), y),
    "-infinity in X": lambda m, y: m.fit(with_value(X, -np.inf), y),
    "NaN in sparse X": lambda m, y: m.fit(scipy.sparse.csr_array(with_value(X, np.nan)), y),
    "infinity in sparse X": lambda m, y: m.fit(scipy.sparse.csc_array(with_value(X, np.inf)), y),
    "NaN in y": lambda m, y: m.fit(X, with_value(y, np.nan)),
    "infinity in y": lambda m, y: m.fit(X, with_value(y, np.inf)),
    "NaN in the weights": lambda m, y: m.fit(X, y, with_value(np.ones(40), np.nan)),
    "infinity in the weights": lambda m, y: m.fit(X, y, with_value(np.ones(40), np.inf)),
    "NaN to predict": lambda m, y: m.fit(X, y).predict(with_value(X, np.nan)),
    "infinity to predict": lambda m, y: m.fit(X, y).predict(with_value(X, np.inf)),
    "both infinities to predict": lambda m, y: m.fit(X, y).predict(
        with_value(X, np.inf) + with_value(X[::-1], -np.inf)[::-1]
    ),
    "a row alone": lambda m, y: m.fit(X[:, 0], y),
    "three axes": lambda m, y: m.fit(X[:, :, None], y),
    "a number": lambda m, y: m.fit(3.0, y),
    "no rows": lambda m, y: m.fit(X[:0], y[:0]),
    "no features": lambda m, y: m.fit(X[:, :0], y),
    "fewer targets": lambda m, y: m.fit(X, y[:-1]),
    "targets with three axes": lambda m, y: m.fit(X, np.stack([TABLE, TABLE], -1)),
    "no targets": lambda m, y: m.fit(X, None),
    "no rows at all": lambda m, y: m.fit(None, y),
    "words as rows": lambda m, y: m.fit(np.array([["a", "b"]] * 40), y),
    "dicts as rows": lambda m, y: m.fit(np.array([[1, {}]] * 40, dtype=object), y),
    "complex rows": lambda m, y: m.fit(X + 1j, y),
    "complex targets": lambda m, y: m.fit(X, y + 1j),
    "ragged targets": lambda m, y: m.fit(X, [[1], [2, 3]] * 20),
    "words and numbers as targets": lambda m, y: m.fit(X, np.array(["a", 1] * 20, dtype=object)),
    "fewer weights": lambda m, y: m.fit(X, y, np.ones(39)),
    "more weights": lambda m, y: m.fit(X, y, np.ones(41)),
    "a column of weights": lambda m, y: m.fit(X, y, np.ones((40, 1))),
    "words as weights": lambda m, y: m.fit(X, y, ["a"] * 40),
    "weights of zero": lambda m, y: m.fit(X, y, np.zeros(40)),
    "other features": lambda m, y: m.fit(X, y).predict(X[:, :3]),
    "other features later": lambda m, y: m.fit(X, y).partial_fit(X[:, :3], y),
    "other features on a warm start": lambda m, y: warm(m).fit(X, y).fit(X[:, :3], y),
    "a row to predict": lambda m, y: m.fit(X, y).predict(X[0]),
    "no rows to predict": lambda m, y: m.fit(X, y).predict(X[:0]),
    "no features to predict": lambda m, y: m.fit(X, y).predict(X[:, :0]),
    "fewer targets to score": lambda m, y: m.fit(X, y).score(X, y[:-1]),
    "weights of a wrong length to score": lambda m, y: m.fit(X, y).score(X, y, np.ones(3)),
    "not fitted": lambda m, y: m.predict(X),
    "not fitted, and scored": lambda m, y: m.score(X, y),
    "no validation rows": lambda m, y: early(m, validation_fraction=0.0).fit(X, y),
    "one row to split": lambda m, y: early(m).fit(X[:1], y[:1]),
    "too few rows for the split": lambda m, y: early(m).fit(X[:3], y[:3]),
    "too few rows to validate": lambda m, y: early(m).fit(X[:9], y[:9]),
}
OF_CLASSIFIERS = {
    "several columns of classes": lambda m, y: m.fit(X, np.column_stack([CLASSES, CLASSES])),
    "no classes": lambda m, y: m.partial_fit(X, BINARY),
    "unseen from the start": lambda m, y: m.partial_fit(X, CLASSES, classes=[0, 1]),
    "unseen later": lambda m, y: first(m).partial_fit(X, CLASSES),
    "other classes later": lambda m, y: first(m).partial_fit(X, BINARY, classes=[0, 1, 2]),
    "more classes on a warm start": lambda m, y: warm(m).fit(X, BINARY).fit(X, CLASSES),
    "fewer classes on a warm start": lambda m, y: warm(m).fit(X, CLASSES).fit(X, CLASSES // 2),
    "a table on a warm start": lambda m, y: warm(m).fit(X, BINARY).fit(X, TABLE),
    "probabilities, but not fitted": lambda m, y: m.predict_proba(X),
    "logarithms, but not fitted": lambda m, y: m.predict_log_proba(X),
    "partial_fit with lbfgs": lambda m, y: m.set_params(solver="lbfgs").partial_fit(X, BINARY),
    "too few rows of a class for the split": lambda m, y: early(m).fit(X, np.array([1] + 39 * [0])),
}
REFUSED = [(task, name) for name in OF_BOTH for task in Y]
REFUSED += [("binary", name) for name in OF_CLASSIFIERS]


@pytest.mark.parametrize(("task", "case"), REFUSED)
def test_refused_as_by_scikit_learn(task, case):
    call = (OF_BOTH | OF_CLASSIFIERS)[case]
    assert_alike([error_of(call, model, Y[task]) for model in pair(task, max_iter=2)])


@pytest.mark.parametrize("y", [VALUES, np.array([None, 1] * 20, dtype=object)])
def test_values_are_no_classes(y):
    with pytest.raises(ValueError, match="Unknown label type"):
        pair("binary")[1].fit(X, y)


@pytest.mark.parametrize("task", list(Y))
def test_negative_weights(task):
    """scikit-learn's learns from them, away from the targets."""
    with pytest.raises(ValueError, match="Negative values"):
        pair(task)[1].fit(X, Y[task], with_value(np.ones(40), -1.0))


@pytest.mark.parametrize("task", list(Y))
def test_early_stopping_of_partial_fit_needs_validation_rows(task):
    """scikit-learn's has no way to give it any."""
    classes = {"classes": [0, 1]} if task in CLASSIFIERS else {}
    errors = [
        error_of(model.set_params(early_stopping=True).partial_fit, X, Y[task], **classes)
        for model in pair(task)
    ]
    assert isinstance(errors[1], type(errors[0]))
    assert str(errors[1]) == f"{errors[0]} without X_val"


@pytest.mark.parametrize("task", list(Y))
def test_lbfgs_has_no_partial_fit(task):
    model = pair(task, solver="lbfgs")[1]
    assert not hasattr(model, "partial_fit")
    error = error_of(lambda: model.partial_fit)
    assert isinstance(error, AttributeError)
    text = "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
    assert str(error.__cause__) == text
    assert hasattr(model.set_params(solver="sgd"), "partial_fit")


@pytest.mark.parametrize(
    ("method", "loss"), [("transform", "log_loss"), ("decision_function", "hinge")]
)
def test_a_model_that_is_not_fitted_says_so(method, loss):
    with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
        getattr(xpnn.MLPClassifier(loss=loss), method)(X)


BAD = {
    "hidden_layer_sizes": [0, -1, (0,), (3, -2), (3, 0), np.array([0]), "abc", None, 2.5, np.nan],
    "solver": ["nope", None, 1],
    "alpha": [-1, -1e-9, "a", None, np.nan],
    "batch_size": [0, -3, "all", 2.5, None],
    "learning_rate_init": [0, -1, "a", None],
    "power_t": [-1, "a"],
    "max_iter": [0, -1, 1.5, "a", None],
    "shuffle": ["yes", None, 2],
    "random_state": ["a", -1, 1.5],
    "tol": [-1, "a", None],
    "verbose": [-1, "a", None],
    "warm_start": ["a", None],
    "momentum": [-0.1, 1.1, "a"],
    "nesterovs_momentum": ["a", None, 2],
    "early_stopping": ["a", None],
    "validation_fraction": [-0.1, 1, 1.0, "a"],
    "beta_1": [-0.1, 1.0, "a"],
    "beta_2": [-0.1, 1.0, None],
    "epsilon": [0, -1, None],
    "n_iter_no_change": [0, -1, 2.5, "a"],
    "max_fun": [0, -1, 1.5],
}
MORE = {  # the library takes more values than scikit-learn, and lists them
    "activation": ["nope", None, 3],
    "learning_rate": ["nope", None, 1],
}


IMPOSSIBLE = [(name, value) for name, values in (BAD | MORE).items() for value in values]


@pytest.mark.parametrize("task", list(Y))
@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE, ids=str)
def test_impossible_parameters(name, value, task):
    errors = [error_of(model.set_params(**{name: value}).fit, X, Y[task]) for model in pair(task)]
    assert isinstance(errors[1], type(errors[0]))
    assert isinstance(errors[1], ValueError)
    theirs, ours = map(str, errors)
    assert name in ours
    if name in MORE:
        start, known, end = re.fullmatch("(.*){(.*)}(.*)", theirs).groups()
        assert (ours.startswith(start), ours.endswith(end)) == (True, True)
        assert all(word in ours for word in re.findall(r"'\w+'", known))
        return
    # A set in the message is listed in any order.
    words = [sorted(re.findall(r"[\w.-]+", text)) for text in (theirs, ours)]
    assert words[0] == words[1]


@pytest.mark.parametrize("sizes", [(2.5,), (True,), ("a",), [[3, 2]], (np.float64(2.0), 3)])
def test_widths_that_are_no_integers(sizes):
    for model in pair("values", hidden_layer_sizes=sizes):
        assert isinstance(error_of(model.fit, X, VALUES), TypeError)
    with pytest.raises(TypeError, match="hidden_layer_sizes must be integers, got "):
        pair("values", hidden_layer_sizes=sizes)[1].fit(X, VALUES)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("task", "y"),
    [
        ("binary", np.zeros(40, int)),
        ("binary", np.array(["only"] * 40)),
        ("multilabel", np.ones((40, 2), int)),
        ("values", np.ones(40)),
        ("values", np.zeros(40)),
        ("several values", np.full((40, 2), -3.0)),
        ("counts", np.zeros(40)),
    ],
)
def test_targets_that_never_change_are_learned(task, y, solver):
    theirs, ours = fitted(task, X, y, solver=solver, max_iter=20, n_iter_no_change=30, alpha=0.1)
    assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-6, atol=1e-9)
    if task in CLASSIFIERS:
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    else:
        assert ours.predict(X).shape == theirs.predict(X).shape
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-9)


def test_early_stopping_of_one_class():
    models = fitted("binary", X, np.zeros(40, int), early_stopping=True, max_iter=25)
    assert models[1].validation_scores_[-1] == 1.0
    assert_same(models, X, np.zeros(40, int))


HUGE = {"solver": "sgd", "learning_rate_init": 1e6, "max_iter": 30, "activation": "identity"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("engine", ["plan", "pure"])
def test_weights_that_overflow_are_an_error_that_says_when_and_what_helps(engine):
    theirs, ours = pair("values", **HUGE)
    ours.set_params(engine=engine)
    text = "Solver produced non-finite parameter weights. The input data may contain large values"
    with pytest.raises(ValueError, match=text):
        theirs.fit(X, VALUES)
    with pytest.raises(ValueError, match=text) as caught:
        ours.fit(X, VALUES)
    epoch = int(re.search(r"in epoch (\d+);", str(caught.value))[1])
    cause = caught.value.__cause__
    assert isinstance(cause, DivergenceError)
    assert (cause.epoch, np.isfinite(cause.loss)) == (epoch, False)
    assert 1 < epoch < 30
    for advice in ("learning_rate_init", "clip_norm", "StandardScaler"):
        assert advice in str(caught.value)
    # Everything is as it was after the last epoch that went well.
    assert ours.n_iter_ == epoch - 1 == len(ours.loss_curve_)
    assert ours.t_ == 40 * (epoch - 1)
    assert np.isfinite(ours.loss_curve_[0])
    good = pair("values", **HUGE)[1].set_params(max_iter=epoch - 1, engine=engine)
    assert_same_bytes(ours, good.fit(X, VALUES))
    assert all(np.isfinite(w).all() for w in ours.coefs_)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_overflow_at_once_leave_those_of_the_start():
    model = pair("values", **HUGE)[1].set_params(learning_rate_init=1e300)
    with pytest.raises(ValueError, match="in epoch 1; the model keeps the weights"):
        model.fit(1e10 * X, VALUES)
    assert_same_bytes(model, pair("values", **HUGE)[1].initialize(1e10 * X, VALUES))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_early_stopping_goes_back_to_the_best_weights_when_others_overflow():
    theirs, ours = pair("values", **HUGE, early_stopping=True)
    theirs.fit(X, VALUES)
    with pytest.warns(ConvergenceWarning, match=r"The loss became (nan|inf) in epoch \d+;"):
        ours.fit(X, VALUES)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-6)
    for found, expected in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("task", list(Y))
def test_a_fit_that_is_refused_leaves_the_model_as_it_was(task):
    model = pair(task, max_iter=5)[1].fit(X, Y[task])
    before = model.predict(X)
    for change, x, held in (
        ({}, with_value(X, np.nan), {}),
        ({"alpha": -1}, X, {}),
        ({"activation": "no"}, X, {}),
        ({}, X, {"X_val": X[:, :3], "y_val": Y[task]}),
        ({}, X, {"X_val": X, "y_val": Y[task], "sample_weight_val": -np.ones(40)}),
        ({}, X, {"y_val": Y[task]}),
    ):
        model.set_params(**({"alpha": 0.1, "activation": "relu"} | change))
        error_of(model.fit, x, Y[task], **held)
        assert_array_equal(model.predict(X), before)
    if hasattr(model, "classes_"):
        model.set_params(alpha=0.1, activation="relu")
        classes = model.classes_
        other = np.asarray(["some", "other"])[np.arange(40) % 2]
        error_of(model.fit, X, other, X_val=X[:, :3], y_val=other)
        assert model.classes_ is classes
        assert_array_equal(model.predict(X), before)


def test_changes_that_a_warm_start_cannot_take():
    # scikit-learn goes on with the layers of before, or fails in a product of matrices.
    model = pair("values", max_iter=2, warm_start=True)[1].fit(X, VALUES)
    before = copy.deepcopy(model)
    text = "go on with hidden layers [5] and 1 outputs; now there are "
    with pytest.raises(ValueError, match=re.escape(text + "[9] and 1")):
        model.set_params(hidden_layer_sizes=9).fit(X, VALUES)
    model.set_params(hidden_layer_sizes=5)
    for learn in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=re.escape(text + "[5] and 3")):
            learn(X, TABLE)
    assert_same_bytes(model, before)


def test_rows_whose_sum_overflows_are_predicted_without_a_word():
    x, y = np.random.default_rng(0).random((50, 3)), np.arange(50) % 2
    model = xpnn.MLPClassifier(max_iter=300, random_state=0).fit(x, y)
    huge = np.full((4, 3), 1e308) * [[1.0], [-1.0], [0.5], [1.7]]
    assert set(model.predict(huge)) <= {0, 1}
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.where(huge > 1.6e308, np.inf, 1.0))


def test_rows_too_large_for_the_models_dtype_are_refused():
    x, y = np.random.default_rng(0).random((50, 3)), np.arange(50) % 2
    model = xpnn.MLPClassifier(max_iter=2, random_state=0, dtype="float32").fit(x, y)
    for rows in (x * 1e200, (x * 1e200).tolist()):
        with pytest.raises(ValueError, match=r"value too large for dtype\(.float32.\)"):
            model.predict(rows)
    assert_array_equal(model.predict(x), model.predict(x.tolist()))
    assert_array_equal(model.predict_proba(x), model.predict_proba(x.tolist()))


def test_scikit_learns_switch_for_checking_parameters_is_honoured():
    model = xpnn.MLPClassifier(max_iter=2, random_state=0, n_iter_no_change=2.5)
    with pytest.raises(InvalidParameterError):
        model.fit(X, BINARY)
    with sklearn.config_context(skip_parameter_validation=True):
        model.fit(X, BINARY)
    assert model.n_iter_ == 2
