"""How far a result may be from NumPy's float64: the one place that says so.

The bound is SciPy's ``rtol = 4 * sqrt(eps)`` for the dtype that the result was computed
in, relative to the largest entry of the reference: single entries may be the small
difference of large numbers. Rounding in a correct float32 computation stays well below
it; a wrong formula does not.
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


def tolerance(dtype: str) -> float:
    """Largest relative deviation that is allowed for results of a dtype.

    Parameters
    ----------
    dtype : str
        'float64' (6.0e-8), 'float32' (1.4e-3), 'float16' (0.125) or 'bfloat16' (0.35).

    Returns
    -------
    float
    """
    return 4.0 * math.sqrt(EPS[dtype])


def deviation(found: Any, expected: Any) -> tuple[float, float]:
    """Largest deviation between two host arrays.

    Parameters
    ----------
    found, expected : array_like
        Of the same shape.

    Returns
    -------
    absolute : float
        Largest ``|found - expected|``; infinite where only one is NaN or a shape differs.
    relative : float
        The same over the largest ``|expected|`` (over 1 where that is 0).
    """
    found = host.asarray(found, dtype=host.float64)
    expected = host.asarray(expected, dtype=host.float64)
    if found.shape != expected.shape:
        return math.inf, math.inf
    if found.size == 0:
        return 0.0, 0.0
    same = (found == expected) | (host.isnan(found) & host.isnan(expected))
    with host.errstate(invalid="ignore"):
        difference = host.where(same, 0.0, host.abs(found - expected))
    absolute = float(host.max(host.where(host.isnan(difference), math.inf, difference)))
    largest = float(host.max(host.abs(expected)))
    return absolute, absolute / largest if largest > 0 else absolute
