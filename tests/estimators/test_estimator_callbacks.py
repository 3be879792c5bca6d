"""Callbacks of the estimators: ours, scikit-learn's, and the progress bar."""

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from small import COMMON, LABELS, SCORES, X, assert_same_bytes, classifier

from xpnn import Callback, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fit(callbacks=(), **options):
    return MLPClassifier(**COMMON | options).fit(X[:28], LABELS[:28], callbacks=callbacks)


class Log(Callback):
    """Writes down when it is called, and ends the training."""

    def __init__(self, end=None, at=2):
        self.lines, self.end, self.at = [], end, at

    def on_train_begin(self, run):
        self.lines.append(("start", run.epochs, run.history.loss[:]))

    def on_epoch_end(self, run):
        self.lines.append(("epoch", run.history.epoch[-1], run.history.loss[-1]))
        if self.end is KeyboardInterrupt and run.history.epoch[-1] == self.at:
            raise KeyboardInterrupt
        if self.end and run.history.epoch[-1] == self.at:
            run.stop(self.end)

    def on_train_end(self, run):
        self.lines.append(("end", run.history.stopped, run.model.n_iter_))


class Batches:
    """No `Callback`, and has only one of its methods."""

    def __init__(self, end_at=None):
        self.numbers, self.losses, self.end_at = [], [], end_at

    def on_batch_end(self, run):
        self.numbers.append(run.batch)
        self.losses.append(run.batch_loss)
        if len(self.losses) == self.end_at:
            run.stop("enough")


def test_callbacks_are_called_in_order():
    log, curve = Log(), []
    model = fit([log, lambda run: curve.append(run.model.loss_curve_[-1])])
    epochs = [("epoch", i + 1, loss) for i, loss in enumerate(model.loss_curve_)]
    assert log.lines == [("start", 3, []), *epochs, ("end", "", 3)]
    assert curve == model.loss_curve_
    assert_same_bytes(model, fit())


def test_a_callback_ends_the_training():
    log, other = Log("that is enough"), Log()
    model = fit(c for c in (other, log))
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert other.lines[-1] == log.lines[-1] == ("end", "that is enough", 2)
    assert_same_bytes(model, fit(max_iter=2))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fit([Log(KeyboardInterrupt), other])
    assert other.lines[-1] == ("end", "interrupted", 2)
    assert_same_bytes(model, fit(max_iter=2))


def test_callbacks_are_one_several_or_none():
    batches = Batches()
    for given in (None, batches, [batches], iter([batches, print]), lambda run: "not read"):
        assert fit(given).n_iter_ == 3
    assert batches.numbers == [0, 1] * 3 * 3
    with pytest.raises(TypeError, match="a callback is 3; expected a Callback, a function of"):
        fit([3])


def test_a_callback_after_each_batch(backend64):
    batches, expected = Batches(), Batches()
    model = MLPClassifier(**COMMON, dropout=0.3)
    model.fit(backend64.asarray(X), LABELS, callbacks=batches)
    plain = classifier(dropout=0.3)
    assert batches.numbers == [0, 1, 2] * 3
    losses = np.reshape(batches.losses, (3, 3))
    assert model.loss_curve_ == pytest.approx(losses @ [16, 16, 8] / 40, rel=1e-12)
    MLPClassifier(**COMMON, dropout=0.3).fit(X, LABELS, callbacks=expected)
    assert batches.losses == pytest.approx(expected.losses, rel=1e-9)
    assert model.loss_curve_ == pytest.approx(plain.loss_curve_, rel=1e-9)
    if backend64.name == "numpy":
        assert_same_bytes(model, plain)


def test_a_callback_ends_the_training_within_an_epoch():
    """`t_` counts the rows that were learned from, and no others."""
    batches, log = Batches(end_at=3), Log()
    model = fit([batches, log])
    assert log.lines[-1] == ("end", "enough", 2)
    assert model.loss_curve_[1:] == batches.losses[2:]
    assert model.t_ == 28 + 16
    assert any((a != b).any() for a, b in zip(model.coefs_, fit(max_iter=1).coefs_, strict=True))


