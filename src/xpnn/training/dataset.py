"""Rows to learn from or to validate on: arrays in place, rows on the host, or a source.

A trainer sees a `Dataset`: how many rows there are, what a row looks like, and a way to go
through them once. `ArrayDataset` holds arrays where the network is, or rows that stay on
the host and go there batch by batch (see `xpnn.training.host_rows`); `StreamDataset` reads
a source window by window.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from xpnn.backends import (
    Array,
    Backend,
    Feeder,
    InputError,
    Part,
    dtype_name,
    feeder_for,
    host,
    library_name,
    on_device,
    to_device,
    to_host,
)
from xpnn.data.streams import Source, Window, Windows
from xpnn.distributed import ProcessGroup, ShardedWindows
from xpnn.engine import HostRows
from xpnn.training.sampler import Sampler

CHUNK = 4096  # rows of a source that are predicted at once

Columns = tuple[Any, Any, Any]
"""Rows, targets and sample weights; the last two may be None."""


@dataclass(frozen=True)
class Segment:
    """Some rows of a pass: whole batches, but for the last.

    `rows` counts those of other processes too; `indices` (NumPy's) are the order in which the rows
    are gone through, None for the order that they have.
    """

    columns: Columns
    rows: int
    indices: Any


class Dataset(Protocol):
    """What a trainer needs to know of rows.

    `rows` is 0 until it is known; `columns` are rows, targets and weights, or the first of them,
    which have the dtypes and trailing shapes of all; `sharded` says whether a pass brings only
    this process's rows of each batch.
    """

    @property
    def rows(self) -> int:
        """Rows of a pass."""

    @property
    def sharded(self) -> bool:
        """Whether a pass brings only some rows."""

    @property
    def columns(self) -> Columns:
        """Rows, targets and weights."""

    def passes(
        self, sampler: Sampler, epoch: int, batch_size: int
    ) -> Generator[Segment, None, None]:
        """Go through the rows once."""


class ArrayDataset:
    """Rows that are all there, where the network is; `HostRows` stay on the host."""

    sharded = False

    def __init__(self, x: Any, t: Array, weight: Array | None) -> None:
        self.x, self.t, self.weight = x, t, weight

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    @property
    def columns(self) -> Columns:
        """Rows, targets and weights."""
        return self.x, self.t, self.weight

    def take(self, indices: Any, backend: Backend) -> ArrayDataset:
        """Pick rows by their indices (NumPy's), where they are."""
        with on_device(backend.device):
            there = to_device(indices, backend.xp, backend.device)

            def pick(column: Any) -> Any:
                if column is None:
                    return None
                if isinstance(column, HostRows):
                    return column.pick(indices)
                return backend.xp.take(column, there, axis=0)

            return ArrayDataset(*map(pick, self.columns))

    def passes(self, sampler: Sampler, epoch: int, batch_size: int) -> Generator[Segment]:
        """Go through the rows once, in one segment."""
        yield Segment(self.columns, self.rows, sampler.indices(self.rows, batch_size))


class StreamDataset:
    """Rows of a source, read by a thread while steps run on those before.

    ``encode(window) -> window`` checks rows, and makes its targets what the loss wants, on the
    host; the reading thread calls it. Rows get the backend's dtype, floating targets and weights
    `number_dtype`. Processes of a `group` read a share each, and get the rows of their part of
    each batch. `first` is the first row, encoded, on the host.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        backend: Backend,
        encode: Callable[[Window], Window],
        *,
        number_dtype: Any = None,
        group: ProcessGroup | None = None,
    ) -> None:
        self.source, self.backend, self.group = source, backend, group
        self.rows, self.sharded = source.rows or 0, group is not None
        self._feeder: Feeder | None = None  # the first row is not sent that way: it stays
        row = source.sample()
        self.first = encode(Window(row.x, row.t, row.weight, None, 0))
        numbers = backend.dtype if number_dtype is None else number_dtype
        floating = self.first.t is not None and self.first.t.dtype.kind == "f"
        self._dtypes = (backend.dtype, numbers if floating else None, numbers)
        self._columns = self._sent(self.first)
        self._feeder = feeder_for(backend.xp, backend.device)
        # bfloat16 is not NumPy's; its rows travel as float32.
        dtype = host.result_type(to_host(self._columns[0]).dtype)
        checked = _checking(source, encode, self.first)
        self._windows: Windows | ShardedWindows = (
            ShardedWindows(source, batch_size, dtype, group, checked)
            if group is not None and self.sharded
            else Windows(source, batch_size, dtype, checked)
        )

    @property
    def columns(self) -> Columns:
        """The first row: dtypes and shapes of all."""
        return self._columns

    def _sent(self, window: Window) -> Columns:
        """Bring a window's rows, targets and weights to the network."""
        xp, device = self.backend.xp, self.backend.device
        columns = (window.x, window.t, window.weight)
        pairs = list(zip(columns, self._dtypes, strict=True))
        if library_name(xp) == "numpy":
            x, t, weight = (None if c is None else _cast(c, d) for c, d in pairs)
            return x, t, weight
        with on_device(device):
            if self._feeder is None:
                x, t, weight = (
                    None if c is None else to_device(c, xp, device, d) for c, d in pairs
                )
                return x, t, weight
            found = self._feeder.to_device([None if c is None else _part(c, d) for c, d in pairs])
            x, t, weight = (
                c if c is None or d is None else xp.astype(c, d, copy=False)
                for c, (_, d) in zip(found, pairs, strict=True)
            )
            return x, t, weight

    def windows(self, seed: Any = None) -> Generator[tuple[Window, Columns]]:
        """Go through the source once: each window, and its columns where the network is."""
        with closing(self._windows.go(seed)) as windows:
            for window in windows:
                yield window, self._sent(window)

    def passes(self, sampler: Sampler, epoch: int, batch_size: int) -> Generator[Segment]:
        """Go through the source once, window by window."""
        seen = 0
        with closing(self.windows(sampler.seed(self.source.shuffle.seed, epoch))) as windows:
            for window, columns in windows:
                seen += window.whole
                indices = None if self.sharded else window.order
                if indices is None and not self.sharded and window.rows <= batch_size:
                    # A batch without indices is planned on its own memory, and others follow.
                    indices = host.arange(window.rows)
                yield Segment(columns, window.whole, indices)
        self.rows = seen

    def map(self, function: Callable[[Array], Array]) -> Any:
        """Apply a function of rows to all rows; the results, joined, on the host."""
        found: list[Any] = []
        waiting: Any = None  # read once the next rows are on their way
        with closing(self.windows()) as windows, on_device(self.backend.device):
            for _, (x, _, _) in windows:
                result = function(x)
                if waiting is not None:
                    found.append(host.array(to_host(waiting)))
                # NumPy's may be a view of rows whose memory is used again.
                waiting = host.array(result) if isinstance(result, host.ndarray) else result
        return host.concatenate([*found, to_host(waiting)])


def _checking(
    source: Source, encode: Callable[[Window], Window], first: Window
) -> Callable[[Window], Window]:
    """Make what encodes a window, and says where it is if something is wrong with it.

    No method of the dataset: then its buffers are freed with the last reference to it.
    """

    def checked(window: Window) -> Window:
        last = window.first + window.rows - 1
        try:
            window = encode(window)
            alike = (window.weight is None) == (first.weight is None)
            if first.t is not None:
                alike = alike and window.t.shape[1:] == first.t.shape[1:]
            if not alike:
                raise InputError("targets or weights unlike those of the first row")
        except ValueError as error:
            raise InputError(f"{source.name}, rows {window.first} to {last}: {error}") from None
        return window

    return checked


def _cast(column: Any, dtype: Any) -> Any:
    return column if dtype is None else column.astype(dtype, copy=False)


def _part(column: Any, dtype: Any) -> Part:
    """What a feeder sends: bfloat16, which is not NumPy's, travels as float32."""
    name = None if dtype is None else dtype_name(dtype)
    return Part.of(column, "float32" if name == "bfloat16" else name)
