"""The array operations that the engine knows, and how NumPy writes each into a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import erf, host

# Array API name -> NumPy ufunc, called as ``ufunc(a, b, out)``.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": host.abs,
    "add": host.add,
    "divide": host.divide,
    "equal": host.equal,
    "exp": host.exp,
    "expm1": host.expm1,
    "greater": host.greater,
    "greater_equal": host.greater_equal,
    "less": host.less,
    "less_equal": host.less_equal,
    "log": host.log,
    "log1p": host.log1p,
    "logical_and": host.logical_and,
    "logical_not": host.logical_not,
    "logical_or": host.logical_or,
    "maximum": host.maximum,
    "minimum": host.minimum,
    "multiply": host.multiply,
    "negative": host.negative,
    "not_equal": host.not_equal,
    "pow": host.power,
    "sign": host.sign,
    "sqrt": host.sqrt,
    "square": host.square,
    "subtract": host.subtract,
    "tanh": host.tanh,
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
    every = range(len(shape))
    gone = every if axis is None else host.lib.array_utils.normalize_axis_tuple(axis, len(shape))
    return tuple(1 if i in gone else shape[i] for i in every if keepdims or i not in gone)


def _one(op: str, ones: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    if op in ELEMENTWISE:
        return ELEMENTWISE[op](*ones)
    if op == "astype":
        return ones[0].astype(attributes["dtype"])
    return host.where(*ones) if op == "where" else erf(ones[0], host)
