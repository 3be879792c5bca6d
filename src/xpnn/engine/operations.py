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


def compute(op: str, values: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Do an operation with NumPy; how a trace learns shapes and dtypes."""
    if op in ELEMENTWISE:
        return ELEMENTWISE[op](*values)
    if op in REDUCTIONS:
        reduced = REDUCTIONS[op](
            values[0], attributes["axis"], attributes["dtype"], None, attributes["keepdims"]
        )
        return host.asarray(reduced)
    if op in VIEWS:
        return VIEWS[op](values[0], **attributes)
    if op == "astype":
        return values[0].astype(attributes["dtype"])
    if op == "where":
        return host.where(*values)
    if op == "erf":
        return erf(values[0], host)
    if op == "matmul":
        return host.matmul(*values)
    return host.concatenate(values)
