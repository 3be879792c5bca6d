"""Numbers among the arguments of layers and optimizers: checked, and made Python's own.

A NumPy scalar has a dtype, which would widen the arrays that it meets; a Python number has none.
Each function takes a frozen dataclass and the names of fields of it, and raises TypeError where
a field is not a number, ValueError where it is out of range; the message names the field, what
came, and what was expected.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def _store(
    owner: object, names: tuple[str, ...], expected: str,
    above: float, below: float, *, or_equal: bool = False,
) -> None:  # fmt: skip
    """Check ``above < field < below``; with `or_equal`, it may also be `above`."""
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} is {value!r}; expected a number")
        value = int(value) if isinstance(value, Integral) else float(value)
        if not (above < value < below or (or_equal and value == above)):
            raise ValueError(f"{name} is {value!r}; expected {expected.format(name=name)}")
        object.__setattr__(owner, name, value)


def store_positive(owner: object, *names: str) -> None:
    """Check fields that have to be finite and above 0."""
    _store(owner, names, "a finite number above 0", 0, math.inf)


def store_nonnegative(owner: object, *names: str) -> None:
    """Check fields that have to be finite, 0 or more."""
    _store(owner, names, "0 or more", 0, math.inf, or_equal=True)


def store_share(owner: object, *names: str) -> None:
    """Check fields that have to be in [0, 1)."""
    _store(owner, names, "0 <= {name} < 1", 0, 1, or_equal=True)


def store_factor(owner: object, *names: str) -> None:
    """Check fields that have to be in (0, 1)."""
    _store(owner, names, "0 < {name} < 1", 0, 1)


def store_number(owner: object, *names: str) -> None:
    """Check fields that have to be finite."""
    _store(owner, names, "a finite number", -math.inf, math.inf)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or NumPy; a boolean is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def store_positive_integer(owner: object, *names: str) -> None:
    """Check fields that have to be integers, 1 or more; a ValueError for all that is not."""
    for name in names:
        value = getattr(owner, name)
        if not is_integer(value) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a positive integer")
        object.__setattr__(owner, name, int(value))
