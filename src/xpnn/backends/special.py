"""The error function, which the array API standard lacks.

Every library has a compiled one outside its array namespace; for the rest it is
computed from standard operations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

from xpnn.backends.libraries import Array, Namespace, library_name

_NATIVE = {
    "numpy": "scipy.special",
    "cupy": "cupyx.scipy.special",
    "torch": "torch.special",
    "jax": "jax.scipy.special",
}


@cache
def _native_erf(xp: Namespace) -> Callable[[Array], Array] | None:
    own = getattr(xp, "erf", None)
    if own is not None:
        return own
    module = _NATIVE.get(library_name(xp))
    return None if module is None else importlib.import_module(module).erf


def host_erf() -> Callable[..., Array]:
    """Return NumPy's error function, a ufunc of SciPy's that can write into a buffer."""
    return importlib.import_module("scipy.special").erf


def erf(x: Array, xp: Namespace) -> Array:
    """Error function ``2 / sqrt(pi) * integral of exp(-t**2) from 0 to x``, dtype of x."""
    native = _native_erf(xp)
    return standard_erf(x, xp) if native is None else native(x)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Horner's scheme, the highest power first."""
    value = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        value = value * x + c
    return value


# W. J. Cody, "Rational Chebyshev approximations for the error function",
# Math. Comp. 23 (1969), 631-637: coefficients for |x| <= 0.5, <= 4 and beyond.
# fmt: off
_SMALL_P = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3,
)
_SMALL_Q = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
    2.84423683343917062e3,
)
_MIDDLE_P = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
    1.23033935479799725e3,
)
_MIDDLE_Q = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
    1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
    1.23033935480374942e3,
)
# fmt: on


def standard_erf(x: Array, xp: Namespace) -> Array:
    """Error function from standard operations alone, to a few units in the last place."""
    size = xp.abs(x)
    small = xp.minimum(size, 0.5)
    near_zero = small * _polynomial(small * small, _SMALL_P) / _polynomial(small * small, _SMALL_Q)
    # 1 - erf(6) is below float64's resolution, so Cody's third range (x > 4) only needs
    # the second one's formula continued to 6, where its error is far below one ulp of 1.
    middle = xp.minimum(xp.maximum(size, 0.5), 6.0)
    tail = (
        xp.exp(-middle * middle) * _polynomial(middle, _MIDDLE_P) / _polynomial(middle, _MIDDLE_Q)
    )
    return xp.sign(x) * xp.where(size <= 0.5, near_zero, 1.0 - tail)
