"""Each rank's part of every batch: of rows in memory, and of a source that all ranks read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

from xpnn.backends import Array, dtype_name, host
from xpnn.data.streams import Source, Window, Windows
from xpnn.distributed.group import ProcessGroup, shard_bounds
from xpnn.engine.trees import map_tree

if TYPE_CHECKING:
    from xpnn.engine import Runner


def shard_ranks(rows: int, batch_size: int, size: int) -> Any:
    """The rank of each row, where rows are sharded batch by batch; see `shard_bounds`."""
    numbers = host.arange(rows)
    places = numbers % batch_size
    each, left = host.divmod(host.minimum(batch_size, rows - (numbers - places)), size)
    longer = left * (each + 1)  # rows of the ranks that have one more
    rest = left + (places - longer) // host.maximum(each, 1)
    return host.where(places < longer, places // (each + 1), rest)


@dataclass(frozen=True)
class Shard:
    """The part of one rank, of `size`, in all batches."""

    rank: int
    size: int

    def batches(
        self, rows: int, batch_size: int, permutation: Any = None, *, sharded: bool = False
    ) -> list[tuple[Any, slice, int]]:
        """Cut this rank's rows out of each batch; `rows` and `batch_size` are those of all ranks.

        With `sharded` the data holds this rank's rows only, in the order of the batches, as
        `ShardedWindows` gives them: `permutation` is then ignored.

        Returns for each batch the indices of the rows in the data, their place in the batch, and
        how many rows it has. A batch of fewer rows than ranks leaves some without one; their
        place is empty, and they take row 0 as a stand-in, so that all ranks take the same steps.
        """
        order = host.arange(rows) if permutation is None or sharded else permutation
        found, seen = [], 0
        for first in range(0, rows, batch_size):
            batch = order[first : first + batch_size]
            start, stop = shard_bounds(len(batch), self.rank, self.size)
            own = host.arange(seen, seen + stop - start) if sharded else batch[start:stop]
            seen += stop - start
            own = own if stop > start else host.zeros(1, int)
            found.append((own, slice(start, stop), len(batch)))
        return found

    def run(
        self, runner: Runner, rows: int, batch_size: int, permutation: Any,
        learning_rates: Sequence[float], noise: Callable[[int], Any], sums: int,
        before: tuple[Array, ...] | None = None, *, sharded: bool = False,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through all rows once with this rank's part of each batch; see `PureRunner.run`.

        The runner's step is that of `xpnn.training.step`; the sums that are returned are over
        the rows of all ranks.
        """
        batches = self.batches(rows, batch_size, permutation, sharded=sharded)
        indices = host.concatenate([own for own, _, _ in batches])
        remaining = iter(batches)

        def draw(_: int) -> Any:
            """Draw noise for the whole batch, and cut this rank's out; say whether it counts."""
            _, place, batch_rows = next(remaining)
            counts = place.stop > place.start
            taken = place if counts else slice(1)
            own = map_tree(lambda column: column[taken], noise(batch_rows))
            return own, host.asarray([float(counts)], dtype_name(runner.dtype))

        own_size = len(batches[0][0])
        return runner.run(len(indices), own_size, indices, learning_rates, draw, sums, before)


class ShardedWindows:
    """Rows of a source for a group of processes: to a training what `Windows` is.

    All ranks draw the same order of the source's blocks. Rank ``i % size`` reads the i-th of
    them, in a thread; then the rows of a window go, in one exchange, to the ranks in whose
    part of a batch they are. So each batch is the one that a single process would have, and
    no rank reads or holds much more than its part. A source with one order only is read by
    rank 0.

    `batch` is the rows of a batch, of all ranks; `prepare` is as in `Windows`, and is given the
    rows of this rank.
    """

    def __init__(
        self, source: Source, batch: int, dtype: Any, group: ProcessGroup,
        prepare: Callable[[Window], Window] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.batch, self.group, self.prepare = source, batch, group, prepare
        self.dtype = host.dtype(dtype)
        self.rows, self.block_rows = Windows.sizes(source, batch, self.dtype)
        first = source.sample()
        self.stand_in = (first.x.astype(self.dtype), first.t, first.weight)

    def go(self, seed: Any = None) -> Generator[Window]:
        """Go through the source once; see `Windows.go`."""
        rng = None if seed is None else host.random.default_rng(seed)
        sizes, order, ends = self.source.unit_rows(self.block_rows), None, None
        if sizes is not None:  # or else it is read in one order, and nobody knows how far
            order = host.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
            ends = host.asarray([0, *accumulate(sizes[int(unit)] for unit in order)])
        name = f"xpnn reads {self.source.name}"
        with closing(self._read(order, ends)) as reader, ThreadPoolExecutor(1, name) as pool:
            reading = pool.submit(next, reader)
            for first in count(0, self.rows):
                columns = reading.result()
                rows = self._window_rows(ends, first)
                if ends is None:
                    rows = self.group.broadcast(len(columns[0]))
                if rows <= 0:
                    return
                reading = pool.submit(next, reader)
                permutation = None if rng is None else rng.permutation(rows)
                readers = self._readers(ends, first, rows)
                (x, t, weight), own = self._exchange(columns, readers, permutation)
                window = Window(x, t, weight, None, first, rows, own)
                yield window if self.prepare is None else self.prepare(window)

    def _window_rows(self, ends: Any, first: int) -> int:
        """Rows of all ranks in the window that begins at `first`; as many as fit where unknown."""
        return self.rows if ends is None else max(min(self.rows, int(ends[-1]) - first), 0)

    def _readers(self, ends: Any, first: int, rows: int) -> Any:
        """The rank that reads each row of a window; `ends` are those of the units in this pass."""
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
                readers = self._readers(ends, first, self._window_rows(ends, first))
                rows = int((readers == self.group.rank).sum())
                if len(buffers[0]) < rows:
                    buffers[0] = host.empty((rows, self.source.features), self.dtype)
                x, seen, parts = buffers[0], 0, []
                while block is not None and seen < rows:
                    part = slice(used, min(used + rows - seen, len(block.x)))
                    x[seen : seen + part.stop - used] = block.x[part]
                    others = (block.t, block.weight)  # whose memory the source uses again
                    parts.append([None if c is None else host.array(c[part]) for c in others])
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
        place = host.cumsum(readers == group.rank) - 1  # of each row among those read here
        users, readers = shard_ranks(rows, self.batch, group.size), readers[order]
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
