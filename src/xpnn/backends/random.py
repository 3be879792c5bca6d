"""One host generator, so that a seed means the same network on every library.

Device generators differ between libraries (and CuPy's has no permutation), so initial
weights, row orders and dropout noise are drawn here with NumPy and handed in. The state of a
generator can be written as plain values, for a training that is resumed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy

from xpnn.backends.libraries import HostGenerator


def generator(seed: int | HostGenerator | None = None) -> HostGenerator:
    """Make the generator that everything random is drawn from.

    `seed` is an integer (a ValueError if negative), None for fresh entropy, or a generator of
    NumPy's, which is passed on; a TypeError for all else.
    """
    if isinstance(seed, numpy.random.Generator | numpy.random.RandomState):
        return seed
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | numpy.integer)):
        raise TypeError(f"seed is {seed!r}; expected an integer, a NumPy generator or None")
    if seed is not None and seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    return numpy.random.default_rng(seed)


_BELOW_ONE = numpy.nextafter(numpy.float32(1), numpy.float32(0))


def uniform_noise(rng: HostGenerator, shape: tuple[int, ...]) -> Any:
    """Draw float32 noise in [0, 1) on the host: the same for every dtype of the network."""
    noise = rng.random(shape).astype(numpy.float32)
    # Rounding to float32 may reach 1.0, which "keep where noise >= rate" must not see.
    return numpy.minimum(noise, _BELOW_ONE, out=noise)


def generator_state(rng: HostGenerator) -> dict[str, Any]:
    """Return the state of a generator as numbers, texts, lists and dictionaries.

    A TypeError where its bit generator is none of NumPy's, or none that a `RandomState` restores.
    """
    state = _state(rng)
    kind = state["bit_generator"]
    legacy = isinstance(rng, numpy.random.RandomState)
    if not hasattr(numpy.random, kind) or (legacy and kind != "MT19937"):
        raise TypeError(
            f"the state of a {type(rng).__name__} of {kind} cannot be saved; expected a generator "
            "of NumPy's, and a RandomState of its MT19937"
        )
    plain: dict[str, Any] = _plain(state)
    return plain


def restore_generator(rng: HostGenerator, state: Any) -> None:
    """Set a generator to a state that `generator_state` returned for one of its kind.

    A ValueError where `state` is incomplete, out of range, or of another kind of generator.
    """
    own = _state(rng)["bit_generator"]
    given = state.get("bit_generator") if isinstance(state, dict) else None
    if isinstance(given, str) and given != own:
        raise ValueError(f"the generator's state is of a {given}; the generator is a {own}")
    trial = deepcopy(rng)
    try:
        # NumPy itself believes a position that lies outside its table.
        inside = 0 <= state["state"].get("pos", 0) <= 624 and 0 <= state.get("buffer_pos", 0) <= 4
        if inside:
            _set_state(trial, state)
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError):
        inside = False
    if not inside or generator_state(trial) != state:
        raise ValueError("the generator's state is incomplete, or not one of NumPy's")
    _set_state(rng, state)


def _state(rng: HostGenerator) -> Any:
    legacy = isinstance(rng, numpy.random.RandomState)
    return rng.get_state(legacy=False) if legacy else rng.bit_generator.state


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return value.tolist() if isinstance(value, numpy.ndarray | numpy.generic) else value


def _set_state(rng: HostGenerator, state: Any) -> None:
    if isinstance(rng, numpy.random.RandomState):
        rng.set_state(state)
    else:
        rng.bit_generator.state = state
