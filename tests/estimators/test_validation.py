"""Validation rows, and early stopping on them."""

import copy

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    make_scorer,
    mean_absolute_error,
    r2_score,
)
from sklearn.utils import compute_class_weight
from small import COMMON, LABELS, SCORES, SEVERAL, WEIGHT, X, assert_same_bytes, classifier

from xpnn import MLPClassifier, MLPRegressor
from xpnn.data import stream

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EARLIER, LATER = slice(0, 28), slice(28, 40)
HELD = {"X_val": X[LATER], "y_val": LABELS[LATER]}
# Rates at which the validation score has its best before the end.
WILD = {"learning_rate_init": 0.2, "max_iter": 30, "early_stopping": True, "n_iter_no_change": 3}


PARTS = (X[EARLIER], LABELS[EARLIER])


def fit(callbacks=(), **options):
    """A model that learns from the earlier rows and is validated on the later ones."""
    return MLPClassifier(**COMMON | options).fit(*PARTS, **HELD, callbacks=callbacks)


def minus_loss(model):
    return -log_loss(LABELS[LATER], model.predict_proba(X[LATER]))


# Validation rows


def test_the_validation_loss_is_that_of_the_rows_after_each_epoch():
    seen = []
    model = fit(lambda run: seen.append(-minus_loss(run.model)))
    assert len(seen) == 3
    assert model.validation_loss_curve_ == pytest.approx(seen, rel=1e-12)
    assert model.t_ == 3 * 28  # nothing was set apart
    assert model.validation_scores_ is None


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_looking_changes_nothing(dropout):
    plain = MLPClassifier(**COMMON, dropout=dropout).fit(*PARTS)
    assert_same_bytes(fit(dropout=dropout), plain)
    assert plain.validation_loss_curve_ == []


@pytest.mark.parametrize("monitor", ["score", "r2"])
@pytest.mark.parametrize("weight", [None, WEIGHT[LATER]], ids=["", "weighted"])
def test_validation_rows_of_a_regressor_have_weights_of_their_own(weight, monitor):
    """And those of the training rows do not count for them."""
    model = MLPRegressor(**COMMON, loss="absolute_error", early_stopping=True, monitor=monitor)
    held = {"X_val": X[LATER], "y_val": SCORES[LATER], "sample_weight_val": weight}
    model.fit(X[EARLIER], SCORES[EARLIER], WEIGHT[EARLIER], **held)
    found = model.predict(X[LATER])  # the best weights
    number = int(np.argmax(model.validation_scores_))
    expected = mean_absolute_error(SCORES[LATER], found, sample_weight=weight)
    assert model.validation_loss_curve_[number] == pytest.approx(expected, rel=1e-12)
    expected = r2_score(SCORES[LATER], found, sample_weight=weight)
    assert model.validation_scores_[number] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("own", [None, WEIGHT[LATER]], ids=["", "weighted"])
@pytest.mark.parametrize("weights", ["balanced", {0: 5.0, 1: 1.0, 2: 0.2}], ids=str)
@pytest.mark.parametrize("source", [False, True], ids=["arrays", "source"])
def test_class_weights_count_on_validation_rows_too(weights, own, source):
    """As on training rows: those of the training rows' classes, times the rows' own."""
    held = LABELS[LATER]
    given = HELD | {"sample_weight_val": own}
    if source:
        given = {"X_val": stream(X[LATER], held, weight=own)}
    model = MLPClassifier(**COMMON, class_weight=weights, early_stopping=True).fit(*PARTS, **given)
    classes = compute_class_weight(weights, classes=np.arange(3), y=LABELS[EARLIER])
    rows = classes[held] * (1.0 if own is None else own)
    number = int(np.argmax(model.validation_scores_))
    expected = log_loss(held, model.predict_proba(X[LATER]), sample_weight=rows)
    assert model.validation_loss_curve_[number] == pytest.approx(expected, rel=1e-12)
    expected = accuracy_score(held, model.predict(X[LATER]), sample_weight=rows)
    assert model.validation_scores_[number] == pytest.approx(expected, rel=1e-12)


def test_rows_set_apart_keep_their_weights():
    model = classifier(weight=WEIGHT, early_stopping=True, validation_fraction=0.25)
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == 3
    other = classifier(weight=np.ones(40), early_stopping=True, validation_fraction=0.25)
    assert model.validation_loss_curve_ != other.validation_loss_curve_


@pytest.mark.parametrize("kind", ["frame", csr_array, np.asfortranarray])
@pytest.mark.parametrize("monitor", ["score", "loss", "accuracy", "neg_log_loss"])
def test_validation_rows_of_every_kind(kind, monitor):
    """A frame's names, a sparse matrix: nothing is warned of, nothing is different."""
    rows, make = X, kind
    if kind == "frame":
        frames = pytest.importorskip("pandas")
        rows, make = frames.DataFrame(X, columns=list("abcd")), lambda part: part
    options = {"early_stopping": True, "monitor": monitor}
    model = MLPClassifier(**COMMON | options)
    model.fit(rows[EARLIER], LABELS[EARLIER], X_val=make(rows[LATER]), y_val=LABELS[LATER])
    assert model.validation_scores_ == pytest.approx(fit(**options).validation_scores_, rel=1e-12)


