"""What is recorded, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from xpnn.backends import HOST_NAMESPACE
from xpnn.engine.calls import NativeCalls, NumpyCalls
from xpnn.engine.native import domain
from xpnn.engine.operations import ELEMENTWISE
from xpnn.engine.plan import make_plan
from xpnn.engine.trace import NAMESPACE as xp
from xpnn.engine.trace import Traced, UnknownOperationError, record

A = np.arange(1.0, 7.0).reshape(2, 3)


def recorded(function, *arrays):
    """Trace of a function of arrays that are named a, b, ..."""
    return record(function, arrays, list("abcdef"[: len(arrays)]))


def replayed(function, *arrays):
    """First output of a function, computed by a plan."""
    plan = make_plan(function, tuple(a.copy() for a in arrays), list("ab"[: len(arrays)]), {})
    NumpyCalls(plan).step()
    return plan.outputs[0]


def assert_like(node, expected):
    """Hold a recorded shape and dtype against what NumPy gives."""
    assert node.shape == expected.shape
    assert node.value.dtype == expected.dtype


def operations(trace):
    return [node.op for node in trace.nodes]


def assert_recorded(function, operation, *arrays):
    """Hold what a function ends in, its result's kind and its value against NumPy's."""
    trace, expected = recorded(function, *arrays), function(*arrays)
    assert operations(trace)[-1] == operation
    assert_like(trace.outputs[0], expected)
    np.testing.assert_array_equal(replayed(function, *arrays), expected, strict=True)


def test_operations_are_recorded_in_order():
    trace = recorded(lambda a, b: xp.sum(xp.exp(a) * b - 1.0, axis=0), A, A)
    assert operations(trace) == ["input", "input", "exp", "multiply", "subtract", "sum"]
    assert [node.label for node in trace.inputs] == ["a", "b"]
    (output,) = trace.outputs
    assert output is trace.nodes[-1]
    assert output.attributes["axis"] == 0
    assert output.shape == (3,)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_elementwise_operation_is_recorded_under_its_name(name):
    arrays = [A > 2] * 2 if name.startswith("logical") else [A / 8] * 2
    arrays = [A.astype("int64")] * 2 if name.startswith("bitwise") else arrays
    arrays = [A + 1] * 2 if name == "acosh" else arrays
    arrays = arrays[: ELEMENTWISE[name].nin]
    namespace = {True: xp, False: np}
    assert_recorded(
        lambda *a: getattr(namespace[isinstance(a[0], Traced)], name)(*a), name, *arrays
    )


OPERATORS = {
    "a + b": "add", "a - b": "subtract", "a * b": "multiply", "a / b": "divide", "a ** b": "pow",
    "2.0 + a": "add", "2.0 - a": "subtract", "2.0 * a": "multiply", "2.0 / a": "divide",
    "2.0 ** a": "pow", "a < b": "less", "a <= b": "less_equal", "a > b": "greater",
    "a >= b": "greater_equal", "a == b": "equal", "a != b": "not_equal", "a @ b.T": "matmul",
    "-a": "negative", "abs(a)": "abs", "(a > 1) & (b > 2)": "logical_and",
    "(a > 1) | (b > 2)": "logical_or", "a.T": "transpose", "a[1, :]": "getitem",
    "(a > 1) ^ (b > 2)": "logical_xor", "~(a > 1)": "logical_not", "a % b": "remainder",
    "2.0 % a": "remainder", "a // b": "floor_divide", "a.mT": "transpose",
}  # fmt: skip


@pytest.mark.parametrize("text", OPERATORS)
def test_operators_are_operations(text):
    assert_recorded(lambda a, b: eval(text, {"a": a, "b": b}), OPERATORS[text], A, A * 2)


@pytest.mark.parametrize("text", ["CONST + a", "CONST * a", "CONST - a", "CONST / a", "CONST < a"])
def test_numpy_arrays_leave_operators_to_the_trace(text):
    def function(a):
        return eval(text, {"CONST": A, "a": a})

    assert "constant" in operations(recorded(function, A))
    np.testing.assert_array_equal(replayed(function, A), function(A))


def test_the_same_operation_is_recorded_once():
    trace = recorded(lambda a, b: (xp.exp(a * b) + 1.0, xp.exp(a * b) + 1.0, b * a), A, A)
    assert operations(trace)[2:] == ["multiply", "exp", "add", "multiply"]
    assert trace.outputs[0] is trace.outputs[1]


def test_operations_that_differ_are_recorded_each():
    trace = recorded(
        lambda a: (
            xp.sum(a, axis=0), xp.sum(a, axis=1), xp.sum(a), xp.sum(a, axis=0, keepdims=True),
            xp.max(a), a + 1, a + 1.0, a + True, a * 0.0, a * -0.0, a[0, :], a[1, :], a[:, 0],
        ),
        A,
    )  # fmt: skip
    assert len(set(map(id, trace.outputs))) == 13


def test_dead_operations_are_dropped():
    def function(a, b):
        xp.exp(a)
        xp.sum(b * 3.0, axis=0)
        return a + 1.0

    trace = recorded(function, A, A)
    assert operations(trace) == ["input", "input", "add"]


def test_unchanged_dtypes_are_no_operation():
    trace = recorded(lambda a: (xp.astype(a, xp.float64), xp.astype(a, xp.float32)), A)
    assert operations(trace) == ["input", "astype"]
    assert trace.outputs[0] is trace.inputs[0]
    assert trace.outputs[1].value.dtype == np.float32


def test_outputs_are_the_arrays_in_nested_tuples_in_order():
    trace = record(lambda p, n: ((p[0] + 1.0, ()), n, p[1]), ((A, A * 2), None), ["a", "b"])
    assert trace.outputs == [trace.nodes[-1], trace.inputs[1]]


@pytest.mark.parametrize(
    "view",
    [
        "a[0, :]",
        "a[1, 2, ...]",
        "a[:, ::-1]",
        "a[..., None]",
        "a.T",
        "xp.reshape(a, (-1,))",
        "xp.reshape(a.T[:, 0:1], (3,))",
        "xp.reshape(a, (3, 2)).T[1:, ::2]",
    ],
)
def test_views_are_views(view):
    a = A.copy()
    plan = make_plan(lambda a: eval(view, {"xp": xp, "a": a}), (a,), ["a"], {})
    assert plan.calls == []
    assert plan.buffers == 0
    assert np.shares_memory(plan.outputs[0], a)
    a *= 10.0
    NumpyCalls(plan).step()
    as_numpy = {"xp": np, "a": a}
    expected = eval(view, as_numpy)
    np.testing.assert_array_equal(plan.outputs[0], expected)
    assert_like(recorded(lambda a: eval(view, {"xp": xp, "a": a}), a).outputs[0], expected)


CALLS = {
    "sort": lambda xp, a: xp.sort(a, axis=1),
    "cumulative_sum": lambda xp, a: xp.cumulative_sum(a, axis=0),
    "roll": lambda xp, a: xp.roll(a * 2.0, 1, axis=0),
    "clip": lambda xp, a: xp.clip(a, 2.0, 4.0),
    "round": lambda xp, a: xp.round(a / 3),
    "take": lambda xp, a: xp.take(a, xp.asarray([2, 0]), axis=1),
    "stack": lambda xp, a: xp.stack([a, a + 1.0]),
    "concat of other than vectors": lambda xp, a: xp.concat((a, a), axis=1),
    "matmul of other than matrices": lambda xp, a: xp.matmul(a, a[0, :]),
    "pinv": lambda xp, a: xp.linalg.pinv(a),
    "reshape that copies": lambda xp, a: xp.reshape(a.T, (-1,)),
    "indexing with an array": lambda xp, a: a[xp.argmax(a, axis=0), :],
    "meshgrid": lambda xp, a: xp.meshgrid(a[0, :], a[1, :])[1],
    "svd": lambda xp, a: xp.linalg.svd(a, full_matrices=False).S,
    "prod": lambda xp, a: xp.prod(a, axis=0),
    "argsort": lambda xp, a: xp.argsort(-a, axis=1),
    "tril": lambda xp, a: xp.tril(a) @ a.T,
}


@pytest.mark.parametrize("name", CALLS)
def test_other_functions_of_the_standard_are_calls(name):
    """On memory that is planned, and between native pieces."""
    function = CALLS[name]
    trace, expected = recorded(lambda a: function(xp, a), A), function(HOST_NAMESPACE, A)
    assert name in [node.name for node in trace.nodes]
    assert_like(trace.outputs[0], expected)
    found = replayed(lambda a: function(xp, a), A)
    np.testing.assert_array_equal(found, expected, strict=True)
    plan = make_plan(lambda a: function(xp, a), (A.copy(),), ["a"], {}, domain)
    calls = NativeCalls(plan, (), None)
    assert name in calls.slow
    calls.step()
    np.testing.assert_array_equal(plan.outputs[0], expected, strict=True)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_mean_is_numpys(axis, dtype):
    a = np.random.default_rng(0).normal(size=(37, 21), scale=10).astype(dtype)
    function = partial(lambda xp, a: xp.mean(a, axis=axis, keepdims=True))
    np.testing.assert_array_equal(replayed(partial(function, xp), a), function(np, a), strict=True)


def branch(a):
    return a if xp.sum(a) > 0 else -a


REFUSED = {
    "bool": (branch, r"bool\(\)"),
    "and of numbers": (lambda a: a and a, r"bool\(\)"),
    "float": (lambda a: a * float(xp.sum(a)), r"float\(\)"),
    "int": (lambda a: a * int(xp.sum(a)), r"float\(\)"),
    "mask": (lambda a: a[a > 1], "indexing with a mask"),
    "nonzero": (lambda a: xp.nonzero(a)[0], "nonzero: a shape that depends on data"),
    "unknown function": (lambda a: xp.erfinv(a), "erfinv"),
    "strings": (lambda a: a + "1", "str"),
    "method": (lambda a: a.sum(axis=0), "sum"),
    "NumPy itself": (lambda a: np.maximum(a, 0.0), "ufunc"),
    "NumPy's other functions": (lambda a: np.linalg.norm(a), "raises"),
    "assignment": (lambda a: a.__setitem__(0, 1.0), "setitem"),
    "a number for a result": (lambda a: (a, 1.0), "number"),
    "a list for a result": (lambda a: [a, a], "list"),
    "an error of its own": (lambda a: a * [][0], "IndexError"),
    "shapes that do not fit": (lambda a: a + a.T, "ValueError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name):
    function, named = REFUSED[name]
    with pytest.raises(UnknownOperationError, match=named.replace("+", r"\+")):
        recorded(function, A)


def test_a_keyboard_interrupt_goes_through():
    def function(a):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded(function, A)


def test_recording_writes_into_no_argument():
    a = A.copy()
    a.flags.writeable = False
    recorded(lambda a: (a + 1.0, xp.sum(a), xp.matmul(a, a.T), xp.where(a > 2, a, 0.0)), a)
    np.testing.assert_array_equal(a, A)


SHAPES = {
    "xp.sum(a)": (), "xp.sum(a, axis=1)": (2,), "xp.sum(a, axis=-2, keepdims=True)": (1, 3),
    "xp.max(a, axis=(0, 1))": (), "xp.min(a, axis=(0, 1), keepdims=True)": (1, 1),
    "xp.where(a > 2, a, 0.0)": (2, 3), "xp.where(a[:, :1] > 2, a[:1, :], 1.0)": (2, 3),
    "a[:, :1] + a[:1, :]": (2, 3), "a @ a.T": (2, 2), "xp.sum(a > 2, dtype=xp.float32)": (),
}  # fmt: skip


@pytest.mark.parametrize("text", SHAPES)
def test_shapes_and_dtypes_are_known_without_computing(text):
    expected = np.asarray(eval(text, {"xp": np, "a": A}))
    assert expected.shape == SHAPES[text]
    node = recorded(lambda a: eval(text, {"xp": xp, "a": a}), A).outputs[0]
    assert_like(node, expected)
    assert node.value.strides == (0,) * expected.ndim  # the memory of one number


@pytest.mark.parametrize(
    "text", ["a + a.T", "a @ a", "xp.sum(a, axis=2)", "a[0, 5]", "xp.reshape(a, (4, 2))"]
)
def test_what_numpy_would_refuse_is_refused(text):
    with pytest.raises(UnknownOperationError, match="what raises"):
        recorded(lambda a: eval(text, {"xp": xp, "a": a}), A)


def test_numbers_have_the_dtype_that_numpy_gives_them():
    for dtype in ("float32", "float64", "int32"):
        array = np.ones((2, 3), dtype)
        trace = recorded(lambda a: (a + 1, a * 0.5, 2.0 / a, a**2, xp.sum(a), a > 0), array)
        expected = (array + 1, array * 0.5, 2.0 / array, array**2, np.sum(array), array > 0)
        assert [o.value.dtype for o in trace.outputs] == [e.dtype for e in expected]


def test_a_long_graph_can_be_shown():
    """Every node is read twice: written down as a tree it would be 2**60 long."""

    def function(a):
        for _ in range(60):
            a = a + a
        return a

    assert len(repr(recorded(function, A))) < 20_000
