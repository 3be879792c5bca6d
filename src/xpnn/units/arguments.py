"""What the units share: checking the arrays that come in, and where they go."""

from __future__ import annotations

from typing import Any

from xpnn.backends import (
    Array,
    ArrayLike,
    Device,
    Namespace,
    as_array,
    as_floating,
    host,
    is_array,
    placement,
    to_device,
)


def positive_integer(name: str, value: Any) -> int:
    """Pass a positive integer on; anything else is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | host.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")
    return int(value)


def to_device_of(
    name: str, x: ArrayLike, other: str, like: Array
) -> tuple[Array, Namespace, Device]:
    """Bring lists to the library, device and dtype of `like`; an array must live there already.

    `name` and `other` are the names of `x` and `like`, for the errors. A floating array keeps
    its dtype.

    Raises
    ------
    TypeError
        `x` does not hold numbers.
    MixedArraysError
        `x` is an array of another library or device than `like`.
    """
    if not is_array(x) or isinstance(x, host.generic):
        xp, device = placement(**{other: like})
        return to_device(as_array(name, x), xp, device, like.dtype), xp, device
    x = as_array(name, x)
    xp, device = placement(**{name: x, other: like})
    return as_floating(x, xp, like.dtype), xp, device


def is_single_row(name: str, x: Array, inputs: int) -> bool:
    """Whether `x` is one row and not a batch of rows.

    Raises
    ------
    ValueError
        The rows have another length than `inputs`, or there is none.
    """
    shape = tuple(x.shape)
    if shape == (inputs,):
        return True
    if len(shape) != 2 or shape[1] != inputs:
        raise ValueError(
            f"{name} has shape {shape}; expected ({inputs},) or (n, {inputs}), "
            f"because there are {inputs} weights"
        )
    if shape[0] == 0:
        raise ValueError(f"{name} has shape {shape}; expected at least one row")
    return False
