"""What every formula shares: finding `xp`, and computing half precision in single."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from xpnn.backends import (
    Array,
    Device,
    DType,
    Namespace,
    dtype_name,
    is_half,
    largest_of,
    on_device,
    placement,
)

P = ParamSpec("P")
R = TypeVar("R")


def formula(function: Callable[P, R]) -> Callable[P, R]:
    """Let a pure formula be called without `xp`, and with half precision.

    `xp` is looked up from the first array where the caller does not hand it in. Arrays of
    float16 and bfloat16 are computed in float32 and rounded once at the end, to the
    nearest finite number: a 16-bit ``exp`` or square overflows long before its result
    matters, and sums lose their small terms.
    """
    return _wrap(function)


def gradient_formula(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for the backward of a formula, where what overflows becomes infinite.

    A gradient cut off at the largest float16 would look like any other; an infinite one
    tells a training that scales its loss to take a smaller scale.
    """
    return _wrap(function, saturates=False)


def product_formula(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a formula that hands its arrays to `product` as they are."""
    return _wrap(function, widens=False)


def loss_formula(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a loss ``-> (loss, saved)``, whose 0-d loss stays float32."""
    return _wrap(function, wide_loss=True)


def _wrap(
    function: Callable[P, R], wide_loss: bool = False, saturates: bool = True, widens: bool = True
) -> Callable[P, R]:
    names = tuple(inspect.signature(function).parameters)

    @wraps(function)
    def call(*args: Any, xp: Namespace = None, **kwargs: Any) -> Any:
        if xp is None:
            xp, device = _find_placement(names, args, kwargs)
            with on_device(device):
                return call(*args, xp=xp, **kwargs)
        half = _half_dtype(args)
        if half is None:
            return function(*args, xp=xp, **kwargs)
        if widens:
            args = tuple(_widen(x, xp) for x in args)
            kwargs = {k: _widen(v, xp) for k, v in kwargs.items()}
        result: Any = function(*args, xp=xp, **kwargs)
        if wide_loss:
            loss, saved = result
            return loss, _narrow(saved, half, xp)
        return _narrow(result, half, xp, saturates)

    return call


def _find_placement(
    names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Namespace, Device]:
    given = dict(zip(names, args, strict=False)) | kwargs
    first = given[names[0]]
    while isinstance(first, tuple) and first:
        first = first[0]
    arrays = {names[0]: first} | {n: v for n, v in given.items() if n != names[0] and _arrays(v)}
    return placement(**arrays)


def _arrays(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _half_dtype(values: Any) -> DType | None:
    for value in values:
        if isinstance(value, tuple):
            found = _half_dtype(value)
            if found is not None:
                return found
        elif _arrays(value) and is_half(value.dtype):
            return value.dtype
    return None


def _widen(value: Any, xp: Namespace) -> Any:
    if isinstance(value, tuple):
        return tuple(_widen(v, xp) for v in value)
    if _arrays(value) and is_half(value.dtype):
        return xp.astype(value, xp.float32)
    return value


def _narrow(value: Any, dtype: DType, xp: Namespace, saturates: bool = True) -> Any:
    if isinstance(value, tuple):
        return tuple(_narrow(v, dtype, xp, saturates) for v in value)
    if not _arrays(value) or dtype_name(value.dtype) != "float32":
        return value
    if not saturates:
        return xp.astype(value, dtype)
    largest = largest_of(dtype, xp)
    return xp.astype(xp.minimum(xp.maximum(value, -largest), largest), dtype)


@cache
def exp_limit(dtype: DType, xp: Namespace) -> float:
    """Return the largest whole x for which ``exp(x)`` is finite: 88 in float32, 709 in float64."""
    return float(int(math.log(float(xp.finfo(dtype).max))))


def total(x: Array, xp: Namespace) -> Array:
    """Sum over all elements, 0-d, in the dtype of `x`."""
    return xp.sum(x, dtype=x.dtype)
