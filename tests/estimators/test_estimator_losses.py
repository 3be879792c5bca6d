"""Losses, optimizers, learning rates, weight decay and clipping of the estimators."""

import inspect
import re

import numpy as np
import pytest
import small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import mean_poisson_deviance, mean_squared_error
from small import COMMON, COUNTS, LABELS, SCORES, SEVERAL, TWO, WEIGHT, X, classifier, regressor

import references
import xpnn.optimizers as opt
from xpnn import MLPClassifier, MLPRegressor
from xpnn.functional import LOSSES, CustomLoss, sigmoid, softmax
from xpnn.training import Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Steps on all rows, in order: easy to take by hand.
WHOLE = COMMON | {"batch_size": 40, "shuffle": False, "alpha": 0.0, "activation": "tanh"}


def flat(model):
    return np.array(model.network_.theta)


def start(model, y):
    """A model with the start weights of a fit, and its targets as its network takes them."""
    model = clone(model).initialize(X, y)
    outputs = model.network_.outputs
    return model, np.reshape(y, (40, outputs)) if np.size(y) == 40 * outputs else y


def value_at(model, theta, t, weight=None):
    """What a fit on all rows minimizes, by scikit-learn's metrics and the library's losses."""
    network = model.network_.copy()
    network.theta = theta
    scores, _ = network.forward(X)
    if model.loss == "squared_error":
        value = 0.5 * mean_squared_error(t, scores, sample_weight=weight)
    elif model.loss == "poisson":
        pairs = zip(t.T, np.exp(scores).T, strict=True)
        value = sum(0.5 * mean_poisson_deviance(a, b, sample_weight=weight) for a, b in pairs)
    else:
        value = network.loss.forward(scores, t, weight, xp=np)[0]
    squares = sum(np.sum(w**2) for name, w in network.parameters().items() if "weights" in name)
    return value + 0.5 * model.alpha * squares / (40 if weight is None else weight.sum())


def by_hand(model, y, optimizer, steps=3):
    """Parameters after some steps on all rows, of a loss whose gradient is the network's."""
    model, t = start(model, y)
    network = model.network_
    state = optimizer.init(network.theta, xp=np)
    for count in range(1, steps + 1):
        _, gradient = network.loss_and_gradient(X, t)
        rate = np.asarray(optimizer.learning_rate)
        theta = network.theta
        network.theta, state = optimizer.update(
            theta, gradient, state, rate, np.asarray(count), xp=np
        )
    return flat(model)


# Losses

CLASSIFIER = dict.fromkeys(("log_loss", "binary_cross_entropy", "hinge"), TWO)
CLASSIFIER |= {"softmax_cross_entropy": LABELS}
REGRESSOR = {"squared_error": SCORES[:, 0], "poisson": COUNTS} | dict.fromkeys(
    ("mean_squared_error", "sum_squared_errors", "absolute_error", "mean_absolute_error", "huber"),
    SCORES,
)
ROWS = CLASSIFIER | REGRESSOR


