"""Running an update as it is: for libraries and operations that the engine cannot speed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
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
from xpnn.engine.trees import leaves, map_tree, plain

Update = Callable[..., tuple[Any, Any]]
"""``update(carry, sums, batch) -> (carry, sums)``: pure, over arrays in nested tuples."""

Noise = Callable[[int], Any]
"""``noise(rows)``: host arrays for a batch of that many rows, or None."""

Names = tuple[Sequence[str], Sequence[str]]
"""What the parts of the carry and the columns are called in `Plan.describe`."""


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


def on_host(columns: Any) -> list[HostRows]:
    """List the columns that stay on the host."""
    return [column for column in leaves(columns) if isinstance(column, HostRows)]


def part_of(column: HostRows, numbers: Any) -> Part:
    """Say what a feeder has to send of a column: the rows with these numbers."""
    shape = (len(numbers), *column.shape[1:])
    return Part(shape, column.dtype, lambda room: column.take(numbers, out=room))


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """First and last-plus-one row of each batch; the last batch takes what is left."""
    starts = range(0, rows, size)
    return list(zip(starts, [*starts[1:], rows], strict=False))


def labels_of(names: Names | None, carry: Any, sums: Any, batch: Any) -> list[str]:
    """Name each array that a step reads after its part, numbered where that has several."""
    if names is None:
        data = len(batch) - 2
        names = [f"carry {i}" for i in range(len(carry))], [f"column {i}" for i in range(data)]
    labels = []
    parts = (*carry, sums, *batch)
    for name, part in zip((*names[0], "sum", *names[1], "noise", "rate"), parts, strict=True):
        count = len(leaves(part))
        labels += [name] if count == 1 else [f"{name} {i}" for i in range(count)]
    return labels


def first_drawn(drawn: Any, noise: Noise) -> Noise:
    """Hand out noise that is drawn already, then go on drawing."""
    waiting = [drawn]
    return lambda rows: waiting.pop() if waiting else noise(rows)


def _rows(column: Any, start: int, stop: int) -> Any:
    """Cut rows out; on NumPy laid out as rows picked by number are: so products are the same."""
    found = column if (start, stop) == (0, column.shape[0]) else column[start:stop, ...]
    return plain(found) if isinstance(found, host.ndarray) else found


class PureRunner:
    """Calls the pure update, batch by batch; what the other runners do where they cannot.

    `carry` is what goes from step to step, in nested tuples: parameters, optimizer state, step
    count. All columns share their first axis; None stays None. `xp` and `device` are the
    data's, `dtype` that of rates and sums. A `feeder` sends rows that stay on the host, while
    the step before still runs.
    """

    mode = "pure"  # what `make_runner` is asked for to make such a runner again
    whole = True  # whether no step is half done

    def __init__(
        self, update: Update, carry: Any, columns: Any, xp: Namespace, device: Device,
        dtype: DType, feeder: Feeder | None = None,
    ) -> None:  # fmt: skip
        self.update, self.carry, self.columns = update, carry, columns
        self.xp, self.device, self.dtype, self.feeder = xp, device, dtype, feeder
        self._rate: tuple[float, Array] | None = None

    @property
    def engine(self) -> str:
        """How the latest steps ran, and why not faster."""
        return "pure"

    def number(self, value: float) -> Array:
        """Make a 0-d array on the device."""
        return scalar(value, self.xp, self.device, self.dtype)

    def _send(self, numbers: Any) -> list[Array]:
        """Send the rows with these numbers of all columns that stay on the host."""
        columns = on_host(self.columns)
        if self.feeder is None:
            return [to_device(c.take(numbers), self.xp, self.device) for c in columns]
        return list(self.feeder.to_device([part_of(c, numbers) for c in columns]))

    def _batch(self, numbers: Any, placed: Array | None, start: int, stop: int, rows: int) -> Any:
        """Rows of a batch, by their numbers on the host and the same ones on the device."""
        if placed is None:
            return map_tree(lambda c: _rows(c, start, stop), self.columns)
        own = placed[start:stop]
        if not on_host(self.columns):
            return map_tree(lambda c: self.xp.take(c, own, axis=0), self.columns)
        sent = iter(self._send(numbers[start:stop]))

        def pick(column: Any) -> Array:
            return next(sent) if isinstance(column, HostRows) else self.xp.take(column, own, axis=0)

        return map_tree(pick, self.columns)

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once, and return sums that the update keeps over the steps.

        A batch has `size` rows; `order` are their numbers in order, on the host, or None for as
        they are. There is a learning rate for each step; where all rows, as they are, are one
        batch, there may be several. `noise` draws a batch's noise on the host. There are so many
        `sums`, 0-d on the device; from `before`, what an earlier call returned, they go on.
        """
        totals = before or (self.number(0.0),) * sums
        if order is None and on_host(self.columns):
            order = host.arange(rows)
        placed = None if order is None else to_device(order, self.xp, self.device)
        for (start, stop), rate in zip(cycle(batches(rows, size)), rates, strict=False):
            drawn = map_tree(lambda n: to_device(n, self.xp, self.device), noise(stop - start))
            if self._rate is None or self._rate[0] != rate:
                self._rate = rate, self.number(rate)
            columns = self._batch(order, placed, start, stop, rows)
            batch = (*columns, drawn, self._rate[1])
            self.carry, totals = self.update(self.carry, totals, batch)
        return totals

    def set_theta(self, theta: Array) -> None:
        """Go on from other parameters, which are only read."""
        self.carry = (theta, *self.carry[1:])

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return self.xp.asarray(self.carry[0], copy=True)

    def state(self) -> Any:
        """All of the carry, for another runner to go on with."""
        return self.carry
