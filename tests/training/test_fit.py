"""The training loop: which rows a step sees, in which order, and how a training ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnn import Dense, EarlyStopping, Network, select
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, StepDecay
from xpnn.training import Callback, OnEpoch

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 3))
LABELS = (X @ GENERATOR.normal(size=(3, 2))).argmax(axis=1)
VALUES = X @ np.array([[1.0], [-2.0], [0.5]])


def classifier(**options):
    return Network(3, [8, "tanh", 2], **{"seed": 1} | options)


def counting_network():
    """Scores 0, whatever it learns: with targets 2**i the loss tells which rows were seen."""
    return Network(1, [Dense(1, bias=False, init="zeros")], loss="sum_squared_errors", seed=0)


def counting_data(rows):
    return np.zeros((rows, 1)), 2.0 ** np.arange(rows)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("rows", "batch_size"), [(10, 4), (10, 5), (10, 10), (10, 99), (10, None), (10, 1), (1, 32)]
)
def test_an_epoch_sees_every_row_once(rows, batch_size, shuffle, backend64):
    x, t = map(backend64.asarray, counting_data(rows))
    history = counting_network().fit(
        x, t, epochs=2, batch_size=batch_size, shuffle=shuffle, optimizer=SGD(0.1)
    )
    assert history.loss == [sum(4.0**i for i in range(rows))] * 2
    assert history.rows == rows


@pytest.mark.parametrize(("share", "held"), [(0.1, 1), (0.25, 2), (0.5, 5), (0.9, 9)])
def test_a_validation_share_is_set_apart(share, held):
    x, t = counting_data(10)
    history = counting_network().fit(
        x, t, epochs=1, batch_size=3, validation=share, optimizer=SGD(0.1)
    )
    assert history.rows == 10 - held
    seen, unseen = int(history.loss[0]), int(history.validation_loss[0])
    assert seen + unseen == sum(4**i for i in range(10))
    assert seen & unseen == 0
    assert unseen.bit_count() == held


def by_hand(epochs, batch_size, order, weight, rate=0.1):
    """Linear regression on mean squared errors, as one would write it without xpnn."""
    w, losses = np.zeros((3, 1)), []
    for _ in range(epochs):
        numbers = order()
        total = whole = 0.0
        for start in range(0, len(X), batch_size):
            rows = numbers[start : start + batch_size]
            error, share = X[rows] @ w - VALUES[rows], weight[rows, None]
            total, whole = total + np.sum(share * error**2), whole + share.sum()
            w = w - rate * 2 * X[rows].T @ (share * error) / share.sum()
        losses.append(total / whole)
    return w.reshape(-1), losses


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_steps_are_what_one_would_write_by_hand(shuffle, weighted):
    weight = np.random.default_rng(3).uniform(0.1, 2.0, 40) if weighted else np.ones(40)
    network = Network(3, [Dense(1, bias=False, init="zeros")], loss="mean_squared_error")
    history = network.fit(
        X, VALUES[:, 0], epochs=3, batch_size=12, optimizer=SGD(0.1), shuffle=shuffle, seed=5,
        sample_weight=weight if weighted else None,
    )  # fmt: skip
    source = np.random.default_rng(5)
    theta, losses = by_hand(
        3, 12, lambda: source.permutation(40) if shuffle else np.arange(40), weight
    )
    np.testing.assert_allclose(network.theta, theta, rtol=1e-12)
    assert history.loss == pytest.approx(losses, rel=1e-12)


def test_a_seed_means_the_same_training():
    thetas = []
    for seed in (1, 1, 2):
        network = classifier()
        network.fit(X, LABELS, epochs=2, seed=seed)
        thetas.append(network.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])
    assert (thetas[0] != thetas[2]).any()


def test_without_a_seed_the_networks_own_generator_goes_on():
    once, twice = classifier(), classifier()
    for network in (once, twice):
        for _ in range(2):
            network.fit(X, LABELS, epochs=1, optimizer=SGD(0.1))
    np.testing.assert_array_equal(once.theta, twice.theta)


def test_weights_count_like_repeated_rows():
    weight = GENERATOR.integers(0, 3, 40)
    options = {"epochs": 3, "batch_size": None, "optimizer": SGD(0.1)}
    weighted, repeated = classifier(), classifier()
    first = weighted.fit(X, LABELS, sample_weight=weight, **options)
    second = repeated.fit(np.repeat(X, weight, 0), np.repeat(LABELS, weight), **options)
    np.testing.assert_allclose(weighted.theta, repeated.theta, rtol=1e-12)
    assert first.loss == pytest.approx(second.loss, rel=1e-12)


def test_weights_that_are_all_zero_teach_nothing():
    network = classifier()
    start = np.array(network.theta)
    history = network.fit(X, LABELS, sample_weight=np.zeros(40), epochs=2, optimizer=SGD(0.1))
    assert history.loss == [0.0, 0.0]
    np.testing.assert_array_equal(network.theta, start)


def test_the_rate_may_be_given_apart_from_the_optimizer():
    first, second = classifier(), classifier()
    first.fit(X, LABELS, epochs=1, optimizer=Adam(0.05))
    second.fit(X, LABELS, epochs=1, rate=0.05)
    np.testing.assert_array_equal(first.theta, second.theta)


def test_schedules_are_asked_before_each_epoch():
    history = classifier().fit(X, LABELS, epochs=4, rate=StepDecay(0.1, every=2, factor=0.5))
    assert history.rate == pytest.approx([0.1, 0.1, 0.05, 0.05])


def test_history_is_one_entry_an_epoch_and_goes_to_json():
    history = classifier().fit(X, LABELS, epochs=3, validation=(X, LABELS))
    again = json.loads(json.dumps(history.to_dict()))
    for name in ("loss", "validation_loss", "validation_accuracy", "rate", "seconds"):
        assert len(again[name]) == 3
    assert again["rows"] == 40
    assert again["stopped"] == "finished"
    assert history.epochs == 3
    assert history.rows_per_second > 0
    assert repr(history).startswith("History(3 epochs, loss 0.")
    assert repr(history).endswith("finished)")


def test_validation_figures_are_those_of_the_network_after_the_epoch():
    network = classifier()
    history = network.fit(X, LABELS, epochs=2, validation=(X[:9], LABELS[:9]))
    loss, accuracy = network.evaluate(X[:9], LABELS[:9])
    assert history.validation_loss[-1] == pytest.approx(float(loss))
    assert history.validation_accuracy[-1] == pytest.approx(float(accuracy))


def test_dropout_is_off_for_validation():
    network = Network(3, [8, "tanh", Dropout(0.9), 2], seed=1)
    history = network.fit(X, LABELS, epochs=1, validation=(X, LABELS))
    assert history.validation_loss[0] == pytest.approx(float(network.evaluate(X, LABELS)[0]))


def test_the_users_arrays_are_never_written_to(backend64):
    arrays = [X.copy(), LABELS.copy(), np.ones(40)]
    if backend64.name == "numpy":
        for array in arrays:
            array.flags.writeable = False
    given = [backend64.asarray(a) for a in arrays] if backend64.name != "numpy" else arrays
    network = Network(3, [8, "relu", Dropout(0.2), 2], seed=1)
    network.fit(
        given[0], given[1], sample_weight=given[2], epochs=2, validation=(given[0], given[1])
    )
    network.predict(given[0])
    for array, original in zip(given, arrays, strict=True):
        np.testing.assert_array_equal(backend64.to_host(array), original)


def test_the_users_parameters_are_never_written_to(backend64):
    """Nor given away: an array that the user took from the network stays what it was."""
    network = classifier(backend=backend64)
    theta = network.theta
    before = backend64.to_host(theta).copy()
    x, t = backend64.asarray(X), backend64.asarray(LABELS)
    network.fit(x, t, epochs=1)
    after = network.theta
    between = backend64.to_host(after).copy()
    network.fit(x, t, epochs=1)
    np.testing.assert_array_equal(backend64.to_host(theta), before)
    np.testing.assert_array_equal(backend64.to_host(after), between)


@pytest.mark.parametrize(
    "loss", ["mean_squared_error", "huber", "mean_absolute_error", "sum_squared_errors"]
)
def test_regression_learns(loss):
    rate = 0.002 if loss == "sum_squared_errors" else 0.1
    network = Network(3, [1], loss=loss, seed=0)
    history = network.fit(X, VALUES, epochs=60, batch_size=10, rate=rate, optimizer=SGD())
    assert history.loss[-1] < 0.05 * history.loss[0]


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
def test_yes_or_no_questions_are_learned(loss):
    network = Network(3, [8, "relu", 1], loss=loss, seed=0)
    network.fit(X, LABELS, epochs=60, rate=0.02)
    assert network.accuracy(X, LABELS) > 0.95


def test_counts_are_learned():
    counts = np.random.default_rng(0).poisson(np.exp(0.5 * VALUES))
    network = Network(3, [1], loss="poisson", seed=0)
    network.fit(X, counts, epochs=100, rate=0.05)
    assert np.corrcoef(network.predict(X), np.exp(0.5 * VALUES[:, 0]))[0, 1] > 0.95


# How a training ends


class Interrupting(np.random.Generator):
    """Ctrl-C while the noise of a certain step is drawn."""

    def __init__(self, step):
        super().__init__(np.random.PCG64(0))
        self.left = step

    def random(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().random(*args, **kwargs)


def test_ctrl_c_within_an_epoch_keeps_what_was_learned(backend64):
    """Ten steps an epoch, interrupted in the fourth of the second epoch."""
    network = Network(3, [8, "tanh", Dropout(0.1), 2], seed=1)
    after_first = []
    history = network.fit(
        backend64.asarray(X), backend64.asarray(LABELS), epochs=5, batch_size=4,
        seed=Interrupting(14), optimizer=SGD(0.1),
        callbacks=[OnEpoch(lambda run: after_first.append(run.network.copy_theta()))],
    )  # fmt: skip
    assert history.stopped == "interrupted"
    assert history.epochs == len(after_first) == 1
    theta, first = (backend64.to_host(a) for a in (network.theta, after_first[0]))
    assert np.isfinite(theta).all()
    # An epoch is one call of JAX; the noise of its steps goes to a GPU before the first.
    if backend64.name in ("jax", "cupy"):
        np.testing.assert_array_equal(theta, first)
    else:
        assert (theta != first).any()
    network.fit(backend64.asarray(X), backend64.asarray(LABELS), epochs=1)


def interrupt(run):
    if run.history.epochs == 2:
        raise KeyboardInterrupt


def test_ctrl_c_between_epochs_keeps_what_was_learned():
    network, reference = classifier(), classifier()
    history = network.fit(X, LABELS, epochs=9, callbacks=[OnEpoch(interrupt)])
    reference.fit(X, LABELS, epochs=2)
    assert history.stopped == "interrupted"
    assert history.epochs == 2
    np.testing.assert_array_equal(network.theta, reference.theta)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("batch_size", [7, None])
def test_a_loss_that_explodes_is_an_error_and_the_last_good_weights_stay(batch_size, backend64):
    network = Network(3, [8, "relu", 1], loss="mean_squared_error", seed=0)
    thetas = [network.theta]
    with pytest.raises(
        FloatingPointError, match=r"the loss became (inf|nan) in epoch \d+; the net"
    ):
        network.fit(
            backend64.asarray(X), backend64.asarray(VALUES),
            epochs=200, batch_size=batch_size, rate=1e5, optimizer=SGD(),
            callbacks=[OnEpoch(lambda run: thetas.append(run.network.theta))],
        )  # fmt: skip
    theta = backend64.to_host(network.theta)
    assert np.isfinite(theta).all()
    np.testing.assert_array_equal(theta, backend64.to_host(thetas[-1]))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_nan_in_the_data_is_an_error_that_leaves_the_network_as_it_was():
    network = classifier()
    start = np.array(network.theta)
    with pytest.raises(FloatingPointError, match=r"the loss became nan in epoch 1; .*epoch 0"):
        network.fit(np.where(X > 2.0, np.nan, X), LABELS)
    np.testing.assert_array_equal(network.theta, start)


class Recorder(Callback):
    def __init__(self, name, calls, stop_at=None):
        self.name, self.calls, self.stop_at = name, calls, stop_at

    def on_start(self, run):
        self.calls.append((self.name, "start", run.history.epochs, run.epochs))

    def on_epoch(self, run):
        self.calls.append((self.name, "epoch", run.history.epochs))
        return "enough" if run.history.epochs == self.stop_at else None

    def on_end(self, run):
        self.calls.append((self.name, "end", run.history.stopped))


def test_callbacks_are_called_in_order():
    calls = []
    history = classifier().fit(
        X, LABELS, epochs=9, callbacks=[Recorder("a", calls, stop_at=2), Recorder("b", calls)]
    )
    assert calls == [
        ("a", "start", 0, 9), ("b", "start", 0, 9),
        ("a", "epoch", 1), ("b", "epoch", 1),
        ("a", "epoch", 2), ("b", "epoch", 2),
        ("a", "end", "enough"), ("b", "end", "enough"),
    ]  # fmt: skip
    assert history.stopped == "enough"


def test_callbacks_hear_of_the_end_also_when_one_fails():
    calls = []

    def fail(run):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        classifier().fit(X, LABELS, callbacks=[Recorder("a", calls), OnEpoch(fail)])
    assert calls[-1][:2] == ("a", "end")


def test_a_callback_sees_the_network_after_the_epoch():
    seen = []
    network = classifier()
    network.fit(X, LABELS, epochs=2, callbacks=[OnEpoch(lambda r: seen.append(r.network.theta))])
    assert (np.asarray(seen[0]) != np.asarray(seen[1])).any()
    np.testing.assert_array_equal(seen[1], network.theta)


def test_the_progress_bar_goes_to_standard_error(capsys):
    classifier().fit(X, LABELS, epochs=2, validation=0.2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "validation accuracy" in err
    assert "rows/s" in err


# Early stopping


class FakeNetwork:
    """Its parameters are the number of the epoch."""

    def __init__(self):
        self.theta = 0

    def copy_theta(self):
        return self.theta


def play(stopping, figures, monitor="validation_loss"):
    """Hand figures to early stopping, epoch by epoch; where it stops, and what is restored."""
    from xpnn.training import History, Run

    run = Run(FakeNetwork(), History(), len(figures))
    stopping.on_start(run)
    for epoch, figure in enumerate(figures, start=1):
        run.network.theta = epoch
        run.history.loss.append(0.0)
        if monitor == "loss":
            run.history.loss[-1] = figure
        else:
            getattr(run.history, monitor).append(figure)
        if stopping.on_epoch(run) is not None:
            break
    stopping.on_end(run)
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
        backend64.asarray(x[:20]), backend64.asarray(t[:20]), epochs=100, rate=0.05,
        validation=held, early_stopping=3,
    )  # fmt: skip
    best = int(np.argmin(history.validation_loss))
    assert history.stopped == "early stopping"
    assert (history.best_epoch, history.epochs) == (best + 1, best + 4)
    loss = backend64.to_host(network.evaluate(*held)[0])
    assert loss == pytest.approx(history.validation_loss[best], rel=1e-12)


def test_early_stopping_takes_true_for_the_defaults():
    history = classifier().fit(X, LABELS, epochs=2, validation=0.2, early_stopping=True)
    assert history.stopped == "finished"
    assert history.best_epoch is not None
    history = classifier().fit(X, LABELS, epochs=2, validation=0.2, early_stopping=False)
    assert history.best_epoch is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(0), "patience is 0; expected 1 or more"),
        (lambda: EarlyStopping(min_delta=-1.0), r"min_delta is -1\.0; expected 0 or more"),
        (lambda: EarlyStopping(monitor="f1"), "monitor='f1' is not known; expected 'validation_l"),
        (
            lambda: classifier().fit(X, LABELS, early_stopping=2),
            r"early stopping watches validation_loss, but there is none: give validation=\(x, t\)",
        ),
    ],
)
def test_early_stopping_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_training_can_move_on_to_another_library():
    network = classifier()
    network.fit(X, LABELS, epochs=1)
    strict = select("array_api_strict", "device1", "float64")
    network.to(strict)
    history = network.fit(strict.asarray(X), strict.asarray(LABELS), epochs=1)
    assert history.epochs == 1
