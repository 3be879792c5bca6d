"""Which rows of a batch are whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from xpnn.backends import Array, dtype_name, host
from xpnn.engine import Runner
from xpnn.engine.run_pure import batches
from xpnn.engine.trees import map_tree

if TYPE_CHECKING:
    from xpnn.distributed.group import Group


def share_of(rows: int, rank: int, ranks: int) -> tuple[int, int]:
    """First and last-plus-one row that is a rank's: as even as can be, more for the first."""
    each, left = divmod(rows, ranks)
    start = rank * each + min(rank, left)
    return start, start + each + (rank < left)


class Share:
    """One rank's part of every batch.

    Parameters
    ----------
    group : Group
        The processes.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.rank, self.ranks = group.rank, group.size

    def numbers(self, rows: int, size: int, order: Any, rank: int | None = None) -> list[Any]:
        """Numbers of the rows that are a rank's, batch by batch.

        Parameters
        ----------
        rows : int
            Number of rows of all batches.
        size : int
            Rows in a batch.
        order : numpy.ndarray or None
            Order of the rows; None means as they are.
        rank : int, optional
            Default: the process's own.
        """
        rank = self.rank if rank is None else rank
        order = host.arange(rows) if order is None else order
        parts = []
        for start, stop in batches(rows, size):
            first, last = share_of(stop - start, rank, self.ranks)
            parts.append(order[start + first : start + last])
        return parts

    def run(
        self, runner: Runner, rows: int, size: int, order: Any, rates: Sequence[float],
        noise: Callable[[int], Any], sums: int, before: tuple[Array, ...] | None = None, *,
        dealt: bool = False,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once, with this rank's part of each batch.

        A rank that a batch leaves without rows takes the step with a row that does not
        count, so that all ranks take the same steps.

        Parameters
        ----------
        runner : Runner
            Its step is one of `xpnn.training.summed`.
        rows, size, order, rates, noise, sums, before
            As in `PureRunner.run`, of all rows.
        dealt : bool, default False
            Whether the runner has this rank's rows only, in the order of the batches.

        Returns
        -------
        tuple of array, 0-d
            The sums over all rows of all ranks.
        """
        parts = self.numbers(rows, size, None if dealt else order)
        spans = [
            (stop - start, *share_of(stop - start, self.rank, self.ranks))
            for start, stop in batches(rows, size)
        ]
        if dealt:
            ends = accumulate(map(len, parts))
            parts = [host.arange(e - len(p), e) for e, p in zip(ends, parts, strict=True)]
        stand_in = host.zeros(1, int)
        own = host.concatenate([part if len(part) else stand_in for part in parts])
        step = iter(spans)

        def drawn(count: int) -> Any:
            whole, first, last = next(step)
            there = last > first
            rows = slice(first, last) if there else slice(1)
            return (
                map_tree(lambda n: n[rows], noise(whole)),
                host.asarray([1.0 if there else 0.0], dtype_name(runner.dtype)),
            )

        return runner.run(len(own), max(len(parts[0]), 1), own, rates, drawn, sums, before)
