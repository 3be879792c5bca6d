"""Numbers among the arguments: checked, and kept as Python's own.

A NumPy scalar has a dtype, which would widen the arrays that it meets; a Python number has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real


def _store(
    owner: object, names: tuple[str, ...], fits: Callable[[float], bool], expected: str
) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} is {value!r}; expected a number")
        value = int(value) if isinstance(value, Integral) else float(value)
        if not fits(value):
            raise ValueError(f"{name} is {value!r}; expected {expected.format(name=name)}")
        object.__setattr__(owner, name, value)


def store_positive(owner: object, *names: str) -> None:
    """Check fields of a frozen dataclass that have to be finite and above 0.

    Raises
    ------
    TypeError
        A field is not a number.
    ValueError
        A field is out of range; the message names it and what was expected.
    """
    _store(owner, names, lambda v: 0 < v < math.inf, "a finite number above 0")


def store_nonnegative(owner: object, *names: str) -> None:
    """Check fields that have to be finite, 0 or more; raises as `store_positive` does."""
    _store(owner, names, lambda v: 0 <= v < math.inf, "0 or more")


def store_share(owner: object, *names: str) -> None:
    """Check fields that have to be in [0, 1); raises as `store_positive` does."""
    _store(owner, names, lambda v: 0 <= v < 1, "0 <= {name} < 1")


def store_factor(owner: object, *names: str) -> None:
    """Check fields that have to be in (0, 1); raises as `store_positive` does."""
    _store(owner, names, lambda v: 0 < v < 1, "0 < {name} < 1")
