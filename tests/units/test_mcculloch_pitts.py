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
    for n in (1, 2, 3, 5):
        outputs = GATES[name][0](n).truth_table(backend).outputs
        assert outputs == tuple(int(truth(row)) for row in product((0, 1), repeat=n))


def test_not(backend, assert_close):
    assert_close(McCullochPitts.not_()(backend.asarray([[0.0], [1.0]])), [1.0, 0.0], backend)


def test_the_threshold_itself_fires():
    unit = McCullochPitts([2, 1, -3], threshold=1)
    assert unit([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).tolist() == [1, 1, 0, 0]


def test_excitatory_and_inhibitory():
    unit = McCullochPitts((1, -2, 0, 0.5), 1)
    assert (unit.excitatory, unit.inhibitory, unit.inputs) == ((0, 3), (1,), 4)


def test_xor_needs_two_layers(backend, assert_close):
    xor = McCullochPitts.xor()
    x = backend.asarray(SQUARE)
    assert_close(xor.forward(x), [0.0, 1.0, 1.0, 0.0], backend)
    assert_close(xor(backend.asarray(SQUARE[1])), 1.0, backend)
    (hidden,) = xor.hidden(x)
    assert_close(hidden, [[0, 1], [1, 1], [1, 1], [1, 0]], backend)
    assert_close(xor.hidden(backend.asarray(SQUARE[3]))[0], [1, 0], backend)
    steps = (-2, -1, -0.5, 0, 0.5, 1, 2)
    if backend.name == "numpy":
        for a, b, threshold in product(steps, steps, steps):
            assert McCullochPitts((a, b), threshold).truth_table().outputs != (0, 1, 1, 0)


def test_truth_tables_print_and_iterate(backend):
    table = McCullochPitts.and_().truth_table(backend)
    assert str(table) == (
        "x1  x2 | AND\n-------+----\n 0   0 |   0\n 0   1 |   0\n 1   0 |   0\n 1   1 |   1"
    )
    assert list(table) == [((0, 0), 0), ((0, 1), 0), ((1, 0), 0), ((1, 1), 1)]
    assert len(table) == 4
    assert table.hidden == ((),) * 4
    table = McCullochPitts.xor().truth_table(backend)
    assert table.hidden == ((0, 1), (1, 1), (1, 1), (1, 0))
    assert str(table).splitlines() == [
        "x1  x2 | OR  NAND | XOR", "-------+----------+----",
        " 0   0 |  0     1 |   0", " 0   1 |  1     1 |   1",
        " 1   0 |  1     1 |   1", " 1   1 |  1     0 |   0",
    ]  # fmt: skip


def test_integers_and_booleans_become_the_default_float(backend):
    default = backends.default_float(backend.xp, backend.device)
    for rows in ([[0, 1]], [[False, True]]):
        fired = McCullochPitts.or_()(backend.asarray(np.asarray(rows)))
        assert fired.dtype == default
        assert backends.backend_of(fired).device == backend.device
        assert backends.to_host(fired).tolist() == [1.0]
    fired = McCullochPitts.nor()([0, 0])
    assert isinstance(fired, np.ndarray)
    assert fired == 1.0


@pytest.mark.parametrize("unit", [McCullochPitts.and_(), McCullochPitts.xor()])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([0.5, 1], ValueError, "x holds 0.5; expected only 0 and 1"),
        ([[0, 1], [2, 0]], ValueError, "x holds 2; expected only 0 and 1"),
        ([float("nan"), 1], ValueError, "x holds nan"),
        (np.asarray([-1.0, 1.0]), ValueError, "x holds -1.0"),
        (["on", "off"], TypeError, "x holds 'on'; expected numbers"),
    ],
)
def test_other_values_are_refused_on_the_host(x, error, message, unit):
    with pytest.raises(error, match=message):
        unit(x)


@pytest.mark.parametrize("unit", [McCullochPitts.and_(), McCullochPitts.xor()])
def test_wrong_shapes_are_refused(backend, unit):
    message = r"x has shape \(3,\); expected \(2,\) or \(n, 2\), because there are 2 weights"
    with pytest.raises(ValueError, match=message):
        unit(backend.asarray([0.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match=r"x has shape \(0, 2\); expected at least one row"):
        unit(backend.asarray(np.zeros((0, 2))))


UNIT, NETWORK = McCullochPitts, McCullochPittsNetwork
TWO, THREE = UNIT.and_(2), UNIT.and_(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: UNIT((), 1), ValueError, "weights is empty; expected one for each input"),
        (lambda: UNIT(1.0, 1), TypeError, "weights is 1.0; expected a sequence of numbers"),
        (lambda: UNIT("12", 1), TypeError, "weights is '12'; expected a sequence"),
        (lambda: UNIT((1, "a"), 1), TypeError, r"weights\[1\] holds 'a'; expected numbers"),
        (lambda: UNIT((1, np.inf), 1), ValueError, r"weights\[1\] is inf; expected one finite num"),
        (lambda: UNIT([[1, 2]], 1), ValueError, r"weights\[0\] is \[1, 2\]"),
        (lambda: UNIT((1,), np.nan), ValueError, "threshold is nan; expected one finite number"),
        (lambda: UNIT.and_(17).truth_table(), ValueError, r"17 inputs has 2\*\*17 rows; e"),
        (lambda: NETWORK(((TWO, TWO), (THREE,))), ValueError, r"of layers\[1\] has 3 weights; exp"),
        (lambda: NETWORK(((TWO, THREE), (TWO,))), ValueError, r"of layers\[0\] has 3 weights; exp"),
        (lambda: NETWORK(((TWO, TWO),)), ValueError, "the last layer has 2 units; expected one"),
        (lambda: NETWORK(()), ValueError, "layers holds no unit"),
        (lambda: NETWORK(((),)), ValueError, "layers holds no unit"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("n", [0, 1.5, True])
def test_gates_need_inputs(n):
    for make, _ in GATES.values():
        with pytest.raises(ValueError, match=r"n is .*; expected a positive integer"):
            make(n)


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
