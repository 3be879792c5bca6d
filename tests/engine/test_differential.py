"""Whole trainings of random networks: on NumPy every way of running a step gives its bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import references
from depth import examples
from xpnn import Network
from xpnn import functional as F
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
from xpnn.training import Loss

WAYS = ["planned", "native"]

names = st.sampled_from(sorted(F.ACTIVATIONS))
widths = st.one_of(st.integers(1, 9), st.sampled_from([16, 33, 100, 300]))
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


def train(make, x, t, options, engine):
    """Everything that a training leaves behind."""
    network = make()
    try:
        with np.errstate(all="ignore"):
            history = network.fit(x, t, engine=engine, seed=2, **options)
            assert history.engine == engine
            # The fourth time a number of rows comes, prediction has a plan.
            scores = [network.scores(np.array(x, network.theta.dtype)) for _ in range(4)]
    except FloatingPointError as error:
        return [network.theta], str(error)
    return [network.theta, *scores, np.asarray(history.loss)], ""


def assert_same(found, expected):
    assert found[1] == expected[1]
    for array, reference in zip(found[0], expected[0], strict=True):
        assert array.dtype == reference.dtype
        np.testing.assert_array_equal(array, reference)
        known = ~np.isnan(reference)
        np.testing.assert_array_equal(np.signbit(array)[known], np.signbit(reference)[known])


@pytest.mark.parametrize("way", WAYS)
@examples(100)
@given(trainings())
def test_the_engine_trains_as_the_pure_step_does(way, training):
    assert_same(train(*training, way), train(*training, "pure"))


@examples(30)
@given(trainings(), st.permutations(["planned", "native", "pure", "auto"]))
def test_the_way_changes_between_two_steps(training, ways):
    """Every epoch is run in another way, by a new step that goes on with what there is."""
    make, x, t, options = training
    found = []
    for engines in (ways, ["pure"] * 4):
        network = make()
        with np.errstate(all="ignore"):
            try:
                losses = [
                    network.fit(x, t, engine=engine, seed=2, **options).loss for engine in engines
                ]
            except FloatingPointError:
                losses = []
        found.append(([network.theta, np.asarray(losses)], ""))
    assert_same(*found)


WIDE = {
    "adam": (Adam(0.01), "float32"),
    "clipped nesterov": (
        optimizer_chain(clip_by_global_norm(0.1), SGD(0.01, 0.9, nesterov=True)),
        "float64",
    ),
    "adamw": (AdamW(0.01), "float64"),
    "rmsprop": (optimizer_chain(clip_by_global_norm(0.1), RMSprop(0.01)), "float32"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("layers", [[300, "tanh", 3], [Dense(256, bias=False), "elu", 3]])
def test_wide_networks(name, layers, way):
    """The last batch is ragged; and widths whose products are powers of two."""
    optimizer, dtype = WIDE[name]
    source = np.random.default_rng(0)
    x, t = source.normal(size=(300, 256)).astype(dtype), source.integers(3, size=300)
    training = (
        lambda: Network(256, layers, seed=1),
        x,
        t,
        {"epochs": 2, "batch_size": 256, "optimizer": optimizer, "l2": 0.01},
    )
    assert_same(train(*training, way), train(*training, "pure"))


@pytest.mark.parametrize("way", WAYS)
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
def test_one_record_at_a_time(layers, dtype, optimizer, way):
    source = np.random.default_rng(0)
    training = (
        lambda: Network(7, layers, loss="sum_squared_errors", seed=1),
        source.normal(size=(31, 7)).astype(dtype),
        source.uniform(size=(31, 3)),
        {"epochs": 2, "batch_size": 1, "optimizer": optimizer},
    )
    assert_same(train(*training, way), train(*training, "pure"))


LAYOUTS = {
    "column-major": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "every second column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "not aligned": lambda a: np.frombuffer(b"?" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "of another byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("way", ["pure", *WAYS])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("shuffle", [False, True])
def test_how_data_lies_in_memory_changes_nothing(layout, batch_size, shuffle, way):
    source = np.random.default_rng(0)
    x = source.normal(size=(50, 300))
    options = {"epochs": 3, "batch_size": batch_size, "shuffle": shuffle, "optimizer": Adam(0.01)}
    t = source.integers(2, size=50)

    def make():
        # A product with one column reads rows and columns by different loops.
        return Network(300, [1, "tanh", 2], seed=1)

    lay = LAYOUTS[layout]
    assert_same(
        train(make, lay(x), lay(t), options | {"sample_weight": lay(x[:, 0] ** 2)}, way),
        train(make, x, t, options | {"sample_weight": x[:, 0] ** 2}, "pure"),
    )
