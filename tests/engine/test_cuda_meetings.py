"""Steps for a GPU in which other processes take part, run on the host."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda, compiler
from cuda_pairs import ROWS, WEIGHT, Both

from xpnn.engine.cuda import plan as plans
from xpnn.layers import Dropout
from xpnn.training.precision import Precision

pytestmark = pytest.mark.slow  # compiles C++ for each plan

LAYERS = [16, "gelu", Dropout(0.2), 3]


@pytest.fixture(autouse=True)
def _compiler():
    compiler()


class Others:
    """Add the sums of some process that always finds the same, and count how often."""

    single_process = False

    def __init__(self):
        self.count = 0

    def __call__(self, vector):
        self.count += 1
        return vector + np.linspace(0.1, 3, len(vector), dtype=vector.dtype)


class Nobody:
    """What is asked must not be: there is nobody else."""

    single_process = True

    def __call__(self, vector):
        raise AssertionError("nobody else is there")


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weights"])
def test_others_take_part_in_each_step_and_in_no_other(weight):
    """One step of each size of a batch is tried out before: nobody else may know."""
    others = Others()
    both = Both(LAYERS, weight=weight, l2=0.01, exchange=others, batch=8).run(3)
    steps = 3 * -(-ROWS // 8)
    assert others.count == 2 * steps  # those of the pure step, and the same again
    # Two stretches, each a graph of a whole batch and one of the last.
    assert both.cuda.graphs == 4
    assert both.ours.plan(8, both.noise(0), both.sums).describe().count("all-reduce with") == 1
    assert (
        "a CUDA graph before and one after"
        in both.ours.plan(8, both.noise(0), both.sums).describe()
    )


def test_products_that_no_graph_records(monkeypatch):
    monkeypatch.setattr(plans, "OWN", 0)
    both = Both(LAYERS, exchange=Others()).run(2)
    assert both.cuda.graphs == 0
    assert both.cuda.products > 0


@pytest.mark.parametrize("precision", [None, "float16"])
@pytest.mark.parametrize("parts", [2, 5])
def test_a_batch_in_parts_is_one_graph(parts, precision):
    options = {} if precision is None else {"precision": Precision(precision), "dtype": "float32"}
    both = Both(LAYERS, exchange=Nobody(), parts=parts, weight=WEIGHT, **options).run(2)
    assert both.cuda.graphs > 0
    assert "all-reduce" not in both.ours.plan(10, both.noise(0), 2).describe()


def test_noise_ahead_takes_no_more_room_than_an_epochs():
    both = Both([4, Dropout(0.2), 3], cuda=HostCuda(), exchange=Nobody()).run(1)
    (bound,) = both.ours.bound.values()
    assert [len(ahead) for ahead in bound.ahead] == [5, 5]  # 50 rows in batches of 10
