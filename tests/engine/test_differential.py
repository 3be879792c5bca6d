"""Whole trainings of random networks: the engine against the pure step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import small_blocks

import references
from depth import examples
from xpnn import Network
from xpnn import functional as F
from xpnn.engine import replay
from xpnn.engine.compile import numba_is_there
from xpnn.layers import Activation, Dense, Dropout, RawErrorDense, chain
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineWarmup,
    InverseScaling,
    ReduceOnPlateau,
    RMSprop,
    StepDecay,
    clip_by_global_norm,
)
from xpnn.optimizers import chain as optimizer_chain
from xpnn.training import Loss, step

REPLAY = "plan"  # the engine that replays NumPy calls, without compiled kernels
# How far it may be from the pure step, in units of the dtype's eps relative to the largest
# entry. The same NumPy calls on the same memory layout give the same bits; a kernel that
# computes, say, `exp` by itself would be an ulp off and asks for a bound here.
ULPS = 0
# Plain gradient steps of one row go through BLAS, which rounds ``rate * dz`` first.
RANK_ONE_ULPS = 500

names = st.sampled_from(sorted(F.ACTIVATIONS))
widths = st.integers(1, 6)
flat = st.one_of(
    widths,
    names,
    st.builds(Dense, widths, bias=st.booleans()),
    st.builds(Activation, st.sampled_from(["elu", "leaky_relu"]), st.sampled_from([0.3, 2.0])),
    st.builds(Dropout, st.sampled_from([0.0, 0.25, 0.7])),
    st.builds(RawErrorDense, widths, names, bias=st.booleans()),
)
hidden = st.one_of(flat, flat, st.lists(flat, min_size=1, max_size=3).map(chain))
rates = st.one_of(
    st.just(0.02),
    st.sampled_from(
        [
            CosineWarmup(0.02, warmup=1),
            InverseScaling(0.02),
            StepDecay(0.02, every=1),
            ReduceOnPlateau(0.02, patience=1, min_delta=10.0),
        ]
    ),
)
plain_optimizers = st.one_of(
    st.builds(SGD, rates),
    st.builds(SGD, rates, momentum=st.just(0.9), nesterov=st.booleans()),
    st.builds(Adam, rates, beta1=st.sampled_from([0.0, 0.9])),
    st.builds(AdamW, rates),
    st.builds(RMSprop, rates),
)
optimizers = st.one_of(
    plain_optimizers,
    st.builds(
        optimizer_chain,
        st.builds(clip_by_global_norm, st.sampled_from([0.05, 1e3])),
        plain_optimizers,
    ),
)
losses = st.one_of(
    st.sampled_from(sorted(F.LOSSES)).map(Loss),
    st.builds(
        Loss,
        st.sampled_from(["softmax_cross_entropy", "binary_cross_entropy"]),
        label_smoothing=st.just(0.2),
    ),
    st.builds(Loss, st.just("huber"), delta=st.just(0.3)),
)


@st.composite
def trainings(draw):
    """How to make a network, data that fits it, and options for its training."""
    inputs, outputs, rows = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 11)),
    )
    loss, dtype = draw(losses), draw(st.sampled_from(["float32", "float64"]))
    layers = [
        *draw(st.lists(hidden, max_size=3)),
        draw(st.builds(Dense, st.just(outputs), bias=st.booleans())),
        *draw(st.lists(names, max_size=1)),
    ]
    source = np.random.default_rng(draw(st.integers(0, 1000)))
    x = source.normal(size=(rows, inputs)).astype(dtype)
    t = references.targets(loss.name, source, rows, outputs)
    if loss.name == "softmax_cross_entropy" and draw(st.booleans()):
        t = t.argmax(axis=1).astype(draw(st.sampled_from(["int64", "int32", "uint8"])))
    options = {
        "epochs": draw(st.integers(2, 3)),
        "batch_size": draw(st.sampled_from([None, 1, 2, 3, 4, 20])),
        "sample_weight": source.uniform(0.1, 2, rows) if draw(st.booleans()) else None,
        "l2": draw(st.sampled_from([0.0, 0.05])),
        "optimizer": draw(optimizers),
        "shuffle": draw(st.booleans()),
    }
    return lambda: Network(inputs, layers, loss=loss, seed=1), x, t, options


def bound(training):
    """How many ulps a training may be off: see above."""
    _, x, _, options = training
    optimizer, size = options["optimizer"], options["batch_size"] or len(x)
    plain = isinstance(optimizer, SGD) and not optimizer.momentum
    return RANK_ONE_ULPS if plain and (size == 1 or len(x) % size == 1) else ULPS


def train(make, x, t, options, engine):
    """Everything that a training leaves behind."""
    network = make()
    try:
        with np.errstate(all="ignore"):
            history = network.fit(x, t, engine=engine, seed=2, **options)
            # The fourth time a number of rows comes, prediction has a plan.
            scores = [network.scores(x) for _ in range(4)]
    except FloatingPointError as error:
        return [network.theta], str(error)
    return [network.theta, *scores, np.asarray(history.loss)], ""


def assert_same(found, expected, ulps=ULPS):
    """The one place that says how close the engine's results are to the pure step's."""
    assert found[1] == expected[1]
    for array, reference in zip(found[0], expected[0], strict=True):
        assert array.dtype == reference.dtype
        if ulps == 0:
            np.testing.assert_array_equal(array, reference)
        else:
            limit = ulps * np.finfo(found[0][0].dtype).eps
            np.testing.assert_allclose(
                array, reference, rtol=limit, atol=limit * np.abs(reference).max()
            )


@pytest.fixture(autouse=True)
def no_training_falls_back(monkeypatch):
    """Else this file would hold the pure step against itself."""
    reasons = set()
    make_runner = step.make_runner

    def noting(*args, mode, **options):
        runner = make_runner(*args, mode=mode, **options)
        run = runner.run

        def noting_run(*args):
            totals = run(*args)
            reasons.add((mode, runner.reason))
            return totals

        runner.run = noting_run
        return runner

    monkeypatch.setattr(step, "make_runner", noting)
    yield
    fallen = {
        reason for mode, reason in reasons if mode not in ("pure", "auto") and "pure" in reason
    }
    assert not fallen, fallen


@examples(100)
@given(trainings())
def test_the_engine_trains_as_the_pure_step_does(training):
    assert_same(train(*training, REPLAY), train(*training, "pure"), bound(training))


@examples(60)
@given(trainings(), st.sampled_from([1, 3, 4, 5]), st.sampled_from([4, 6]))
def test_long_vectors_block_by_block(monkeypatch, training, block, blocks):
    """Blocks of a few elements: every vector of parameters is a chain with a ragged end."""
    small_blocks(monkeypatch, block, blocks)
    assert_same(train(*training, REPLAY), train(*training, "pure"), bound(training))


@examples(60)
@given(trainings(), st.sampled_from([4, 5, 16]))
def test_buffers_taken_in_turn(monkeypatch, training, most):
    """Every step reads and writes other memory; a ragged last batch goes on where it was."""
    monkeypatch.setattr(replay, "SMALL", 1)
    monkeypatch.setattr(replay, "MOST", most)
    assert_same(train(*training, REPLAY), train(*training, "pure"), bound(training))


@pytest.mark.skipif(not numba_is_there(), reason="kernels need Numba")
@pytest.mark.parametrize("small", [1, replay.SMALL], ids=["in turn", "one buffer"])
@pytest.mark.parametrize("optimizer", [SGD(0.05), SGD(0.05, 0.9), AdamW(0.01)], ids=repr)
@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([9, "relu", 3], "softmax_cross_entropy"),
        ([9, "softplus", 3], "mean_absolute_error"),
        ([9, "elu", 3], "mean_absolute_error"),
        ([9, "gelu", Dropout(0.2), 5, "sigmoid", 3], "huber"),
    ],
)
def test_kernels_train_as_the_pure_step_does(monkeypatch, layers, loss, optimizer, small):
    """A few ulp in a step, more after fifteen; with one buffer, or buffers taken in turn."""
    monkeypatch.setattr(replay, "SMALL", small)
    source = np.random.default_rng(0)
    training = (
        lambda: Network(7, layers, loss=loss, seed=1),
        source.normal(size=(37, 7)),
        references.targets(loss, source, 37, 3),
        {"epochs": 3, "batch_size": 8, "optimizer": optimizer, "l2": 0.01},
    )
    assert_same(train(*training, "kernels"), train(*training, "pure"), ulps=2000)


WIDE = {
    "adam": (Adam(0.01), "float32"),
    "clipped nesterov": (
        optimizer_chain(clip_by_global_norm(0.1), SGD(0.01, 0.9, nesterov=True)),
        "float64",
    ),
    "adamw": (AdamW(0.01), "float64"),
    "rmsprop": (optimizer_chain(clip_by_global_norm(0.1), RMSprop(0.01)), "float32"),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("layers", [[300, "tanh", 3], [Dense(256, bias=False), "elu", 3]])
def test_long_vectors_in_blocks_of_the_usual_size(name, layers):
    """More than four blocks, the last one ragged; and widths whose products are powers of two."""
    optimizer, dtype = WIDE[name]
    source = np.random.default_rng(0)
    x, t = source.normal(size=(300, 256)).astype(dtype), source.integers(3, size=300)
    training = (
        lambda: Network(256, layers, seed=1),
        x,
        t,
        {"epochs": 2, "batch_size": 256, "optimizer": optimizer, "l2": 0.01},
    )
    assert_same(train(*training, REPLAY), train(*training, "pure"))


@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.05), SGD(0.05, 0.9), optimizer_chain(clip_by_global_norm(1.0), SGD(0.1)), Adam(0.01)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layers",
    [
        [3],
        [Dense(3, bias=False)],
        [9, "sigmoid", 3],
        [Dense(9, bias=False), "tanh", Dropout(0.3), 1, "elu", Dense(3, bias=False)],
        [RawErrorDense(9), RawErrorDense(3)],
    ],
)
def test_one_record_at_a_time(layers, dtype, optimizer):
    source = np.random.default_rng(0)
    training = (
        lambda: Network(7, layers, loss="sum_squared_errors", seed=1),
        source.normal(size=(31, 7)).astype(dtype),
        source.uniform(size=(31, 3)),
        {"epochs": 2, "batch_size": 1, "optimizer": optimizer},
    )
    assert_same(train(*training, REPLAY), train(*training, "pure"), bound(training))


@pytest.mark.parametrize("optimizer", [SGD(0.05), SGD(0.05, 0.9), Adam(0.01)], ids=repr)
def test_what_differs_in_memory_layout_differs_in_the_last_digits_only(optimizer):
    """Column-major rows in order: the pure step multiplies slices of it, the engine copies."""
    source = np.random.default_rng(0)
    x = np.asfortranarray(source.normal(size=(50, 20)))
    training = (
        lambda: Network(20, [8, "tanh", 2], seed=1),
        x,
        source.integers(2, size=50),
        {"epochs": 3, "batch_size": 8, "shuffle": False, "optimizer": optimizer},
    )
    assert_same(train(*training, REPLAY), train(*training, "pure"), ulps=1000)
