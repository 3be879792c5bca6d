"""Rows from a source, in place of arrays."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Feeder,
    HostGenerator,
    Part,
    dtype_name,
    feeder_for,
    host,
    library_name,
    on_device,
    placement,
    to_device,
    to_float,
    to_host,
)
from xpnn.data.streams import Source, Window, Windows
from xpnn.distributed import DealtWindows, Group

if TYPE_CHECKING:
    from xpnn.training.network import Network

CHUNK = 4096  # rows that are predicted at once where nobody trains
_WIDE = {"bfloat16": "float32"}  # what a dtype that is not NumPy's travels in


class Stream:
    """Rows of a source, brought where a network is; to a trainer it is what `Data` is.

    Parameters
    ----------
    network : Network
        Takes its place from the first row, where it has none.
    source : Source
        Where the rows come from.
    batch : int
        Rows of a step.
    targets : bool, default True
        Whether targets are needed.
    group : Group, optional
        Processes that read a share each, and get the rows of their part of each batch.

    Attributes
    ----------
    rows : int
        Rows of a pass; 0 until they are known.
    x, t, weight : array
        The first row: dtypes and shapes of all.
    """

    def __init__(
        self, network: Network, source: Source, batch: int, targets: bool = True,
        group: Group | None = None,
    ) -> None:  # fmt: skip
        self.network, self.source, self.rows = network, source, source.rows or 0
        first = source.sample()
        if targets:
            source.target_of(first)
        network.prepare(self._beside(first.x))
        self.t: Any = None
        self.kinds: tuple[Any, ...] | None = None
        self.feeder: Feeder | None = None
        self.x, self.t, self.weight = self._placed(Window(first.x, first.t, first.weight, None, 0))
        columns = (self.x, self.t, self.weight)
        self.kinds = tuple(None if c is None else c.dtype for c in columns)
        self.feeder = feeder_for(*placement(x=self.x))
        # bfloat16 is not NumPy's; its rows travel as float32.
        dtype = host.result_type(to_host(self.x).dtype)
        self.group, self.dealt = group, group is not None and group.size > 1
        self.windows: Windows | DealtWindows = Windows(source, batch, dtype)
        if group is not None and self.dealt:
            self.windows = DealtWindows(source, batch, dtype, group)

    def _beside(self, x: Any) -> Any:
        """Bring rows where the network is; it follows them where it is nowhere yet."""
        if not self.network._placed:
            return x
        xp, device = placement(theta=self.network.theta)
        if library_name(xp) == "numpy":
            return x
        return to_device(x, xp, device, self.network.theta.dtype)

    def _placed(self, window: Window) -> tuple[Any, ...]:
        """Bring a window's rows, targets and weights to the network, checked.

        Labels are looked at on the host, so that nobody waits for a device.
        """
        if self.t is None or self.kinds is None:
            return self._first_placed(window)
        try:
            t, weight = self._checked(window)
        except ValueError as error:
            last = window.first + window.rows - 1
            raise ValueError(
                f"{self.source.name}, rows {window.first} to {last}: {error}"
            ) from None
        return self._sent((window.x, t, weight))

    def _first_placed(self, window: Window) -> tuple[Any, ...]:
        """Bring the first row, which says what dtypes and shapes all have."""
        x, xp, _ = self.network.prepare(self._beside(window.x))
        if window.t is None:
            return x, None, None
        t, weight = window.t, window.weight
        if library_name(xp) != "numpy":
            _, device = placement(x=x)
            floats = t.dtype.kind == "f"
            t = to_device(t, xp, device, x.dtype if floats else None)
            weight = None if weight is None else to_device(weight, xp, device, x.dtype)
        try:
            return x, *self.network.prepare_targets(x, t, weight)
        except ValueError as error:
            raise ValueError(f"{self.source.name}, rows 0 to 0: {error}") from None

    def _checked(self, window: Window) -> tuple[Any, Any]:
        """Targets and weights as the loss takes them, on the host."""
        t, weight, rows = window.t, window.weight, window.rows
        if t is None:
            raise ValueError("t is None; expected targets, one for each row of x")
        if weight is not None and weight.shape != (rows,):
            raise ValueError(f"sample_weight has shape {weight.shape}; expected ({rows},)")
        t = self.network.loss.check_targets(t, rows, self.network.outputs, xp=HOST_NAMESPACE)
        # A plan takes dtypes and shapes for granted.
        if t.shape[1:] != self.t.shape[1:] or (weight is None) != (self.weight is None):
            raise ValueError("targets or weights unlike those of the first row")
        return t, weight

    def rows_of(self, window: Window) -> Any:
        """Bring the rows of a window alone."""
        return self._sent((window.x,))[0]

    def _sent(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """Bring columns where the network is, in the dtypes of the first row."""
        assert self.kinds is not None
        xp, device = placement(x=self.x)
        pairs = list(zip(columns, self.kinds, strict=False))
        if library_name(xp) == "numpy":
            return tuple(None if c is None else c.astype(d, copy=False) for c, d in pairs)
        if self.feeder is None:
            return tuple(None if c is None else to_device(c, xp, device, d) for c, d in pairs)

        def part(column: Any, dtype: Any) -> Part | None:
            name = dtype_name(dtype)
            return column if column is None else Part.of(column, _WIDE.get(name, name))

        with on_device(device):
            return tuple(
                None if c is None else xp.astype(c, d, copy=False)
                for c, (_, d) in zip(
                    self.feeder.to_device([part(*p) for p in pairs]), pairs, strict=True
                )
            )

    def passes(
        self, random: HostGenerator | None, number: int
    ) -> Generator[tuple[tuple[Any, ...], int, Any]]:
        """Go through the rows once: ``(columns, rows, order)`` of each window.

        Parameters
        ----------
        random : generator or None
            For the order of the rows; None means as they come.
        number : int
            Number of the epoch.
        """
        seed: Any = None
        if random is not None:
            own = self.source.shuffle.seed
            seed = int(random.integers(2**63)) if own is None else (own, number)
        seen = 0
        with closing(self.windows.go(seed)) as windows:
            for window in windows:
                seen += window.whole
                order = window.order
                if self.dealt:
                    yield self._placed(window), window.whole, None
                    continue
                if order is None and window.rows <= self.windows.batch:
                    order = host.arange(window.rows)  # see `xpnn.engine.show`
                yield self._placed(window), window.rows, order
        self.rows = seen

    def evaluate(self) -> tuple[float, float | None]:
        """Loss and accuracy of all rows, their weights left out."""
        loss, right, seen = 0.0, 0.0, 0.0
        rule, labels, (xp, device) = self.network.loss, True, placement(x=self.x)
        with closing(self.windows.go()) as windows, on_device(device):
            for window in windows:
                rows = window.counted
                if not rows:
                    continue
                x, t, _ = self._placed(window)
                scores = self.network.scores(x)
                value = to_float(rule.forward(scores, t, None, xp=xp)[0])
                loss += value * rows if rule.averages else value
                share = rule.accuracy(scores, t, xp=xp)
                labels = labels and share is not None
                right += 0.0 if share is None else to_float(share) * rows
                seen += rows
        if self.group is not None:
            loss, right, seen = self.group.totals([loss, right, seen])
        return (loss / seen if rule.averages else loss), (right / seen if labels else None)


def over(network: Network, source: Source, function: Callable[[Array], Array]) -> Any:
    """Apply a function of rows to all rows of a source.

    Parameters
    ----------
    network : Network
        Where it is, the rows go.
    source : Source
        Where they come from; its targets are left out.
    function : callable
        ``function(x)``, say a method of the network.

    Returns
    -------
    numpy.ndarray
        The results, on the host.
    """
    stream = Stream(network, source, CHUNK, targets=False)
    found: list[Any] = []
    waiting: Any = None  # read once the next rows are on their way
    with closing(stream.windows.go()) as windows:
        for window in windows:
            result = function(stream.rows_of(window))
            if waiting is not None:
                found.append(host.array(to_host(waiting)))
            # NumPy's may be a view of rows whose memory is used again.
            waiting = host.array(result) if isinstance(result, host.ndarray) else result
    return host.concatenate([*found, to_host(waiting)])
