"""Steps for a GPU, run on the host: the same numbers as the pure step's, whatever is trained."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from cuda_on_host import HostCuda, run_plan
from cuda_pairs import INPUTS, MARKS, ROWS, WEIGHT, Both, computing_in

from xpnn.engine.cuda import source
from xpnn.engine.cuda.plan import CudaPlan
from xpnn.engine.cuda.source import TYPES
from xpnn.engine.trace import NAMESPACE, UnknownOperationError
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


@pytest.mark.parametrize("reason", ["", "a reason"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_clipping_and_products_by_a_library(dtype, reason):
    layers = [40, "gelu", Dropout(0.3), 33, "tanh", Dropout(0.1), 5]
    optimizer = chain(clip_by_global_norm(0.5), SGD(0.1))
    cuda = HostCuda(no_graph=reason)
    both = Both(layers, weight=WEIGHT, optimizer=optimizer, cuda=cuda, **computing_in(dtype)).run(2)
    assert both.cuda.products > 0
    # A graph for each size of a batch, or the pieces between products.
    assert both.cuda.graphs == (7 if reason else 1)
    plan = both.ours.plan(10, both.noise(0), both.sums).describe()
    expected = "CUDA graphs between products, a reason" if reason else "one CUDA graph a step"
    assert expected in plan
    assert both.ours.engine == ("CUDA, not all of it in graphs: a reason" if reason else "CUDA")


def test_products_of_integers_are_no_librarys():
    a = np.ones((3, 3), "int64")
    with pytest.raises(UnknownOperationError, match="matmul of int64 and int64"):
        CudaPlan(lambda a: NAMESPACE.matmul(a, a), (a,), ["a"], {})


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 50, 100])
def test_every_size_of_batch(batch, shuffle):
    cuda = HostCuda(no_graph="")
    both = Both([4, "relu", Dropout(0.2), 3], batch=batch, shuffle=shuffle, cuda=cuda).run()
    # The first step of each size of a batch is no graph yet.
    sizes, steps = {1: (1, 50), 7: (2, 8), 50: (1, 1), 100: (1, 1)}[batch]
    assert both.cuda.graphs == sizes
    assert both.cuda.starts == 2 * steps - sizes


@pytest.mark.parametrize("rows", [1, 9, 10, 19, 40, 41])
def test_any_number_of_rows(rows):
    Both([4, "relu", 3], weight=WEIGHT).run(2, rows=rows)


def test_other_numbers_of_rows_one_after_the_other():
    """As the windows of a source have them: a plan of each of the latest sizes is kept."""
    both = Both([4, "relu", Dropout(0.3), 3], cuda=HostCuda(no_graph=""))
    for rows in (50, 31, 7, 48, 50, 31):
        both.run(1, rows=rows)
    assert both.cuda.graphs == 4  # of 10, 1, 7 and 8 rows
    for rows in range(41, 50):
        both.run(1, rows=rows)
    assert len(both.ours.bound) == 8


def test_other_data_of_the_same_shapes_needs_no_other_graph():
    """The windows of a stream are other arrays each time, and nothing keeps those that were."""
    both = Both([4, "relu", 3], cuda=HostCuda(no_graph=""))
    seen = []
    for shift in range(4):
        x, t, weight = both.columns
        x = np.roll(x, shift, axis=0) + shift
        both.pure.columns = both.ours.columns = (x, t.copy(), weight)
        seen.append(weakref.ref(x))
        both.run(2)
        if not shift:
            launches = set(both.cuda.launches)
    assert both.cuda.graphs == 1
    assert set(both.cuda.launches) == launches
    both.pure.columns = both.ours.columns = both.columns
    del x
    assert [ref() for ref in seen] == [None] * 4


def test_other_data_that_lies_otherwise():
    both = Both([4, "relu", 3], cuda=HostCuda(no_graph="")).run(1)
    x, t, weight = both.columns
    both.pure.columns = both.ours.columns = (np.asfortranarray(x), t, weight)
    both.run(2)
    assert both.cuda.graphs == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_threads_and_blocks_does_not_matter(dtype):
    options = {"weight": WEIGHT, "l2": 0.01, **computing_in(dtype)}
    options["optimizer"] = chain(clip_by_global_norm(0.1), SGD(0.1, 0.9))
    layers = [40, "sigmoid", Dropout(0.3), 3]
    runs = [Both(layers, cuda=HostCuda(way), **options).run() for way in (False, True)]
    for one, other in zip(*(leaves(both.ours.state()) for both in runs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("threads", [4, 256])
def test_a_long_vector_is_summed_by_one_block_or_many(threads, monkeypatch):
    monkeypatch.setattr(source, "THREADS", threads)
    monkeypatch.setattr(source, "WARP", min(threads, 32))
    both = Both(
        [400, "relu", 30, "relu", 3], optimizer=chain(clip_by_global_norm(0.01), SGD(0.1)), batch=30
    ).run(1)
    work = both.ours.plan(30, both.noise(0), 1).work
    long = [one for one in work if one.operands[0].size > 10_000 and "over all" in one.says]
    assert long
    for one in long:
        assert one.blocks == (-(-one.operands[0].size // 16) if threads == 4 else 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 300), (300, 5), (200, 33)])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("threads", [8, 256])
def test_every_reduction(threads, shape, backwards, monkeypatch):
    """With few threads in a block they are made of parts, and those of parts again."""
    monkeypatch.setattr(source, "THREADS", threads)
    monkeypatch.setattr(source, "WARP", min(threads, 32))
    a = np.random.default_rng(0).normal(size=shape)

    def function(a):
        ways = [(axis, keep) for axis in (None, 0, 1) for keep in (False, True)]
        return tuple(
            getattr(NAMESPACE, op)(array, axis=axis, keepdims=keep)
            for op in ("sum", "max", "min") for array in (a, a.T, a[::-1, :]) for axis, keep in ways
        )  # fmt: skip

    found = run_plan(function, (a,), HostCuda(backwards))
    ways = [(axis, keep) for axis in (None, 0, 1) for keep in (False, True)]
    expected = [
        getattr(np, op)(array, axis=axis, keepdims=keep)
        for op in ("sum", "max", "min") for array in (a, a.T, a[::-1, :]) for axis, keep in ways
    ]  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-11)


def test_a_step_is_a_few_launches_and_nothing_else():
    """Inside an epoch the host copies nothing and reads nothing: only launches are left."""
    both = Both([16, "relu", 3], cuda=HostCuda(no_graph=""))
    both.run(1)
    before, both.cuda.launches[:], both.cuda.products = both.cuda.graphs, [], 0
    both.run(1)
    assert both.cuda.graphs == before  # recorded once
    steps = -(-ROWS // both.batch)
    assert both.cuda.products == 5 * steps
    assert len(both.cuda.launches) % steps == 0
    assert len(both.cuda.launches) // steps <= 19


def test_other_data_in_the_same_place_is_read():
    both = Both([8, "relu", 3])
    both.run(1)
    x = both.columns[0][::-1].copy()
    both.pure.columns = both.ours.columns = (x, *both.columns[1:])
    both.run(2)


@pytest.mark.parametrize("known", [set(TYPES), set()], ids=["CUDA", "pure"])
def test_other_parameters_are_gone_on_from(known, monkeypatch):
    for name in set(TYPES) - known:
        monkeypatch.delitem(TYPES, name)
    both = Both([8, "relu", 3])
    both.ours.run(ROWS, 10, None, [0.01] * 5, both.noise(0), 1)
    theta = both.ours.theta() * 2
    given = theta.copy()
    both.ours.set_theta(given)
    np.testing.assert_array_equal(both.ours.theta(), theta)
    both.ours.run(ROWS, 10, None, [0.01] * 5, both.noise(0), 1)
    assert not np.array_equal(both.ours.theta(), theta)
    np.testing.assert_array_equal(given, theta)


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
    both = Both([100, "relu", Dropout(0.2), 10], dtype="float32", cuda=HostCuda(no_graph=""))
    text = both.ours.plan(20, both.noise(0), 1).describe()
    assert "theta        float32[1710]" in text
    assert "one CUDA graph a step" in text
    assert "matmul 20 x 6 x 100" in text
    assert 'extern "C" __global__ void k0(' in text
    assert text.count("__global__") <= 19


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
    """The first steps of each size of a batch are taken by the pure update too: nobody may know."""
    others = Others()
    cuda = HostCuda(no_graph="")
    both = Both(LAYERS, weight=weight, l2=0.01, exchange=others, batch=8, cuda=cuda).run(3)
    steps = 3 * -(-ROWS // 8)
    assert others.count == 2 * steps  # those of the pure step, and the same again
    # Two stretches, each a graph of a whole batch and one of the last.
    assert both.cuda.graphs == 4
    assert both.ours.plan(8, both.noise(0), both.sums).describe().count("all-reduce with") == 1
    assert "graphs between the all-reduce" in both.ours.plan(8, both.noise(0), both.sums).describe()


def test_products_that_no_graph_records():
    both = Both(LAYERS, exchange=Others()).run(2)
    assert both.cuda.products > 0
    text = both.ours.plan(8, both.noise(0), both.sums).describe()
    assert "graphs between products, a reason and the all-reduce" in text


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("parts", [2, 5])
def test_a_batch_in_parts_is_one_graph(parts, dtype):
    options = computing_in(dtype)
    both = Both(LAYERS, parts=parts, weight=WEIGHT, **options).run(2)
    assert both.cuda.graphs > 0
    assert "all-reduce" not in both.ours.plan(10, both.noise(0), 2).describe()
