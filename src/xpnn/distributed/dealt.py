"""Rows of a source that each process reads a share of, dealt out to whom they belong to.

The blocks of a pass come in an order that all processes draw from the same seed; the i-th
is read by process i modulo their number, in a thread. The rows of a window then go, in one
exchange, to the processes in whose part of a batch they are. So each batch is the one that
a single process would have had, and nobody reads or holds much more than a share.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from xpnn.backends import host
from xpnn.data.streams import Block, Source, Window, Windows
from xpnn.distributed.share import Share

if TYPE_CHECKING:
    from xpnn.distributed.group import Group


@dataclass
class _Part:
    """What one process has read of a window; its rows are those of the spans ``(start, stop)``."""

    x: Any
    t: Any
    weight: Any
    spans: list[tuple[int, int]]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.x)

    def told(self) -> Any:
        """What other processes need to know."""
        return self.spans, _kind(self.t), _kind(self.weight)


class DealtWindows:
    """Rows of a source for a group of processes; to a training it is what `Windows` is.

    Parameters
    ----------
    source : Source
        The same for all processes.
    batch, dtype, prepare
        As in `Windows`; `prepare` sees a process's own rows.
    group : Group
        The processes.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        dtype: Any,
        group: Group,
        prepare: Callable[[Window], Window] | None = None,
    ) -> None:
        self.source, self.batch, self.group, self.prepare = source, batch, group, prepare
        self.dtype = host.dtype(dtype)
        self.rows, self.block_rows = Windows.sizes(source, batch, self.dtype)
        self.share = Share(group)
        self.stand_in = source.sample()

    def go(self, seed: Any = None) -> Generator[Window]:
        """Go through the source once; see `Windows.go`."""
        random = None if seed is None else host.random.default_rng(seed)
        layout = _Layout(self.source, self.block_rows, random, self.group)
        parts = self._read(layout)
        first = 0
        try:
            with ThreadPoolExecutor(1, thread_name_prefix=f"xpnn reads {self.source.name}") as pool:
                waiting = pool.submit(next, parts, None)
                while True:
                    part = waiting.result()
                    # Nobody but rank 0 knows how much is left where the source does not say.
                    rows = layout.rows_from(first, self.rows)
                    if rows is None:
                        rows = self.group.from_first(0 if part is None else part.rows)
                    if rows == 0:
                        return
                    waiting = pool.submit(next, parts, None)
                    order = None if random is None else random.permutation(rows)
                    window = self._deal(part, rows, order, first)
                    first += rows
                    yield window if self.prepare is None else self.prepare(window)
        finally:
            parts.close()

    # Reading

    def _read(self, layout: _Layout) -> Generator[_Part | None]:
        """Read this process's blocks, window by window; the memory is used in turn."""
        blocks = self._own_blocks(layout)
        try:
            block, place = next(blocks, (None, 0))
            used, turn = 0, 0
            shape = (layout.most(self.rows), self.source.features)
            rooms = [host.empty(shape, self.dtype) for _ in range(2)]
            for end in layout.ends(self.rows):
                pieces: list[Block] = []
                spans: list[tuple[int, int]] = []
                seen, start, room = 0, end - self.rows, rooms[turn]
                while block is not None and place + used < end:
                    count = min(len(block.x) - used, end - place - used)
                    room[seen : seen + count] = block.x[used : used + count]
                    pieces.append(Block(None, *(
                        None if c is None else host.array(c[used : used + count])
                        for c in (block.t, block.weight)
                    )))  # fmt: skip
                    spans.append((place + used - start, place + used - start + count))
                    seen, used = seen + count, used + count
                    if used == len(block.x):
                        block, place = next(blocks, (None, 0))
                        used = 0
                if block is None and not pieces and not layout.known:
                    return
                turn = 1 - turn
                t, weight = (self._joined(name, pieces) for name in ("t", "weight"))
                yield _Part(room[:seen], t, weight, spans)
        finally:
            blocks.close()

    def _own_blocks(self, layout: _Layout) -> Generator[tuple[Block | None, int]]:
        """Parts of this process's blocks, and their places in the pass."""
        if not layout.own:
            return
        place = 0
        for number, start in layout.own:
            order = None if number is None else [number]
            place = start
            for block in self.source.blocks(order, self.block_rows):
                yield block, place
                place += len(block.x)

    def _joined(self, name: str, pieces: list[Block]) -> Any:
        parts = [getattr(piece, name) for piece in pieces]
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise ValueError(f"{self.source.name} gives {name} with some batches only")
        return host.concatenate(parts)

    # Dealing

    def _deal(self, part: _Part | None, rows: int, order: Any, first: int) -> Window:
        """Send the rows that were read to where they belong, and take one's own."""
        group = self.group
        told = group.everybodys(None if part is None or not part.rows else part.told())
        owner, within = host.full(rows, -1), host.zeros(rows, int)
        for rank, tells in enumerate(told):
            seen = 0
            for start, stop in () if tells is None else tells[0]:
                owner[start:stop] = rank
                within[start:stop] = host.arange(seen, seen + stop - start)
                seen += stop - start
        wanted = [
            host.concatenate(self.share.numbers(rows, self.batch, order, rank))
            for rank in range(group.size)
        ]
        send = [within[numbers[owner[numbers] == group.rank]] for numbers in wanted]
        mine = owner[wanted[group.rank]]
        arrives = host.argsort(mine, kind="stable")
        counts = host.bincount(mine, minlength=group.size)
        kinds = [tells[1:] for tells in told if tells is not None]
        found: list[Any] = []
        for place, name in enumerate(("x", "t", "weight")):
            kind = (self.dtype, (self.source.features,))
            if place:
                kind = self._kind(name, [kind[place - 1] for kind in kinds])
            column = None if part is None else getattr(part, name)
            there = None if kind is None else self._swap(column, send, counts, arrives, *kind)
            if there is not None and not len(mine):
                there = host.asarray(getattr(self.stand_in, name), there.dtype)
            found.append(there)
        x, t, weight = found
        return Window(x, t, weight, None, first, rows, len(mine))

    def _kind(self, name: str, found: list[Any]) -> Any:
        """Dtype and trailing shape of a column, the same for all processes."""
        if all(kind is None for kind in found):
            return None
        if any(kind is None for kind in found) or len({kind[1] for kind in found}) > 1:
            raise ValueError(f"{self.source.name} gives {name} of several kinds")
        return host.result_type(*(host.dtype(kind[0]) for kind in found)), found[0][1]

    def _swap(
        self, column: Any, send: list[Any], counts: Any, arrives: Any, dtype: Any,
        shape: tuple[int, ...],
    ) -> Any:  # fmt: skip
        """Exchange the rows of one column."""
        each = dtype.itemsize
        for n in shape:
            each *= n
        if column is None:
            column = host.empty((0, *shape), dtype)
        out = host.ascontiguousarray(column[host.concatenate(send)], dtype)
        into = host.empty((int(counts.sum()), *shape), dtype)
        self.group.swap(out, [len(s) * each for s in send], into, [int(c) * each for c in counts])
        found = host.empty_like(into)
        found[arrives] = into
        return found


