"""Input and parameters that are refused, in scikit-learn's words where it has any."""

import copy
import re

import numpy as np
import pytest
import scipy.sparse
import sklearn
from beside_sklearn import CLASSIFIERS, assert_same, fitted, pair
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from small import COMMON, LABELS, SCORES, SEVERAL, TWO, X, assert_same_bytes, classifier

import xpnn.optimizers as opt
from xpnn import MLPClassifier, MLPRegressor
from xpnn.backends import InputError
from xpnn.training import Callback, DivergenceError, Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

VALUES, TABLE = SCORES[:, 0], SEVERAL.astype(int)
Y = {"binary": TWO, "values": VALUES}


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
    return model.partial_fit(X, TWO, classes=[0, 1])


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
    "several columns of classes": lambda m, y: m.fit(X, np.column_stack([LABELS, LABELS])),
    "no classes": lambda m, y: m.partial_fit(X, TWO),
    "unseen from the start": lambda m, y: m.partial_fit(X, LABELS, classes=[0, 1]),
    "unseen later": lambda m, y: first(m).partial_fit(X, LABELS),
    "other classes later": lambda m, y: first(m).partial_fit(X, TWO, classes=[0, 1, 2]),
    "more classes on a warm start": lambda m, y: warm(m).fit(X, TWO).fit(X, LABELS),
    "fewer classes on a warm start": lambda m, y: warm(m).fit(X, LABELS).fit(X, LABELS // 2),
    "a table on a warm start": lambda m, y: warm(m).fit(X, TWO).fit(X, TABLE),
    "probabilities, but not fitted": lambda m, y: m.predict_proba(X),
    "logarithms, but not fitted": lambda m, y: m.predict_log_proba(X),
    "partial_fit with lbfgs": lambda m, y: m.set_params(solver="lbfgs").partial_fit(X, TWO),
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
        getattr(MLPClassifier(loss=loss), method)(X)


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
@pytest.mark.parametrize("engine", ["planned", "pure"])
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
    model = MLPClassifier(max_iter=300, random_state=0).fit(x, y)
    huge = np.full((4, 3), 1e308) * [[1.0], [-1.0], [0.5], [1.7]]
    assert set(model.predict(huge)) <= {0, 1}
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.where(huge > 1.6e308, np.inf, 1.0))


def test_rows_too_large_for_the_models_dtype_are_refused():
    x, y = np.random.default_rng(0).random((50, 3)), np.arange(50) % 2
    model = MLPClassifier(max_iter=2, random_state=0, dtype="float32").fit(x, y)
    for rows in (x * 1e200, (x * 1e200).tolist()):
        with pytest.raises(ValueError, match=r"value too large for dtype\(.float32.\)"):
            model.predict(rows)
    assert_array_equal(model.predict(x), model.predict(x.tolist()))
    assert_array_equal(model.predict_proba(x), model.predict_proba(x.tolist()))


def test_scikit_learns_switch_for_checking_parameters_is_honoured():
    model = MLPClassifier(max_iter=2, random_state=0, n_iter_no_change=2.5)
    with pytest.raises(InvalidParameterError):
        model.fit(X, TWO)
    with sklearn.config_context(skip_parameter_validation=True):
        model.fit(X, TWO)
    assert model.n_iter_ == 2


# Parameters that do not go together: nothing is ignored in silence

SCHEDULE = opt.StepDecay(0.1)


def no_scorer(model, x, y):
    raise AssertionError("is never asked")


