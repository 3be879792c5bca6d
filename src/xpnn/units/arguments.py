"""Checks of arguments that the units share."""

from __future__ import annotations

from typing import Any

from xpnn.backends import Array, host


def positive_integer(name: str, value: Any) -> int:
    """Pass a positive integer on; anything else is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | host.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")
    return int(value)


def is_single_row(name: str, x: Array, inputs: int) -> bool:
    """Whether `x` is one row and not a batch; a ValueError where it is neither."""
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
