"""The neuron: forward pass, explanation, weights read as logic."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import backends, functional
from xpnn.backends import MixedArraysError
from xpnn.units import Explanation, Neuron

GAME = [8.5, 0.65, 1.2]
WEIGHTS = [0.1, 0.2, 0.0]


def numbers(backend, values):
    return backend.asarray(np.asarray(values, dtype=float))


def test_tutorial_prediction(backend, assert_close):
    neuron = Neuron(numbers(backend, WEIGHTS))
    assert_close(neuron(numbers(backend, GAME)), 0.98, backend)
    assert_close(neuron.forward(numbers(backend, [GAME, [1, 2, 3]])), [0.98, 0.5], backend)

    assert_close(Neuron(numbers(backend, WEIGHTS[::-1]))(GAME), 0.25, backend)


def test_tutorial_similarity(backend, assert_close):
    vectors = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0], [0.5, 0, 0.5, 0], [-1, 1, 0, 0]]
    table = [
        [2, 0, 1, 0, 1], [0, 2, 1, 1, -1], [1, 1, 2, 0.5, 1], [0, 1, 0.5, 0.5, -0.5],
        [1, -1, 1, -0.5, 2],
    ]  # fmt: skip
    for vector, expected in zip(vectors, table, strict=True):
        found = Neuron(numbers(backend, vector))(numbers(backend, vectors))
        assert_close(found, expected, backend)


@pytest.mark.parametrize("activation", sorted(set(functional.ACTIVATIONS)))
def test_every_activation(backend, assert_close, activation):
    rows = [[0.5, -1.0, 2.0], [-3.0, 0.5, 0.25]]
    weights, bias = [0.3, -0.7, 0.4], -0.25
    z = np.asarray(rows) @ np.asarray(weights) + bias
    # One unit is one column: softmax compares nothing with it.
    expected = functional.activation_rule(activation).forward(z[:, None])[:, 0]
    neuron = Neuron(numbers(backend, weights), bias, activation)
    assert_close(neuron(numbers(backend, rows)), expected, backend)
    assert_close(neuron(numbers(backend, rows[0])), expected[0], backend)
    assert_close(neuron.score(numbers(backend, rows)), z, backend)
    if activation == "softmax":
        assert expected.tolist() == [1.0, 1.0]


def test_alpha_reaches_the_activation(backend, assert_close):
    neuron = Neuron(numbers(backend, [1.0]), 0.0, "leaky_relu", alpha=0.25)
    assert neuron.alpha == 0.25
    assert_close(neuron([[-2.0], [2.0]]), [-0.5, 2.0], backend)


def test_lists_and_integers_take_the_weights_place_and_dtype(backend, assert_close):
    neuron = Neuron(numbers(backend, WEIGHTS))
    assert_close(neuron([GAME, GAME]), [0.98, 0.98], backend)
    assert_close(neuron(backend.asarray([[1, 2, 3]])), [0.5], backend)
    assert_close(neuron(backend.asarray([True, True, False])), 0.3, backend)


def test_the_rows_decide_the_dtype():
    row = np.asarray(GAME, dtype=np.float32)
    assert Neuron(WEIGHTS)(row).dtype == np.float32
    assert Neuron(np.asarray(WEIGHTS, dtype=np.float32))(GAME).dtype == np.float32
    assert Neuron([1, 2, 3]).weights.dtype == np.float64


def test_one_feature_one_row(backend, assert_close):
    neuron = Neuron(numbers(backend, [2.0]), bias=1)
    assert_close(neuron(numbers(backend, [3.0])), 7.0, backend)
    assert_close(neuron(numbers(backend, [[3.0]])), [7.0], backend)


@pytest.mark.parametrize("shape", [(2,), (4,), (2, 2), (1, 3, 3), (), (0, 3)])
def test_wrong_shapes_are_refused(backend, shape):
    with pytest.raises(ValueError) as caught:
        Neuron(numbers(backend, WEIGHTS))(numbers(backend, np.ones(shape)))
    expected = "(3,) or (n, 3), because there are 3 weights"
    if shape == (0, 3):
        expected = "at least one row"
    assert str(caught.value) == f"x has shape {shape}; expected {expected}"


def test_other_libraries_are_refused(backend):
    strict = pytest.importorskip("array_api_strict")
    strangers = (strict if backend.name == "numpy" else np).asarray(GAME)
    neuron = Neuron(numbers(backend, WEIGHTS))
    for call in (neuron.forward, neuron.score, neuron.explain):
        with pytest.raises(MixedArraysError, match=r"^x is an array of \w+ and weights of"):
            call(strangers)


def test_other_devices_are_refused():
    strict = pytest.importorskip("array_api_strict")
    weights = strict.asarray(WEIGHTS, device=strict.Device("device1"))
    with pytest.raises(MixedArraysError, match="x is on device device2 and weights on device1"):
        Neuron(weights)(strict.asarray(GAME, device=strict.Device("device2")))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]],), ValueError, r"weights has shape \(1, 1\); expected \(inputs,\)"),
        (([],), ValueError, r"weights has shape \(0,\)"),
        ((3.0,), ValueError, r"weights has shape \(\)"),
        ((["a"],), TypeError, "weights holds 'a'; expected numbers"),
        (([1.0], [1.0]), ValueError, r"bias has shape \(1,\); expected one number"),
        (([1.0], "b"), TypeError, "bias holds 'b'"),
        (([1.0], 0.0, "step"), ValueError, "activation='step' is not known"),
        (([1.0], 0.0, "tanh", 1.0), ValueError, "'tanh' has no alpha"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Neuron(*arguments)


def test_words_for_inputs_are_refused(backend):
    with pytest.raises(TypeError, match="x holds 'a'; expected numbers"):
        Neuron(numbers(backend, [1.0]))(["a"])


def test_the_neuron_keeps_its_own_weights():
    weights = np.asarray(WEIGHTS)
    neuron = Neuron(weights)
    weights[0] = 100.0
    assert float(neuron(GAME)) == pytest.approx(0.98)
    with pytest.raises(AttributeError):
        neuron.weights = weights


def test_random_is_the_same_everywhere(backend, assert_close):
    expected = np.random.default_rng(7).normal(size=3)
    neuron = Neuron.random(3, "tanh", seed=7, backend=backend)
    assert_close(neuron.weights, expected, backend)
    assert neuron.bias == 0.0
    assert neuron.activation == "tanh"
    assert_close(neuron([0.5, -1.0, 2.0]), np.tanh(expected @ [0.5, -1.0, 2.0]), backend)
    named = Neuron.random(2, backend=backend.name).weights
    assert backends.backend_of(named).name == backend.name
    assert isinstance(Neuron.random(2).weights, np.ndarray)


@pytest.mark.parametrize("inputs", [0, -1, 2.0, True, "3"])
def test_random_needs_a_positive_number_of_inputs(inputs):
    with pytest.raises(ValueError, match=r"inputs is .*; expected a positive integer"):
        Neuron.random(inputs)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1, 0, 1], "input[0] OR input[2]"),
        ([0, 0, 1], "input[2]"),
        ([1, 0, -1], "input[0] OR NOT input[2]"),
        ([-1, 0, -1], "NOT input[0] OR NOT input[2]"),
        ([0.5, 0, 1], "BIG input[0] OR input[2]"),
        ([-0.5, 0, 1], "NOT BIG input[0] OR input[2]"),
        ([0.51, 0, -1], "input[0] OR NOT input[2]"),
        ([0, 0, 0], "nothing (every weight is 0)"),
    ],
)
def test_logic(backend, weights, text):
    assert Neuron(numbers(backend, weights)).logic() == text


def test_logic_with_names():
    assert Neuron([1, -1]).logic(["warm", "dark"]) == "warm OR NOT dark"
    with pytest.raises(ValueError, match="names has 1 entries; expected 2"):
        Neuron([1, -1]).logic(["warm"])


def test_explanation_of_the_tutorial(backend):
    found = Neuron(numbers(backend, WEIGHTS), 0.5, "relu").explain(numbers(backend, GAME))
    assert isinstance(found, Explanation)
    parts = *found.inputs, *found.weights, *found.contributions, found.score, found.output
    expected = [*GAME, *WEIGHTS, 0.85, 0.13, 0.0, 1.48, 1.48]
    assert list(parts) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert all(type(v) is float for v in parts)
    assert (found.bias, found.most_sensitive, found.largest_contribution) == (0.5, 1, 0)
    assert (found.ignored, found.logic) == ((2,), "BIG input[0] OR input[1]")


@pytest.mark.parametrize(
    ("weights", "row", "sensitive", "largest", "ignored"),
    [
        # Sizes count, not signs.
        ([0.1, -3.0, 2.0], [1.0, -1.0, 4.0], 1, 2, ()),
        ([0.1, -3.0], [1.0, 2.0], 1, 1, ()),
        ([0.0, 0.0], [1.0, 2.0], None, None, (0, 1)),
        ([1.0, 2.0], [0, 0], 1, None, ()),
    ],
)
def test_what_counts_in_an_explanation(weights, row, sensitive, largest, ignored):
    found = Neuron(weights).explain(row)
    assert (found.most_sensitive, found.largest_contribution) == (sensitive, largest)
    assert found.ignored == ignored


def test_explanation_prints_as_a_table():
    text = str(Neuron(WEIGHTS).explain(GAME, names=["fingers", "record", "fans"]))
    assert text.splitlines() == [
        "input    value  weight  value*weight",
        "fingers    8.5     0.1          0.85  contributes most",
        "record    0.65     0.2          0.13  most sensitive",
        "fans       1.2       0             0  ignored",
        "bias                               0",
        "score                           0.98",
        "output                          0.98  identity",
        "The score is high if: BIG fingers OR record",
    ]


def test_only_one_row_is_explained(backend):
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\); expected a single row of shape"):
        Neuron(numbers(backend, WEIGHTS)).explain(numbers(backend, [GAME]))


def test_repr_says_where_the_neuron_lives(backend):
    text = repr(Neuron(numbers(backend, [0.5, -1.0]), 0.25, "elu", alpha=2.0))
    assert text.startswith(
        "<Neuron weights=[0.5, -1], bias=0.25, activation='elu', alpha=2.0; " + backend.name
    )
    assert text.endswith(backends.dtype_name(backend.dtype) + ">")
    assert "...] (20 weights)" in repr(Neuron([1.0] * 20))


@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
def test_half_precision(activation):
    neuron = Neuron(np.asarray([300.0, 300.0], dtype=np.float16), 0.0, activation)
    found = neuron(np.asarray([200.0, -200.0], dtype=np.float16))
    assert found.dtype == np.float16
    assert float(found) == (0.0 if activation == "identity" else 0.5)


values = st.floats(-10, 10, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-3)


@given(
    st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(values, min_size=n, max_size=n)] * 2))
)
def test_an_explanation_adds_up(pair):
    weights, row = pair
    found = Neuron(weights, 0.5).explain(row)
    assert math.isclose(sum(found.contributions) + 0.5, found.score, abs_tol=1e-9)
    assert found.ignored == tuple(i for i, w in enumerate(weights) if w == 0)
    assert found.logic.count(" OR ") == max(0, len(weights) - len(found.ignored) - 1)
