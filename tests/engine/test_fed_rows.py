"""Rows that stay on the host reach steps through a feeder, or one by one: the same, and safely."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda
from cuda_pairs import MARKS, ROWS, WEIGHT, Both

import races
from xpnn.backends import HOST_NAMESPACE
from xpnn.backends.pinned import Feeder
from xpnn.engine import HostRows
from xpnn.engine.cuda.run import CHECKED
from xpnn.engine.cuda.source import TYPES
from xpnn.engine.run_pure import PureRunner
from xpnn.layers import Dropout


class Table(HostRows):
    """Rows on the host that are not to be asked for but by number."""

    ndim = 2

    def __init__(self, values):
        self.values, self.dtype, self.shape = values, values.dtype, values.shape

    def take(self, numbers, axis=0, out=None, mode="raise"):
        return self.values.take(numbers, axis=0, out=out, mode="clip")


X = np.random.default_rng(0).normal(size=(23, 3))
T = np.arange(23.0)


def run(columns, order, feeder=None, streams=None):
    seen = []

    def update(carry, sums, batch):
        x, t, weight, _, rate = batch
        assert weight is None
        if streams is not None:
            streams.reads(x)
        seen.append((np.array(x), np.array(t)))
        return (carry[0] - rate * x.sum(axis=0),), (sums[0] + t.sum(),)

    float64 = np.dtype("float64")
    runner = PureRunner(update, (np.zeros(3),), columns, HOST_NAMESPACE, "cpu", float64, feeder)
    totals = None
    for _ in range(2):
        totals = runner.run(23, 5, order, [0.5, 0.25, 0.5, 1.0, 2.0], lambda rows: None, 1, totals)
    return runner.theta(), totals, seen


@pytest.mark.parametrize("order", [None, np.random.default_rng(1).permutation(23)])
@pytest.mark.parametrize("fed", [False, True])
def test_rows_from_the_host_are_those_of_an_array(order, fed):
    streams = races.Streams()
    feeder = Feeder(streams) if fed else None
    expected = run((X, T, None), order)
    found = run((Table(X), T, None), order, feeder, streams)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
    for (x, t), (wanted, targets) in zip(found[2], expected[2], strict=True):
        np.testing.assert_array_equal(x, wanted)
        np.testing.assert_array_equal(t, targets)
    assert any(who == "copies" for who, *_ in streams.log) is fed


@pytest.mark.parametrize("forgets", ["synchronize", "let_copies_wait", "let_steps_wait"])
def test_the_check_sees_a_rule_that_is_broken(forgets):
    streams = races.Streams(forgets=forgets)
    with pytest.raises(races.RaceError):
        run((Table(X), T, None), None, Feeder(streams), streams)


# On a GPU, whose part the host plays


def on_gpu(test):
    """Mark a test that compiles C++."""
    for mark in MARKS:
        test = mark(test)
    return test


class Fed(HostCuda):
    """A GPU that a feeder sends to: who copies what it sent has to wait for it."""

    def __init__(self, forgets=""):
        super().__init__(no_graph="")
        self.streams = races.Streams(forgets=forgets)

    def copy(self, array, place):
        if any(array is one or array.base is one for one in self.streams.held):
            self.streams.reads(array)
        super().copy(array, place)


def fed(forgets="", columns=(0,), **options):
    """Both runners; the GPU's gets some of the columns from the host."""
    cuda = Fed(forgets)
    both = Both([8, "tanh", Dropout(0.2), 3], cuda=cuda, batch=8, **options)
    both.ours.columns = tuple(
        Table(c) if i in columns else c for i, c in enumerate(both.ours.columns)
    )
    both.ours.feeder = Feeder(cuda.streams)
    return both


@on_gpu
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("columns", [(0,), (0, 1, 2)], ids=["x", "all"])
def test_on_a_gpu_they_are_those_of_an_array(columns, shuffle):
    both = fed(columns=columns, shuffle=shuffle, weight=WEIGHT).run(3)
    assert both.cuda.graphs == 2  # of a whole batch, and of the last
    assert both.cuda.starts > 0
    steps = 3 * -(-ROWS // 8)
    copies = [how for who, how, *_ in both.cuda.streams.log if (who, how) == ("copies", "write")]
    # The first steps of each size of a batch are sent to the pure step, too.
    assert len(copies) == (steps + 2 * CHECKED) * len(columns)


@on_gpu
def test_all_rows_at_once_come_from_the_host_too():
    both = fed(shuffle=False)
    both.batch = ROWS
    both.run(2)


@on_gpu
def test_the_pure_step_in_its_place_is_fed_too(monkeypatch):
    monkeypatch.delitem(TYPES, "float64")
    both = fed().run(1, "the engine has no rule for kernels with float64")
    assert any(who == "copies" for who, *_ in both.cuda.streams.log)


@on_gpu
@pytest.mark.parametrize("forgets", ["synchronize", "let_copies_wait", "let_steps_wait"])
def test_the_check_sees_a_rule_that_is_broken_on_a_gpu(forgets):
    with pytest.raises(races.RaceError):
        fed(forgets).run(3)


@on_gpu
def test_rows_that_cannot_be_read_end_the_epoch_and_nothing_else():
    both = fed()
    table = both.ours.columns[0]
    plain, left = table.take, [15]

    def take(numbers, **options):
        left[0] -= 1
        if not left[0]:
            raise OSError("the disk is gone")
        return plain(numbers, **options)

    table.take = take
    both.ours.run(ROWS, 8, None, [0.01] * 7, both.noise(0), 1)
    with pytest.raises(OSError, match="the disk is gone"):
        both.ours.run(ROWS, 8, None, [0.01] * 7, both.noise(0), 1)
    both.ours.run(ROWS, 8, None, [0.01] * 7, both.noise(0), 1)
    assert np.isfinite(both.ours.theta()).all()
