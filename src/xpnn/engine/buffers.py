"""Memory of a plan: buffers that are handed out, given back and used again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Make an uninitialised C-ordered array that begins at a cache line."""
    size = math.prod(shape) * host.dtype(dtype).itemsize
    raw = host.empty(size + ALIGNMENT, host.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


@dataclass(eq=False)
class Storage:
    """A piece of memory and how many reads of it are still to come.

    Parameters
    ----------
    raw : numpy.ndarray or None
        The memory as bytes; None where it belongs to an input or a constant.
    reads : int
        Reads that are still to come.
    pinned : bool
        Whether it is kept to the end: inputs, constants and outputs.
    """

    raw: Any = None
    reads: int = 0
    pinned: bool = False


class Pool:
    """Buffers that no longer hold anything needed."""

    def __init__(self) -> None:
        self.free: list[Any] = []
        self.made: list[Any] = []

    @property
    def count(self) -> int:
        """Number of buffers."""
        return len(self.made)

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(raw.nbytes for raw in self.made)

    def take(
        self, shape: tuple[int, ...], dtype: Any, avoid: Sequence[Any] = ()
    ) -> tuple[Any, Any]:
        """Hand out memory for an array: the smallest free buffer that holds it, or a new one.

        Buffers in `avoid` are left alone.
        """
        bytes_ = math.prod(shape) * host.dtype(dtype).itemsize
        size = max(bytes_, 1)
        fitting = [
            raw
            for raw in self.free
            if size <= raw.nbytes <= 4 * size and not any(raw is other for other in avoid)
        ]
        if fitting:
            raw = min(fitting, key=lambda r: r.nbytes)
            self.free = [r for r in self.free if r is not raw]
        else:
            raw = aligned((-(-size // ALIGNMENT) * ALIGNMENT,), host.uint8)
            self.made.append(raw)
        return raw, raw[:bytes_].view(dtype).reshape(shape)

    def give_back(self, raw: Any) -> None:
        """Take memory back whose content nobody reads any more."""
        self.free.append(raw)