def _kind(column: Any) -> tuple[str, tuple[int, ...]] | None:
    return None if column is None else (column.dtype.str, tuple(column.shape[1:]))


class _Layout:
    """Who reads which blocks of a pass, and where in the pass they are."""

    def __init__(self, source: Source, block_rows: int, random: Any, group: Group) -> None:
        sizes = source.unit_rows(block_rows)
        self.known, self.group = sizes is not None, group
        self.own: list[tuple[int | None, int]] = []
        if sizes is None:
            # In one order only: rank 0 reads.
            self.own = [(None, 0)] if group.first else []
            self.total = 0
            return
        units = len(sizes)
        order = range(units) if random is None else random.permutation(units)
        starts = [0, *accumulate(sizes[i] for i in order)]
        self.total = starts[-1]
        mine = range(group.rank, units, group.size)
        self.spans = [(starts[i], starts[i + 1]) for i in mine]
        self.own = [(int(order[i]), starts[i]) for i in mine]

    def rows_from(self, first: int, most: int) -> int | None:
        """Rows of the window that begins there; None where nobody knows."""
        return min(most, self.total - first) if self.known else None

    def ends(self, rows: int) -> Iterator[int]:
        """Where windows end, the last of a known number of rows behind the end."""
        end = rows
        while not self.known or end - rows < self.total:
            yield end
            end += rows

    def most(self, rows: int) -> int:
        """Largest number of this process's rows in a window."""
        if not self.known:
            return rows if self.own else 0
        inside: dict[int, int] = {}
        for start, stop in self.spans:
            for window in range(start // rows, -(-stop // rows)):
                count = min(stop, (window + 1) * rows) - max(start, window * rows)
                inside[window] = inside.get(window, 0) + count
        return max(inside.values(), default=0)
