"""Validation rows, early stopping, callbacks and the progress bar."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    make_scorer,
    mean_absolute_error,
)
from small import (
    COMMON,
    LABELS,
    SCORES,
    SEVERAL,
    WEIGHT,
    X,
    assert_same_bytes,
    classifier,
    regressor,
    weights,
)

from xpnn import Callback, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EARLIER, LATER = slice(0, 28), slice(28, 40)
HELD = (X[LATER], LABELS[LATER])
# Rates at which the validation score has its best before the end.
WILD = {"learning_rate_init": 0.2, "max_iter": 30, "early_stopping": True, "n_iter_no_change": 3}


def fit(**options):
    """A model that learns from the earlier rows and is watched on the later ones."""
    options = {"validation_data": HELD} | options
    given = {k: options.pop(k) for k in ("validation_data", "callbacks", "X") if k in options}
    x = given.pop("X", X)
    model = MLPClassifier(**COMMON | options)
    return model.fit(x[EARLIER], LABELS[EARLIER], **given)


# Validation rows


def test_the_validation_loss_is_that_of_the_rows_after_each_epoch():
    seen = []
    model = fit(
        callbacks=[lambda run: seen.append(log_loss(HELD[1], run.network.predict_proba(HELD[0])))]
    )
    assert len(seen) == 3
    assert model.validation_loss_curve_ == pytest.approx(seen, rel=1e-12)
    assert model.t_ == 3 * 28  # nothing was set apart
    assert model.validation_scores_ is None


def test_looking_changes_nothing():
    assert_same_bytes(fit(), fit(validation_data=None))
    assert_same_bytes(fit(dropout=0.3), fit(dropout=0.3, validation_data=None))
    assert fit(validation_data=None).validation_loss_curve_ == []


def test_validation_rows_of_a_regressor_weigh_nothing():
    model = MLPRegressor(**COMMON, loss="absolute_error")
    model.fit(
        X[EARLIER], SCORES[EARLIER], WEIGHT[EARLIER], validation_data=(X[LATER], SCORES[LATER])
    )
    expected = mean_absolute_error(SCORES[LATER], model.predict(X[LATER]))
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)


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
    model = fit(X=rows, validation_data=(make(rows[LATER]), LABELS[LATER]), **options)
    assert model.validation_scores_ == pytest.approx(fit(**options).validation_scores_, rel=1e-12)


def test_validation_rows_without_some_of_the_classes():
    """Also in a second fit of a model that starts warm, whose training rows must have all."""
    some = LABELS[LATER] > 0
    held = (X[LATER][some], LABELS[LATER][some])
    model = fit(validation_data=held, warm_start=True)
    model.fit(X[EARLIER], LABELS[EARLIER], validation_data=held)
    assert len(model.validation_loss_curve_) == 6


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (X, "validation_data is a ndarray; expected a pair"),
        ((X, LABELS, WEIGHT), "validation_data is a tuple; expected a pair"),
        ((X[:, :3], LABELS), "X has 3 features"),
        ((X, LABELS[:5]), "inconsistent numbers of samples"),
        ((X, LABELS + 1), "`y` has classes not in `self.classes_`"),
        ((X * np.nan, LABELS), "contains NaN"),
    ],
)
def test_validation_rows_are_checked(held, message):
    with pytest.raises(ValueError, match=message):
        fit(validation_data=held)


def test_validation_targets_have_as_many_outputs():
    with pytest.raises(ValueError, match="y of validation_data has 1 outputs; the model has 3"):
        MLPRegressor(**COMMON).fit(X, SCORES, validation_data=(X, SCORES[:, 0]))


# Early stopping


def best(model, value_of):
    """Scores after each epoch, and the weights of the best one, by a callback of one's own."""
    scores, kept = [], []

    def look(run):
        scores.append(value_of(run.network))
        kept.append([w.copy() for w in weights(run.network)])

    model.fit(X[EARLIER], LABELS[EARLIER], validation_data=HELD, callbacks=[look])
    return scores, kept


