"""Prediction by plan is the pure forward, bit for bit, whatever comes in."""

from __future__ import annotations

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import Network
from xpnn import functional as F
from xpnn.engine import Predictor, plan, predict
from xpnn.engine.plan import make_plan
from xpnn.engine.trace import NAMESPACE
from xpnn.layers import Activation, Dense, Dropout, RawErrorDense

LAYERS = [7, "relu", Dropout(0.5), 6, "gelu", 3]
X = np.random.default_rng(0).normal(size=(64, 5))
X.flags.writeable = False


def pure(network, x):
    """Scores without an engine."""
    return network.forward(x)[0]


@pytest.fixture
def plans(monkeypatch):
    """Counts the plans that are made."""
    made = []

    def counting(*args, **kwargs):
        made.append(make_plan(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(plan, "make_plan", counting)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 2, 3, 64])
def test_each_call_gives_the_pure_forward(rows, dtype, plans):
    network, x = Network(5, LAYERS, seed=0, dtype=dtype), X[:rows].astype(dtype)
    for _ in range(5):
        np.testing.assert_array_equal(network.scores(x), pure(network, x), strict=True)
    assert len(plans) == 1


hidden = st.one_of(
    st.integers(1, 5),
    st.sampled_from(sorted(F.ACTIVATIONS)),
    st.just(Dropout(0.5)),
    st.builds(Dense, st.integers(1, 5), bias=st.booleans()),
    st.builds(Activation, st.just("elu"), st.just(0.5)),
    st.builds(RawErrorDense, st.integers(1, 5)),
)


@given(
    st.lists(hidden, min_size=1, max_size=4),
    st.integers(1, 5),
    st.lists(st.sampled_from([1, 2, 5, 9]), min_size=1, max_size=3),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([2, 4, 4096]),
)
def test_random_networks_and_rows(monkeypatch, layers, inputs, calls, dtype, chunk):
    monkeypatch.setattr(predict, "CHUNK_BYTES", 0)
    monkeypatch.setattr(predict, "FEWEST", chunk)
    source = np.random.default_rng(0)
    network = Network(inputs, layers, loss="mean_squared_error", seed=0, dtype=dtype)
    for rows in calls * 5:
        x = source.normal(size=(rows, inputs)).astype(dtype)
        chunks = [pure(network, x[i : i + chunk]) for i in range(0, rows, chunk)]
        np.testing.assert_array_equal(network.scores(x), np.concatenate(chunks), strict=True)


def test_a_single_row_without_its_first_axis():
    network = Network(5, LAYERS, seed=0)
    for row in X[:6]:
        np.testing.assert_array_equal(network.scores(row), pure(network, row[None, :])[0])


@pytest.mark.parametrize("rows", [7, 8, 9, 16, 17, 63])
def test_many_rows_go_through_in_chunks(rows, monkeypatch, plans):
    monkeypatch.setattr(predict, "CHUNK_BYTES", 0)
    monkeypatch.setattr(predict, "FEWEST", 8)
    network = Network(5, LAYERS, seed=0)
    expected = np.concatenate([pure(network, X[i : min(i + 8, rows)]) for i in range(0, rows, 8)])
    for _ in range(5):
        np.testing.assert_array_equal(network.scores(X[:rows]), expected)
    assert all(plan.trace.inputs[1].shape[0] <= 8 for plan in plans)
    np.testing.assert_allclose(expected, pure(network, X[:rows]), rtol=1e-12)


def test_the_usual_chunk(plans):
    network = Network(5, [512, "relu", 3], seed=0, dtype="float32")
    rows = predict.CHUNK_BYTES // (512 * 4)
    x = np.random.default_rng(0).normal(size=(2 * rows + 5, 5)).astype("float32")
    for _ in range(2):
        np.testing.assert_allclose(network.scores(x), pure(network, x), rtol=1e-4, atol=1e-6)
    assert [plan.trace.inputs[1].shape[0] for plan in plans] == [rows] == [4096]


def test_only_a_few_plans_are_kept(plans):
    """Rows of every number: no plan for what comes once, and old plans go."""
    network = Network(5, LAYERS, seed=0)
    for rows in range(1, 40):
        network.scores(X[:rows])
    assert not plans
    for rows in range(1, 9):
        for _ in range(5):
            np.testing.assert_array_equal(network.scores(X[:rows]), pure(network, X[:rows]))
    made = [weakref.ref(plans.pop(0).outputs[0]) for _ in range(8)]
    gc.collect()
    assert [buffer() is not None for buffer in made] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("layers", [LAYERS, [3], ["identity", Dropout(0.5)], [Dropout(0.1), 3]])
