"""How far a result may be from NumPy's float64: the one place that says so.

An entry's deviation is relative to its own size plus that of the array's largest entry (or 1,
if that is less): a small entry may be the difference of large numbers, but one huge entry
shall not excuse the others.
"""

from __future__ import annotations

import math
from typing import Any

from xpnn.backends import host

EPS = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}


def rounding_bound(dtype: str, terms: int, growth: float = 1.0) -> float:
    """Largest relative deviation that rounding explains: ``8 * sqrt(terms) * growth * eps``.

    `terms` are those of the sums that a result depends on, one after the other; `growth` is what
    the formula multiplies a rounding error by. Rounding errors of one sign or the other add up
    like the steps of a random walk, not like those of a march; 8 leaves room for a library's
    `exp` or `tanh` that is off by a few units in the last place.

    References
    ----------
    Higham & Mary, "A new approach to probabilistic rounding error analysis", SIAM Journal on
    Scientific Computing 41 (2019), theorem 2.4.
    """
    return 8.0 * math.sqrt(terms) * growth * EPS[dtype]


def tolerance(dtype: str) -> float:
    """Largest relative deviation of a result whose sums nobody has counted, as in SciPy's tests.

    float64 6.0e-8, float32 1.4e-3, float16 0.125, bfloat16 0.35.
    """
    return 4.0 * math.sqrt(EPS[dtype])


def deviation(found: Any, expected: Any) -> tuple[float, float]:
    """Largest absolute and relative deviation between two host arrays.

    Relative is ``|found - expected| / (|expected| + min(1, max |expected|))``. Both are infinite
    where only one value is NaN, or the shapes differ.
    """
    found = host.asarray(found, dtype=host.float64)
    expected = host.asarray(expected, dtype=host.float64)
    if found.shape != expected.shape:
        return math.inf, math.inf
    if found.size == 0:
        return 0.0, 0.0
    same = (found == expected) | (host.isnan(found) & host.isnan(expected))
    size = host.abs(expected)
    scale = size + min(1.0, float(host.max(size)))
    with host.errstate(invalid="ignore"):
        difference = host.where(same, 0.0, host.abs(found - expected))
        difference = host.where(host.isnan(difference), math.inf, difference)
        relative = difference / host.where(scale > 0, scale, 1.0)
    relative = host.where(host.isinf(difference), math.inf, relative)
    return float(host.max(difference)), float(host.max(relative))
