"""Memory does not grow with the number of calls, whatever sizes they come in."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from small_models import FEATURES, KINDS, fit, learn_more, make, rows, targets

from xpnn import Network

SIZES = [int(n) for n in np.random.default_rng(0).permutation(np.arange(20, 44))]
WARM = 6
SLACK = 700_000  # bytes; what is kept for one size is from 50,000 to 400,000


def wide(kind):
    """A model whose parameters weigh enough for copies of them to be seen."""
    if kind == "Network":
        return Network(FEATURES, [1000, "relu", 3], seed=0)
    return make(kind, hidden_layer_sizes=(1000,))


def growth(call):
    """Bytes that are there after many sizes, beyond those after the first few."""
    tracemalloc.start()
    try:
        for n in SIZES[:WARM]:
            call(n)
        gc.collect()
        first, _ = tracemalloc.get_traced_memory()
        for n in SIZES[WARM:]:
            call(n)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_learning_in_parts_of_many_sizes(kind):
    x = rows(max(SIZES))
    y, model = targets(kind, x), wide(kind)
    assert growth(lambda n: learn_more(model, x[:n], y[:n])) < SLACK


@pytest.mark.parametrize("kind", KINDS)
def test_predicting_many_sizes(kind):
    x = rows(max(SIZES))
    model = fit(wide(kind), x, targets(kind, x))
    assert growth(lambda n: [model.predict(x[:n]) for _ in range(2)]) < SLACK


@pytest.mark.parametrize("kind", KINDS)
def test_training_anew_with_many_sizes(kind):
    x = rows(max(SIZES))
    y, model = targets(kind, x), wide(kind)
    assert growth(lambda n: fit(model, x[:n], y[:n])) < SLACK
