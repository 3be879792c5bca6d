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
    """Pass a positive integer on.

    Raises
    ------
    ValueError
        It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | host.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")
    return int(value)


def beside(name: str, x: ArrayLike, home: str, like: Array) -> tuple[Array, Namespace, Device]:
    """Bring numbers in lists to where `like` lives, and check that an array lives there.

    Parameters
    ----------
    name, home : str
        Names of `x` and `like`, for the errors.
    x : array_like
        Array of any library, or nested lists of numbers.
    like : array
        Gives lists their library, device and dtype.

    Returns
    -------
    x : array
        In the dtype of `like`, unless it is a floating array: that one keeps its own.
    xp : module
        Its namespace.
    device : object
        Its device.

    Raises
    ------
    TypeError
        `x` does not hold numbers.
    MixedArraysError
        `x` is an array of another library or device than `like`.
    """
    if not is_array(x) or isinstance(x, host.generic):
        xp, device = placement(**{home: like})
        return to_device(as_array(name, x), xp, device, like.dtype), xp, device
    x = as_array(name, x)
    xp, device = placement(**{name: x, home: like})
    return as_floating(x, xp, like.dtype), xp, device


def check_rows(name: str, x: Array, inputs: int) -> bool:
    """Check the shape of one row or a batch of rows.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    x : array
        What came.
    inputs : int
        Numbers that a row must have.

    Returns
    -------
    bool
        Whether it is a single row.

    Raises
    ------
    ValueError
        The rows have another length, or there is none.
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
