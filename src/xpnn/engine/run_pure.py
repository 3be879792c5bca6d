"""Running an update as it is: for libraries and operations that the engine cannot speed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    DType,
    Feeder,
    Namespace,
    Part,
    host,
    scalar,
    to_device,
)
from xpnn.engine.trees import leaves, map_tree

Update = Callable[..., tuple[Any, Any]]
"""``update(carry, sums, batch) -> (carry, sums)``: pure, over arrays in nested tuples."""


class HostRows:
    """Base of data on the host whose rows are made only when a batch asks for them.

    To the engine a column of this kind is an array: it has `shape`, `dtype`, `ndim` and
    `nbytes`, and slices of it are NumPy's.
    """

    shape: tuple[int, ...]
    dtype: Any

    def take(self, numbers: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> Any:
        """Make rows by their numbers, as `numpy.ndarray.take` picks them."""
        raise NotImplementedError

    def __getitem__(self, rows: slice) -> Any:
        """Make the rows of a slice."""
        raise NotImplementedError

    def pick(self, numbers: Any) -> HostRows:
        """Pick rows by their numbers without making them."""
        raise NotImplementedError


def part_of(column: HostRows, numbers: Any) -> Part:
    """Say what a feeder has to send of a column: the rows with these numbers."""
    shape = (len(numbers), *column.shape[1:])
    return Part(shape, column.dtype, lambda room: column.take(numbers, out=room))


Noise = Callable[[int], Any]
"""``noise(rows)``: host arrays for a batch of that many rows, or None."""


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """First and last-plus-one row of each batch; the last batch takes what is left."""
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


class PureRunner:
    """Calls the pure update, batch by batch.

    Parameters
    ----------
    update : callable
        ``update(carry, sums, batch) -> (carry, sums)``, made for the arrays' library.
    carry : nested tuples of array
        What goes from step to step: parameters, optimizer state, step count.
    columns : nested tuples of array
        The data; all share their first axis. None stays None.
    xp, device, dtype
        Where the data is, and the dtype of numbers.
    feeder : Feeder, optional
        Sends rows that stay on the host, while the step before still runs.
    """

    reason = "the pure step runs as it is"

    def __init__(
        self, update: Update, carry: Any, columns: Any, xp: Namespace, device: Device,
        dtype: DType, feeder: Feeder | None = None,
    ) -> None:  # fmt: skip
        self.update, self.carry, self.columns = update, carry, columns
        self.xp, self.device, self.dtype, self.feeder = xp, device, dtype, feeder
        self._rate: tuple[float, Array] | None = None

    def number(self, value: float) -> Array:
        """Make a 0-d array on the device."""
        return scalar(value, self.xp, self.device, self.dtype)

    def _rate_array(self, value: float) -> Array:
        if self._rate is None or self._rate[0] != value:
            self._rate = (value, self.number(value))
        return self._rate[1]

    def _from_host(self, order: Any) -> Iterator[Array]:
        """Send the rows with these numbers of all columns that stay on the host."""
        columns = [c for c in leaves(self.columns) if isinstance(c, HostRows)]
        if self.feeder is None:
            return iter([to_device(c.take(order), self.xp, self.device) for c in columns])

        return iter(self.feeder.to_device([part_of(c, order) for c in columns]))

    def _batch(self, order: Any, numbers: Array | None, start: int, stop: int, rows: int) -> Any:
        if numbers is None:
            if start == 0 and stop == rows:
                return self.columns
            return map_tree(lambda c: c[start:stop, ...], self.columns)
        sent, own = self._from_host(order[start:stop]), numbers[start:stop]

        def pick(column: Any) -> Array:
            if isinstance(column, HostRows):
                return next(sent)
            return self.xp.take(column, own, axis=0)

        return map_tree(pick, self.columns)

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once.

        Parameters
        ----------
        rows : int
            Number of rows.
        size : int
            Rows in a batch.
        order : numpy.ndarray or None
            Order of the rows; None means as they are.
        rates : sequence of float
            Learning rate of each step.
        noise : callable
            Draws a batch's noise on the host.
        sums : int
            Number of sums that the update keeps over the steps.
        before : tuple of array, 0-d, optional
            What an earlier call returned: the sums go on from there.

        Returns
        -------
        tuple of array, 0-d
            The sums, on the device.
        """
        totals = before or tuple(self.number(0.0) for _ in range(sums))
        if order is None and any(isinstance(c, HostRows) for c in leaves(self.columns)):
            order = host.arange(rows)
        numbers = None if order is None else to_device(order, self.xp, self.device)
        for (start, stop), rate in zip(batches(rows, size), rates, strict=True):
            drawn = map_tree(lambda n: to_device(n, self.xp, self.device), noise(stop - start))
            batch = (*self._batch(order, numbers, start, stop, rows), drawn, self._rate_array(rate))
            self.carry, totals = self.update(self.carry, totals, batch)
        return totals

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return self.xp.asarray(self.carry[0], copy=True)

    def state(self) -> Any:
        """All of the carry, for another runner to go on with."""
        return self.carry