LBFGS = {
    "weight_decay": {"weight_decay": 0.1},
    "dropout": {"dropout": 0.1},
    "clip_norm": {"clip_norm": 1.0},
    "a schedule as learning_rate": {"learning_rate": SCHEDULE},
    "optimizer": {"optimizer": opt.SGD(0.1)},
    "monitor": {"monitor": no_scorer, "early_stopping": True},
    "progress": {"progress": True},
    "compute_dtype": {"compute_dtype": "float16"},
}
COMBINATIONS = [
    (options | {"solver": "lbfgs"}, f"solver='lbfgs' .* does not go with {name}; take")
    for name, options in LBFGS.items()
] + [
    ({"optimizer": opt.SGD(0.1), "learning_rate": "adaptive"}, "belongs to solver='sgd'"),
    ({"optimizer": opt.SGD(0.1), "learning_rate": "invscaling"}, "an optimizer takes a schedule"),
    ({"optimizer": opt.SGD(SCHEDULE), "learning_rate": SCHEDULE}, "are both schedules"),
    ({"optimizer": opt.AdamW(), "weight_decay": 0.1}, "weight_decay is 0.1 beside an optimizer"),
    (
        {"optimizer": opt.chain(opt.clip_by_global_norm(1.0), opt.AdamW()), "weight_decay": 0.1},
        "with a weight_decay of its own",
    ),
    (
        {"optimizer": opt.chain(opt.add_decayed_weights(0.01), opt.SGD()), "weight_decay": 0.1},
        "with a weight_decay of its own",
    ),
    ({"dropout": 0.5, "hidden_layer_sizes": ()}, "dropout is 0.5; the model has no hidden"),
    ({"dropout": (0.5, 0.1)}, "dropout has 2 entries; expected one, or 1 hidden ones"),
    ({"dropout": (1.0,)}, "dropout holds 1.0; expected 0 <= dropout < 1"),
    ({"dropout": ["a"]}, "dropout holds 'a'; expected 0 <= dropout < 1"),
    ({"monitor": "loss"}, "monitor is 'loss'; it needs early_stopping=True"),
    ({"monitor": no_scorer}, "it needs early_stopping=True"),
    ({"monitor": "guess", "early_stopping": True}, "'guess' is not a valid scoring value"),
    ({"activation": ["relu", "tanh"]}, "activation has 2 entries; expected one, or 1 hidden"),
    ({"activation": "reLU"}, "reLU"),
    ({"activation": [3]}, "activation holds 3; expected a name"),
    ({"device": "cuda:0"}, "device='cuda:0' is not a device of numpy"),
    ({"backend": "abacus"}, "'abacus' is not a backend"),
    ({"dtype": "bfloat16"}, "The 'dtype' parameter .* must be"),
    ({"optimizer": "adam"}, "The 'optimizer' parameter .* must be"),
    ({"engine": "steam"}, "The 'engine' parameter .* must be"),
    ({"weight_decay": -0.1}, "The 'weight_decay' parameter .* must be"),
    ({"clip_norm": 0.0}, "The 'clip_norm' parameter .* must be"),
    ({"dropout": 1.0}, "The 'dropout' parameter .* must be"),
    ({"compute_dtype": "float32"}, "The 'compute_dtype' parameter .* must be"),
    ({"compute_dtype": "float16", "loss_scale": 0}, "The 'loss_scale' parameter .* must be"),
    ({"precision": "low"}, "The 'precision' parameter .* must be"),
    ({"loss_scale": "dynamic"}, "loss_scale is 'dynamic'; it needs compute_dtype='float16'"),
]
COMBINATIONS_OF_CLASSIFIERS = [
    ({"loss": "hinge", "label_smoothing": 0.1}, "goes with a cross-entropy, not with 'hinge'"),
    ({"loss": Loss("hinge"), "label_smoothing": 0.1}, "label_smoothing is 0.1 beside Loss"),
    (
        {"loss": Loss("softmax_cross_entropy"), "label_smoothing": 0.1},
        "label_smoothing is 0.1 beside Loss.*; give it to the Loss",
    ),
    ({"loss": Loss("huber")}, "loss is Loss.*; expected one of binary_cross_entropy, hinge"),
    ({"loss": "huber"}, "The 'loss' parameter of MLPClassifier must be"),
    ({"label_smoothing": 1.0}, "The 'label_smoothing' parameter .* must be"),
]
COMBINATIONS_OF_REGRESSORS = [
    ({"delta": 0.5}, "delta goes with 'huber', not with 'mean_squared_error'"),
    ({"delta": 0.5, "loss": "absolute_error"}, "not with 'mean_absolute_error'"),
    ({"delta": 0.5, "loss": Loss("huber")}, "delta is 0.5 beside Loss.*; give it to the Loss"),
    ({"loss": Loss("hinge")}, "loss is Loss.*; expected one of absolute_error, huber"),
    ({"loss": "hinge"}, "The 'loss' parameter of MLPRegressor must be"),
    ({"loss": "poisson"}, "y holds values below 0; loss='poisson' needs counts"),
    ({"loss": Loss("poisson")}, "y holds values below 0; loss='poisson' needs counts"),
]
TOGETHER = [(MLPClassifier, *case) for case in COMBINATIONS + COMBINATIONS_OF_CLASSIFIERS]
TOGETHER += [(MLPRegressor, *case) for case in COMBINATIONS + COMBINATIONS_OF_REGRESSORS]