def of_loss(name, **options):
    make = MLPClassifier if name in CLASSIFIER else MLPRegressor
    return make(**WHOLE | options, loss=name)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_every_loss_is_tried_here(make):
    with pytest.raises(ValueError, match="'loss' parameter") as error:
        make(loss="none").fit(X, LABELS)
    known = re.findall(r"'(\w+)'", re.search("{(.*?)}", str(error.value))[1])
    assert set(known) == set(CLASSIFIER if make is MLPClassifier else REGRESSOR)
    kinds = {name: rule.kind == "regression" for name, rule in LOSSES.items()}
    assert {name for name in kinds if kinds[name] is (make is MLPRegressor)} <= set(known)


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [(name, 0.0) for name in ROWS] + [(name, 0.2) for name in CLASSIFIER if name != "hinge"],
)
def test_a_fit_follows_the_gradient_of_the_loss(name, smoothing):
    options = {"label_smoothing": smoothing} if smoothing else {}
    # scikit-learn's gradient of several squared errors is not that of their mean.
    model = of_loss(name, solver="sgd", momentum=0.0, max_iter=1, alpha=0.5, **options)
    first, t = start(model, ROWS[name])
    theta = flat(first)
    model.fit(X, ROWS[name], sample_weight=WEIGHT)
    taken = (theta - flat(model)) / model.learning_rate_init
    direction = np.random.default_rng(3).normal(size=theta.shape)
    expected = references.slope(lambda h: value_at(first, theta + h * direction, t, WEIGHT), 1e-4)
    assert taken @ direction == pytest.approx(expected, rel=1e-6)
    value = value_at(first, theta, t, WEIGHT) / (40 if name == "sum_squared_errors" else 1)
    assert model.loss_curve_[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", list(ROWS))
def test_every_loss_falls(name, solver, weight):
    model = of_loss(name, solver=solver, max_iter=30, learning_rate_init=0.002)
    first, t = start(model, ROWS[name])
    before = value_at(first, flat(first), t, weight)
    model.fit(X, ROWS[name], sample_weight=weight)
    after = value_at(first, flat(model), t, weight)
    assert np.isfinite(after)
    assert after < before
    if solver == "lbfgs":
        assert model.loss_ == pytest.approx(after, rel=1e-9)


@pytest.mark.parametrize("name", list(ROWS))
def test_training_and_validation_loss_are_on_one_scale(name):
    model = of_loss(name, learning_rate_init=1e-12, batch_size=10)
    model.fit(X, ROWS[name], X_val=X, y_val=ROWS[name])
    assert model.validation_loss_curve_ == pytest.approx(model.loss_curve_, rel=1e-6)


SMOOTH = Loss("softmax_cross_entropy", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("fit", "y", "one", "other"),
    [
        (regressor, SCORES, {"loss": "absolute_error"}, {"loss": "mean_absolute_error"}),
        (regressor, SCORES, {"loss": "absolute_error"}, {"loss": Loss("mean_absolute_error")}),
        (regressor, SCORES, {"loss": "huber", "delta": 0.3}, {"loss": Loss("huber", delta=0.3)}),
        (regressor, SCORES, {"loss": "sum_squared_errors"}, {"loss": Loss("sum_squared_errors")}),
        (classifier, LABELS, {}, {"loss": "softmax_cross_entropy"}),
        (classifier, TWO, {}, {"loss": Loss("binary_cross_entropy")}),
        (classifier, SEVERAL, {}, {"loss": "binary_cross_entropy"}),
        (classifier, LABELS, {"label_smoothing": 0.1}, {"loss": SMOOTH}),
    ],
)
def test_losses_by_other_names(fit, y, one, other):
    model = fit(y, **other)
    assert clone(model).loss == other["loss"]
    small.assert_same_bytes(model, fit(y, **one))


def test_two_classes_through_a_softmax():
    names = np.array(["no", "yes"])[TWO]
    model = classifier(names, loss="softmax_cross_entropy", learning_rate_init=0.02, max_iter=20)
    assert (model.n_outputs_, model.out_activation_) == (2, "softmax")
    proba = model.predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1.0)
    assert_array_equal(model.predict(X), np.where(proba[:, 1] > 0.5, "yes", "no"))
    assert model.score(X, names) > 0.8


def test_each_class_against_the_rest():
    model = classifier(loss="binary_cross_entropy", max_iter=60)
    assert (model.n_outputs_, model.out_activation_) == (3, "logistic")
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    own = 1 / (1 + np.exp(-(hidden @ model.coefs_[1] + model.intercepts_[1])))
    assert_allclose(model.predict_proba(X), own / own.sum(axis=1, keepdims=True))
    assert_array_equal(model.predict(X), own.argmax(axis=1))


def test_the_hinge_has_no_probabilities():
    model = classifier(loss="hinge", learning_rate_init=0.02, max_iter=20)
    assert (model.n_outputs_, model.out_activation_) == (3, "identity")
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    assert model.score(X, LABELS) > 0.7


def test_counts_are_predicted_as_rates():
    for loss in ("poisson", Loss("poisson")):
        model = regressor(COUNTS, loss=loss, activation="identity")
        assert model.out_activation_ == "exp"
        scores = (X @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1]
        assert_allclose(model.predict(X), np.exp(scores + model.intercepts_[1]))


# Losses of the user's own


def cross_entropy(scores, targets, *, xp):
    logs = scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))
    return -xp.sum(targets * logs, axis=1)