def test_validation_rows_without_some_of_the_classes():
    """Also in a second fit of a model that starts warm, whose training rows must have all."""
    some = LABELS[LATER] > 0
    held = {"X_val": X[LATER][some], "y_val": LABELS[LATER][some]}
    model = MLPClassifier(**COMMON, warm_start=True)
    for _ in range(2):
        model.fit(*PARTS, **held)
    assert len(model.validation_loss_curve_) == 6


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"X_val": X}, "in the validation data .* requires y to be passed"),
        ({"y_val": LABELS}, "y_val is given without X_val"),
        ({"sample_weight_val": WEIGHT}, "sample_weight_val is given without X_val"),
        ({"X_val": X[:, :3], "y_val": LABELS}, r"in the validation data \(X_val, y_val\): X has 3"),
        ({"X_val": X, "y_val": LABELS[:5]}, "inconsistent numbers of samples"),
        ({"X_val": X, "y_val": LABELS + 1}, "`y` has classes not in `self.classes_`"),
        ({"X_val": X * np.nan, "y_val": LABELS}, "contains NaN"),
        (
            {"X_val": X, "y_val": LABELS, "sample_weight_val": WEIGHT[:9]},
            r"sample_weight.shape == \(9,\), expected \(40,\)",
        ),
        ({"X_val": X, "y_val": LABELS, "sample_weight_val": -WEIGHT}, "Negative values"),
        ({"X_val": X, "y_val": LABELS, "sample_weight_val": WEIGHT * np.nan}, "NaN"),
    ],
)
def test_validation_rows_are_checked(held, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**COMMON).fit(X, LABELS, **held)


def test_validation_targets_have_as_many_outputs():
    with pytest.raises(ValueError, match="y_val has 1 outputs; the model has 3"):
        MLPRegressor(**COMMON).fit(X, SCORES, X_val=X, y_val=SCORES[:, 0])


# Early stopping


def accuracy(model):
    return accuracy_score(LABELS[LATER], model.predict(X[LATER]))


def own(model, x, y):
    return balanced_accuracy_score(y, model.predict(x))


MONITORS = {
    "score": ("score", accuracy),
    "loss": ("loss", minus_loss),
    "accuracy": ("accuracy", accuracy),
    "neg_log_loss": ("neg_log_loss", minus_loss),
    "a function": (own, lambda model: own(model, *HELD.values())),
    "a scorer": (make_scorer(accuracy_score), accuracy),
    "a scorer of probabilities": (
        make_scorer(log_loss, greater_is_better=False, response_method="predict_proba"), minus_loss
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MONITORS)
def test_it_stops_and_the_best_weights_come_back(name):
    monitor, value_of = MONITORS[name]
    scores, models = [], []

    def look(run):
        scores.append(value_of(run.model))
        models.append(copy.deepcopy(run.model))

    model = fit(look, **WILD, monitor=monitor)
    assert model.validation_scores_ == pytest.approx(scores, rel=1e-12)
    assert model.best_validation_score_ == pytest.approx(max(scores), rel=1e-12)
    assert model.stopped_
    assert model.n_iter_ == len(scores) < 30
    number = int(np.argmax(scores))
    assert number < len(scores) - 1
    assert_same_bytes(model, models[number])
    assert value_of(model) == pytest.approx(max(scores), rel=1e-12)


@pytest.mark.parametrize("y", [LABELS, SEVERAL.astype(int), np.array(list("xyz"))[LABELS]])
def test_a_scorer_sees_the_weights_of_rows_that_were_set_apart(y):
    options = {"early_stopping": True, "validation_fraction": 0.25}
    named = classifier(y, WEIGHT, monitor="accuracy", **options)
    assert named.validation_scores_ == classifier(y, WEIGHT, **options).validation_scores_


def test_a_function_sees_everything_on_the_host(backend64):
    seen = []

    def look(model, x, y):
        seen.append((type(x), type(model.predict(x)), type(model.predict_proba(x)), type(y)))
        return own(model, x, y)

    options = {"early_stopping": True, "validation_fraction": 0.25, "monitor": look}
    x = backend64.asarray(X)
    model = MLPClassifier(**COMMON, **options).fit(x, np.array(list("xyz"))[LABELS])
    assert set(seen) == {(np.ndarray,) * 4}
    assert model.validation_scores_ == classifier(**options).validation_scores_


def test_partial_fit_stops_early():
    model = MLPClassifier(**COMMON | WILD, monitor="loss")
    while not getattr(model, "stopped_", False):
        model.partial_fit(*PARTS, classes=[0, 1, 2], **HELD)
        assert len(model.loss_curve_) < 30
    whole = fit(monitor="loss", shuffle=False, **WILD)
    assert minus_loss(model) == pytest.approx(max(model.validation_scores_), rel=1e-12)
    same = MLPClassifier(**COMMON | WILD, monitor="loss", shuffle=False)
    for _ in range(whole.n_iter_):
        assert not getattr(same, "stopped_", False)
        same.partial_fit(*PARTS, classes=[0, 1, 2], **HELD)
    assert same.stopped_
    assert same.validation_scores_ == whole.validation_scores_
    assert_same_bytes(same, whole)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        same.partial_fit(X, LABELS)
