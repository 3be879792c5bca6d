"""The training loop: which rows a step sees, in which order, and how a training ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnn import Dense, EarlyStopping, Network, select
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, InverseScaling, StepDecay
from xpnn.training import Callback, DivergenceError

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
    options = {"epochs": 2, "batch_size": batch_size, "shuffle": shuffle}
    history = counting_network().fit(x, t, optimizer=SGD(0.1), **options)
    assert history.loss == [sum(4.0**i for i in range(rows))] * 2
    assert history.rows == rows


@pytest.mark.parametrize(("fraction", "held"), [(0.1, 1), (0.25, 2), (0.5, 5), (0.9, 9)])
def test_a_fraction_of_the_rows_is_set_apart_for_validation(fraction, held):
    options = {"epochs": 1, "batch_size": 3, "validation_fraction": fraction}
    history = counting_network().fit(*counting_data(10), optimizer=SGD(0.1), **options)
    assert history.rows == 10 - held
    seen, unseen = int(history.loss[0]), int(history.validation_loss[0])
    assert seen + unseen == sum(4**i for i in range(10))
    assert seen & unseen == 0
    assert unseen.bit_count() == held


def by_hand(epochs, batch_size, order, weight):
    """Linear regression on mean squared errors, as one would write it without xpnn."""
    w, losses = np.zeros((3, 1)), []
    for _ in range(epochs):
        indices = order()
        total = whole = 0.0
        for start in range(0, len(X), batch_size):
            rows = indices[start : start + batch_size]
            error, share = X[rows] @ w - VALUES[rows], weight[rows, None]
            total, whole = total + np.sum(share * error**2), whole + share.sum()
            w = w - 0.1 * 2 * X[rows].T @ (share * error) / share.sum()
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
    rng = np.random.default_rng(5)
    order = (lambda: rng.permutation(40)) if shuffle else lambda: np.arange(40)
    theta, losses = by_hand(3, 12, order, weight)
    np.testing.assert_allclose(network.theta, theta, rtol=1e-12)
    assert history.loss == pytest.approx(losses, rel=1e-12)


def trained(calls=1, **options):
    """Parameters after one or several trainings of one epoch."""
    network = classifier()
    for _ in range(calls):
        network.fit(X, LABELS, epochs=1, **options)
    return network.theta


def test_a_seed_means_the_same_training():
    np.testing.assert_array_equal(trained(seed=1), trained(seed=1))
    assert (trained(seed=1) != trained(seed=2)).any()
    # Without one the network's own generator goes on.
    np.testing.assert_array_equal(trained(2), trained(2))


def test_the_learning_rate_may_be_given_apart_from_the_optimizer():
    np.testing.assert_array_equal(trained(optimizer=Adam(0.05)), trained(learning_rate=0.05))


def test_weights_that_are_all_zero_teach_nothing():
    network = classifier()
    start = np.array(network.theta)
    history = network.fit(X, LABELS, sample_weight=np.zeros(40), epochs=2, optimizer=SGD(0.1))
    assert history.loss == [0.0, 0.0]
    np.testing.assert_array_equal(network.theta, start)


def test_history_is_one_entry_an_epoch_and_goes_to_json():
    rate = StepDecay(0.1, every=2, factor=0.5)
    history = classifier().fit(X, LABELS, epochs=4, learning_rate=rate, X_val=X, y_val=LABELS)
    again = json.loads(json.dumps(history.to_dict()))
    for name in ("loss", "validation_loss", "validation_accuracy", "seconds"):
        assert len(again[name]) == 4
    assert again["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.05])
    assert (again["rows"], again["stopped"], history.epochs) == (40, "finished", 4)
    assert history.rows_per_second > 0
    assert repr(history).startswith("History(4 epochs, loss 0.")
    assert repr(history).endswith("finished)")


def test_validation_figures_are_those_of_the_network_after_the_epoch():
    """Without dropout."""
    network = Network(3, [8, "tanh", Dropout(0.9), 2], seed=1)
    history = network.fit(X, LABELS, epochs=2, X_val=X[:9], y_val=LABELS[:9])
    loss, accuracy = network.evaluate(X[:9], LABELS[:9])
    assert history.validation_loss[-1] == pytest.approx(float(loss))
    assert history.validation_accuracy[-1] == pytest.approx(float(accuracy))


def test_the_users_arrays_are_never_written_to(backend64):
    arrays = [X.copy(), LABELS.copy(), np.ones(40)]
    if backend64.name == "numpy":
        for array in arrays:
            array.flags.writeable = False
    x, t, weight = given = [backend64.asarray(a) for a in arrays]
    network = Network(3, [8, "relu", Dropout(0.2), 2], seed=1)
    network.fit(x, t, sample_weight=weight, epochs=2, X_val=x, y_val=t)
    network.predict(x)
    for array, original in zip(given, arrays, strict=True):
        np.testing.assert_array_equal(backend64.to_host(array), original)


def test_the_users_parameters_are_never_written_to(backend64):
    """Nor given away: an array that the user took from the network stays what it was."""
    network = classifier(backend=backend64)
    x, t = backend64.asarray(X), backend64.asarray(LABELS)
    taken = []
    for _ in range(3):
        taken.append((network.theta, backend64.to_host(network.theta).copy()))
        network.fit(x, t, epochs=1)
    for theta, before in taken:
        np.testing.assert_array_equal(backend64.to_host(theta), before)


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


def test_ctrl_c_within_an_epoch_keeps_whole_steps(backend64):
    """Ten steps an epoch, interrupted in the fourth of the second epoch."""
    x, y = backend64.asarray(X), backend64.asarray(LABELS)

    def train(seed, *callbacks):
        network = Network(3, [8, "tanh", Dropout(0.1), 2], seed=1)
        options = {"epochs": 5, "batch_size": 4, "seed": seed, "callbacks": callbacks}
        return network, network.fit(x, y, optimizer=SGD(0.1), **options)

    class StopAfter13(Callback):
        def on_batch_end(self, run):
            if run.history.epochs == 1 and run.batch == 2:
                run.stop("13 steps")

    first = []
    network, history = train(
        Interrupting(14), lambda run: first.append(backend64.to_host(run.network.theta).copy())
    )
    assert history.stopped == "interrupted"
    assert history.epochs == len(first) == 1
    # An epoch is one call of JAX; the noise of its steps goes to a GPU before the first.
    expected = first[0]
    if backend64.name not in ("jax", "cupy"):
        expected = backend64.to_host(train(0, StopAfter13())[0].theta)
        assert (expected != first[0]).any()
    np.testing.assert_array_equal(backend64.to_host(network.theta), expected)
    network.fit(x, y, epochs=1)


def test_ctrl_c_between_epochs_keeps_what_was_learned():
    def interrupt(run):
        if run.history.epochs == 2:
            raise KeyboardInterrupt

    network, reference = classifier(), classifier()
    history = network.fit(X, LABELS, epochs=9, callbacks=[interrupt])
    reference.fit(X, LABELS, epochs=2)
    assert history.stopped == "interrupted"
    assert history.epochs == 2
    np.testing.assert_array_equal(network.theta, reference.theta)


diverging = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")


@diverging
@pytest.mark.parametrize("batch_size", [7, None])
def test_a_loss_that_explodes_is_an_error_and_the_last_good_weights_stay(batch_size, backend64):
    network = Network(3, [8, "relu", 1], loss="mean_squared_error", seed=0)
    thetas = [network.theta]
    options = {"epochs": 200, "batch_size": batch_size, "optimizer": SGD(1e5)}
    options["callbacks"] = lambda run: thetas.append(run.network.theta)
    match = r"the loss became (inf|nan) in epoch \d+; "
    with pytest.raises(DivergenceError, match=match) as caught:
        network.fit(backend64.asarray(X), backend64.asarray(VALUES), **options)
    theta, epochs = backend64.to_host(network.theta), len(thetas) - 1
    assert np.isfinite(theta).all()
    np.testing.assert_array_equal(theta, backend64.to_host(thetas[-1]))
    kept = f"of epoch {epochs}" if epochs else "from before the training"
    assert f"the network keeps the weights {kept}. Try a smaller" in str(caught.value)
    assert caught.value.epoch == epochs + 1
    assert not np.isfinite(caught.value.loss)


@diverging
def test_a_training_that_diverges_ends_with_the_best_weights_of_early_stopping():
    """The validation loss rises from the first epoch on, and the loss overflows later."""
    network = Network(3, [1], loss="mean_squared_error", seed=0)
    thetas, options = [], {"X_val": X, "y_val": VALUES, "early_stopping": EarlyStopping(10**6)}
    options["callbacks"] = lambda run: thetas.append(run.network.theta)
    with pytest.raises(DivergenceError, match=r"keeps the weights of epoch 1\. Try") as caught:
        network.fit(X, VALUES, epochs=10**4, batch_size=None, optimizer=SGD(2.0), **options)
    assert caught.value.epoch == len(thetas) + 1 > 2
    np.testing.assert_array_equal(network.theta, thetas[0])


@diverging
def test_a_loss_that_explodes_is_found_at_the_next_report():
    network = Network(3, [Dense(1)], loss="mean_squared_error", seed=1)
    options = {"epochs": 1000, "report_every": 100, "batch_size": None, "optimizer": SGD(2.0)}
    match = r"in epoch [23]00; .* weights of epoch [12]00\b"
    with pytest.raises(FloatingPointError, match=match):
        network.fit(X, VALUES, **options)
    assert np.isfinite(network.theta).all()


@diverging
def test_nan_in_the_data_is_an_error_that_leaves_the_network_as_it_was():
    network = classifier()
    start = np.array(network.theta)
    message = "the loss became nan in epoch 1; the network keeps the weights from before the train"
    with pytest.raises(FloatingPointError, match=message):
        network.fit(np.where(X > 2.0, np.nan, X), LABELS)
    np.testing.assert_array_equal(network.theta, start)


def test_the_progress_bar_goes_to_standard_error(capsys):
    classifier().fit(X, LABELS, epochs=2, validation_fraction=0.2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "validation accuracy" in err
    assert "rows/s" in err


def test_a_training_can_move_on_to_another_library():
    network = classifier()
    network.fit(X, LABELS, epochs=1)
    stays = network.copy()
    stays.fit(X, LABELS, epochs=1)
    strict = select("array_api_strict", "device1", "float64")
    network.to(strict)
    network.fit(strict.asarray(X), strict.asarray(LABELS), epochs=1)
    np.testing.assert_allclose(strict.to_host(network.theta), stays.theta, rtol=1e-12)


# Reports every few epochs: the same training, looked at less often


def report(backend, layers, **options):
    network = Network(3, layers, seed=1)
    options = {
        k: backend.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    x, t = backend.asarray(X), backend.asarray(LABELS)
    history = network.fit(x, t, **{"epochs": 7, "seed": 2} | options)
    return backend.to_host(network.theta), history


TRAININGS = {
    "all rows at once": {"batch_size": None, "optimizer": SGD(0.1)},
    "all rows, Adam": {"batch_size": None, "optimizer": Adam(0.05)},
    "all rows, changing rate": {"batch_size": None, "optimizer": SGD(InverseScaling(0.1))},
    "batches": {"batch_size": 12, "optimizer": Adam(0.05)},
    "weights": {"batch_size": 12, "optimizer": SGD(0.1), "sample_weight": np.arange(1.0, 41.0)},
}


@pytest.mark.parametrize("layers", [[4, "tanh", 2], [4, "tanh", Dropout(0.3), 2]], ids=len)
@pytest.mark.parametrize("name", TRAININGS)
def test_fewer_reports_are_the_same_training(name, layers, backend, assert_close):
    theta, whole = report(backend, layers, **TRAININGS[name])
    again, some = report(backend, layers, report_every=3, **TRAININGS[name])
    assert_close(backend.asarray(again), theta, backend)
    assert some.epoch == [3, 6, 7]
    assert some.epochs == whole.epochs == 7
    assert whole.epoch == whole.numbers == list(range(1, 8))
    assert some.loss == pytest.approx([whole.loss[i - 1] for i in some.epoch], rel=1e-4)
    assert some.learning_rate == [whole.learning_rate[i - 1] for i in some.epoch]
    assert len(some.seconds) == 3


def test_callbacks_and_early_stopping_hear_of_reports_only(backend64):
    heard = []
    stopping = EarlyStopping(2, min_delta=1e9, monitor="loss")
    options = {"epochs": 100, "report_every": 10, "early_stopping": stopping}
    _, history = report(
        backend64, [2], callbacks=lambda run: heard.append(run.history.epochs), **options
    )
    assert heard == history.epoch == [10, 20, 30]
    assert history.best_epoch == 10
    assert history.stopped == "early stopping"


@pytest.mark.parametrize("engine", ["auto", "planned", "native", "pure"])
def test_tensors_on_the_cpu_train_in_their_own_memory(engine, use_library):
    """PyTorch's are NumPy's to the last bit, and what the user gave stays as it was."""
    use_library("torch")
    if engine == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    import torch

    x, t = torch.from_numpy(X.copy()), torch.from_numpy(LABELS.copy())
    network, twin = classifier(), classifier()
    options = {"epochs": 5, "batch_size": 12, "seed": 2, "engine": engine}
    network.fit(x, t, **options)
    twin.fit(X, LABELS, **options)
    assert isinstance(network.theta, torch.Tensor)
    assert isinstance(network.scores(x), torch.Tensor)
    limit = 1e-12 if engine == "pure" else 0.0
    np.testing.assert_allclose(network.theta.numpy(), twin.theta, rtol=limit)
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(t.numpy(), LABELS)