@pytest.mark.parametrize(("make", "options", "message"), TOGETHER)
def test_what_does_not_go_together(make, options, message):
    model = make(**COMMON | options)
    for start in (model.fit, model.initialize):
        with pytest.raises(ValueError, match=message):
            start(X, LABELS if make is MLPClassifier else SCORES)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("X_val", {"X_val": X, "y_val": LABELS}),
        ("callbacks", {"callbacks": [Callback()]}),
        ("callbacks", {"callbacks": iter([print])}),
        ("X_val, callbacks", {"X_val": X, "y_val": LABELS, "callbacks": [print]}),
        ("checkpoint, resume", {"checkpoint": "c", "resume": True}),
    ],
)
def test_lbfgs_has_no_epochs(name, given):
    with pytest.raises(ValueError, match=f"no epochs, and does not go with {name}; take"):
        MLPClassifier(**COMMON, solver="lbfgs").fit(X, LABELS, **given)


def test_what_scikit_learn_ignores_is_ignored():
    """Its own parameters keep its rules: 'lbfgs' knows nothing of early stopping or batches."""
    options = {"early_stopping": True, "learning_rate": "adaptive", "momentum": 0.5, "tol": 1e-4}
    expected = classifier(solver="lbfgs", batch_size=7)
    assert_same_bytes(classifier(solver="lbfgs", **options), expected)
    assert_same_bytes(classifier(learning_rate="adaptive", momentum=0.1), classifier())


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", Loss("softmax_cross_entropy")])
def test_several_labels_do_not_go_through_a_softmax(loss):
    with pytest.raises(ValueError, match="y has several labels for a row"):
        MLPClassifier(**COMMON, loss=loss).fit(X, TABLE)


def test_weights_of_classes():
    with pytest.raises(ValueError, match="not in class_weight"):
        classifier(class_weight={0: 1.0, 7: 2.0})
    model = MLPClassifier(**COMMON, class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")


NAMED = {
    "a list of class weights": (
        lambda m: m.set_params(class_weight=[{0: 1, 1: 2}]).fit(X, LABELS),
        r"class_weight is \[.*, a list for several labels a row; y has one: expected a dict or",
    ),
    "negative class weights": (
        lambda m: m.set_params(class_weight=dict.fromkeys(np.unique(LABELS), -1)).fit(X, LABELS),
        "class_weight is .*; expected weights, 0 or more",
    ),
    "half a pair of losses": (
        lambda m: m.set_params(loss=(max,)).fit(X, LABELS),
        "loss is .*; expected a name, a Loss, a CustomLoss, or a pair of functions",
    ),
    "no targets for partial_fit": (
        lambda m: m.partial_fit(X, None),
        "This MLPClassifier estimator requires y to be passed, but the target y is None",
    ),
    "a layer by its name": (
        lambda m: m.fit(X, LABELS).transform(X, layer="a"),
        "layer is 'a'; expected one of the model's 1 hidden layers",
    ),
    "a scorer that needs probabilities": (
        lambda m: MLPRegressor(**COMMON, monitor="roc_auc", early_stopping=True).fit(X, SCORES),
        "monitor is 'roc_auc', which cannot be computed: MLPRegressor has none of",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", NAMED)
def test_errors_name_the_argument(case):
    call, message = NAMED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call(MLPClassifier(**COMMON))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sparse_tensors_are_refused_by_name():
    torch = pytest.importorskip("torch")
    model, rows = MLPClassifier(**COMMON), torch.asarray(X).to_sparse()
    for call in (lambda: model.fit(rows, LABELS), lambda: model.fit(X, LABELS).predict(rows)):
        with pytest.raises(ValueError, match="X is a sparse Tensor; expected a dense one, or a Sc"):
            call()