def test_callbacks_of_partial_fit():
    log = Log()
    model = MLPClassifier(**COMMON)
    for _ in range(2):
        model.partial_fit(X, LABELS, classes=[0, 1, 2], callbacks=[log])
    assert [line[0] for line in log.lines] == ["start", "epoch", "end"] * 2
    assert [line[2] for line in log.lines if line[0] == "epoch"] == model.loss_curve_


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_end_is_told_where_the_training_breaks_off():
    log = Log()
    with pytest.raises(ValueError, match="non-finite"):
        fit(log, solver="sgd", learning_rate_init=1e300)
    assert log.lines[-1][0] == "end"


def test_a_progress_bar(capsys):
    def train(make, y, **options):
        model = make(**COMMON, **options).fit(X[:28], y[:28], X_val=X[28:], y_val=y[28:])
        return model, capsys.readouterr()

    model, shown = train(MLPClassifier, LABELS, progress=True)
    assert "3/3" in shown.err
    assert f"loss {model.loss_curve_[-1]:.4f}" in shown.err
    assert f"validation loss {model.validation_loss_curve_[-1]:.4f}" in shown.err
    assert shown.out == ""
    assert_same_bytes(model, train(MLPClassifier, LABELS)[0])
    model, shown = train(MLPClassifier, LABELS, progress=True, early_stopping=True)
    assert f"validation accuracy {model.validation_scores_[-1]:.4f}" in shown.err
    assert "accuracy" not in train(MLPRegressor, SCORES, progress=True, early_stopping=True)[1].err


# scikit-learn's own


class Tasks:
    """Writes down what scikit-learn tells a callback, and stops after an epoch."""

    def __init__(self, stop_at=None):
        self.lines, self.stop_at, self.scores = [], stop_at, []

    def setup(self, estimator, context):
        self.lines.append("setup")

    def teardown(self, estimator, context):
        self.lines.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.lines.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.lines.append(("end", context.task_name, context.task_id))
        if fitted_estimator is not None:  # as where a training breaks off
            self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "epoch" and context.task_id == self.stop_at


def test_scikit_learns_callbacks_see_each_epoch_as_a_task():
    tasks, scores = Tasks(), []
    options = COMMON | {"learning_rate_init": 0.05}
    model = MLPClassifier(**options).set_callbacks(tasks)
    model.fit(X, LABELS, callbacks=lambda run: scores.append(run.model.score(X, LABELS)))
    epochs = [(when, "epoch", i) for i in range(3) for when in ("begin", "end")]
    whole = [tasks.lines[1], tasks.lines[-2]]
    assert tasks.lines == ["setup", whole[0], *epochs, whole[1], "teardown"]
    assert [line[0] for line in whole] == ["begin", "end"]
    assert tasks.scores == [*scores, model.score(X, LABELS)]
    assert len(set(scores)) > 1
    assert_same_bytes(model, MLPClassifier(**options).fit(X, LABELS))


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_a_callback_of_scikit_learn_ends_a_training_by_what_it_returns(make):
    model = make(**COMMON).set_callbacks(Tasks(stop_at=1)).fit(X, LABELS)
    assert model.n_iter_ == 2
    assert_same_bytes(model, make(**COMMON | {"max_iter": 2}).fit(X, LABELS))


def test_scikit_learns_monitor_and_bar(capsys):
    monitor, scores = ScoringMonitor(scoring="r2"), []
    model = MLPRegressor(**COMMON).set_callbacks(monitor, ProgressBar())
    model.fit(X, SCORES, callbacks=lambda run: scores.append(run.model.score(X, SCORES)))
    rows = monitor.get_logs().data
    found = {(row["task_name"], row["task_id"]): row["r2"] for row in rows}
    assert len(found) == 4
    assert [found["epoch", i] for i in range(3)] == pytest.approx(scores, rel=1e-12)
    assert "MLPRegressor" in capsys.readouterr().out


def test_scikit_learns_callbacks_beside_ours_and_when_a_training_breaks_off():
    tasks, log = Tasks(stop_at=2), Log("mine")
    MLPClassifier(**COMMON).set_callbacks(tasks).fit(X, LABELS, callbacks=log)
    assert log.lines[-1] == ("end", "mine", 2)
    assert tasks.lines[-1] == "teardown"
    tasks = Tasks()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        MLPClassifier(**COMMON).set_callbacks(tasks).fit(
            X, LABELS, callbacks=Log(KeyboardInterrupt)
        )
    assert tasks.lines[-1] == "teardown"