def cross_entropy_backward(scores, targets, *, xp):
    return softmax(scores, xp=xp) - targets


LOGISTIC = (
    lambda scores, targets, *, xp: xp.sum(xp.log1p(xp.exp(scores)) - targets * scores, axis=1),
    lambda scores, targets, *, xp: sigmoid(scores, xp=xp) - targets,
)
LOG_COSH = (
    lambda scores, targets, *, xp: xp.sum(xp.log(xp.cosh(scores - targets)), axis=1),
    lambda scores, targets, *, xp: xp.tanh(scores - targets),
)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("y", "pair"),
    [
        (LABELS, (cross_entropy, cross_entropy_backward)),
        (np.array(["no", "yes"])[TWO], LOGISTIC),
        (SEVERAL.astype(int), LOGISTIC),
    ],
    ids=["classes", "two classes", "several labels"],
)
def test_a_classifiers_own_pair_of_functions(y, pair, solver, weight):
    """A pair gets a softmax's targets where there are several classes, else a sigmoid's."""
    options = {"solver": solver, "early_stopping": solver != "lbfgs"}
    model, expected = (classifier(y, weight, loss=loss, **options) for loss in (pair, "log_loss"))
    assert_allclose(flat(model), flat(expected), rtol=1e-8)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-8)
    assert_array_equal(model.predict(X), expected.predict(X))
    assert model.out_activation_ == expected.out_activation_


