"""Sources of tables that can be read at any place: arrays, NPY files, several of anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from xpnn.data.streams.columns import Column
from xpnn.data.streams.source import PIECE, Block, Source, check_numbers


class TableSource(Source):
    """Rows, targets and weights from tables of equal length.

    Parameters
    ----------
    x : Column
        Rows; may hold the targets and weights, too.
    t, weight : Column, int or None
        Another table, or the number of a column of `x`.

    Raises
    ------
    ValueError
        The tables do not fit together.
    """

    def __init__(
        self, x: Column, t: Column | int | None = None, weight: Column | int | None = None
    ) -> None:
        dtype = check_numbers(x.dtype, x.name)
        if len(x.shape) != 2:
            raise ValueError(f"{x.name} has shape {x.shape}; expected (n, features)")
        width = int(x.shape[1])
        self.x, self.tables = x, {"t": t, "weight": weight}
        taken = {}
        for name, given in self.tables.items():
            if isinstance(given, Column):
                if given.shape[0] != x.shape[0]:
                    raise ValueError(
                        f"{given.name} has {given.shape[0]:,} rows and {x.name} has "
                        f"{x.shape[0]:,}; expected as many"
                    )
            elif given is not None:
                if not -width <= given < width:
                    raise ValueError(
                        f"column {given} is not in {x.name}, which has {width} columns"
                    )
                taken[name] = given % width
        self.taken = taken
        # All columns, or those that are left; a slice is a view and costs nothing.
        left = [i for i in range(width) if i not in taken.values()]
        whole = bool(left) and left == list(range(left[0], left[-1] + 1))
        self.left: Any = slice(left[0], left[-1] + 1) if whole else left
        if isinstance(weight, Column):
            check_numbers(weight.dtype, weight.name)
        super().__init__(x.name, len(left), dtype, int(x.shape[0]))

    def _bounds(self, block_rows: int) -> Sequence[int]:
        """Row numbers where blocks begin, and one behind; small chunks are put together."""
        rows = self.rows or 0
        if not self.x.chunks:
            return range(0, rows + block_rows, block_rows)
        bounds = [0]
        for end in accumulate(self.x.chunks):
            if end - bounds[-1] >= block_rows or end == rows:
                bounds.append(end)
        return bounds

    def unit_rows(self, block_rows: int) -> list[int]:
        """See `Source.unit_rows`."""
        ends = [min(bound, self.rows or 0) for bound in self._bounds(block_rows)]
        return [stop - start for start, stop in pairwise(ends)]

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Iterator[Block]:
        """See `Source.blocks`."""
        bounds = self._bounds(block_rows)
        # A stored chunk is read once; from a file, pieces that fit the cache.
        step = None if self.x.chunks else max(PIECE // self.row_bytes, 1)
        with ExitStack() as stack:
            read = stack.enter_context(self.x.reading())
            readers = {
                name: stack.enter_context(table.reading())
                for name, table in self.tables.items()
                if isinstance(table, Column)
            }
            for number in range(len(bounds) - 1) if order is None else order:
                first, last = bounds[number], min(bounds[number + 1], self.x.shape[0])
                for start in range(first, last, step or max(last - first, 1)):
                    stop = min(start + (step or last), last)
                    rows = read(start, stop)
                    found = {name: one(start, stop) for name, one in readers.items()}
                    found |= {name: rows[:, column] for name, column in self.taken.items()}
                    yield Block(rows[:, self.left] if self.taken else rows, **found)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`; the rows are not read where the targets have a table."""
        table = self.tables["t"]
        if not isinstance(table, Column):
            yield from super().targets()
            return
        step = max(PIECE // max(table.dtype.itemsize, 1), 1)
        with table.reading() as read:
            for start in range(0, self.rows or 0, step):
                yield read(start, min(start + step, self.rows or 0))


class Shards(Source):
    """Several sources, one after the other.

    Parameters
    ----------
    name : str
        For errors.
    parts : sequence of Source
        Of known lengths, with equal features.

    Raises
    ------
    ValueError
        They differ.
    """

    def __init__(self, name: str, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        first = self.parts[0]
        for part in self.parts:
            if part.features != first.features:
                raise ValueError(
                    f"{part.name} has {part.features} features and {first.name} has "
                    f"{first.features}; expected as many"
                )
        dtype = np.result_type(*[part.dtype for part in self.parts])
        super().__init__(name, first.features, dtype, sum(part.count() for part in self.parts))

    def _bounds(self, block_rows: int) -> list[int]:
        counts = [part.units(block_rows) or 0 for part in self.parts]
        return [0, *accumulate(counts)]

    def unit_rows(self, block_rows: int) -> list[int]:
        """See `Source.unit_rows`."""
        return [rows for part in self.parts for rows in part.unit_rows(block_rows) or ()]

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Iterator[Block]:
        """See `Source.blocks`."""
        if order is None:
            for part in self.parts:
                yield from part.blocks(None, block_rows)
            return
        bounds = self._bounds(block_rows)
        for number in order:
            which = int(np.searchsorted(bounds, number, side="right")) - 1
            yield from self.parts[which].blocks([int(number) - bounds[which]], block_rows)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`."""
        for part in self.parts:
            yield from part.targets()

    def sample(self) -> Block:
        """See `Source.sample`."""
        return next(part for part in self.parts if part.rows or part is self.parts[-1]).sample()
