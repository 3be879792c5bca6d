"""Steps for a GPU, run on the host: the same numbers as the pure step's, whatever is trained."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda, compiler
from cuda_pairs import INPUTS, ROWS, WEIGHT, Both

from xpnn.engine.cuda import planner, reductions
from xpnn.engine.trees import leaves
from xpnn.functional import ACTIVATIONS, LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, AdamW, Clipped, Decayed, RMSprop


@pytest.fixture(autouse=True)
def _compiler():
    compiler()


# Compiling takes a second for each shape of a batch: a few networks show much.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(dtype):
    layers = [spec for i, name in enumerate(ACTIVATIONS) for spec in (4 + i % 3, name)]
    Both([*layers, 3], dtype=dtype, optimizer=SGD(0.1)).run()


ONE_OUTPUT = [("binary_cross_entropy", 1), ("mean_squared_error", 1)]


@pytest.mark.parametrize(("loss", "outputs"), [*((loss, 3) for loss in LOSSES), *ONE_OUTPUT])
def test_every_loss(loss, outputs):
    Both([5, "tanh", outputs], loss=loss, weight=WEIGHT, l2=0.01).run()


OPTIMIZERS = [
    SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True), RMSprop(0.01),
    Adam(0.01), AdamW(0.01), Clipped(SGD(0.1), norm=0.1), Decayed(SGD(0.1), weight_decay=0.1),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(optimizer):
    Both([7, "relu", 3], optimizer=optimizer, l2=0.001).run()


@pytest.mark.parametrize("limit", [0, 10**9])
def test_dropout_deep_networks_and_products_by_a_library(limit, monkeypatch):
    monkeypatch.setattr(planner, "OWN", limit)
    both = Both([40, "gelu", Dropout(0.3), 33, "tanh", Dropout(0.1), 5], weight=WEIGHT).run(3)
    # A graph of a whole batch and one of the last; or no graph and products by a library.
    assert (both.cuda.graphs == 0) == (limit == 0)
    assert (both.cuda.products > 0) == (limit == 0)


def test_a_library_that_can_be_recorded_is_part_of_the_graph(monkeypatch):
    monkeypatch.setattr(planner, "OWN", 0)
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph="")).run()
    assert both.cuda.graphs == 1
    assert both.cuda.products > 0
    plan = both.ours.plan(10, both.noise(0), 1).describe()
    assert "by cuBLAS" in plan
    assert "one CUDA graph a step" in plan
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph="for a reason"))
    plan = both.ours.plan(10, both.noise(0), 1).describe()
    assert "one launch after the other: for a reason" in plan


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 50, 100])
def test_every_size_of_batch(batch, shuffle):
    both = Both([4, "relu", Dropout(0.2), 3], batch=batch, shuffle=shuffle).run()
    assert both.cuda.graphs == (2 if batch == 7 else 1)


def test_the_order_of_threads_and_blocks_does_not_matter():
    options = {"weight": WEIGHT, "l2": 0.01, "optimizer": Clipped(Adam(0.01), 0.1)}
    layers = [40, "sigmoid", Dropout(0.3), 3]
    forwards = Both(layers, **options).run()
    backwards = Both(layers, cuda=HostCuda(backwards=True), **options).run()
    for one, other in zip(
        leaves(forwards.ours.state()), leaves(backwards.ours.state()), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("long", [0, 2**16])
def test_a_long_vector_is_summed_by_one_block_or_many(long, monkeypatch):
    monkeypatch.setattr(reductions, "LONG", long)
    Both([400, "relu", 30, "relu", 3], optimizer=Clipped(SGD(0.1), norm=0.01), batch=30).run(1)


def test_a_step_is_a_few_launches_and_nothing_else():
    """Inside an epoch the host copies nothing and reads nothing: only launches are left."""
    both = Both([16, "relu", 3])
    both.run(1)
    before, both.cuda.launches[:] = both.cuda.graphs, []
    both.run(1)
    assert both.cuda.graphs == before  # recorded once
    steps = -(-ROWS // both.batch)
    assert len(both.cuda.launches) % steps == 0
    assert len(both.cuda.launches) // steps <= 18


def test_other_data_in_the_same_place_is_read():
    both = Both([8, "relu", 3])
    both.run(1)
    x = both.columns[0][::-1].copy()
    both.pure.columns = both.ours.columns = (x, *both.columns[1:])
    both.run(2)


def test_data_that_does_not_lie_row_after_row():
    both = Both([8, "relu", 3])
    spread = np.zeros((ROWS, 2 * INPUTS))
    spread[:, ::2] = both.columns[0]
    both.ours.columns = (spread[:, ::2], *both.columns[1:])
    both.run(2)
    both = Both([8, "relu", 3], batch=ROWS, shuffle=False)
    both.ours.columns = (np.asfortranarray(both.columns[0]), *both.columns[1:])
    both.run(2)


def test_what_has_no_rule_runs_as_it_is():
    both = Both([8, "relu", 3])
    few = np.round(both.columns[0]).astype("int16")
    both.pure.columns = both.ours.columns = (few, *both.columns[1:])
    order = np.arange(ROWS)
    for runner in (both.pure, both.ours):
        runner.run(ROWS, 10, order, [0.01] * 5, lambda rows: None, 1)
    assert "kernels with int16" in both.ours.reason
    np.testing.assert_array_equal(both.ours.theta(), both.pure.theta())


def test_a_plan_can_be_read():
    both = Both([100, "relu", Dropout(0.2), 10], dtype="float32")
    text = both.ours.plan(20, both.noise(0), 1).describe()
    assert "theta        float32[1710]" in text
    assert "one CUDA graph a step" in text
    assert "matmul 20 x 6 x 100" in text
    assert 'extern "C" __global__ void k0(' in text
    assert text.count("__global__") <= 16
