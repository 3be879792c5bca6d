"""A step allocates nothing once it is planned, and no array of the user's is written to."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from plans import replay, step_plan

from xpnn import Network
from xpnn import functional as F
from xpnn.engine.native import domain
from xpnn.engine.plan import make_plan
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, AdamW, RMSprop, chain, clip_by_global_norm
from xpnn.training import Callback
from xpnn.training.dataset import Segment
from xpnn.training.step import CompiledStep, Step

REPLAY = "planned"
# Bytes that come and go within a replay: Python objects that calls hand around, and the
# scratch that a ufunc takes to spread an operand, of `getbufsize` elements at most for each
# operand. Every array of the plans here that matters is larger.
SMALL = 2 * np.getbufsize() * 8 + 4096


def traced(run, times):
    """Bytes that stay after many runs, and the most that was there in between."""
    for _ in range(3):
        run()
    gc.collect()
    tracemalloc.start()
    try:
        run()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(times):
            run()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


def assert_allocates_nothing(run, times=10):
    stays, most = traced(run, times)
    assert stays < 4096  # numbers that ctypes hands around; it does not grow with the times
    assert most < SMALL


@pytest.mark.parametrize(
    "optimizer", [SGD(), SGD(0.1, 0.9), Adam(), AdamW(), chain(clip_by_global_norm(1.0), RMSprop())]
)
@pytest.mark.parametrize(
    ("layers", "loss", "dtype"),
    [
        ([200, "relu"], "softmax_cross_entropy", "float32"),
        ([200, "softmax", Dropout(0.5), 150, "gelu"], "huber", "float64"),
        ([], "mean_squared_error", "float64"),
    ],
)
def test_a_replay_allocates_nothing(layers, loss, dtype, optimizer):
    for native in (False, True):
        plan = step_plan(layers, optimizer, loss, dtype=dtype, native=native)
        assert_allocates_nothing(replay(plan))


@pytest.mark.parametrize(
    ("layers", "loss", "rows"),
    [
        *(([200, name], "softmax_cross_entropy", 300) for name in F.ACTIVATIONS),
        *(([200, "tanh"], name, 300) for name in F.LOSSES),
        ([200, "sigmoid"], "softmax_cross_entropy", 1),
    ],
)
def test_no_formula_allocates(layers, loss, rows):
    for native in (False, True):
        assert_allocates_nothing(replay(step_plan(layers, SGD(), loss, rows, native=native)))


def test_views_of_one_buffer_allocate_nothing():
    """Written in place, one of them would be copied by NumPy first."""

    def function(a):
        b = a * 2.0
        return b[::-1] - b, b.T + b

    for fused in (None, domain):
        plan = make_plan(function, (np.ones((300, 300)),), ["a"], {}, fused)
        assert_allocates_nothing(replay(plan))


def test_a_plan_keeps_its_buffers_and_no_more():
    """The values that were seen while recording are gone, whose sum is many times as much."""
    step_plan([200, "relu"], Adam())
    gc.collect()
    tracemalloc.start()
    try:
        step = step_plan([200, "relu"], Adam())
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < step.bytes + sum(a.nbytes for a in step.arrays) + 300_000
    assert step.bytes < 2_000_000


class Watch(Callback):
    """Notes the traced memory after each epoch."""

    def __init__(self):
        self.bytes = []

    def on_epoch_end(self, run):
        gc.collect()
        self.bytes.append(tracemalloc.get_traced_memory()[0])


def test_memory_does_not_grow_with_the_epochs():
    source = np.random.default_rng(0)
    x, t = source.normal(size=(103, 20)), source.integers(4, size=103)
    network, watch = Network(20, [64, Dropout(0.5), 4], seed=0), Watch()
    tracemalloc.start()
    try:
        network.fit(x, t, epochs=12, batch_size=25, callbacks=[watch], engine=REPLAY)
    finally:
        tracemalloc.stop()
    # A float or two a list of the history: far less than one vector of parameters.
    assert watch.bytes[-1] - watch.bytes[4] < 8192 < network.theta.nbytes * 2


def compiled_step(columns):
    network = Network(50, [32, "relu", 4], seed=0, backend="numpy")
    step, backend = Step(network.layers, network.tree, network.loss, Adam()), network.backend
    carry = step.initial_carry(network.theta, backend)
    return CompiledStep(step, carry, columns, backend, engine=REPLAY)


def test_an_epoch_needs_little_beside_the_order_of_the_rows():
    source = np.random.default_rng(0)
    columns = (source.normal(size=(2000, 50)), source.integers(4, size=2000), None)
    compiled, segment = compiled_step(columns), Segment(columns, 2000, source.permutation(2000))

    def epoch():
        compiled.run(segment, 100, [0.01] * 20, lambda rows: None, 1)

    assert_allocates_nothing(epoch, 3)


def test_data_that_is_read_in_place_is_let_go_of():
    columns = (np.ones((20, 50)), np.zeros(20, int), None)
    compiled, seen = compiled_step(columns), weakref.ref(columns[0])
    compiled.run(Segment(columns, 20, None), 20, [0.01], lambda rows: None, 1)
    compiled.release()
    del columns
    gc.collect()
    assert seen() is None


def read_only(*arrays):
    for array in arrays:
        array.flags.writeable = False
    return [array.copy() for array in arrays]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [None, 1, 7, 100])
@pytest.mark.parametrize("layers", [["relu", Dropout(0.3), 6, "elu", 3], [3]])
def test_arrays_of_the_user_are_only_read(layers, batch_size, shuffle):
    source = np.random.default_rng(0)
    x, weight = source.normal(size=(23, 5)), source.uniform(0.5, 2.0, 23)
    for t in (source.integers(3, size=23), np.eye(3)[source.integers(3, size=23)]):
        before = read_only(x, t, weight)
        network = Network(5, layers, seed=0)
        history = network.fit(
            x, t, sample_weight=weight, epochs=2, batch_size=batch_size, shuffle=shuffle,
            X_val=x, y_val=t, optimizer=Adam(0.05), l2=0.01, engine=REPLAY,
        )  # fmt: skip
        for _ in range(3):
            network.predict(x), network.predict_proba(x), network.scores(x[0])
        assert len(history.loss) == 2
        for array, copy in zip((x, t, weight), before, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_parameters_from_the_user_are_only_read():
    source = np.random.default_rng(0)
    x, t = source.normal(size=(9, 4)), source.integers(2, size=9)
    weights, theta = source.normal(size=(4, 2)), source.normal(size=10)
    before = read_only(weights, theta)
    network = Network(4, [2], seed=0)

    network.assign(**{"0.weights": weights})
    assert not np.shares_memory(network.theta, weights)
    network.fit(x, t, epochs=2, engine=REPLAY)
    assert not np.shares_memory(network.theta, weights)

    network.theta = theta
    for _ in range(5):
        network.scores(x)
    network.fit(x, t, epochs=2, engine=REPLAY)
    assert not np.shares_memory(network.theta, theta)
    for array, copy in zip((weights, theta), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_callback_may_keep_the_parameters_of_an_epoch():
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, run):
            kept.append((run.network.theta, run.network.theta.copy()))

    source = np.random.default_rng(0)
    x, t = source.normal(size=(9, 4)), source.integers(2, size=9)
    Network(4, [2], seed=0).fit(x, t, epochs=3, callbacks=[Keep()], engine=REPLAY)
    for theta, copy in kept:
        np.testing.assert_array_equal(theta, copy)
    assert not np.array_equal(kept[0][0], kept[1][0])


def test_data_may_change_after_a_training():
    """A second training sees the new data: nothing of the first is kept."""
    source = np.random.default_rng(0)
    x, t = source.normal(size=(9, 4)), source.integers(2, size=9)
    networks = [Network(4, [2], seed=0) for _ in range(2)]
    networks[0].fit(x, t, epochs=2, batch_size=None, engine=REPLAY)
    networks[1].theta = networks[0].theta
    x *= -1.0
    networks[0].fit(x, t, epochs=2, batch_size=None, engine=REPLAY)
    networks[1].fit(x.copy(), t, epochs=2, batch_size=None, engine="pure")
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)
