"""A replayed plan does what the function does, whatever shares memory with what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import step_plan

from depth import examples
from xpnn.engine.calls import NativeCalls, NumpyCalls
from xpnn.engine.llvm import llvm_is_there
from xpnn.engine.native import domain
from xpnn.engine.plan import make_plan
from xpnn.engine.trace import NAMESPACE
from xpnn.optimizers import Adam

# Two namespaces for one function: the first computes, the second records.
PURE, TRACED = np, NAMESPACE


def hold(function, arrays, donated=None, rounds=3):
    """Hold steps of a plan of ``function(xp, *arrays)`` against calls of it, to the bit.

    By calls of NumPy, and where it is there by native code; returns the plan of the first.
    """
    plan = _hold(function, arrays, donated or {}, rounds, native=False)
    if llvm_is_there():
        _hold(function, arrays, donated or {}, rounds, native=True)
    return plan


def _hold(function, arrays, donated, rounds, native):
    state = [np.array(a) for a in arrays]
    labels = [f"a{i}" for i in range(len(state))]
    owned = tuple(a.copy() for a in state)
    plan = make_plan(
        lambda *a: function(TRACED, *a), owned, labels, donated, domain if native else None
    )
    calls = NativeCalls(plan, (), None) if native else NumpyCalls(plan)
    for a, before in zip(owned, state, strict=True):
        np.testing.assert_array_equal(a, before, "planning wrote into an argument")
    for _ in range(rounds):
        expected = [np.array(e) for e in function(PURE, *state)]
        calls.step()
        for output, old in donated.items():
            state[old] = expected[output]
        for number, (found, right) in enumerate(zip(plan.outputs, expected, strict=True)):
            assert found.shape == right.shape
            assert found.dtype == right.dtype
            same_bytes(found, right, f"output {number}")
        for number, (found, right) in enumerate(zip(owned, state, strict=True)):
            same_bytes(found, right, f"input {number}")
    return plan


def same_bytes(found, right, what):
    np.testing.assert_array_equal(found, right, what)
    known = ~np.isnan(right)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(right)[known], what)


def work(plan):
    """The recorded operations that compute something."""
    return [n for n in plan.trace.nodes if n.op not in ("input", "constant") and not n.is_view]


# What a plan is made of


def test_dead_buffers_are_used_again_in_place():
    def function(xp, a, b):
        c = a + b
        for _ in range(10):
            c = xp.tanh(c * 0.5) - b
        return (c,)

    plan = hold(function, [np.ones((5, 4)), np.full((5, 4), 0.1)])
    assert len(work(plan)) == 31
    assert plan.buffers == 1
    assert plan.bytes < 1.5 * 5 * 4 * 8


def test_buffers_of_a_dead_shape_serve_another():
    def function(xp, a):
        b = xp.sum(a * 2.0, axis=1, keepdims=True)  # a * 2 dies here
        return (xp.exp(a - b),)

    assert hold(function, [np.ones((6, 5))]).buffers == 2


def test_the_parts_of_a_joined_vector_are_computed_in_their_places():
    def function(xp, x, dz):
        weights = xp.reshape(xp.matmul(x.T, dz), (-1,))
        bias = xp.sum(dz, axis=0)
        return (xp.concat((weights, bias, xp.reshape(dz * 2.0, (-1,)))),)

    plan = hold(function, [np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(4, 2)])
    assert plan.buffers == 1
    assert "copy" not in plan.describe()


def test_a_joined_vector_copies_what_it_cannot_hold():
    def function(xp, a, b):
        c = a * 2.0
        return xp.concat((c, b, c, c[::-1], xp.reshape(xp.reshape(c, (3, 2)).T * 1.0, (-1,)))), c

    hold(function, [np.arange(6.0), np.arange(3.0)])


def test_a_part_of_two_joined_vectors():
    def function(xp, a, b):
        c, d = a + 1.0, b * 2.0
        return xp.concat((c, d)), xp.concat((d, c))

    hold(function, [np.arange(6.0), np.arange(3.0)])


def test_outer_products_of_one_size_in_one_loop():
    """They are parts of two vectors: only one of them can be computed on the way."""

    def function(xp, x, dz, theta):
        first, second = xp.matmul(x.T, dz), xp.matmul(dz.T, x)
        parts = [xp.reshape(first, (-1,)) + theta, xp.reshape(second, (-1,)) * theta]
        return (xp.concat(parts),)

    hold(function, [np.arange(1.0, 6.0)[None, :], np.arange(2.0, 5.0)[None, :], np.arange(15.0)])


def test_a_joined_vector_of_joined_vectors():
    def function(xp, a, b):
        inner = xp.concat((a * 2.0, b))
        return (xp.concat((inner, inner * 3.0, a * 2.0)),)

    hold(function, [np.arange(6.0), np.arange(3.0)])


def test_a_training_step_updates_parameters_and_state_where_they_are():
    sizes = {"rows": 10, "inputs": 20, "outputs": 4, "dtype": "float64"}
    plan = step_plan([30, "tanh"], Adam(), l2=0.0, **sizes)
    for output, array in zip(plan.outputs, plan.arrays, strict=False):
        assert output is array
    assert "copy" not in plan.describe()
    assert plan.buffers < len(work(plan)) / 2
    # The gradient's vector, and a few more of that size.
    assert plan.bytes < 4 * plan.arrays[0].nbytes


# Traps


def step_along(xp, theta, x, dz, rate):
    """A gradient step of a layer with one row: weights, then the bias."""
    return theta - rate * xp.concat((xp.reshape(xp.matmul(x.T, dz), (-1,)), dz[0, :]))


A, B = np.arange(1.0, 7.0), np.arange(10.0, 16.0)
SQUARE = np.arange(9.0).reshape(3, 3)
OUTER = [np.arange(10.0), A[None, :4], B[None, :2], np.array(0.5)]
TRAPS = {
    "two views of one buffer": (
        lambda xp, a: ((a * 2.0)[::-1] - a * 2.0,),
        [A], {},
    ),
    "overlapping views of one buffer": (
        lambda xp, a: ((a + 1.0)[1:] - (a + 1.0)[:-1],),
        [A], {},
    ),
    "a matrix and its transpose": (
        lambda xp, a: ((a * 2.0) + (a * 2.0).T, xp.matmul((a + 1.0).T, a + 1.0)),
        [SQUARE], {},
    ),
    "a view that lives longer than its buffer's name": (
        lambda xp, a: (lambda b: (xp.exp(b * 0.0) + b[0], b[2:4]))(a + 1.0),
        [A], {},
    ),
    "a reshaped dead buffer is written in place": (
        lambda xp, a: (xp.reshape(a * 2.0, (2, 3)) + 1.0,),
        [A], {},
    ),
    "a row is spread over a matrix of its size": (
        lambda xp, a: (a[None, :] * 2.0 + a[:, None] * 2.0,),
        [A], {},
    ),
    "an input is an output": (lambda xp, a: (a, a + 1.0), [A], {}),
    "an input is an output and stays": (lambda xp, a: (a, a + 1.0), [A], {0: 0}),
    "an input is an output beside what replaces it": (lambda xp, a: (a + 1.0, a), [A], {0: 0}),
    "a view of an input is an output beside what replaces it": (
        lambda xp, a: (a + 1.0, a[::-1]), [A], {0: 0},
    ),
    "places swapped": (lambda xp, a, b: (b, a), [A, B], {0: 0, 1: 1}),
    "places in a ring": (
        lambda xp, a, b, c: (b, c, a), [A, B, A * 7], {0: 0, 1: 1, 2: 2},
    ),
    "places swapped after work": (
        lambda xp, a, b: (b + 1.0, a * 2.0), [A, B], {0: 0, 1: 1},
    ),
    "places crossed": (lambda xp, a, b: (a + 1.0, b - 1.0), [A, B], {0: 1, 1: 0}),
    "the last value is kept": (
        lambda xp, a, b: (a * 0.5 + 1.0, a), [A, B], {0: 0, 1: 1},
    ),
    "the value before the last is kept": (
        lambda xp, a, b, c: (a * 0.5 + 1.0, a, b), [A, B, B], {0: 0, 1: 1, 2: 2},
    ),
    "the last value is kept, places named the other way": (
        lambda xp, a, b: (b, b * 0.5 + 1.0), [A, B], {0: 0, 1: 1},
    ),
    "a replaced input turned round": (lambda xp, a: (a[::-1],), [A], {0: 0}),
    "joined vectors of turned-round parts": (
        lambda xp, a, b: (
            xp.concat(((a * 2.0)[::-1], b + 1.0)),
            xp.concat((b - 1.0, xp.reshape(a[:, None] * 3.0, (-1,))[::-1])),
        ),
        [A, B], {},
    ),
    "a step along an outer product": (
        lambda xp, theta, x, dz, r: (step_along(xp, theta, x, dz, r), xp.sum(theta)),
        OUTER, {0: 0},
    ),
    "a step along an outer product, elsewhere": (
        lambda xp, theta, x, dz, r: (step_along(xp, theta, x, dz, r), theta),
        OUTER, {},
    ),
    "a step along an outer product of itself": (
        lambda xp, theta, x, dz, r: (
            step_along(xp, theta, theta[None, :4] * 1.0, theta[None, 8:], r * 0.5),
            step_along(xp, x[0, :], x[:, 2:4], x[:, :2], r),
        ),
        [np.arange(10.0), A[None, :], B[None, :2], np.array(0.5)],
        {0: 0},
    ),
    "a step along an outer product that is read again": (
        lambda xp, theta, x, dz, r: (
            step_along(xp, theta, x, dz, r),
            xp.matmul(x.T, dz),
            xp.reshape(xp.matmul(x.T, dz), (-1,)) * 2.0,
        ),
        OUTER, {0: 0},
    ),
    "a step along an outer product whose vector is read again": (
        lambda xp, theta, x, dz, r: (
            step_along(xp, theta, x, dz, r),
            xp.reshape(xp.matmul(x.T, dz), (-1,)) * 2.0,
        ),
        OUTER, {0: 0},
    ),
    "a step along an outer product that is kept": (
        lambda xp, theta, x, dz, r: (step_along(xp, theta, x, dz, r), xp.matmul(x.T, dz)),
        OUTER, {0: 0},
    ),
    "a step along a joined vector that is kept": (
        lambda xp, theta, x, dz, r: (
            step_along(xp, theta, x, dz, r),
            xp.concat((xp.reshape(xp.matmul(x.T, dz), (-1,)), dz[0, :])),
        ),
        OUTER, {0: 0},
    ),
    "a step along an outer product whose length is kept": (
        lambda xp, theta, x, dz, r: (lambda step: (theta - step, xp.max(step)))(
            r * xp.concat((xp.reshape(xp.matmul(x.T, dz), (-1,)), dz[0, :]))
        ),
        OUTER, {0: 0},
    ),
    "a step along two outer products": (
        lambda xp, theta, x, dz, r: (
            theta - r * xp.concat((
                xp.reshape(xp.matmul(x.T, dz), (-1,)), dz[0, :],
                xp.reshape(xp.matmul(x.T, dz), (-1,)), xp.reshape(xp.matmul(dz.T, dz), (-1,)),
            )),
        ),
        [np.arange(22.0), A[None, :4], B[None, :2], np.array(0.5)], {0: 0},
    ),
    "halves of a replaced input exchanged": (
        lambda xp, a: (xp.concat((a[3:], a[:3])),), [A], {0: 0},
    ),
    "a replaced matrix transposed": (lambda xp, a: (a.T,), [SQUARE], {0: 0}),
    "the same node twice": (lambda xp, a: (a + 1.0, a + 1.0), [A], {}),
    "the same node in two places": (lambda xp, a, b: (a + b, a + b), [A, B], {0: 0, 1: 1}),
    "a chain whose middle is an output": (
        lambda xp, a: (lambda b: (b * 2.0, b))(a + 1.0), [A], {0: 0},
    ),
    "a chain whose middle has a place of its own": (
        lambda xp, a, b: (lambda c: (c * 2.0, c))(a + b), [A, B], {0: 0, 1: 1},
    ),
    "outputs that are views": (
        lambda xp, a: (lambda b: (b[1:3], xp.reshape(b, (2, 3)).T, b + 1.0))(a * 2.0), [A], {},
    ),
    "an output in its place is a view": (
        lambda xp, a, b: (lambda c: (c[::-1], c * 2.0))(a * 2.0), [A, B], {0: 0, 1: 1},
    ),
    "a value is read after its place was overwritten": (
        lambda xp, a, b: (lambda new: (new, b + xp.sum(a) + a[::-1] * new))(a * 0.5),
        [A, B], {0: 0, 1: 1},
    ),
    "a place that a product reads": (
        lambda xp, a: (xp.matmul(a, a) * 0.01 + a.T,), [SQUARE], {0: 0},
    ),
    "a place is one branch of a choice": (
        lambda xp, a, b: (xp.where(b > 12.0, a, b),), [A, B], {0: 0},
    ),
    "a place is the other branch of a choice": (
        lambda xp, a, b: (xp.where(b > 12.0, a, b),), [A, B], {0: 1},
    ),
    "a choice with its condition's source": (
        lambda xp, a, b: (xp.where(a > 3.0, -1.0, a), xp.where(a + b > 12.0, a + b, b * 2.0)),
        [A, B], {0: 0},
    ),
    "a choice between turned-round views of one buffer": (
        lambda xp, a: (xp.where(a > 3.0, (a * 2.0)[::-1], a * 2.0),), [A], {},
    ),
    "a choice between truth values": (
        lambda xp, a: (xp.where(a > 3.0, a < 5.0, a > 3.0), xp.logical_not(a > 2.0)), [A], {},
    ),
    "a conversion there and back": (
        lambda xp, a: (xp.astype(xp.astype(a, xp.float32) * 2.0, a.dtype),), [A], {0: 0},
    ),
    "constants": (
        lambda xp, a: (
            xp.astype(np.arange(6)[None, :] == xp.astype(a, xp.int64)[:, None], xp.float64),
            a * xp.ones_like(a),
            np.arange(6.0),
            np.arange(6.0)[::-1] + a,
        ),
        [A], {},
    ),
    "a constant replaces an input": (lambda xp, a, b: (xp.zeros_like(a), a), [A, B], {0: 0, 1: 1}),
    "an input without readers": (lambda xp, a, b: (a + 1.0,), [A, B], {}),
    "numbers without dimensions": (
        lambda xp, c, a: (c + 1.0, (c + 1.0) * a, -(c + 1.0)), [np.array(0.0), A], {0: 0},
    ),
    "zeros with a sign": (
        lambda xp, a: (1.0 / (a * 0.0 + 0.0), 1.0 / (a * -0.0 + -0.0)), [A], {},
    ),
    "numbers of other kinds": (
        lambda xp, a: (a**2, a**2.0, 2**a, a**3, a**-1.0, True * a, a - True, 7 - a), [A], {},
    ),
    "whole numbers": (
        lambda xp, a: (a * 3 - 1, xp.sum(a), xp.sum(a, axis=0, keepdims=True), a == 3, a**2),
        [np.arange(6, dtype="int32")], {},
    ),
    "one row": (
        lambda xp, x, w: (xp.matmul(x, w), xp.matmul(x.T, xp.matmul(x, w))),
        [A[None, :], np.arange(12.0).reshape(6, 2)], {},
    ),
    "one column": (
        lambda xp, x, w: (xp.matmul(x, w), xp.sum(x, axis=1, keepdims=True) * w),
        [A[:, None], B[None, :]], {},
    ),
    "one element": (
        lambda xp, a: (xp.sum(a) + a[0, 0], xp.max(a, axis=1), xp.reshape(a, ()), a.T * a),
        [np.full((1, 1), 3.0)], {},
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_traps(name, dtype):
    function, arrays, donated = TRAPS[name]
    hold(function, [a.astype(dtype) if a.dtype == float else a for a in arrays], donated)


# Where an operation of a loop reads a vector at another place than it goes to.
V = np.arange(1.0, 24.0)
LOOP_TRAPS = {
    "reads an element of what it overwrites": (
        lambda xp, a, b: (a - b * a[0], b + 1.0), [V, V * 2], {0: 0, 1: 1},
    ),
    "reads an element of a buffer that it overwrites": (
        lambda xp, a, b: ((lambda c: c - b * c[0])(a + b),), [V, V * 2], {},
    ),
    "reads what it overwrites backwards": (
        lambda xp, a, b: (a - b * a[::-1] * 0.1,), [V, V * 2], {0: 0},
    ),
    "reads what it overwrites one place further": (
        lambda xp, a: (lambda c: (c[1:] * 2.0 + c[:-1] * 0.5 * c[1:],))(a + 1.0), [V], {},
    ),
    "reads a number that is part of a joined vector": (
        lambda xp, a, b: (
            lambda s: (lambda g: (g * 0.5 - s * g,))(xp.concat((xp.reshape(s, (1,)), b[1:] * 1.0)))
        )(xp.sum(a)),
        [V, V * 2], {},
    ),
    "reads a sum of what it overwrites": (
        lambda xp, a, b: (lambda c: (c - xp.sum(c) * 0.01, xp.sum(b) - b))(a * 0.5),
        [V, V * 2], {0: 0, 1: 1},
    ),
    "reads the sum of a later chain": (
        lambda xp, a, b: (lambda c: (c * xp.sum(c * c) * 1e-4, b * 2.0 + c, c))(a * 0.5 + b),
        [V, V * 2], {0: 0, 1: 1},
    ),
    "mixes dtypes": (
        lambda xp, a, b: (
            xp.astype(xp.astype(a * 0.5, xp.float64) * 3.0 + 1.0, xp.float32) * b, (a > b) * 1.0,
        ),
        [V.astype("float32"), V.astype("float32")[::-1].copy()], {0: 0},
    ),
    "reads rows of a matrix": (
        lambda xp, a, b: (xp.reshape(a[:, None] * b[None, :], (-1,)), a * b + 1.0 - b),
        [V, V * 2], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOP_TRAPS)
@pytest.mark.parametrize("length", [23, 16])
def test_traps_in_loops(name, length):
    function, arrays, donated = LOOP_TRAPS[name]
    hold(function, [a[:length].copy() for a in arrays], donated)


# Random functions. All values are whole numbers, small enough that sums and products are
# exact, so that the order of summation does not matter and every difference is a mistake.


def clipped(xp, a):
    return xp.minimum(xp.maximum(a, -64.0), 64.0)


def product(xp, a, b):
    return clipped(xp, a) * clipped(xp, b)


UNARY = {
    "negative": lambda xp, a: -a,
    "abs": lambda xp, a: xp.abs(a),
    "sign": lambda xp, a: xp.sign(a),
    "square": lambda xp, a: xp.square(clipped(xp, a)),
    "power": lambda xp, a: clipped(xp, a) ** 2,
    "plus": lambda xp, a: a + 3.0,
    "minus": lambda xp, a: 1 - a,
    "relu": lambda xp, a: xp.maximum(a, 0.0),
    "positive": lambda xp, a: xp.astype(a > 0, a.dtype),
    "constant": lambda xp, a: a + xp.ones_like(a),
    "through float32": lambda xp, a: xp.astype(xp.astype(a, xp.float32) + 1.0, a.dtype),
    "choose": lambda xp, a: xp.where(a > 1, a, -2.0),
}
BINARY = {
    "add": lambda xp, a, b: a + b,
    "subtract": lambda xp, a, b: a - b,
    "multiply": product,
    "maximum": lambda xp, a, b: xp.maximum(a, b),
    "choose a": lambda xp, a, b: xp.where(a > b, a, b - 1.0),
    "choose b": lambda xp, a, b: xp.where(b >= a, 2.0 - b, a),
    "equal": lambda xp, a, b: xp.astype(a == b, a.dtype) - b,
    "both": lambda xp, a, b: xp.astype(xp.logical_and(a > 0, b > 0), a.dtype) * b,
}
REDUCE = {
    "sum": lambda xp, a, axis, keep: xp.sum(clipped(xp, a), axis=axis, keepdims=keep),
    "max": lambda xp, a, axis, keep: xp.max(a, axis=axis, keepdims=keep),
    "min": lambda xp, a, axis, keep: xp.min(a, axis=axis, keepdims=keep),
}
SLICES = st.sampled_from(
    [slice(None, None, -1), slice(1, None), slice(None, -1), slice(None, None, 2), slice(1, 3)]
)


@st.composite
def functions(draw):
    """A random function ``(xp, *arrays) -> outputs``, its arrays, and places of its outputs."""
    length = draw(st.sampled_from([1, 3, 6, 16, 23]))
    shapes = [(length,), (length,), (2, 3), (3, 3), ()]
    inputs = [shapes[i] for i in draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))]
    known = list(inputs)
    whole = [True] * len(known)  # whether it is no view that leaves elements out or turns them
    program = []

    def pick(fits=lambda shape: True):
        # The latest ones twice: chains are what plans are about.
        numbers = [i for i, shape in enumerate(known) if fits(shape)]
        return draw(st.sampled_from(numbers + numbers[-2:])) if numbers else None

    def add(function, operands, shape, contiguous=True):
        program.append((function, operands))
        known.append(shape)
        whole.append(contiguous)

    def unary():
        a = pick()
        add(draw(st.sampled_from(list(UNARY.values()))), (a,), known[a])

    def binary():
        a = pick()
        ends = {known[a], (), (1,), known[a][-1:]} | ({(known[a][0], 1)} if known[a] else set())
        b = pick(lambda shape: shape in ends)
        operands = (a, b) if draw(st.booleans()) else (b, a)
        add(
            draw(st.sampled_from(list(BINARY.values()))),
            operands,
            np.broadcast_shapes(known[a], known[b]),
        )

    def view():
        a = pick(lambda shape: shape)
        if a is None:
            return
        shape = known[a]
        kind = draw(st.sampled_from(["slice", "element", "transpose", "column", "flat", "matrix"]))
        if kind == "slice":
            key = draw(SLICES)
            new = np.empty(shape)[key].shape
            if 0 not in new:
                add(lambda xp, v: v[key, ...], (a,), new, False)
        elif kind == "element":
            place = draw(st.integers(0, shape[0] - 1))
            add(lambda xp, v: v[place, ...], (a,), shape[1:], whole[a])
        elif kind == "transpose" and len(shape) == 2:
            add(lambda xp, v: v.T, (a,), shape[::-1], False)
        elif kind == "column" and len(shape) == 1:
            add(lambda xp, v: v[:, None], (a,), (*shape, 1), whole[a])
        elif kind == "flat" and whole[a]:
            add(lambda xp, v: xp.reshape(v, (-1,)), (a,), (int(np.prod(shape)),))
        elif kind == "matrix" and whole[a] and np.prod(shape) == 6:
            add(lambda xp, v: xp.reshape(v, (3, 2)), (a,), (3, 2))

    def reduction():
        a = pick()
        axis = draw(st.sampled_from([None, *range(-len(known[a]), len(known[a]))]))
        keep, reduce = draw(st.booleans()), draw(st.sampled_from(list(REDUCE.values())))
        shape = np.sum(np.empty(known[a]), axis=axis, keepdims=keep).shape
        add(lambda xp, v: reduce(xp, v, axis, keep), (a,), shape)

    def matmul():
        a = pick(lambda shape: len(shape) == 2)
        if a is None:
            return
        b = pick(lambda shape: len(shape) == 2 and shape[0] == known[a][1])
        if b is None:
            return
        add(
            lambda xp, v, w: xp.matmul(clipped(xp, v), clipped(xp, w)),
            (a, b),
            (known[a][0], known[b][1]),
        )

    def bare_matmul():
        """Without clipping first: views go into the product as they are."""
        a = pick(lambda shape: len(shape) == 2)
        if a is not None:
            add(
                lambda xp, v: clipped(xp, xp.matmul(xp.sign(v).T, xp.sign(v))),
                (a,),
                (known[a][1],) * 2,
            )

    def concat():
        parts = [
            pick(lambda shape: len(shape) == 1 and shape[0] < 40)
            for _ in range(draw(st.integers(1, 3)))
        ]
        if None not in parts:
            add(lambda xp, *v: xp.concat(v), tuple(parts), (sum(known[p][0] for p in parts),))

    moves = [unary, binary, binary, unary, view, view, reduction, matmul, bare_matmul, concat]
    for number in draw(st.lists(st.integers(0, len(moves) - 1), min_size=1, max_size=14)):
        moves[number]()

    outputs = draw(st.lists(st.sampled_from(range(len(known))), min_size=1, max_size=4))
    donated = {}
    for output, number in enumerate(outputs):
        fitting = [
            i for i, s in enumerate(inputs) if s == known[number] and i not in donated.values()
        ]
        if fitting and draw(st.booleans()):
            donated[output] = draw(st.sampled_from(fitting))

    def function(xp, *arrays):
        values = list(arrays)
        for step, operands in program:
            values.append(step(xp, *(values[i] for i in operands)))
        return tuple(values[i] for i in outputs)

    source = np.random.default_rng(draw(st.integers(0, 100)))
    dtype = draw(st.sampled_from(["float64", "float32"]))
    arrays = [np.asarray(source.integers(-3, 4, shape), dtype) for shape in inputs]
    return function, arrays, donated


@examples(300)
@given(functions())
def test_random_functions(case):
    hold(*case)
