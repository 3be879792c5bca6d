"""Where a host generator is, as plain values: a training that goes on needs it."""

from __future__ import annotations

from typing import Any

import numpy

from xpnn.backends.types import HostGenerator


def _words(count: int, bits: int) -> Any:
    """Make a check that a value is a list of so many unsigned integers."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == count
            and all(_unsigned(bits)(v) for v in value)
        )

    return check


def _unsigned(bits: int, last: int | None = None) -> Any:
    """Make a check that a value is an integer below ``2**bits``, and not above `last`."""

    def check(value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and 0 <= value < 1 << bits and (last is None or value <= last)

    return check


# What the state of each of NumPy's bit generators is made of. NumPy itself believes a
# position that lies outside its table.
_STATES: dict[str, dict[str, Any]] = {
    "MT19937": {"key": _words(624, 32), "pos": _unsigned(16, 624)},
    "PCG64": {"state": _unsigned(128), "inc": _unsigned(128)},
    "PCG64DXSM": {"state": _unsigned(128), "inc": _unsigned(128)},
    "Philox": {"counter": _words(4, 64), "key": _words(2, 64)},
    "SFC64": {"state": _words(4, 64)},
}
_BESIDE: dict[str, Any] = {
    "has_uint32": _unsigned(1),
    "uinteger": _unsigned(32),
    "buffer": _words(4, 64),
    "buffer_pos": _unsigned(8, 4),
    "has_gauss": _unsigned(1),
    "gauss": lambda value: isinstance(value, float),
}
_BUFFERED = ("has_uint32", "uinteger")
_EXPECTED = {
    **{name: {"bit_generator", "state", *_BUFFERED} for name in ("PCG64", "PCG64DXSM", "SFC64")},
    "Philox": {"bit_generator", "state", "buffer", "buffer_pos", *_BUFFERED},
    "MT19937": {"bit_generator", "state"},
}


def generator_state(source: HostGenerator) -> dict[str, Any]:
    """Write where a generator is as plain values.

    Parameters
    ----------
    source : numpy.random.Generator or numpy.random.RandomState
        Not changed.

    Returns
    -------
    dict
        Numbers, texts, lists and dictionaries, for `restore_generator`.

    Raises
    ------
    TypeError
        Its bit generator is not one of NumPy's.
    """
    if isinstance(source, numpy.random.RandomState):
        state = source.get_state(legacy=False)
    else:
        state = source.bit_generator.state
    plain = _plain(state)
    if not _is_state(plain, isinstance(source, numpy.random.RandomState)):
        kind = state.get("bit_generator") if isinstance(state, dict) else type(state).__name__
        raise TypeError(
            f"the state of a {kind!r} generator cannot be kept; expected one of "
            f"{', '.join(_STATES)}"
        )
    return plain


def restore_generator(source: HostGenerator, state: Any) -> None:
    """Bring a generator to where another one of its kind was.

    Parameters
    ----------
    source : numpy.random.Generator or numpy.random.RandomState
        Changed in place.
    state : dict
        From `generator_state`.

    Raises
    ------
    ValueError
        `state` is not a whole one, or one of another kind of generator.
    """
    legacy = isinstance(source, numpy.random.RandomState)
    if not _is_state(state, legacy):
        raise ValueError("the generator's state is not whole, or not one of NumPy's")
    own = "MT19937" if legacy else type(source.bit_generator).__name__
    if state["bit_generator"] != own:
        raise ValueError(
            f"the generator's state is of a {state['bit_generator']}; the generator is a {own}"
        )
    kind = numpy.uint32 if own == "MT19937" else numpy.uint64
    made = {
        key: numpy.asarray(v, numpy.uint64) if isinstance(v, list) else v
        for key, v in state.items()
    }
    made["state"] = {
        key: numpy.asarray(v, kind) if isinstance(v, list) else v
        for key, v in state["state"].items()
    }
    if legacy:
        source.set_state(made)
    else:
        source.bit_generator.state = made


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return value.tolist() if isinstance(value, numpy.ndarray | numpy.generic) else value


def _is_state(state: Any, legacy: bool) -> bool:
    """Whether plain values are the whole state of a generator."""
    if not isinstance(state, dict) or not isinstance(state.get("bit_generator"), str):
        return False
    name, inner = state["bit_generator"], state.get("state")
    expected = _EXPECTED.get(name, set()) | ({"has_gauss", "gauss"} if legacy else set())
    if name not in _STATES or set(state) != expected or (legacy and name != "MT19937"):
        return False
    checks = _STATES[name]
    return (
        isinstance(inner, dict)
        and set(inner) == set(checks)
        and all(check(inner[key]) for key, check in checks.items())
        and all(_BESIDE[key](v) for key, v in state.items() if key in _BESIDE)
    )
