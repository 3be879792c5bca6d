"""A network learns from a source as from arrays."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest

import races
import unread
from xpnn import Callback, Dense, EarlyStopping, MLPClassifier, Network, backends, select
from xpnn.backends import backend_of, to_host
from xpnn.data import BlockShuffle, stream
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, AdamW, StepDecay

ROWS = 203
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
LABELS = (X @ RNG.normal(size=(4, 3))).argmax(axis=1).astype("int16")
VALUES = np.sin(X[:, :2])
W = RNG.uniform(0.5, 2.0, ROWS).astype("float32")
HELD = (X[:77] + 1, LABELS[:77])


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


def network(*layers, **options):
    return Network(4, layers or [8, "tanh", 3], **{"seed": 1} | options)


def small(*data, block=11, buffer=3, seed=None, **options):
    return stream(*data, shuffle=BlockShuffle(block, buffer, seed), **options)


def assert_same(source, *data, make=network, **options):
    """Train on a source and on arrays, rows in order: the same bytes come out."""
    options = {"batch_size": 17, "epochs": 2, "shuffle": False} | options
    weight = dict(zip(["sample_weight"], data[2:], strict=False))
    one, two = make(), make()
    expected, found = one.fit(*data[:2], **weight, **options), two.fit(source, **options)
    assert (found.loss, found.rows) == (expected.loss, len(data[0]))
    assert (found.learning_rate, found.epoch) == (expected.learning_rate, expected.epoch)
    assert two.theta.tobytes() == one.theta.tobytes()


CASES = {
    "labels": {},
    "one step": {"batch_size": 1000},
    "one by one": {"batch_size": 1},
    "schedule": {"learning_rate": StepDecay(0.1, 0.5, 2), "optimizer": SGD(momentum=0.9)},
    "penalty": {"l2": 0.1, "optimizer": AdamW()},
    "reports": {"report_every": 2},
    "pure": {"engine": "pure"},
    "dropout": {"make": lambda: network(8, "relu", Dropout(0.5), 3)},
    "float64": {"make": lambda: network(dtype="float64")},
}


@pytest.mark.parametrize(("block", "buffer"), [(11, 3), (1, 1), (500, 1)])
@pytest.mark.parametrize("name", CASES)
def test_the_same_rows_in_order_give_the_same_bytes(name, block, buffer):
    options = {"batch_size": 16, "epochs": 3} | CASES[name]
    assert_same(small(X, LABELS, block=block, buffer=buffer), X, LABELS, **options)


def batches():
    for start in range(0, ROWS, 30):
        part = slice(start, start + 30)
        yield X[part], VALUES[part], W[part]


OF_VALUES = {
    "weights": (lambda: small(X, VALUES, weight=W), {}),
    "a function": (lambda: small(batches), {}),
    "a list": (lambda: small(list(batches())), {}),
    "a function, and the rows are told": (lambda: small(batches, rows=ROWS), {}),
    # Its rows are counted first.
    "a schedule": (lambda: small(batches), {"learning_rate": StepDecay(0.1, 0.5, 1)}),
    "a generator is good for an epoch": (lambda: small(batches()), {"epochs": 1}),
}


@pytest.mark.parametrize("name", OF_VALUES)
def test_weights_and_unknown_lengths_give_the_same_bytes(name):
    source, options = OF_VALUES[name]

    def make():
        return network(6, "tanh", 2, loss="mean_squared_error")

    assert_same(source(), X, VALUES, W, make=make, **options)


def test_batches_without_rows_are_passed_over_the_first_too():
    parts = [slice(0, 0), slice(0, 20), slice(0, 0), slice(20, ROWS)]
    assert_same(stream([(X[part], LABELS[part]) for part in parts]), X, LABELS)


@pytest.mark.parametrize("seed", [None, 7])
def test_every_row_is_seen_once_in_every_epoch_in_another_order(seed):
    """Scores 0, whatever it learns: with targets 2**i the loss tells which rows were seen."""

    class Note(Callback):
        def on_batch_end(self, run):
            seen.append(run.batch_loss)

    seen = []
    x, t = np.zeros((40, 1)), 2.0 ** np.arange(40)
    made = Network(1, [Dense(1, bias=False, init="zeros")], loss="sum_squared_errors", seed=0)
    source = stream(x, t, shuffle=BlockShuffle(4, 3, seed))
    history = made.fit(source, epochs=3, batch_size=3, optimizer=SGD(0.1), callbacks=Note())
    assert history.loss == [sum(4.0**i for i in range(40))] * 3
    orders = {tuple(seen[start : start + 14]) for start in (0, 14, 28)}
    assert len(orders) == 3


def test_the_seed_decides():
    def trained(seed, own=None):
        made = network()
        made.fit(small(X, LABELS, seed=own), epochs=2, seed=seed)
        return made.theta.tobytes()

    assert trained(3) == trained(3) != trained(4)
    assert trained(3, own=5) == trained(4, own=5) != trained(3, own=6)


def test_a_shuffled_source_learns_as_well_as_arrays():
    one, two = network(), network()
    expected = one.fit(X, LABELS, epochs=20, learning_rate=0.01)
    found = two.fit(small(X, LABELS), epochs=20, learning_rate=0.01)
    assert found.loss[-1] == pytest.approx(expected.loss[-1], rel=0.05)
    assert two.accuracy(X, LABELS) > 0.9


def test_validation_on_a_source_is_that_on_arrays():
    def validated(data, held, labels=None):
        return network().fit(*data, epochs=3, shuffle=False, X_val=held, y_val=labels)

    expected = validated((X, LABELS), *HELD)
    for held in (HELD, (small(*HELD),), (small(lambda: iter([HELD])),)):
        found = validated((small(X, LABELS),), *held)
        assert found.loss == expected.loss
        assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-6)
        assert found.validation_accuracy == pytest.approx(expected.validation_accuracy)
    options = {"epochs": 2, "shuffle": False, "learning_rate": 1e-4}
    one, two = (network(2, loss="sum_squared_errors") for _ in range(2))
    expected = one.fit(X, VALUES, X_val=X, y_val=VALUES, **options)
    found = two.fit(small(X, VALUES), X_val=small(X, VALUES), **options)
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-6)
    assert found.validation_accuracy == []


def test_early_stopping_and_callbacks():
    seen = []
    made = network()
    history = made.fit(
        small(X, LABELS), epochs=50, learning_rate=0.5, X_val=small(*HELD),
        early_stopping=EarlyStopping(2), callbacks=[lambda run: seen.append(run.epochs)],
    )  # fmt: skip
    assert history.stopped == "early stopping"
    assert len(seen) == history.epochs < 50
    best = history.validation_loss[history.best_epoch - 1]
    assert float(made.evaluate(*HELD)[0]) == pytest.approx(best, rel=1e-5)


def test_ctrl_c_keeps_what_was_learned_and_ends_the_thread():
    def interrupted():
        yield X[:100], LABELS[:100]
        raise KeyboardInterrupt

    made = network()
    history = made.fit(small(interrupted), epochs=5)
    assert (history.stopped, history.epochs) == ("interrupted", 0)
    assert np.isfinite(made.theta).all()
    assert made.theta.tobytes() != network(dtype="float32").theta.astype("float32").tobytes()


def test_an_error_of_a_callback_ends_the_thread():
    def fail(run):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        network().fit(small(X, LABELS), callbacks=[fail])


@pytest.mark.parametrize("rows", [ROWS, 1])
def test_use(rows):
    made = network()
    made.fit(X, LABELS, epochs=1)
    x, t = X[:rows], LABELS[:rows]
    source = small(x, t)
    np.testing.assert_allclose(made.scores(source), made.scores(x), rtol=1e-5)
    np.testing.assert_allclose(made.predict_proba(source), made.predict_proba(x), rtol=1e-5)
    np.testing.assert_array_equal(made.predict(stream(x)), made.predict(x))
    assert made.accuracy(source) == pytest.approx(made.accuracy(x, t))
    loss, right = made.evaluate(source)
    expected = made.evaluate(x, t)
    assert (float(loss), float(right)) == pytest.approx(tuple(map(float, expected)), rel=1e-5)


def test_values_and_binary_labels_are_predicted_from_a_source():
    for loss, outputs in (("mean_squared_error", 2), ("binary_cross_entropy", 1)):
        made = network(outputs, loss=loss)
        assert made.predict(small(X)).shape == made.predict(X).shape
    with pytest.raises(ValueError, match="has no probabilities"):
        network(2, loss="mean_squared_error").predict_proba(small(X))


def test_every_library(backend, assert_close):
    """A network that is somewhere takes the rows of a source there."""
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "learning_rate": 0.01}
    one, two = network(dtype="float64"), network(backend=backend)
    x = X.astype("float64")
    source = small(x, LABELS, weight=W, block=96, buffer=1)
    expected = one.fit(x, LABELS, sample_weight=W, **options)
    found = two.fit(source, X_val=source, **options)
    assert_close(two.theta, one.theta, backend, factor=100)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    proba = two.predict_proba(source)
    assert isinstance(proba, np.ndarray)
    np.testing.assert_allclose(proba, one.predict_proba(x), rtol=1e-3, atol=1e-5)
    assert two.accuracy(source) == found.validation_accuracy[-1]


def test_memory_does_not_grow_with_the_rows():
    def source(blocks):
        def make():
            rng = np.random.default_rng(0)
            for _ in range(blocks):
                yield rng.random((1000, 50), "float32"), rng.integers(0, 3, 1000)

        return stream(make, memory="2 MiB")

    def peak(blocks):
        made = Network(50, [8, "relu", 3], seed=0)
        tracemalloc.start()
        # However long it is: 'auto' loads a compiler for the longer one.
        made.fit(source(blocks), epochs=1, batch_size=100, engine="planned")
        made.predict(source(blocks))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)
    first, last = peak(20), peak(80)
    assert 2 * 2**20 < first < 4 * 2**20
    # Labels of 60,000 rows are what predict gives; nothing else grows.
    assert last - first < 60_000 * 8 * 2 + 2**16


def changing():
    return small([(X[:30], LABELS[:30]), (X[:30], np.eye(3)[LABELS[:30]])], block=30, buffer=1)


BAD = [
    ([small(X, LABELS), LABELS], {}, "y is given beside a source, which brings its"),
    ([small(X, LABELS)], {"sample_weight": W}, "sample_weight is given beside a"),
    ([small(X)], {}, "x has no targets; name them"),
    ([X], {}, "y is None; expected targets"),
    ([small(X, LABELS)], {"batch_size": None}, "batch_size is None, for all row"),
    (
        [small(X, LABELS)],
        {"validation_fraction": 0.1},
        r"validation_fraction is 0\.1; no rows of a source are set apart: give X_val",
    ),
    ([small(X, LABELS)], {"X_val": small(X, LABELS), "y_val": LABELS}, "y_val is given besi"),
    ([small(X, LABELS)], {"X_val": small(X)}, "x has no targets; name them"),
    ([small(batches())], {}, "can be gone through once, and 10 epochs were"),
    (
        [small(batches())],
        {"epochs": 1, "learning_rate": StepDecay(0.1, 0.5, 2)},
        "a schedule needs to know the number of rows; say it: stream",
    ),
    ([small(X[:, :3], LABELS)], {}, r"x has 3 features; expected 4"),
    (
        [small(X, np.where(np.arange(ROWS) == 100, 3, LABELS))],
        {"batch_size": 10},
        r"x, rows 90 to 119: y holds the label 3; expected labels 0 to 2",
    ),
    (
        [changing()],
        {"batch_size": 10},
        "rows 30 to 59: targets or weights unlike those of the first row",
    ),
]


@pytest.mark.parametrize(("data", "options", "message"), BAD)
def test_bad_input(data, options, message):
    with pytest.raises(ValueError, match=message):
        network().fit(*data, shuffle=False, **options)


# Rows go to a device through a feeder: here on fake streams that see every race

strict = pytest.importorskip("array_api_strict")
ARRAY = type(strict.zeros(1))
HERE = select("array_api_strict", "device1")
DEVICE = HERE.device


def replace_everywhere(monkeypatch, name, function):
    """Put a function in the place of another wherever that was imported."""
    modules = [module for key, module in sys.modules.items() if key.startswith("xpnn.")]
    found = [module for module in modules if callable(vars(module).get(name))]
    assert found
    for module in found:
        monkeypatch.setattr(module, name, function)


@pytest.fixture
def door(monkeypatch):
    """Feeders on fake streams for array-api-strict, whose operations read as steps do."""
    found = races.Streams(lambda a: ARRAY._new(a, device=DEVICE), lambda a: a._array)

    def feeder_for(xp, device):
        return backends.Feeder(found) if xp is strict and device == DEVICE else None

    def reading(own, x, *others, **options):
        for array in (x, *others):
            if isinstance(array, ARRAY):
                found.reads(array)
        return own(x, *others, **options)

    replace_everywhere(monkeypatch, "feeder_for", feeder_for)
    for name in ("take", "matmul", "astype"):
        monkeypatch.setattr(strict, name, partial(reading, getattr(strict, name)))
    return found


def copies(door):
    return sum(who == "copies" and how == "write" for who, how, *_ in door.log)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_network_learns_from_fed_rows_as_from_an_array(weighted, door):
    weight = W if weighted else None
    options = {"epochs": 3, "batch_size": 8, "shuffle": False}
    here, there = (Network(4, [8, "tanh", 3], seed=1) for _ in range(2))
    there.to("array_api_strict", "device1", "float32")
    here.to("numpy", dtype="float32")
    expected = here.fit(X, LABELS, sample_weight=weight, **options)
    rows = small(X, LABELS, weight=weight)
    found = there.fit(rows, X_val=small(X, LABELS), **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(to_host(there.theta), here.theta, rtol=1e-4, atol=1e-6)
    assert copies(door) > 3 * 2 * 3  # epochs, columns, windows
    np.testing.assert_allclose(
        there.predict_proba(small(X)), here.predict_proba(X), rtol=1e-3, atol=1e-5
    )


def test_labels_are_looked_at_on_the_host(door, monkeypatch):
    """Nothing of a window is read back: the device is not waited for."""
    reads = unread.Reads(monkeypatch, "array_api_strict", ARRAY)

    def train(times):
        network = Network(4, [8, "tanh", 3], seed=1, backend=HERE)
        network.fit(small(np.tile(X, (times, 1)), np.tile(LABELS, times)), epochs=1, batch_size=8)

    assert reads.during(train, 3) == reads.during(train, 1) > 0


@pytest.mark.parametrize("wrong", [7, -1])
def test_a_wrong_label_is_still_named(wrong, door):
    network = Network(4, [3], seed=1, backend=HERE)
    labels = np.where(np.arange(ROWS) == 50, wrong, LABELS)
    with pytest.raises(ValueError, match=r"rows 33 to 65: y holds"):
        network.fit(small(X, labels), epochs=1, batch_size=11, shuffle=False)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("from_source", [False, True])
def test_an_estimators_rows_go_batch_by_batch(from_source, door, monkeypatch):
    replace_everywhere(monkeypatch, "fits", lambda *which: False)
    options = {
        "hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "shuffle": not from_source,
        "batch_size": 16, "dtype": "float32",
    }  # fmt: skip
    expected = MLPClassifier(**options).fit(X, LABELS)
    model = MLPClassifier(**options, backend="array_api_strict", device="device1")
    model.fit(*([small(X, LABELS)] if from_source else [X, LABELS]))
    assert backend_of(model.coefs_[0]).device == DEVICE
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-4)
    assert copies(door) >= 3 * 3
    sent = copies(door)
    found = model.predict_proba(small(X) if from_source else X)
    assert copies(door) > sent
    np.testing.assert_allclose(to_host(found), expected.predict_proba(X), rtol=1e-3, atol=1e-5)


def test_the_check_sees_a_copy_that_is_not_waited_for(door, monkeypatch):
    monkeypatch.setattr(door, "let_steps_wait", lambda mark: None)
    network = Network(4, [3], seed=1, backend=HERE)
    with pytest.raises(races.RaceError, match="may still be written by copies"):
        network.fit(small(X, LABELS), epochs=1, batch_size=8)
