"""The array operations that the engine knows, and how NumPy writes each into a buffer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import erf, host

# Array API name -> NumPy ufunc, called as ``ufunc(a, b, out)``.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    name: getattr(host, name)
    for name in (
        "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
        "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
        "ceil", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor",
        "floor_divide", "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan", "less",
        "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not",
        "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "nextafter",
        "not_equal", "positive", "pow", "reciprocal", "remainder", "sign", "signbit", "sin", "sinh",
        "sqrt", "square", "subtract", "tan", "tanh", "trunc",
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
    "broadcast_to": lambda a, shape: host.broadcast_to(a, shape),
    "expand_dims": lambda a, axis: host.expand_dims(a, axis),
    "flip": lambda a, axis: host.flip(a, axis),
    "getitem": lambda a, key: a[key if ... in _parts(key) else (*_parts(key), ...)],
    "permute_dims": lambda a, axes: host.permute_dims(a, axes),
    "reshape": lambda a, shape: host.reshape(a, shape),
    "squeeze": lambda a, axis: host.squeeze(a, axis),
    "transpose": lambda a: a.T,
}


def outcome(op: str, values: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Say what an operation would give: an array of its shape and dtype that takes no memory.

    Of the operands, arrays and numbers, only shapes and dtypes count.
    """
    if op == "call":
        return attributes["call"].outcome(values)
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
    with host.errstate(all="ignore"):
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


@dataclass(frozen=True)
class LibraryCall:
    """A function of NumPy's that no operation here stands for, with arrays to fill in.

    Parameters
    ----------
    name : str
        What the array API calls it.
    function : callable
        Takes arrays, numbers, and lists of them.
    arguments, keywords
        What it is called with; a `Hole` stands for each array.
    item : int, optional
        Which of several results is meant.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    item: int | None = None

    def __call__(self, *arrays: Any) -> Any:
        """Call it on arrays, in the order of the holes."""
        arguments = [_filled(a, arrays) for a in self.arguments]
        keywords = {key: _filled(a, arrays) for key, a in self.keywords}
        found = self.function(*arguments, **keywords)
        return found if self.item is None else found[self.item]

    def into(self, *arrays: Any) -> None:
        """Call it, and put the result into the last of the arrays."""
        *operands, out = arrays
        out[...] = self(*operands)

    def outcome(self, values: tuple[Any, ...]) -> Any:
        """Say what it would give: an array of its shape and dtype."""
        with host.errstate(all="ignore"):
            found = self(*(host.zeros(v.shape, v.dtype) for v in values))
        if isinstance(found, host.ndarray | host.generic):
            return blank(found.shape, found.dtype)
        return found


@dataclass(frozen=True)
class Hole:
    """The place of an array in a call, by its number."""

    number: int


def _filled(value: Any, arrays: tuple[Any, ...]) -> Any:
    if isinstance(value, Hole):
        return arrays[value.number]
    if isinstance(value, list | tuple):
        return type(value)(_filled(v, arrays) for v in value)
    return value
