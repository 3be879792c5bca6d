"""Windows of a source that every rank reads a part of."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

from xpnn.backends import host
from xpnn.data.streams import Source, Window, Windows
from xpnn.distributed.shard import shard_ranks

if TYPE_CHECKING:
    from xpnn.distributed.group import ProcessGroup


class ShardedWindows:
    """Rows of a source for a group of processes: to a training what `Windows` is.

    All ranks draw the same order of the source's blocks. Rank ``i % size`` reads the i-th of
    them, in a thread; then the rows of a window go, in one exchange, to the ranks in whose
    part of a batch they are. So each batch is the one that a single process would have, and
    no rank reads or holds much more than its part. A source with one order only is read by
    rank 0.

    Parameters
    ----------
    source : Source
        The same on all ranks.
    batch : int
        Rows in a batch, of all ranks.
    dtype : dtype
        Of the rows.
    group : ProcessGroup
        The ranks.
    prepare : callable, optional
        As in `Windows`; is given the rows of this rank.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        dtype: Any,
        group: ProcessGroup,
        prepare: Callable[[Window], Window] | None = None,
    ) -> None:
        self.source, self.batch, self.group, self.prepare = source, batch, group, prepare
        self.dtype = host.dtype(dtype)
        self.rows, self.block_rows = Windows.sizes(source, batch, self.dtype)
        first = source.sample()
        self.stand_in = (first.x.astype(self.dtype), first.t, first.weight)

    def go(self, seed: Any = None) -> Generator[Window]:
        """Go through the source once; see `Windows.go`."""
        rng = None if seed is None else host.random.default_rng(seed)
        order, ends = self._layout(rng)
        name = f"xpnn reads {self.source.name}"
        with closing(self._read(order, ends)) as reader, ThreadPoolExecutor(1, name) as pool:
            reading = pool.submit(next, reader)
            for first in count(0, self.rows):
                columns = reading.result()
                if ends is None:
                    rows = self.group.broadcast(len(columns[0]))
                else:
                    rows = min(self.rows, int(ends[-1]) - first)
                if rows <= 0:
                    return
                reading = pool.submit(next, reader)
                permutation = None if rng is None else rng.permutation(rows)
                readers = self._readers(ends, first, rows)
                (x, t, weight), own = self._exchange(columns, readers, permutation)
                window = Window(x, t, weight, None, first, rows, own)
                yield window if self.prepare is None else self.prepare(window)

    def _layout(self, rng: Any) -> tuple[Any, Any]:
        """Order of the source's units, and where in the pass each of them ends.

        None and None for a source that is read in one order, and nobody knows how far.
        """
        sizes = self.source.unit_rows(self.block_rows)
        if sizes is None:
            return None, None
        order = host.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
        return order, host.asarray([0, *accumulate(sizes[int(unit)] for unit in order)])

    def _readers(self, ends: Any, first: int, rows: int) -> Any:
        """The rank that reads each row of a window."""
        if ends is None:
            return host.zeros(rows, int)
        units = host.searchsorted(ends[1:], host.arange(first, first + rows), side="right")
        return units % self.group.size

    def _blocks(self, order: Any) -> Generator[Any]:
        """The blocks that this rank reads."""
        if order is not None:
            for unit in order[self.group.rank :: self.group.size]:
                yield from self.source.blocks([int(unit)], self.block_rows)
        elif self.group.is_main:
            yield from self.source.blocks(None, self.block_rows)

    def _read(self, order: Any, ends: Any) -> Generator[tuple[Any, Any, Any]]:
        """Rows, targets and weights of this rank, window by window; two buffers take turns."""
        buffers = [host.empty((0, self.source.features), self.dtype) for _ in range(2)]
        with closing(self._blocks(order)) as blocks:
            block, used = next(blocks, None), 0
            for first in count(0, self.rows):
                rows = self.rows if ends is None else min(self.rows, int(ends[-1]) - first)
                rows = int((self._readers(ends, first, max(rows, 0)) == self.group.rank).sum())
                if len(buffers[0]) < rows:
                    buffers[0] = host.empty((rows, self.source.features), self.dtype)
                x, seen, parts = buffers[0], 0, []
                while block is not None and seen < rows:
                    part = slice(used, min(used + rows - seen, len(block.x)))
                    x[seen : seen + part.stop - used] = block.x[part]
                    parts.append((_copied(block.t, part), _copied(block.weight, part)))
                    seen, used = seen + part.stop - used, part.stop
                    if used == len(block.x):
                        block, used = next(blocks, None), 0
                if ends is not None and seen < rows:
                    raise ValueError(f"{self.source.name} has fewer rows than it says")
                t, weight = (self._joined([part[i] for part in parts]) for i in range(2))
                yield x[:seen], t, weight
                buffers.reverse()

    def _joined(self, parts: list[Any]) -> Any:
        """One column of several parts; None where none of them has it."""
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise ValueError(
                f"{self.source.name} gives targets or weights with some of the rows only"
            )
        return host.concatenate(parts)

    def _exchange(self, columns: Any, readers: Any, permutation: Any) -> tuple[list[Any], int]:
        """Send the rows that were read to the ranks that need them, and receive one's own."""
        group, rows = self.group, len(readers)
        order = host.arange(rows) if permutation is None else permutation
        users = shard_ranks(rows, self.batch, group.size)
        readers = readers[order]
        place = host.empty(rows, int)  # of each row among those that this rank has read
        mine = host.sort(order[readers == group.rank])
        place[mine] = host.arange(len(mine))
        send = []
        for rank in range(group.size):
            own = place[order[(users == rank) & (readers == group.rank)]]
            send.append([None if column is None else column[own] for column in columns])
        received = [part for part in group.all_to_all(send) if len(part[0])]
        senders = readers[users == group.rank]
        if not len(senders):
            return list(self.stand_in), 0
        into = host.argsort(host.argsort(senders, kind="stable"))
        found = [self._joined([part[i] for part in received]) for i in range(3)]
        return [None if column is None else column[into] for column in found], len(senders)


def _copied(column: Any, rows: slice) -> Any:
    """Rows of a column, whose memory the source uses again."""
    return None if column is None else host.array(column[rows])