def accuracy(model):
    return accuracy_score(HELD[1], model.predict(HELD[0]))


def minus_loss(model):
    return -log_loss(HELD[1], model.predict_proba(HELD[0]))


def own(model, x, y):
    return balanced_accuracy_score(y, model.predict(x))


MONITORS = {
    "score": ("score", accuracy),
    "loss": ("loss", minus_loss),
    "accuracy": ("accuracy", accuracy),
    "neg_log_loss": ("neg_log_loss", minus_loss),
    "a function": (own, lambda model: own(model, *HELD)),
    "a scorer": (make_scorer(accuracy_score), accuracy),
    "a scorer of probabilities": (
        make_scorer(log_loss, greater_is_better=False, response_method="predict_proba"), minus_loss
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MONITORS)
def test_it_stops_and_the_best_weights_come_back(name):
    monitor, value_of = MONITORS[name]
    model = MLPClassifier(**COMMON | WILD, monitor=monitor)
    scores, kept = best(model, value_of)
    assert model.validation_scores_ == pytest.approx(scores, rel=1e-12)
    assert model.best_validation_score_ == pytest.approx(max(scores), rel=1e-12)
    assert model.stopped_
    assert model.n_iter_ == len(scores) < 30
    number = int(np.argmax(scores))
    assert number < len(scores) - 1
    for a, b in zip(weights(model), kept[number], strict=True):
        np.testing.assert_array_equal(a, b)
    assert value_of(model) == pytest.approx(max(scores), rel=1e-12)


@pytest.mark.parametrize("monitor", ["r2", "score"])
def test_a_regressor_is_watched_too(monitor):
    options = {"early_stopping": True, "validation_fraction": 0.25, "monitor": monitor}
    seen = []
    model = MLPRegressor(**COMMON | options | {"random_state": 3})
    model.fit(X, SCORES, callbacks=[lambda run: seen.append(run.network)])
    assert model.validation_scores_ == regressor(**options, random_state=3).validation_scores_
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_ == len(seen)
    assert all(network is model for network in seen)


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
        model.partial_fit(X[EARLIER], LABELS[EARLIER], classes=[0, 1, 2], validation_data=HELD)
        assert len(model.loss_curve_) < 30
    whole = fit(monitor="loss", shuffle=False, **WILD)
    assert minus_loss(model) == pytest.approx(max(model.validation_scores_), rel=1e-12)
    same = MLPClassifier(**COMMON | WILD, monitor="loss", shuffle=False)
    for _ in range(whole.n_iter_):
        assert not getattr(same, "stopped_", False)
        same.partial_fit(X[EARLIER], LABELS[EARLIER], classes=[0, 1, 2], validation_data=HELD)
    assert same.stopped_
    assert same.validation_scores_ == whole.validation_scores_
    assert_same_bytes(same, whole)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        same.partial_fit(X, LABELS)


# Callbacks


class Log(Callback):
    """Writes down when it is called."""

    def __init__(self, end=None, at=2):
        self.lines, self.end, self.at = [], end, at

    def on_start(self, run):
        self.lines.append(("start", run.epochs, run.history.loss[:]))

    def on_epoch(self, run):
        self.lines.append(("epoch", run.history.epoch[-1], run.history.loss[-1]))
        return self.end if run.history.epoch[-1] == self.at else None

    def on_end(self, run):
        self.lines.append(("end", run.history.stopped, run.network.n_iter_))


class Batches(Callback):
    def __init__(self, end_at=None):
        self.seen, self.end_at = [], end_at

    def on_batch(self, run, number, loss):
        self.seen.append((number, loss))
        return "enough" if len(self.seen) == self.end_at else None


def test_callbacks_are_called_in_order():
    log, curve = Log(), []
    model = fit(callbacks=[log, lambda run: curve.append(run.history.validation_loss[-1])])
    epochs = [("epoch", i + 1, loss) for i, loss in enumerate(model.loss_curve_)]
    assert log.lines == [("start", 3, []), *epochs, ("end", "", 3)]
    assert curve == model.validation_loss_curve_
    assert_same_bytes(model, fit())


def test_a_callback_ends_the_training():
    log, other = Log("that is enough"), Log()
    model = fit(callbacks=(c for c in (other, log)))
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert other.lines[-1] == log.lines[-1] == ("end", "that is enough", 2)
    assert_same_bytes(model, fit(max_iter=2))


def test_a_callback_after_each_batch():
    batches = Batches()
    model = fit(callbacks=[batches], dropout=0.3)
    assert [number for number, _ in batches.seen] == [0, 1] * 3
    for epoch, loss in enumerate(model.loss_curve_):
        first, last = (value for _, value in batches.seen[2 * epoch : 2 * epoch + 2])
        assert (16 * first + 12 * last) / 28 == pytest.approx(loss, rel=1e-12)
    assert_same_bytes(model, fit(dropout=0.3))


def test_batches_are_the_same_on_every_library(backend64):
    batches, expected = Batches(), Batches()
    model = MLPClassifier(**COMMON, dropout=0.3).fit(
        backend64.asarray(X), LABELS, callbacks=[batches]
    )
    classifier_of_numpy = MLPClassifier(**COMMON, dropout=0.3)
    classifier_of_numpy.fit(X, LABELS, callbacks=[expected])
    assert [number for number, _ in batches.seen] == [0, 1, 2] * 3
    losses = [[loss for _, loss in b.seen] for b in (batches, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert model.loss_curve_ == pytest.approx(classifier_of_numpy.loss_curve_, rel=1e-9)


def test_a_callback_ends_the_training_within_an_epoch():
    batches, log = Batches(end_at=3), Log()
    model = fit(callbacks=[batches, log])
    assert len(batches.seen) == 3
    assert log.lines[-1] == ("end", "enough", 2)
    assert model.loss_curve_[1] == batches.seen[2][1]
    assert any((a != b).any() for a, b in zip(model.coefs_, fit(max_iter=1).coefs_, strict=True))


def test_callbacks_of_partial_fit():
    log = Log()
    model = MLPClassifier(**COMMON)
    for _ in range(2):
        model.partial_fit(X, LABELS, classes=[0, 1, 2], callbacks=[log])
    assert [line[0] for line in log.lines] == ["start", "epoch", "end"] * 2
    assert [line[2] for line in log.lines if line[0] == "epoch"] == model.loss_curve_


def test_ctrl_c_keeps_what_was_learned():
    def press(run):
        if run.history.epoch[-1] == 2:
            raise KeyboardInterrupt

    log = Log()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fit(callbacks=[press, log])
    assert log.lines[-1] == ("end", "interrupted", 2)
    assert_same_bytes(model, fit(max_iter=2))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_end_is_told_where_the_training_breaks_off():
    log = Log()
    with pytest.raises(ValueError, match="non-finite"):
        fit(callbacks=[log], solver="sgd", learning_rate_init=1e300)
    assert log.lines[-1][0] == "end"


def test_a_progress_bar(capsys):
    model = fit(progress=True)
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert f"loss {model.loss_curve_[-1]:.4f}" in shown.err
    assert f"validation loss {model.validation_loss_curve_[-1]:.4f}" in shown.err
    assert shown.out == ""
    assert_same_bytes(model, fit())
    model = fit(progress=True, early_stopping=True)
    accuracy = f"validation accuracy {model.validation_scores_[-1]:.4f}"
    assert accuracy in capsys.readouterr().err
    MLPRegressor(**COMMON, progress=True, early_stopping=True).fit(X, SCORES)
    assert "accuracy" not in capsys.readouterr().err
