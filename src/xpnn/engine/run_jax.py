"""Running an update on JAX: a whole epoch as one compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    DType,
    Namespace,
    epoch_scan,
    host,
    scalar,
    to_device,
)
from xpnn.engine.run_pure import Noise, Update, batches
from xpnn.engine.trees import leaves, map_tree

_NOISE_BYTES = 64 * 2**20  # noise that is held at once; a longer epoch is scanned in parts


class JaxRunner:
    """Scans an update over an epoch's batches inside one compiled function.

    Parameters
    ----------
    make_update, carry, columns, xp, dtype
        As in `xpnn.engine.run_numpy.NumpyRunner`.
    device : object
        Where the data is.
    """

    reason = "a whole epoch is one compiled scan"

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, xp: Namespace,
        device: Device, dtype: DType,
    ) -> None:  # fmt: skip
        self.columns, self.xp, self.device, self.dtype = columns, xp, device, dtype
        # The scan overwrites its carry; the caller's arrays stay as they are.
        self.carry = map_tree(lambda a: xp.array(a, copy=True), carry)
        self.scan = epoch_scan(make_update(xp))

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        totals = before or tuple(scalar(0.0, self.xp, self.device, self.dtype) for _ in range(sums))
        numbers = host.arange(rows) if order is None else order
        spans = batches(rows, size)
        start = 0
        while start < len(spans):
            width = spans[start][1] - spans[start][0]
            drawn = [noise(width)]
            whole = sum(leaf.nbytes for leaf in leaves(drawn[0]))
            most = max(_NOISE_BYTES // whole, 1) if whole else len(spans)
            stop = start + 1
            while (
                stop < len(spans)
                and stop - start < most
                and spans[stop][1] - spans[stop][0] == width
            ):
                drawn.append(noise(width))
                stop += 1
            steps = host.stack([numbers[a:b] for a, b in spans[start:stop]])
            self.carry, totals = self.scan(
                self.carry,
                totals,
                self.columns,
                self._put(steps),
                self._put(host.asarray(rates[start:stop]), self.dtype),
                self._stack(drawn),
            )
            start = stop
        return totals

    def _put(self, values: Any, dtype: DType = None) -> Array:
        return to_device(values, self.xp, self.device, dtype)

    def _stack(self, drawn: list[Any]) -> Any:
        if drawn[0] is None:
            return None
        if isinstance(drawn[0], tuple):
            return tuple(self._stack([d[i] for d in drawn]) for i in range(len(drawn[0])))
        return self._put(host.stack(drawn))

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return self.xp.array(self.carry[0], copy=True)

    def state(self) -> Any:
        """All of the carry, for another runner to go on with."""
        return map_tree(lambda a: self.xp.array(a, copy=True), self.carry)
