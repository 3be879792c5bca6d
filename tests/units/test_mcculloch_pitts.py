"""Threshold units, and XOR made of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import backends
from xpnn.units import McCullochPitts, McCullochPittsNetwork

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
GATES = {
    "AND": (McCullochPitts.and_, all),
    "OR": (McCullochPitts.or_, any),
    "NAND": (McCullochPitts.nand, lambda row: not all(row)),
    "NOR": (McCullochPitts.nor, lambda row: not any(row)),
}


@pytest.mark.parametrize("name", GATES)
def test_gates(backend, assert_close, name):
    unit, truth = GATES[name][0](), GATES[name][1]
    expected = [float(truth(row)) for row in SQUARE]
    assert_close(unit.forward(backend.asarray(SQUARE)), expected, backend)
    for row, answer in zip(SQUARE, expected, strict=True):
        assert_close(unit(backend.asarray(row)), answer, backend)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("name", GATES)
def test_gates_with_more_inputs(name, n):
    table = GATES[name][0](n).truth_table()
    assert table.outputs == tuple(int(GATES[name][1](row)) for row in product((0, 1), repeat=n))


def test_not(backend, assert_close):
    assert_close(McCullochPitts.not_()(backend.asarray([[0.0], [1.0]])), [1.0, 0.0], backend)


def test_the_threshold_itself_fires():
    unit = McCullochPitts([2, 1, -3], threshold=1)
    assert unit([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).tolist() == [1, 1, 0, 0]


def test_excitatory_and_inhibitory():
    unit = McCullochPitts((1, -2, 0, 0.5), 1)
    assert unit.excitatory == (0, 3)
    assert unit.inhibitory == (1,)
    assert unit.inputs == 4


def test_xor_needs_two_layers(backend, assert_close):
    xor = McCullochPitts.xor()
    x = backend.asarray(SQUARE)
    assert_close(xor.forward(x), [0.0, 1.0, 1.0, 0.0], backend)
    assert_close(xor(backend.asarray(SQUARE[1])), 1.0, backend)
    (hidden,) = xor.hidden(x)
    assert_close(hidden, [[0, 1], [1, 1], [1, 1], [1, 0]], backend)
    assert_close(xor.hidden(backend.asarray(SQUARE[3]))[0], [1, 0], backend)


def test_no_single_unit_makes_xor():
    steps = (-2, -1, -0.5, 0, 0.5, 1, 2)
    for a, b, threshold in product(steps, steps, steps):
        assert McCullochPitts((a, b), threshold).truth_table().outputs != (0, 1, 1, 0)


def test_truth_table_prints_and_iterates(backend):
    table = McCullochPitts.and_().truth_table(backend)
    assert str(table) == (
        "x1  x2 | AND\n-------+----\n 0   0 |   0\n 0   1 |   0\n 1   0 |   0\n 1   1 |   1"
    )
    assert list(table) == [((0, 0), 0), ((0, 1), 0), ((1, 0), 0), ((1, 1), 1)]
    assert len(table) == 4
    assert table.hidden == ((),) * 4


def test_truth_table_of_xor_shows_the_hidden_units(backend):
    table = McCullochPitts.xor().truth_table(backend)
    assert table.outputs == (0, 1, 1, 0)
    assert table.hidden == ((0, 1), (1, 1), (1, 1), (1, 0))
    lines = str(table).splitlines()
    assert lines[0] == "x1  x2 | OR  NAND | XOR"
    assert lines[2] == " 0   0 |  0     1 |   0"
    assert len({len(line) for line in lines}) == 1


def test_integers_and_booleans_become_the_default_float(backend):
    default = backends.default_float(backend.xp, backend.device)
    for rows in ([[0, 1]], [[False, True]]):
        fired = McCullochPitts.or_()(backend.asarray(np.asarray(rows)))
        assert fired.dtype == default
        assert backends.backend_of(fired).device == backend.device
        assert backends.to_host(fired).tolist() == [1.0]


def test_lists_are_numpy():
    fired = McCullochPitts.nor()([0, 0])
    assert isinstance(fired, np.ndarray)
    assert fired == 1.0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([0.5, 1], "x holds 0.5; expected only 0 and 1"),
        ([[0, 1], [2, 0]], "x holds 2; expected only 0 and 1"),
        ([float("nan"), 1], "x holds nan"),
        (np.asarray([-1.0, 1.0]), "x holds -1.0"),
    ],
)
def test_other_values_are_refused_on_the_host(x, message):
    with pytest.raises(ValueError, match=message):
        McCullochPitts.and_()(x)
    with pytest.raises(ValueError, match=message):
        McCullochPitts.xor()(x)


@pytest.mark.parametrize("unit", [McCullochPitts.and_(), McCullochPitts.xor()])
def test_wrong_shapes_are_refused(backend, unit):
    message = r"x has shape \(3,\); expected \(2,\) or \(n, 2\), because there are 2 weights"
    with pytest.raises(ValueError, match=message):
        unit(backend.asarray([0.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match=r"x has shape \(0, 2\); expected at least one row"):
        unit(backend.asarray(np.zeros((0, 2))))


def test_words_are_refused():
    with pytest.raises(TypeError, match="x holds 'on'; expected numbers"):
        McCullochPitts.and_()(["on", "off"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((), 1), ValueError, "weights is empty; expected one for each input"),
        ((1.0, 1), TypeError, "weights is 1.0; expected a sequence of numbers"),
        (("12", 1), TypeError, "weights is '12'; expected a sequence"),
        (((1, "a"), 1), TypeError, r"weights\[1\] holds 'a'; expected numbers"),
        (((1, float("inf")), 1), ValueError, r"weights\[1\] is inf; expected one finite number"),
        (([[1, 2]], 1), ValueError, r"weights\[0\] is \[1, 2\]"),
        (((1,), float("nan")), ValueError, "threshold is nan; expected one finite number"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        McCullochPitts(*arguments)


@pytest.mark.parametrize("n", [0, 1.5, True])
def test_gates_need_inputs(n):
    for make, _ in GATES.values():
        with pytest.raises(ValueError, match=r"n is .*; expected a positive integer"):
            make(n)


def test_a_truth_table_has_an_end():
    with pytest.raises(ValueError, match=r"a truth table of 17 inputs has 2\*\*17 rows"):
        McCullochPitts.and_(17).truth_table()


def test_networks_must_fit_together():
    two, three = McCullochPitts.and_(2), McCullochPitts.and_(3)
    with pytest.raises(ValueError, match=r"a unit of layers\[1\] has 3 weights; expected 2"):
        McCullochPittsNetwork(((two, two), (three,)))
    with pytest.raises(ValueError, match=r"a unit of layers\[0\] has 3 weights; expected 2"):
        McCullochPittsNetwork(((two, three), (two,)))
    with pytest.raises(ValueError, match="the last layer has 2 units; expected one"):
        McCullochPittsNetwork(((two, two),))
    for empty in ((), ((),)):
        with pytest.raises(ValueError, match="layers holds no unit"):
            McCullochPittsNetwork(empty)


def test_units_are_values():
    assert McCullochPitts([1, 1], 2, "AND") == McCullochPitts.and_()
    assert repr(McCullochPitts.not_()) == "McCullochPitts(weights=(-1,), threshold=0, name='NOT')"
    with pytest.raises(AttributeError):
        McCullochPitts.not_().threshold = 3


whole = st.integers(-4, 4)


@given(st.lists(whole, min_size=1, max_size=5), whole)
def test_a_unit_is_its_sum_against_its_threshold(weights, threshold):
    for row, fired in McCullochPitts(weights, threshold).truth_table():
        assert fired == int(sum(w * v for w, v in zip(weights, row, strict=True)) >= threshold)