def test_results_own_their_memory(layers):
    network = Network(5, layers, loss="mean_squared_error", seed=0)
    results, copies = [], []
    for i in range(5):
        results.append(network.scores(X[i : i + 3]))
        copies.append(results[-1].copy())
    for i, (result, copy) in enumerate(zip(results, copies, strict=True)):
        np.testing.assert_array_equal(result, copy)
        np.testing.assert_array_equal(result, pure(network, X[i : i + 3]))
        result[...] = np.nan
    np.testing.assert_array_equal(network.scores(X[:3]), copies[0])


def test_the_input_may_change_after_planning():
    network, x = Network(5, LAYERS, seed=0), X[:4].copy()
    for _ in range(6):
        np.testing.assert_array_equal(network.scores(x), pure(network, x))
        x += 1.0


LAYOUTS = {
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "column-major": np.asfortranarray,
    "a transposed array": lambda x: x.T.copy().T,
    "part of a wider table": lambda x: np.pad(x, ((0, 0), (1, 2)))[:, 1:-2],
    "one row for all": lambda x: np.broadcast_to(x[0], x.shape),
    "unaligned": lambda x: (
        np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("first", ["plain", "same"])
def test_memory_layouts(name, first):
    """Planned on a plain array or on such a one, then used on both."""
    network, plain = Network(5, LAYERS, seed=0), X[:6].copy()
    odd = LAYOUTS[name](plain)
    plain = np.ascontiguousarray(odd)
    odd.flags.writeable = plain.flags.writeable = False
    order = [plain, odd] if first == "plain" else [odd, plain]
    for x in [*order[:1] * 4, *order[::-1]]:
        np.testing.assert_allclose(network.scores(x), pure(network, plain), rtol=1e-13)


@pytest.mark.parametrize("own", ["float32", "float64"])
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int64", "int8", "uint8", "bool", ">f8"]
)
def test_other_dtypes_than_the_parameters(own, dtype):
    network = Network(5, LAYERS, seed=0, dtype=own)
    for _ in range(4):
        network.scores(X.astype(own))
    x = (np.abs(X) * 2).astype(dtype)
    for _ in range(3):
        scores = network.scores(x)
        assert scores.dtype == own
        np.testing.assert_array_equal(scores, pure(network, x.astype(own)))


def test_lists_and_numbers():
    network = Network(2, [3, "tanh", 1], loss="mean_squared_error", seed=0)
    for _ in range(5):
        np.testing.assert_array_equal(
            network.scores([[1, 2], [3, 4]]), pure(network, np.array([[1.0, 2.0], [3.0, 4.0]]))
        )


def test_new_parameters_are_seen():
    network = Network(5, LAYERS, seed=0)
    other = Network(5, LAYERS, seed=1)

    def check():
        for _ in range(5):
            np.testing.assert_array_equal(network.scores(X), pure(network, X))
        return network.scores(X)

    seen = [check()]
    network.theta = np.array(other.theta)
    seen.append(check())
    network.theta *= 0.5  # in place, and assigned
    seen.append(check())
    network.theta[3] = 2.0  # in place
    seen.append(check())
    network.assign(**{"0.bias": np.full(7, 3.0)})
    seen.append(check())
    network.fit(X, np.zeros(64, int), epochs=1)
    seen.append(check())
    network.parameters()["0.weights"][...] = 0.25  # through a view
    seen.append(check())
    for before, after in pairwise(seen):
        assert not np.array_equal(before, after)
    np.testing.assert_array_equal(seen[1], pure(other, X))


def test_parameters_of_another_dtype_are_seen():
    network = Network(5, LAYERS, seed=0)
    for _ in range(5):
        network.scores(X)
    network.theta = network.theta.astype("float32")
    for _ in range(5):
        scores = network.scores(X)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, pure(network, X.astype("float32")))


def test_read_only_and_strided_parameters():
    network = Network(5, LAYERS, seed=0, dtype="float64")
    values = np.repeat(np.array(network.theta), 2)
    values.flags.writeable = False
    expected = pure(network, X)
    network.theta = values[::2]
    for _ in range(5):
        np.testing.assert_allclose(network.scores(X), expected, rtol=1e-13)


def test_a_network_can_be_pickled_after_predictions():
    network = Network(5, LAYERS, seed=0)
    expected = [network.scores(X) for _ in range(5)][-1]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(network, protocol))
        for _ in range(5):
            np.testing.assert_array_equal(again.scores(X), expected)
        again.theta *= 2.0
        assert not np.array_equal(again.scores(X), expected)
        np.testing.assert_array_equal(network.scores(X), expected)


