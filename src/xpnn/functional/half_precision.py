"""What every formula shares: finding `xp`, and computing half precision in single.

The first argument of a formula decides: where it is of float16 or bfloat16, all 16-bit
arguments are computed with in float32, and the results are rounded once, at the end. A 16-bit
``exp`` or square overflows long before its result matters, and sums lose their small terms.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache, partial, wraps
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


def find_namespace(function: Callable[P, R]) -> Callable[P, R]:
    """Let a formula be called without `xp`, which is looked up from its arrays."""
    return _wrap(function, None)


def upcast_half(function: Callable[P, R]) -> Callable[P, R]:
    """Look `xp` up, and compute 16-bit floats in float32.

    Results are rounded to the nearest finite 16-bit float.
    """
    return _wrap(function, narrow)


def upcast_half_gradient(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a backward, where what overflows becomes infinite.

    A gradient cut off at the largest float16 would look like any other; an infinite one
    tells a training that scales its loss to take a smaller scale.
    """
    return _wrap(function, partial(narrow, clip=False))


def upcast_half_loss(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a loss ``-> (loss, saved)``, whose 0-d loss stays float32."""
    return _wrap(function, _narrow_saved)


def _wrap(
    function: Callable[P, R], finish: Callable[[Any, DType, Namespace], Any] | None
) -> Callable[P, R]:
    names = tuple(inspect.signature(function).parameters)

    @wraps(function)
    def call(*args: Any, xp: Namespace = None, **kwargs: Any) -> Any:
        if xp is None:
            xp, device = _find_placement(names, args, kwargs)
            with on_device(device):
                return call(*args, xp=xp, **kwargs)
        half = None if finish is None else _half_dtype(args[0] if args else kwargs.get(names[0]))
        if half is None:
            return function(*args, xp=xp, **kwargs)
        args = tuple(widen(x, xp) for x in args)
        kwargs = {name: widen(x, xp) for name, x in kwargs.items()}
        assert finish is not None
        return finish(function(*args, xp=xp, **kwargs), half, xp)

    return call


def _find_placement(
    names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Namespace, Device]:
    given = dict(zip(names, args, strict=False)) | kwargs
    first = given.get(names[0])
    while isinstance(first, tuple) and first:
        first = first[0]
    arrays = {name: x for name, x in given.items() if hasattr(x, "dtype") and hasattr(x, "shape")}
    return placement(**({names[0]: first} | arrays))


def _half_dtype(value: Any) -> DType | None:
    """Dtype of an array, or of the first one in a tuple, where it is one of 16 bits."""
    while isinstance(value, tuple) and value:
        value = value[0]
    dtype = getattr(value, "dtype", None)
    return dtype if dtype is not None and is_half(dtype) else None


def widen(value: Any, xp: Namespace) -> Any:
    """Make float32 of 16-bit floats, in tuples or not; pass anything else on."""
    if isinstance(value, tuple):
        return tuple(widen(v, xp) for v in value)
    if hasattr(value, "dtype") and is_half(value.dtype):
        return xp.astype(value, xp.float32)
    return value


def narrow(value: Any, dtype: DType, xp: Namespace, *, clip: bool = True) -> Any:
    """Round float32 arrays, in tuples or not, to a 16-bit dtype; by default to finite numbers."""
    if isinstance(value, tuple):
        return tuple(narrow(v, dtype, xp, clip=clip) for v in value)
    if not hasattr(value, "dtype") or dtype_name(value.dtype) != "float32":
        return value
    if clip:
        largest = largest_of(dtype, xp)
        value = xp.minimum(xp.maximum(value, -largest), largest)
    return xp.astype(value, dtype)


def _narrow_saved(value: Any, dtype: DType, xp: Namespace) -> Any:
    loss, saved = value
    return loss, narrow(saved, dtype, xp)


@cache
def exp_limit(dtype: DType, xp: Namespace) -> float:
    """Return the largest whole x for which ``exp(x)`` is finite: 88 in float32, 709 in float64."""
    return float(int(math.log(float(xp.finfo(dtype).max))))


def total(x: Array, xp: Namespace) -> Array:
    """Sum over all elements, 0-d, in the dtype of `x`."""
    return xp.sum(x, dtype=x.dtype)
