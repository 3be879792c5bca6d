"""Partition of every batch over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpnn.backends import Array, dtype_name, host
from xpnn.engine.trees import map_tree

if TYPE_CHECKING:
    from xpnn.engine import Runner


def shard_bounds(rows: int, rank: int, size: int) -> tuple[int, int]:
    """Start and stop of a rank's rows: as even as can be, the first ranks have one more."""
    each, left = divmod(rows, size)
    start = rank * each + min(rank, left)
    return start, start + each + (rank < left)


def shard_ranks(rows: int, batch_size: int, size: int) -> Any:
    """The rank of each row, where rows are sharded batch by batch; see `shard_bounds`."""
    numbers = host.arange(rows)
    places = numbers % batch_size
    each, left = host.divmod(host.minimum(batch_size, rows - (numbers - places)), size)
    longer = left * (each + 1)  # rows of the ranks that have one more
    rest = left + (places - longer) // host.maximum(each, 1)
    return host.where(places < longer, places // (each + 1), rest)


@dataclass(frozen=True)
class BatchShard:
    """One rank's rows of a batch.

    Parameters
    ----------
    indices : numpy.ndarray of int
        Of the rows in the data. Never empty: a batch of fewer rows than ranks leaves some
        without one, and they take row 0 as a stand-in, so that all ranks take the same steps.
    start, stop : int
        Place of the rows in the batch; equal for a stand-in.
    batch_rows : int
        Rows of the whole batch.
    """

    indices: Any
    start: int
    stop: int
    batch_rows: int

    @property
    def counts(self) -> bool:
        """Whether the rows count; False for a stand-in."""
        return self.stop > self.start

    def take(self, noise: Any) -> Any:
        """Cut this rank's rows out of a tree of arrays that were drawn for the whole batch."""
        rows = slice(self.start, self.stop) if self.counts else slice(1)
        return map_tree(lambda column: column[rows], noise)


class Shard:
    """The part of this rank in all batches.

    Parameters
    ----------
    rank, size : int
        This process's number, and how many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def batches(
        self, rows: int, batch_size: int, permutation: Any = None, *, sharded: bool = False
    ) -> list[BatchShard]:
        """Cut out this rank's rows of each batch.

        Parameters
        ----------
        rows : int
            Rows of all batches and ranks.
        batch_size : int
            Rows in a batch, of all ranks.
        permutation : numpy.ndarray, optional
            Order of the rows; default: as they are.
        sharded : bool, default False
            Whether the data holds this rank's rows only, in the order of the batches, as
            `ShardedWindows` gives them: `permutation` is then ignored.
        """
        order = host.arange(rows) if permutation is None or sharded else permutation
        found, seen = [], 0
        for first in range(0, rows, batch_size):
            batch = order[first : first + batch_size]
            start, stop = shard_bounds(len(batch), self.rank, self.size)
            own = host.arange(seen, seen + stop - start) if sharded else batch[start:stop]
            seen += stop - start
            own = own if stop > start else host.zeros(1, int)
            found.append(BatchShard(own, start, stop, len(batch)))
        return found

    def run(
        self,
        runner: Runner,
        rows: int,
        batch_size: int,
        permutation: Any,
        learning_rates: Sequence[float],
        noise: Callable[[int], Any],
        sums: int,
        before: tuple[Array, ...] | None = None,
        *,
        sharded: bool = False,
    ) -> tuple[Array, ...]:
        """Go through all rows once with this rank's part of each batch; see `PureRunner.run`.

        The runner's step is that of `xpnn.training.step`; the sums that are returned are over
        the rows of all ranks.
        """
        shards = self.batches(rows, batch_size, permutation, sharded=sharded)
        indices = host.concatenate([shard.indices for shard in shards])
        remaining = iter(shards)

        def draw(_: int) -> Any:
            shard = next(remaining)
            counts = host.asarray([float(shard.counts)], dtype_name(runner.dtype))
            return shard.take(noise(shard.batch_rows)), counts

        own_size = len(shards[0].indices)
        return runner.run(len(indices), own_size, indices, learning_rates, draw, sums, before)