def test_a_copy_has_plans_of_its_own():
    network = Network(5, LAYERS, seed=0)
    expected = [network.scores(X) for _ in range(5)][-1]
    other = network.copy()
    other.theta *= 2.0
    for _ in range(5):
        np.testing.assert_array_equal(other.scores(X), pure(other, X))
        np.testing.assert_array_equal(network.scores(X), expected)


@pytest.mark.parametrize("sizes", [[8], [1, 3, 8, 20]])
def test_threads_predict_at_the_same_time(sizes, monkeypatch):
    monkeypatch.setattr(predict, "CHUNK_BYTES", 0)
    monkeypatch.setattr(predict, "FEWEST", 8)
    layers = [64, "tanh", 64, "gelu", 3]
    network = Network(5, layers, seed=0)
    network.scores(X)
    batches = [X[i : i + sizes[i % len(sizes)]] * (i + 1) for i in range(40)]
    expected = [
        np.concatenate([pure(network, x[i : i + 8]) for i in range(0, len(x), 8)]) for x in batches
    ]

    def many(start):
        found = []
        for i in range(60):
            number = (start + i * 7) % len(batches)
            found.append((number, network.scores(batches[number])))
        return found

    with ThreadPoolExecutor(8) as pool:
        results = [pair for part in pool.map(many, range(16)) for pair in part]
    for number, scores in results:
        np.testing.assert_array_equal(scores, expected[number])


def test_threads_make_plans_at_the_same_time():
    """Each round starts without plans, with more sizes than are kept."""
    for _ in range(5):
        network = Network(5, [16, "tanh", 3], seed=0)
        network.scores(X)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(network.scores, [X[: 1 + n % 6] for n in range(200)]))
        for n, scores in enumerate(found):
            np.testing.assert_array_equal(scores, pure(network, X[: 1 + n % 6]))


def test_an_operation_without_a_rule_runs_as_it_is():
    theta = np.arange(5.0)

    def first(theta, x):
        return theta if bool(theta[0] > 1e9) else np.sort(x * theta, axis=1)

    predictor = Predictor(lambda xp: first, theta, np, 8)
    assert predictor.reason == ""
    for _ in range(5):
        np.testing.assert_array_equal(predictor(theta, X), np.sort(X * theta, axis=1))
    assert "control flow" in predictor.reason
    assert not predictor.plannable


def test_a_plan_that_is_wrong_is_caught():
    def make(xp):
        return lambda theta, x: x * theta * (2.0 if xp is NAMESPACE else 1.0)

    theta = np.arange(5.0)
    predictor = Predictor(make, theta, np, 8)
    with pytest.warns(RuntimeWarning, match="gave other numbers than the pure function") as warned:
        found = [predictor(theta, X) for _ in range(6)]
    np.testing.assert_array_equal(found, [X * theta] * 6)
    assert len(warned) == 1
    assert predictor.reason == "a plan gave other numbers"


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, theta, x: x,
        lambda xp, theta, x: x.T,
        lambda xp, theta, x: x[:, :2],
        lambda xp, theta, x: theta[None, :],
        lambda xp, theta, x: theta[None, :] * 2.0,
        lambda xp, theta, x: x + x,
        lambda xp, theta, x: xp.where(x > 0, x, x * theta[0]),
        lambda xp, theta, x: xp.sum(x, axis=1, keepdims=True) + x[:, :1],
        lambda xp, theta, x: xp.tanh(x[:, ::-1] + x[:1, :]),
        lambda xp, theta, x: xp.reshape(xp.reshape(x, (-1,)) * 2.0, x.shape),
        lambda xp, theta, x: xp.matmul(x, xp.reshape(theta[:5], (5, 1))) + theta[1:3],
    ],
)
def test_odd_forwards(function):
    """Pure functions that are no network's; parameters change in place, rows lie anyhow."""
    theta = np.arange(5.0)
    predictor = Predictor(lambda xp: lambda theta, x: function(xp, theta, x), theta, np, 8)
    kept = []
    for i in range(8):
        for x in (X[i : i + 3].copy(), X[i : i + 6 : 2]):
            found = predictor(theta, x)
            np.testing.assert_array_equal(found, function(np, theta, np.ascontiguousarray(x)))
            assert not np.shares_memory(found, x)
            assert not np.shares_memory(found, theta)
            kept.append((found, found.copy()))
        theta += 1.0
    for found, copy in kept:
        np.testing.assert_array_equal(found, copy)
