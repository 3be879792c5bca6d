"""Steps for a GPU, run on the host: the same numbers as the pure step's, whatever is trained."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda
from cuda_pairs import INPUTS, MARKS, ROWS, WEIGHT, Both, computing_in

from xpnn.engine.cuda import plan as cuda_plan
from xpnn.engine.cuda import run, source
from xpnn.engine.cuda.groups import TYPES
from xpnn.engine.trace import UnknownOperationError
from xpnn.engine.trees import leaves
from xpnn.functional import ACTIVATIONS, LOSSES, CustomLoss
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    RMSprop,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)

pytestmark = MARKS
DTYPES = ["float64", "float16", "bfloat16"]


# Compiling takes a second for each shape of a batch: a few networks show much.


@pytest.mark.parametrize("dtype", ["float32", *DTYPES])
def test_every_activation(dtype):
    layers = [spec for i, name in enumerate(ACTIVATIONS) for spec in (4 + i % 3, name)]
    Both([*layers, 3], optimizer=SGD(0.1), **computing_in(dtype)).run()


ONE_OUTPUT = [("binary_cross_entropy", 1), ("mean_squared_error", 1)]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize(("loss", "outputs"), [*((loss, 3) for loss in LOSSES), *ONE_OUTPUT])
def test_every_loss(loss, outputs, dtype):
    options = {"loss": loss, "weight": WEIGHT, "l2": 0.01, "optimizer": SGD(0.1)}
    Both([5, "tanh", outputs], **options, **computing_in(dtype)).run()


def test_a_custom_loss_may_add_a_row_up_without_its_axis():
    loss = CustomLoss(
        lambda s, t, xp: xp.sum((s - t) ** 2, axis=1) + xp.max(xp.abs(s - t), axis=1) * 0.0,
        lambda s, t, xp: 2.0 * (s - t),
    )
    Both([5, "tanh", 3], loss=loss, weight=WEIGHT).run()


@pytest.mark.parametrize("labels", sorted({t for t in TYPES if "int" in t} - {"int64"}))
def test_labels_of_other_integers(labels):
    """They are held against numbers of 64 bits."""
    both = Both([5, "tanh", 3], labels=labels).run(1)
    assert both.columns[1].dtype == labels


OPTIMIZERS = [
    SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True), RMSprop(0.01),
    Adam(0.01), AdamW(0.01), chain(clip_by_global_norm(0.1), SGD(0.1)),
    chain(add_decayed_weights(0.1), SGD(0.1)),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(optimizer):
    Both([7, "relu", 3], optimizer=optimizer, l2=0.001).run()


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_clipping_and_products_by_a_library(dtype, limit, monkeypatch):
    monkeypatch.setattr(cuda_plan, "OWN", limit)
    layers = [40, "gelu", Dropout(0.3), 33, "tanh", Dropout(0.1), 5]
    optimizer = chain(clip_by_global_norm(0.5), SGD(0.1))
    both = Both(layers, weight=WEIGHT, optimizer=optimizer, **computing_in(dtype)).run(2)
    # A graph of a whole batch and one of the last; or no graph and products by a library.
    assert (both.cuda.graphs == 0) == (limit == 0)
    assert (both.cuda.products > 0) == (limit == 0)


def test_small_products_are_kernels_beside_a_library_that_can_be_recorded(monkeypatch):
    """The three of the first layer, forward and backward, are larger than those of the last."""
    monkeypatch.setattr(cuda_plan, "SMALL", 10 * 16 * 3)
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph="")).run()
    work = [one.says for one in both.ours.plan(10, both.noise(0), 1).work if "matmul" in one.says]
    assert [one.endswith("by cuBLAS") for one in work] == [True, False, False, False, True]
    assert both.cuda.graphs > 0
    # One that cannot be recorded is worth no more than the graph.
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph="for a reason")).run(1)
    assert not both.ours.plan(10, both.noise(0), 1).products


def test_a_matrix_beyond_the_reach_of_an_index_is_no_kernels():
    far = np.lib.stride_tricks.as_strided(np.zeros(1), (2, 2), (2**34, 8))
    near = np.zeros((2, 2))
    with pytest.raises(UnknownOperationError, match="matrix as large as"):
        source.product(far, near, near)
    assert source.product(near, near, near).blocks == 1


def test_a_library_that_can_be_recorded_is_part_of_the_graph(monkeypatch):
    monkeypatch.setattr(cuda_plan, "OWN", 0)
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph="")).run()
    assert both.cuda.graphs > 0
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
    # Of 16 whole steps, of those that are left, and of the smaller one.
    assert both.cuda.graphs == {1: 2, 7: 2, 50: 1, 100: 1}[batch]
    assert both.cuda.starts == 2 * {1: 4, 7: 2, 50: 1, 100: 1}[batch]


@pytest.mark.parametrize(("ahead", "steps"), [(1, 16), (4, 3), (3, 4), (100, 16)])
def test_noise_of_several_steps_is_there_before_they_start(ahead, steps, monkeypatch):
    """Whether or not it fits: two layers of dropout, 13 batches and a smaller one."""
    monkeypatch.setattr(run, "STEPS", steps)
    monkeypatch.setattr(run, "_NOISE_BYTES", ahead * 4 * 4 * (5 + 4))
    both = Both([5, "relu", Dropout(0.3), 4, "tanh", Dropout(0.2), 3], batch=4, shuffle=True)
    both.ours.columns = both.pure.columns = tuple(
        None if c is None else np.concatenate([c, c[:5]]) for c in both.columns
    )
    both.run(3, rows=55)
    assert len(both.ours.bound[4, 1, False].ahead[0]) == min(ahead, 13)
    assert max(both.ours.bound[4, 1, False].graphs) == min(ahead, steps, 13)


@pytest.mark.parametrize("rows", [1, 9, 10, 19, 40, 41])
def test_any_number_of_rows(rows, monkeypatch):
    monkeypatch.setattr(run, "STEPS", 3)
    Both([4, "relu", 3], weight=WEIGHT).run(2, rows=rows)


def test_other_numbers_of_rows_one_after_the_other():
    """As the windows of a source have them."""
    both = Both([4, "relu", Dropout(0.3), 3])
    for rows in (50, 31, 7, 48, 50):
        both.run(1, rows=rows)
    assert len(both.ours.bound[10, 1, False].graphs) <= 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_threads_and_blocks_does_not_matter(dtype):
    options = {"weight": WEIGHT, "l2": 0.01, **computing_in(dtype)}
    options["optimizer"] = chain(clip_by_global_norm(0.1), SGD(0.1, 0.9))
    layers = [40, "sigmoid", Dropout(0.3), 3]
    runs = [Both(layers, cuda=HostCuda(way), **options).run() for way in (False, True)]
    for one, other in zip(*(leaves(both.ours.state()) for both in runs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("long", [0, 2**16])
def test_a_long_vector_is_summed_by_one_block_or_many(long, monkeypatch):
    monkeypatch.setattr(source, "LONG", long)
    monkeypatch.setattr(cuda_plan, "PARTS", 7)
    Both(
        [400, "relu", 30, "relu", 3], optimizer=chain(clip_by_global_norm(0.01), SGD(0.1)), batch=30
    ).run(1)


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


def test_what_has_no_rule_runs_as_it_is(monkeypatch):
    monkeypatch.delitem(TYPES, "int16")
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


# With other processes

LAYERS = [16, "gelu", Dropout(0.2), 3]


class Others:
    """Add the sums of some process that always finds the same, and count how often."""

    def __init__(self):
        self.count = 0

    def __call__(self, vector):
        self.count += 1
        return vector + np.linspace(0.1, 3, len(vector), dtype=vector.dtype)


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
    monkeypatch.setattr(cuda_plan, "OWN", 0)
    both = Both(LAYERS, exchange=Others()).run(2)
    assert both.cuda.graphs == 0
    assert both.cuda.products > 0


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("parts", [2, 5])
def test_a_batch_in_parts_is_one_graph(parts, dtype):
    options = computing_in(dtype)
    both = Both(LAYERS, parts=parts, weight=WEIGHT, **options).run(2)
    assert both.cuda.graphs > 0
    assert "all-reduce" not in both.ours.plan(10, both.noise(0), 2).describe()


def test_noise_ahead_takes_no_more_room_than_an_epochs():
    both = Both([4, Dropout(0.2), 3], cuda=HostCuda()).run(1)
    (bound,) = both.ours.bound.values()
    assert [len(ahead) for ahead in bound.ahead] == [5]  # 50 rows in batches of 10
