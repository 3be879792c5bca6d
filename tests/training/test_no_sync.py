"""A training epoch waits for the device as often with many steps as with few."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import unread
from xpnn import Network, select
from xpnn.backends import transfer
from xpnn.layers import Dropout
from xpnn.optimizers import Adam, CosineWarmup

strict = pytest.importorskip("array_api_strict")
ARRAY = type(strict.zeros(1))
READS = ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__")


@pytest.fixture
def reads(monkeypatch):
    """Counts every way to read a value of a strict array on the host."""
    counted = Counter()

    def count(name):
        own = getattr(ARRAY, name)

        def counting(self, *args, **kwargs):
            counted[name] += 1
            return own(self, *args, **kwargs)

        monkeypatch.setattr(ARRAY, name, counting)

    for name in READS:
        count(name)
    to_host = transfer.to_host

    def counting_to_host(x):
        if isinstance(x, ARRAY):
            counted["to_host"] += 1
        return to_host(x)

    monkeypatch.setattr(transfer, "to_host", counting_to_host)
    return counted


LAYERS = (6, "relu", Dropout(0.2), 3)


def count_reads(reads, steps, epochs, *, layers=LAYERS, weighted=True):
    device = select("array_api_strict", "device1", "float64")
    rows = 8 * steps - 3  # the last batch is partial
    generator = np.random.default_rng(0)
    x = device.asarray(generator.normal(size=(rows, 4)))
    t = device.asarray(generator.integers(3, size=rows))
    weight = device.asarray(generator.uniform(size=rows)) if weighted else None
    reads.clear()
    history = Network(4, list(layers), seed=0).fit(
        x, t, epochs=epochs, batch_size=8, sample_weight=weight, l2=1e-3,
        optimizer=Adam(CosineWarmup(0.01, warmup=1)), X_val=x[:5, :], y_val=t[:5],
    )  # fmt: skip
    assert history.epochs == epochs
    return reads.total()


@pytest.mark.parametrize("weighted", [False, True])
def test_host_reads_do_not_grow_with_the_steps_of_an_epoch(reads, weighted):
    counted = [count_reads(reads, steps, 2, weighted=weighted) for steps in (2, 9, 30)]
    assert counted[0] == counted[1] == counted[2]


def test_host_reads_of_an_epoch_are_few(reads):
    """The loss (and the weights' total), and two figures on the validation data."""
    more = count_reads(reads, 9, 5) - count_reads(reads, 9, 4)
    # Each figure is read by to_host, and again by NumPy from the copy on the CPU device.
    assert more <= 4 * 3


def test_the_count_sees_a_layer_that_reads(reads):
    layers = (6, unread.Peeking(), 3)
    few, many = (count_reads(reads, steps, 1, layers=layers) for steps in (2, 9))
    assert many == few + 7
