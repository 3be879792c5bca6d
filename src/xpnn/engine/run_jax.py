"""Running an update on JAX: a whole epoch as one compiled scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnn.backends import Array, Device, DType, Namespace, epoch_scan, host, to_device
from xpnn.engine.run_pure import Noise, PureRunner, Update, batches
from xpnn.engine.trees import leaves, map_tree

_NOISE_BYTES = 64 * 2**20  # noise that is there at once; a longer epoch is scanned in parts


class JaxRunner(PureRunner):
    """Scans an update over an epoch's batches inside one compiled function."""

    mode = "auto"

    def __init__(
        self, update: Update, carry: Any, columns: Any, xp: Namespace, device: Device, dtype: DType
    ) -> None:
        super().__init__(update, carry, columns, xp, device, dtype)
        # The scan overwrites its carry; the caller's arrays stay as they are.
        self.carry = self.state()
        self.scan = epoch_scan(update)

    @property
    def engine(self) -> str:
        """How the latest steps ran."""
        return "scan"

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        totals = before or tuple(self.number(0.0) for _ in range(sums))
        numbers = host.arange(rows) if order is None else order
        spans = batches(rows, size)
        spans *= len(rates) // len(spans)
        widths = [stop - start for start, stop in spans]
        start = 0
        while start < len(spans):
            drawn = [noise(widths[start])]
            bytes_each = sum(leaf.nbytes for leaf in leaves(drawn[0]))
            most = max(_NOISE_BYTES // bytes_each, 1) if bytes_each else len(spans)
            stop = start + 1
            while stop < min(start + most, len(spans)) and widths[stop] == widths[start]:
                drawn.append(noise(widths[stop]))
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
        """Noise of several batches as one tree of arrays."""
        if drawn[0] is None:
            return None
        if isinstance(drawn[0], tuple):
            return tuple(self._stack([d[i] for d in drawn]) for i in range(len(drawn[0])))
        return self._put(host.stack(drawn))

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        return map_tree(lambda a: self.xp.array(a, copy=True), self.carry)
