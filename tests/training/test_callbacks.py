"""Callbacks: what they are told, when, and how they end a training."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import EarlyStopping, Network
from xpnn.data import BlockShuffle, stream
from xpnn.training import Callback, History, Run

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 3))
LABELS = (X @ GENERATOR.normal(size=(3, 2))).argmax(axis=1)


def classifier():
    return Network(3, [8, "tanh", 2], seed=1)


class Recorder(Callback):
    """Writes down what it is told; may stop after an epoch, or fail at some point."""

    def __init__(self, name, calls, stop_at=None, fails=None):
        self.name, self.calls, self.stop_at, self.fails = name, calls, stop_at, fails

    def told(self, what, *more):
        self.calls.append((self.name, what, *more))
        if what == self.fails:
            raise RuntimeError(f"no {what}")

    def on_train_begin(self, run):
        self.told("begin", run.history.epochs, run.epochs)

    def on_epoch_end(self, run):
        self.told("epoch", run.history.epochs)
        if run.history.epochs == self.stop_at:
            run.stop(f"enough for {self.name}")

    def on_train_end(self, run):
        self.told("end", run.history.stopped)


def test_callbacks_are_called_in_order_and_the_first_reason_to_stop_counts():
    calls = []
    both = iter([Recorder("a", calls, 2), Recorder("b", calls, 2)])
    history = classifier().fit(X, LABELS, epochs=9, callbacks=both)
    assert calls == [
        *(("a", "begin", 0, 9), ("b", "begin", 0, 9)),
        *(("a", "epoch", 1), ("b", "epoch", 1), ("a", "epoch", 2), ("b", "epoch", 2)),
        *(("a", "end", "enough for a"), ("b", "end", "enough for a")),
    ]
    assert history.stopped == "enough for a"


class Returning(Callback):
    """Every method returns something that a reader may take for a wish to stop."""

    def on_train_begin(self, run):
        return "stop"

    on_epoch_end = on_batch_end = on_train_end = on_train_begin


@pytest.mark.parametrize("callback", [Returning(), lambda run: "stop", lambda run: True])
def test_what_a_callback_returns_is_ignored(callback):
    history = classifier().fit(X, LABELS, epochs=3, callbacks=callback)
    assert (history.stopped, history.epochs) == ("finished", 3)


class Duck:
    """No `Callback`, and has only some of its methods."""

    def __init__(self):
        self.batches, self.ended = 0, False

    def on_batch_end(self, run):
        self.batches += 1

    def on_train_end(self, run):
        self.ended = True


def test_any_object_with_one_of_the_methods_is_a_callback():
    duck = Duck()
    history = classifier().fit(X, LABELS, epochs=2, batch_size=10, callbacks=duck)
    assert (duck.batches, duck.ended) == (8, True)
    plain = classifier().fit(X, LABELS, epochs=2, batch_size=10, callbacks=None)
    assert history.loss == pytest.approx(plain.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a callback is 3; expected a Callback, a function of a run, or an object with one of"),
        ([Recorder], "a callback is the class Recorder; expected an instance of it"),
        ("print", "a callback is 'p'; expected a Callback"),
    ],
)
def test_what_is_no_callback_is_refused(given, message):
    with pytest.raises(TypeError, match=message):
        classifier().fit(X, LABELS, callbacks=given)


@pytest.mark.parametrize("reason", ["", None, True])
def test_a_reason_to_stop_is_a_text(reason):
    with pytest.raises(ValueError, match=f"reason is {reason!r}; expected a text that is not empt"):
        classifier().fit(X, LABELS, callbacks=lambda run: run.stop(reason))


@pytest.mark.parametrize(("fails", "heard"), [("begin", "ab"), ("epoch", "abc"), ("end", "abc")])
def test_every_callback_that_began_hears_of_the_end(fails, heard):
    calls = []
    others = [Recorder(name, calls, fails=fails if fails == "end" else None) for name in "ab"]
    with pytest.raises(RuntimeError, match=f"no {fails}"):
        classifier().fit(X, LABELS, callbacks=[*others, Recorder("c", calls, fails=fails)])
    assert [name for name, what, *_ in calls if what == "end"] == list(heard)


def test_a_callback_sees_the_network_after_the_epoch():
    seen = []
    network = classifier()
    network.fit(X, LABELS, epochs=2, callbacks=lambda run: seen.append((run.model, run.network)))
    assert all(model is one is network for model, one in seen)
    thetas = []
    network.fit(X, LABELS, epochs=2, callbacks=lambda run: thetas.append(run.network.theta))
    assert (np.asarray(thetas[0]) != np.asarray(thetas[1])).any()
    np.testing.assert_array_equal(thetas[1], network.theta)


# After each batch


class Batches(Callback):
    def __init__(self, stop_after=None):
        self.seen, self.stop_after = [], stop_after

    def on_batch_end(self, run):
        self.seen.append((run.history.epochs, run.batch, run.rows_seen, run.batch_loss))
        if len(self.seen) == self.stop_after:
            run.stop("a batch")


@pytest.mark.parametrize("source", [False, True])
def test_batches_are_numbered_in_each_epoch_also_those_of_a_source(source):
    """The blocks of the source are smaller than an epoch, and no multiple of a batch."""
    batches = Batches()
    data = (stream(X, LABELS, shuffle=BlockShuffle(14, 1)),) if source else (X, LABELS)
    history = classifier().fit(*data, epochs=2, batch_size=12, callbacks=batches)
    expected = [(e, i, min(12 * i + 12, 40)) for e in (0, 1) for i in range(4)]
    assert [row[:3] for row in batches.seen] == expected
    sizes = [12, 12, 12, 4]
    for epoch in (0, 1):
        losses = [row[3] for row in batches.seen[4 * epoch : 4 * epoch + 4]]
        assert history.loss[epoch] == pytest.approx(np.average(losses, weights=sizes), rel=1e-6)


def test_looking_at_batches_changes_nothing(backend64):
    x, y = backend64.asarray(X), backend64.asarray(LABELS)
    plain, watched = classifier(), classifier()
    one = plain.fit(x, y, epochs=3, batch_size=12)
    two = watched.fit(x, y, epochs=3, batch_size=12, callbacks=Batches())
    exact = backend64.name in ("numpy", "array_api_strict")
    limit = 0.0 if exact else 1e-12
    found, expected = (backend64.to_host(n.theta) for n in (watched, plain))
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit)
    assert two.loss == pytest.approx(one.loss, rel=1e-12)


def test_a_batch_can_end_a_training_in_the_middle_of_an_epoch():
    """The epoch that was cut short counts as one, with the rows that it saw."""
    network, steps = classifier(), classifier()
    batches = Batches(stop_after=6)
    history = network.fit(X, LABELS, epochs=9, batch_size=10, shuffle=False, callbacks=batches)
    assert (history.stopped, history.epochs, len(batches.seen)) == ("a batch", 2, 6)
    assert history.loss[1] == pytest.approx(np.mean([row[3] for row in batches.seen[4:]]))
    more = np.vstack([X, X[:20]]), np.append(LABELS, LABELS[:20])
    steps.fit(*more, batch_size=10, shuffle=False, epochs=1)
    np.testing.assert_array_equal(network.theta, steps.theta)


@pytest.mark.parametrize("report_every", [1, 5, 10])
def test_a_stop_in_the_middle_of_an_epoch_is_one_whatever_is_reported(report_every):
    batches = Batches(stop_after=3)
    options = {"epochs": 20, "batch_size": 5, "report_every": report_every}
    history = classifier().fit(X, LABELS, callbacks=[batches], **options)
    assert len(batches.seen) == 3
    assert np.isfinite([row[3] for row in batches.seen]).all()
    assert (history.epoch, history.stopped) == ([1], "a batch")


# Early stopping


class FakeNetwork:
    """Its parameters are the number of the epoch."""

    def __init__(self):
        self.theta = 0

    def copy_theta(self):
        return self.theta


def play(stopping, figures, monitor="validation_loss"):
    """Hand figures to early stopping, epoch by epoch; where it stops, and what is restored."""
    network = FakeNetwork()
    run = Run(network, History(), len(figures), network)
    stopping.on_train_begin(run)
    for epoch, figure in enumerate(figures, start=1):
        run.network.theta = epoch
        run.history.loss.append(0.0)
        if monitor == "loss":
            run.history.loss[-1] = figure
        else:
            getattr(run.history, monitor).append(figure)
        stopping.on_epoch_end(run)
        if run.history.stopped:
            break
    stopping.on_train_end(run)
    return epoch, run.network.theta, run.history.best_epoch


@pytest.mark.parametrize(
    ("options", "figures", "expected"),
    [
        ({"patience": 2}, [3, 2, 1, 0], (4, 4, 4)),
        ({"patience": 2}, [3, 1, 2, 2, 0], (4, 2, 2)),
        ({"patience": 3}, [3, 1, 2, 2, 0], (5, 5, 5)),
        ({"patience": 1}, [3, 3], (2, 1, 1)),  # as good is not better
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.6, 0], (3, 1, 1)),
        ({"patience": 2, "restore": False}, [3, 1, 2, 2, 0], (4, 4, 2)),
        ({"patience": 2, "monitor": "validation_accuracy"}, [0.1, 0.5, 0.4, 0.5], (4, 2, 2)),
        ({"patience": 2, "monitor": "loss"}, [3, 1, 2, 2, 0], (4, 2, 2)),
    ],
)
def test_early_stopping(options, figures, expected):
    stopping = EarlyStopping(**options)
    for _ in range(2):  # and nothing is left from an earlier training
        assert play(stopping, figures, options.get("monitor", "validation_loss")) == expected


def test_early_stopping_restores_the_weights_of_the_best_epoch(backend64):
    """On noise: the validation loss soon rises."""
    generator = np.random.default_rng(1)
    x, t = generator.normal(size=(30, 3)), generator.integers(2, size=30)
    held = backend64.asarray(x[20:]), backend64.asarray(t[20:])
    network = classifier()
    history = network.fit(
        backend64.asarray(x[:20]), backend64.asarray(t[:20]), X_val=held[0], y_val=held[1],
        epochs=100, learning_rate=0.05, early_stopping=3,
    )  # fmt: skip
    best = int(np.argmin(history.validation_loss))
    assert history.stopped == "early stopping"
    assert (history.best_epoch, history.epochs) == (best + 1, best + 4)
    loss = backend64.to_host(network.evaluate(*held)[0])
    assert loss == pytest.approx(history.validation_loss[best], rel=1e-12)


def test_early_stopping_takes_true_for_the_defaults():
    options = {"epochs": 2, "validation_fraction": 0.2}
    history = classifier().fit(X, LABELS, early_stopping=True, **options)
    assert history.stopped == "finished"
    assert history.best_epoch is not None
    assert classifier().fit(X, LABELS, early_stopping=False, **options).best_epoch is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(0), "patience is 0; expected an integer, 1 or more"),
        (lambda: EarlyStopping(min_delta=-1.0), r"min_delta is -1\.0; expected 0 or more"),
        (lambda: EarlyStopping(monitor="f1"), "monitor='f1' is not known; expected 'validation_l"),
        (
            lambda: classifier().fit(X, LABELS, early_stopping=2),
            "early stopping monitors validation_loss, but there is none: give X_val and y_val",
        ),
    ],
)
def test_early_stopping_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("engine", ["pure", "auto", "planned"])
def test_what_a_callback_writes_into_theta_is_no_part_of_the_steps(engine):
    """With any engine the network's parameters after a report are a copy."""

    def write(run):
        run.network.theta[...] = 0.0

    options = {"epochs": 4, "engine": engine}
    losses = classifier().fit(X, LABELS, callbacks=[write], **options).loss
    assert losses == classifier().fit(X, LABELS, **options).loss
