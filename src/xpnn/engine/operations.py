"""The array operations that the engine knows, and how NumPy writes each into a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import erf, host

# Array API name -> NumPy ufunc, called as ``ufunc(a, b, out)``.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    name: getattr(host, name)
    for name in (
        "abs", "add", "divide", "equal", "exp", "expm1", "greater", "greater_equal", "less",
        "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or", "maximum",
        "minimum", "multiply", "negative", "not_equal", "pow", "sign", "sqrt", "square", "subtract",
        "tanh",
    )
}  # fmt: skip

# Those that Python and C++ write alike, on operands of one dtype.
OPERATORS: dict[str, str] = {
    "add": "{0} + {1}",
    "divide": "{0} / {1}",
    "equal": "{0} == {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "not_equal": "{0} != {1}",
    "square": "{0} * {0}",
    "subtract": "{0} - {1}",
}

# Elementwise too, but written with more than one call, or not by a ufunc of NumPy's.
OTHER_ELEMENTWISE = frozenset({"astype", "erf", "where"})

# Array API name -> reduction, called as ``reduce(a, axis, dtype, out, keepdims)``.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": host.add.reduce,
    "max": host.maximum.reduce,
    "min": host.minimum.reduce,
}


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


# A new look at the same memory, applied to the buffer once, when a plan is made.
VIEWS: dict[str, Callable[..., Any]] = {
    # The ellipsis makes of a single entry a view too, not a number.
    "getitem": lambda a, key: a[key if ... in _parts(key) else (*_parts(key), ...)],
    "reshape": lambda a, shape: host.reshape(a, shape),
    "transpose": lambda a: a.T,
}


def outcome(op: str, values: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Say what an operation would give: an array of its shape and dtype that takes no memory.

    Of the operands, arrays and numbers, only shapes and dtypes count.
    """
    if op in VIEWS:
        return VIEWS[op](blank(values[0].shape, values[0].dtype), **attributes)
    if op == "matmul":
        (rows, inner), (other, columns) = (v.shape for v in values)
        if inner != other:
            raise ValueError(f"matmul of {values[0].shape} and {values[1].shape}")
        return blank((rows, columns), host.result_type(*values))
    if op == "across":
        return blank(values[0].shape, values[0].dtype)
    if op == "concat":
        return blank((sum(v.size for v in values),), host.result_type(*values))
    # NumPy's rules for dtypes look at dtypes only: one number says what many would give.
    ones = tuple(host.ones((), v.dtype) if hasattr(v, "dtype") else v for v in values)
    if op in REDUCTIONS:
        one = REDUCTIONS[op](ones[0].reshape(1), 0, attributes["dtype"])
        return blank(_reduced(values[0].shape, **attributes), one.dtype)
    shape = host.broadcast_shapes(*(host.shape(v) for v in values))
    return blank(shape, host.asarray(_one(op, ones, attributes)).dtype)


def blank(shape: tuple[int, ...], dtype: Any) -> Any:
    """Make an array of ones that takes the memory of a number."""
    return host.broadcast_to(host.ones((), dtype), shape)


def _reduced(shape: tuple[int, ...], axis: Any, dtype: Any, keepdims: bool) -> tuple[int, ...]:
    gone = axes_of(axis, len(shape))
    return tuple(1 if i in gone else n for i, n in enumerate(shape) if keepdims or i not in gone)


def axes_of(axis: Any, count: int) -> tuple[int, ...]:
    """List the axes, from 0, that a reduction of an array of so many is along."""
    every = tuple(range(count))
    return every if axis is None else host.lib.array_utils.normalize_axis_tuple(axis, count)


def _one(op: str, ones: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    if op in ELEMENTWISE:
        return ELEMENTWISE[op](*ones)
    if op == "astype":
        return ones[0].astype(attributes["dtype"])
    return host.where(*ones) if op == "where" else erf(ones[0], host)
