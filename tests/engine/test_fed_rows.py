"""Rows that stay on the host reach steps through a feeder, or one by one: the same, and safely."""

from __future__ import annotations

import numpy as np
import pytest

import races
from xpnn.backends import HOST_NAMESPACE
from xpnn.backends.pinned import Feeder
from xpnn.engine import HostRows
from xpnn.engine.run_pure import PureRunner


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
