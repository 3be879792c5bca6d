"""A step's one operation that other processes take part in."""

from __future__ import annotations

from typing import Any, Protocol

from xpnn.backends import Array
from xpnn.engine.trace import Traced


class Exchange(Protocol):
    """Makes of a vector another one of its shape and dtype, together with other processes."""

    @property
    def single_process(self) -> bool:
        """Whether there are no other processes, and a vector stays what it is."""

    def __call__(self, vector: Array) -> Array:
        """Return the new vector; its library and device are those of `vector`."""

    def into(self, vector: Any, out: Any) -> None:
        """Write the new vector into `out`; both are NumPy's, and C-contiguous."""


def across(exchange: Exchange, vector: Array) -> Array:
    """Hand a vector to other processes, and take what comes back.

    Parameters
    ----------
    exchange : Exchange
        What they do together.
    vector : array, 1-d
        What this process gives.

    Returns
    -------
    array
        Of the same shape and dtype.
    """
    if exchange.single_process:
        return vector
    if isinstance(vector, Traced):
        return vector._tape.add("across", (vector,), exchange=exchange)
    return exchange(vector)