@pytest.mark.parametrize("y", [SCORES, SCORES[:, 0]], ids=["several values", "a value"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_regressors_own_pair_of_functions(solver, y):
    options = {"solver": solver, "max_iter": 50, "learning_rate_init": 0.01}
    model = regressor(y, WEIGHT, loss=LOG_COSH, **options)
    scores = np.reshape(model.predict(X), (40, -1))
    rows = LOG_COSH[0](scores, np.reshape(y, scores.shape), xp=np)
    squares = sum(np.sum(w**2) for w in model.coefs_)
    value = np.average(rows, weights=WEIGHT) + 0.5 * model.alpha * squares / WEIGHT.sum()
    if solver == "lbfgs":
        assert model.loss_ == pytest.approx(value, rel=1e-9)
    assert value < 0.5 * regressor(y, WEIGHT, solver="sgd", max_iter=1).loss_curve_[0]
    assert clone(model).loss == model.loss


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_a_custom_loss_says_what_its_scores_mean(make):
    pair = (cross_entropy, cross_entropy_backward)
    wrong = CustomLoss(*pair) if make is MLPClassifier else CustomLoss(*pair, kind="multiclass")
    with pytest.raises(ValueError, match=r"loss is 'cross_entropy', .*; expected"):
        make(**COMMON, loss=wrong).fit(X, LABELS)
    with pytest.raises(TypeError, match=r"'backward'.*; expected"):
        make(**COMMON, loss=(cross_entropy, "backward")).fit(X, LABELS)
    if make is MLPClassifier:
        model = classifier(loss=CustomLoss(*pair, kind="multiclass"))
        assert not hasattr(model, "predict_proba")
        assert_allclose(flat(model), flat(classifier()), rtol=1e-9)


@pytest.mark.parametrize("loss", ["log_loss", "binary_cross_entropy", "hinge"])
@pytest.mark.parametrize("names", [[1, 2], [-1, 1], [-1.0, 1.0], [False, True]], ids=str)
def test_two_classes_may_have_any_names(names, loss):
    """A network's losses take 0 and 1; a classifier's classes are what they are called."""
    model = classifier(np.array(names)[TWO], loss=loss)
    small.assert_same_bytes(model, classifier(TWO, loss=loss))
    assert_array_equal(model.predict(X), np.array(names)[classifier(TWO, loss=loss).predict(X)])


# Optimizers, rates, decay, clipping


OPTIMIZERS = [
    opt.SGD(0.1), opt.SGD(0.1, momentum=0.9), opt.SGD(0.1, momentum=0.9, nesterov=True),
    opt.Adam(0.01), opt.AdamW(0.01, weight_decay=0.3), opt.RMSprop(0.01),
    opt.chain(opt.clip_by_global_norm(0.01), opt.RMSprop(0.01)),
    opt.chain(opt.add_decayed_weights(0.3), opt.SGD(0.1)),
]  # fmt: skip


def test_every_optimizer_is_in_the_list():
    every = {getattr(opt, name) for name in opt.__all__}
    every = {c for c in every if inspect.isclass(c) and issubclass(c, opt.Optimizer)}
    assert every - {opt.Optimizer} == {type(o) for o in OPTIMIZERS}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_an_optimizer_takes_the_steps(optimizer):
    model = MLPClassifier(**WHOLE, optimizer=optimizer).fit(X, LABELS)
    assert_allclose(flat(model), by_hand(model, LABELS, optimizer), rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({"learning_rate_init": 0.02, "beta_1": 0.8}, opt.Adam(0.02, beta1=0.8)),
        ({"solver": "sgd"}, opt.SGD(0.001, momentum=0.9, nesterov=True)),
        ({"weight_decay": 0.2}, opt.AdamW(0.001, weight_decay=0.2)),
        ({"clip_norm": 0.1}, opt.chain(opt.clip_by_global_norm(0.1), opt.Adam(0.001))),
    ],
)
def test_a_solver_is_the_optimizer_of_its_name(options, optimizer):
    small.assert_same_bytes(classifier(**options), classifier(optimizer=optimizer))


@pytest.mark.parametrize("optimizer", [None, opt.RMSprop(0.01)], ids=repr)
def test_weight_decay_is_apart_from_the_gradient(optimizer):
    decay, rate = 0.3, 0.01
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": rate, "max_iter": 1}
    model = MLPClassifier(**WHOLE | options, optimizer=optimizer, weight_decay=decay)
    theta = flat(start(model, LABELS)[0])
    plain = MLPClassifier(**WHOLE | options, optimizer=optimizer).fit(X, LABELS)
    model.fit(X, LABELS)
    assert_allclose(flat(model), flat(plain) - rate * decay * theta, rtol=1e-10)


def test_a_long_gradient_is_cut():
    options = {"solver": "sgd", "momentum": 0.0, "max_iter": 1, "learning_rate_init": 0.5}
    model = MLPRegressor(**WHOLE | options, clip_norm=1e-3)
    theta = flat(start(model, SCORES)[0])
    plain = MLPRegressor(**WHOLE | options).fit(X, SCORES)
    assert np.linalg.norm(flat(plain) - theta) > 0.5e-2
    step = flat(model.fit(X, SCORES)) - theta
    assert np.linalg.norm(step) == pytest.approx(0.5e-3, rel=1e-9)
    small.assert_same_bytes(regressor(clip_norm=1e6), regressor())


def rates_of(learn, **given):
    seen = []
    learn(X, LABELS, **given, callbacks=lambda run: seen.append(run.history.learning_rate[-1]))
    return seen


SCHEDULE = opt.StepDecay(0.1, every=1, factor=0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "learning_rate": SCHEDULE},
        {"solver": "adam", "learning_rate": SCHEDULE},
        {"optimizer": opt.RMSprop(0.7), "learning_rate": SCHEDULE},
        {"optimizer": opt.RMSprop(SCHEDULE)},
        {"optimizer": opt.chain(opt.clip_by_global_norm(0.5), opt.SGD(SCHEDULE))},
        {"optimizer": opt.SGD(SCHEDULE), "weight_decay": 0.1},
    ],
    ids=["sgd", "adam", "rate of learning_rate", "rate of the optimizer", "clipped", "decay"],
)
def test_a_schedule_goes_with_every_solver(options):
    assert rates_of(MLPClassifier(**COMMON | options).fit) == pytest.approx([0.1, 0.05, 0.025])


PLATEAU = opt.ReduceOnPlateau(1e-9, factor=0.5, patience=2, min_delta=0.1)


@pytest.mark.parametrize(
    ("rate", "first", "factors"),
    [(SCHEDULE, 0.1, [1, 0.5, 0.25, 0.125]), (PLATEAU, 1e-9, [1, 1, 1, 0.5, 0.5, 0.25])],
)
def test_a_schedule_goes_on_through_partial_fits(rate, first, factors):
    model, seen = MLPClassifier(**COMMON, learning_rate=rate), []
    for _ in factors:
        seen += rates_of(model.partial_fit, classes=[0, 1, 2])
    assert seen == pytest.approx([first * factor for factor in factors])
