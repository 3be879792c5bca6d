"""Any iterator of batches as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from xpnn.backends import to_host
from xpnn.data.streams.source import Block, Source, check_numbers


class BatchSource(Source):
    """Batches as they come from an iterable, or from a function that makes an iterator.

    Parameters
    ----------
    batches : iterable or callable
        Of ``(x, t)``, ``(x, t, weight)`` or ``x`` alone, as arrays of any library. What
        gives itself as its iterator, such as a generator, can be gone through once.
    rows : int, optional
        Number of rows in all, where it is known.

    Raises
    ------
    TypeError
        It cannot be iterated over, or a batch is something else.
    ValueError
        There is no batch.
    """

    def __init__(self, batches: Iterable[Any] | Callable[[], Any], rows: int | None = None) -> None:
        self.given = batches
        name = getattr(batches, "__name__", None) or f"the {type(batches).__name__}"
        self.waiting: Iterator[Any] | None = None
        source = batches() if callable(batches) else batches
        try:
            found = iter(source)
        except TypeError:
            raise TypeError(
                f"{name} gives a {type(source).__name__}; expected an iterator of batches (x, t)"
            ) from None
        once = found is batches
        first = next(found, None)
        if first is None:
            raise ValueError(f"{name} gives no batch; expected batches (x, t)")
        if once:
            self.waiting = chain([first], found)
        else:
            _close(found)
        self.name = name
        x = self._block(first, 1, None).x
        super().__init__(name, int(x.shape[1]), x.dtype, rows, once)

    def _block(self, batch: Any, number: int, features: int | None) -> Block:
        """Look at one batch."""
        where = f"batch {number} of {self.name}"
        parts = batch if isinstance(batch, tuple | list) else (batch,)
        if isinstance(batch, Block):
            parts = (batch.x, batch.t, batch.weight)
        if not 1 <= len(parts) <= 3 or not hasattr(parts[0], "shape"):
            raise TypeError(f"{where} is a {type(batch).__name__}; expected arrays (x, t)")
        found: list[Any] = [None if p is None else to_host(p) for p in parts]
        x, t, weight = [*found, None, None][:3]
        check_numbers(x.dtype, where)
        if x.ndim != 2 or (features is not None and x.shape[1] != features):
            raise ValueError(f"{where} has shape {x.shape}; expected (n, {features or 'features'})")
        for what, values in (("targets", t), ("weights", weight)):
            if values is not None and (values.ndim == 0 or len(values) != len(x)):
                raise ValueError(
                    f"{where} has {len(x)} rows and {what} of shape {values.shape}; expected as "
                    "many"
                )
        return Block(x, t, weight)

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Iterator[Block]:
        """See `Source.blocks`."""
        if self.once:
            if self.waiting is None:
                raise ValueError(
                    f"{self.name} is used up: it can be gone through once; hand stream a function "
                    "that makes the iterator anew, or a list"
                )
            found, self.waiting = self.waiting, None
        else:
            found = iter(self.given() if callable(self.given) else self.given)
        seen = 0
        try:
            for number, batch in enumerate(found, start=1):
                block = self._block(batch, number, self.features)
                seen += len(block.x)
                yield block
        finally:
            if not self.once:
                _close(found)
        if self.rows is not None and seen != self.rows:
            raise ValueError(f"{self.name} gave {seen:,} rows; expected {self.rows:,}")

    def sample(self) -> Block:
        """See `Source.sample`; a batch that can come once is put back."""
        if not self.once:
            return super().sample()
        if self.waiting is None:
            next(self.blocks(None, 1))  # says that it is used up
        assert self.waiting is not None
        first = next(self.waiting)
        self.waiting = chain([first], self.waiting)
        block = self._block(first, 1, self.features)
        parts = [None if p is None else np.array(p[:1]) for p in (block.x, block.t, block.weight)]
        return Block(*parts)


def _close(found: Any) -> None:
    """Let a generator end its `with` blocks now."""
    close = getattr(found, "close", None)
    if callable(close):
        close()
