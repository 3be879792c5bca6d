"""Initial weights, drawn on the host so that a seed means the same on every library.

``name(rng, fan_in, fan_out) -> weights`` of shape (fan_in, fan_out), float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from xpnn.backends import Array, HostGenerator, host


def glorot_uniform(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Uniform within ``+-sqrt(6 / (fan_in + fan_out))`` (Glorot & Bengio 2010, equation 16)."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def glorot_normal(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Normal with variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio 2010, equation 12)."""
    return rng.normal(0.0, math.sqrt(2.0 / (fan_in + fan_out)), (fan_in, fan_out))


def he_uniform(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Uniform within ``+-sqrt(6 / fan_in)``, the same variance as `he_normal`."""
    bound = math.sqrt(6.0 / fan_in)
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def he_normal(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Normal with variance ``2 / fan_in`` (He et al. 2015, equation 10)."""
    return rng.normal(0.0, math.sqrt(2.0 / fan_in), (fan_in, fan_out))


def uniform(
    rng: HostGenerator, fan_in: int, fan_out: int, *, low: float = -1.0, high: float = 1.0
) -> Array:
    """Uniform within [low, high), the tutorials' uniform(-1, 1) by default."""
    return rng.uniform(low, high, (fan_in, fan_out))


def normal(rng: HostGenerator, fan_in: int, fan_out: int, *, scale: float | None = None) -> Array:
    """Normal with standard deviation `scale`; default ``fan_in**-0.5``.

    The digit tutorial uses ``scale = H**-0.5``, H hidden units, for both of its matrices.
    """
    return rng.normal(0.0, fan_in**-0.5 if scale is None else scale, (fan_in, fan_out))


def zeros(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """All zero; takes `rng` like the others and draws nothing from it."""
    return host.zeros((fan_in, fan_out))


INITIALIZERS: dict[str, Callable[..., Array]] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "uniform": uniform,
    "normal": normal,
    "zeros": zeros,
}


def initializer(name: str) -> Callable[..., Array]:
    """Look an initializer up by name.

    Raises
    ------
    ValueError
        There is none of that name; the message lists them.
    """
    if name not in INITIALIZERS:
        raise ValueError(
            f"initializer={name!r} is not known; expected one of {', '.join(INITIALIZERS)}"
        )
    return INITIALIZERS[name]
