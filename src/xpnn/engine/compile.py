"""Choosing how a pure step runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import Namespace, jit, library_name


def compile_step(step: Callable[..., Any], xp: Namespace) -> Callable[..., Any]:
    """Make a pure step as fast as the library of its arrays allows.

    Parameters
    ----------
    step : callable
        Pure function of arrays in nested tuples; no data-dependent control flow, no host
        synchronisation, no assignment into its arguments.
    xp : module
        Namespace of the arrays that it will be called with.

    Returns
    -------
    callable
        Same arguments, same results.
    """
    return jit(step, library_name(xp))
