"""One host generator, so that a seed means the same network on every library.

Device generators differ between libraries (and CuPy's has no permutation), so initial
weights, row orders and dropout noise are drawn here with NumPy and handed in.
"""

from __future__ import annotations

from typing import Any

import numpy

from xpnn.backends.types import HostGenerator


def generator(seed: int | HostGenerator | None = None) -> HostGenerator:
    """Make the generator that everything random is drawn from.

    Parameters
    ----------
    seed : int, numpy.random.Generator, numpy.random.RandomState or None
        A generator is passed on as it is; None takes fresh entropy.

    Returns
    -------
    numpy.random.Generator or numpy.random.RandomState

    Raises
    ------
    TypeError
        `seed` is none of these.
    ValueError
        `seed` is negative.
    """
    if isinstance(seed, numpy.random.Generator | numpy.random.RandomState):
        return seed
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | numpy.integer)):
        raise TypeError(f"seed is {seed!r}; expected an integer, a NumPy generator or None")
    if seed is not None and seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    return numpy.random.default_rng(seed)


def uniform_noise(source: HostGenerator, shape: tuple[int, ...]) -> Any:
    """Draw float32 noise in [0, 1) on the host: the same for every dtype of the network."""
    noise = source.random(shape).astype(numpy.float32)
    # Rounding to float32 may reach 1.0, which "keep where noise >= rate" must not see.
    return numpy.minimum(noise, numpy.float32(1) - numpy.finfo(numpy.float32).epsneg)
