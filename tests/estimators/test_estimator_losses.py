"""Losses, optimizers, learning rates, weight decay and clipping of the estimators."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from small import (
    COMMON,
    COUNTS,
    LABELS,
    SCORES,
    SEVERAL,
    TWO,
    WEIGHT,
    X,
    assert_same_bytes,
    classifier,
    regressor,
)

import references
from xpnn import MLPClassifier, MLPRegressor, optimizers
from xpnn.estimators.losses import CLASSIFIER, REGRESSOR
from xpnn.functional import LOSSES
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    RMSprop,
    StepDecay,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)
from xpnn.training import Loss, loss_and_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Steps on all rows, in order: easy to take by hand.
WHOLE = COMMON | {"batch_size": 40, "shuffle": False, "alpha": 0.0, "activation": "tanh"}


def start(model, y):
    """The flat vector of start weights, and the function whose slope is followed."""
    model = type(model)(**model.get_params()).initialize(X, y)
    slope = loss_and_gradient(
        model._structure.layers, model._structure.tree, model._objective, model.alpha, xp=np,
        l2_by_rows=True,
    )  # fmt: skip
    return model._theta(), slope, model._outputs(X, y, False, True)[1]


def by_hand(model, y, optimizer, weight=None, steps=3):
    """Parameters after some steps on all rows."""
    theta, slope, t = start(model, y)
    state = optimizer.init(theta, xp=np)
    for count in range(1, steps + 1):
        gradient = slope(theta, X, t, weight, None)[1]
        rate = np.asarray(optimizer.learning_rate)
        theta, state = optimizer.update(theta, gradient, state, rate, np.asarray(count), xp=np)
    return theta


# Losses


ROWS = dict.fromkeys(CLASSIFIER, TWO) | {"softmax_cross_entropy": LABELS}
ROWS |= dict.fromkeys(REGRESSOR, SCORES) | {"squared_error": SCORES[:, 0], "poisson": COUNTS}


def of_loss(name, **options):
    make = MLPClassifier if name in CLASSIFIER else MLPRegressor
    return make(**WHOLE | options, loss=name)


def test_every_loss_of_the_library_can_be_asked_for():
    assert set(LOSSES) <= set(CLASSIFIER) | set(REGRESSOR)
    for name, rule in LOSSES.items():
        assert name in (REGRESSOR if rule.kind == "regression" else CLASSIFIER)


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [(name, 0.0) for name in ROWS] + [(name, 0.2) for name in CLASSIFIER if name != "hinge"],
)
def test_a_fit_follows_the_slope_of_the_loss(name, smoothing):
    options = {"label_smoothing": smoothing} if smoothing else {}
    y = COUNTS[:, 0] if name == "poisson" else ROWS[name]  # whose slope is summed over outputs
    model = of_loss(name, solver="sgd", momentum=0.0, max_iter=1, alpha=0.5, **options)
    theta, slope, t = start(model, y)
    model.fit(X, y, sample_weight=WEIGHT)
    taken = (theta - model._theta()) / model.learning_rate_init
    direction = np.random.default_rng(3).normal(size=theta.shape)
    expected = references.slope(lambda h: slope(theta + h * direction, X, t, WEIGHT, None)[0], 1e-4)
    assert taken @ direction == pytest.approx(expected, rel=1e-6)
    value = slope(theta, X, t, WEIGHT, None)[0] / (1 if model._objective.averages else 40)
    assert model.loss_curve_[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", list(ROWS))
def test_every_loss_falls(name, solver, weight):
    model = of_loss(name, solver=solver, max_iter=30, learning_rate_init=0.002)
    before = model.initialize(X, ROWS[name])
    theta, slope, t = start(before, ROWS[name])
    first = slope(theta, X, t, weight, None)[0]
    model.fit(X, ROWS[name], sample_weight=weight)
    last = slope(model._theta(), X, t, weight, None)[0]
    assert np.isfinite(last)
    assert last < first
    if solver == "lbfgs":
        assert model.loss_ == pytest.approx(last, rel=1e-9)


@pytest.mark.parametrize("name", list(ROWS))
def test_training_and_validation_loss_are_on_one_scale(name):
    model = of_loss(name, learning_rate_init=1e-12, batch_size=10)
    model.fit(X, ROWS[name], X_val=X, y_val=ROWS[name])
    assert model.validation_loss_curve_ == pytest.approx(model.loss_curve_, rel=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"loss": "absolute_error"}, {"loss": "mean_absolute_error"}),
        ({"loss": "absolute_error"}, {"loss": Loss("mean_absolute_error")}),
        ({"loss": "huber", "delta": 0.3}, {"loss": Loss("huber", delta=0.3)}),
        ({"loss": "sum_squared_errors"}, {"loss": Loss("sum_squared_errors")}),
    ],
)
def test_names_and_losses_are_the_same(one, other):
    assert clone(MLPRegressor(**other)).get_params()["loss"] == other["loss"]
    assert_same_bytes(regressor(**one), regressor(**other))


def test_a_cross_entropy_by_another_name():
    assert_same_bytes(classifier(loss="softmax_cross_entropy"), classifier())
    assert_same_bytes(classifier(TWO, loss=Loss("binary_cross_entropy")), classifier(TWO))
    assert_same_bytes(classifier(SEVERAL, loss="binary_cross_entropy"), classifier(SEVERAL))
    smooth = Loss("softmax_cross_entropy", label_smoothing=0.1)
    assert_same_bytes(classifier(loss=smooth), classifier(label_smoothing=0.1))


def test_two_classes_through_a_softmax():
    names = np.array(["no", "yes"])[TWO]
    model = classifier(names, loss="softmax_cross_entropy", learning_rate_init=0.02, max_iter=20)
    assert (model.n_outputs_, model.out_activation_) == (2, "softmax")
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.predict(X), np.where(proba[:, 1] > 0.5, "yes", "no"))
    assert model.score(X, names) > 0.8


def test_each_class_against_the_rest():
    model = classifier(loss="binary_cross_entropy", max_iter=60)
    assert (model.n_outputs_, model.out_activation_) == (3, "logistic")
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    own = 1 / (1 + np.exp(-(hidden @ model.coefs_[1] + model.intercepts_[1])))
    np.testing.assert_allclose(model.predict_proba(X), own / own.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(model.predict(X), own.argmax(axis=1))


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
        np.testing.assert_allclose(model.predict(X), np.exp(scores + model.intercepts_[1]))


# Optimizers, rates, decay, clipping


OPTIMIZERS = [
    SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True), Adam(0.01),
    AdamW(0.01, weight_decay=0.3), RMSprop(0.01), chain(clip_by_global_norm(0.01), RMSprop(0.01)),
    chain(add_decayed_weights(0.3), SGD(0.1)),
]  # fmt: skip


def test_every_optimizer_is_in_the_list():
    every = {getattr(optimizers, name) for name in optimizers.__all__}
    every = {c for c in every if inspect.isclass(c) and issubclass(c, optimizers.Optimizer)}
    assert every - {optimizers.Optimizer} == {type(o) for o in OPTIMIZERS}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_an_optimizer_takes_the_steps(optimizer):
    model = MLPClassifier(**WHOLE, optimizer=optimizer).fit(X, LABELS)
    np.testing.assert_allclose(model._theta(), by_hand(model, LABELS, optimizer), rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({"learning_rate_init": 0.02, "beta_1": 0.8}, Adam(0.02, beta1=0.8)),
        ({"solver": "sgd"}, SGD(0.001, momentum=0.9, nesterov=True)),
        ({"weight_decay": 0.2}, AdamW(0.001, weight_decay=0.2)),
        ({"clip_norm": 0.1}, chain(clip_by_global_norm(0.1), Adam(0.001))),
    ],
)
def test_a_solver_is_the_optimizer_of_its_name(options, optimizer):
    assert_same_bytes(classifier(**options), classifier(optimizer=optimizer))


@pytest.mark.parametrize("optimizer", [None, RMSprop(0.01)], ids=repr)
def test_weight_decay_is_apart_from_the_gradient(optimizer):
    decay, rate = 0.3, 0.01
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": rate, "max_iter": 1}
    model = MLPClassifier(**WHOLE | options, optimizer=optimizer, weight_decay=decay)
    theta, _, _ = start(model, LABELS)
    plain = MLPClassifier(**WHOLE | options, optimizer=optimizer).fit(X, LABELS)
    model.fit(X, LABELS)
    np.testing.assert_allclose(model._theta(), plain._theta() - rate * decay * theta, rtol=1e-10)


def test_a_long_gradient_is_cut():
    options = {"solver": "sgd", "momentum": 0.0, "max_iter": 1, "learning_rate_init": 0.5}
    model = MLPRegressor(**WHOLE | options, clip_norm=1e-3)
    theta, slope, t = start(model, SCORES)
    assert np.linalg.norm(slope(theta, X, t, None, None)[1]) > 1e-3
    step = model.fit(X, SCORES)._theta() - theta
    assert np.linalg.norm(step) == pytest.approx(0.5e-3, rel=1e-9)
    assert_same_bytes(regressor(clip_norm=1e6), regressor())


def rates_of(model, y=LABELS, **options):
    runs = []
    model.fit(X, y, callbacks=[lambda run: runs.append(run.history)], **options)
    return runs[-1].rate


SCHEDULE = StepDecay(0.1, every=1, factor=0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "learning_rate": SCHEDULE},
        {"solver": "adam", "learning_rate": SCHEDULE},
        {"optimizer": RMSprop(0.7), "learning_rate": SCHEDULE},
        {"optimizer": RMSprop(SCHEDULE)},
        {"optimizer": chain(clip_by_global_norm(0.5), SGD(SCHEDULE)), "weight_decay": 0.1},
    ],
    ids=["sgd", "adam", "rate of learning_rate", "rate of the optimizer", "wrapped"],
)
def test_a_schedule_goes_with_every_solver(options):
    assert rates_of(MLPClassifier(**COMMON | options)) == pytest.approx([0.1, 0.05, 0.025])


def test_a_schedule_falls_with_each_partial_fit():
    model, seen = MLPClassifier(**COMMON, learning_rate=SCHEDULE), []
    for _ in range(4):
        model.partial_fit(
            X,
            LABELS,
            classes=[0, 1, 2],
            callbacks=[lambda run: seen.append(run.history.learning_rate[-1])],
        )
    assert seen == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_a_rate_that_waits_for_the_loss_waits_through_partial_fits():
    rate = optimizers.ReduceOnPlateau(1e-9, factor=0.5, patience=2, min_delta=0.1)
    model, seen = MLPClassifier(**COMMON, learning_rate=rate), []
    for _ in range(6):
        model.partial_fit(
            X,
            LABELS,
            classes=[0, 1, 2],
            callbacks=[lambda run: seen.append(run.history.learning_rate[-1])],
        )
    assert seen == pytest.approx([1e-9, 1e-9, 1e-9, 0.5e-9, 0.5e-9, 0.25e-9])
