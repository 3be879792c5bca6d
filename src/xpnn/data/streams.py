"""Rows that are read block by block: data larger than memory.

A source hands out blocks; a thread copies them into buffers, which the steps use one after the
other. `xpnn.data.sources` makes a source of anything that can be read so.
"""

from __future__ import annotations

import queue
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

MEMORY = 2**28
PIECE = 2**20  # bytes that are read at once: what is read is still in the cache when it is copied
BLOCKS = 16  # in a buffer

_UNITS = {"": 1, **{f"{p}{e}": b**n for e, b in (("B", 1000), ("iB", 1024))
                    for n, p in enumerate("KMGT", 1)}, "B": 1}  # fmt: skip


def bytes_of(memory: int | str) -> int:
    """Read an amount of memory: bytes, or a text such as ``"256 MiB"``, ``"1GB"``."""
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)\s*", memory)
        if found and found[2] in _UNITS and float(found[1]) > 0:
            return max(int(float(found[1]) * _UNITS[found[2]]), 1)
    raise ValueError(f"memory is {memory!r}; expected bytes, or a text such as '256 MiB'")


@dataclass(frozen=True)
class BlockShuffle:
    """How the rows of a source are mixed: by blocks, and within a buffer of several blocks.

    The blocks come in an order drawn from the seed, and fill a buffer; its rows are
    permuted. A row can meet any row of the blocks in the same buffer.

    Parameters
    ----------
    block_rows : int, optional
        Rows in a block, which are read together. Parquet row groups and the chunks of
        Dask and zarr are blocks already. Default: a sixteenth of the buffer.
    buffer_blocks : int, optional
        Blocks in a buffer. Default: as many as the source's memory allows.
    seed : int, optional
        The order depends on it and on the number of the epoch alone. Default: drawn anew
        for each epoch by the training, from its own seed.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    block_rows: int | None = None
    buffer_blocks: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, lowest in (("block_rows", 1), ("buffer_blocks", 1), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and not (whole and value >= lowest):
                raise ValueError(f"{name} is {value!r}; expected an integer from {lowest} on")


@dataclass
class Block:
    """Rows on the host, as a source hands them out; valid until the next block is asked for.

    `x` has the shape (n, features), the targets `t` (n,) or (n, outputs), `weight` (n,).
    """

    x: Any
    t: Any = None
    weight: Any = None

    def copy(self, start: int, stop: int) -> Block:
        """Some of the rows, in memory of their own."""
        parts = (self.x, self.t, self.weight)
        return Block(*(None if p is None else np.array(p[start:stop]) for p in parts))


class Source(ABC):
    """Rows that are read block by block, in place of arrays; `stream` makes one.

    Parameters
    ----------
    name : str
        For errors: a file's name, where there is one.
    features : int
        Numbers in a row.
    dtype : dtype
        Of the rows.
    rows : int or None
        Number of rows; None where nobody knows.
    once : bool, default False
        Whether it can be gone through once only.

    Attributes
    ----------
    memory : int
        Bytes that the two buffers take together.
    shuffle : BlockShuffle
        How rows are mixed, where the training mixes them.
    classes : numpy.ndarray or None
        Labels, where they are known beforehand.
    """

    def __init__(
        self, name: str, features: int, dtype: Any, rows: int | None, once: bool = False
    ) -> None:
        self.name, self.features, self.dtype = name, features, np.dtype(dtype)
        self.rows, self.once = rows, once
        self.memory, self.shuffle = MEMORY, BlockShuffle()
        self.classes: Any = None

    def __repr__(self) -> str:
        rows = "?" if self.rows is None else f"{self.rows:,}"
        return f"<{type(self).__name__} {self.name}: {rows} rows x {self.features} {self.dtype}>"

    def unit_rows(self, block_rows: int) -> Sequence[int] | None:
        """Rows of each block that can be read in any order; None where there is one order only."""
        return None

    @abstractmethod
    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Generator[Block]:
        """Read blocks.

        Parameters
        ----------
        order : sequence of int or None
            Numbers of the blocks to read; None means all, as they come.
        block_rows : int
            Rows in a block, where the data does not say.

        Yields
        ------
        Block
            Parts of the blocks, in order.
        """

    def targets(self) -> Iterator[Any]:
        """Read the targets alone, as they come."""
        for block in self.blocks(None, max(PIECE // self.row_bytes, 1)):
            yield self.target_of(block)

    def target_of(self, block: Any) -> Any:
        """Targets of a block or window; an error where the source has none."""
        if block.t is None:
            raise ValueError(
                f"{self.name} has no targets; name them: stream(x, target), or give batches (x, t)"
            )
        return block.t

    def sample(self) -> Block:
        """Read the first row."""
        with closing(self.blocks(None, 1)) as blocks:
            for block in blocks:
                if len(block.x):
                    return block.copy(0, 1)
        raise ValueError(f"{self.name} has no rows; expected at least one")

    def count(self) -> int:
        """Count the rows, by going through all of them where they are not known."""
        if self.rows is None:
            self.rows = sum(len(block.x) for block in self.blocks(None, PIECE))
        return self.rows

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as it is stored."""
        return self.features * self.dtype.itemsize

    def check_once(self, epochs: int) -> None:
        """Refuse, with a ValueError, to go several times through what comes once."""
        if self.once and epochs > 1:
            raise ValueError(
                f"{self.name} can be gone through once, and {epochs} epochs were asked for; hand "
                "stream a function that makes the iterator anew, or a list"
            )


@dataclass
class Window:
    """Some rows at a time, a whole number of batches but for the last; see `Block`.

    The memory of `x` is used again once the next window is asked for. `order` is a permutation
    in which the rows are to be shown; None means as they are. `first` is the number of the
    first row in this pass. Where several processes share a window, `total` is the number of
    rows of all of them and `own` that of this one; if that is 0, there is a row that does not
    count.
    """

    x: Any
    t: Any
    weight: Any
    order: Any
    first: int
    total: int | None = None
    own: int | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    @property
    def whole(self) -> int:
        """Number of rows, those that other processes have included."""
        return self.rows if self.total is None else self.total

    @property
    def counted(self) -> int:
        """Number of this process's rows."""
        return self.rows if self.own is None else self.own


class Windows:
    """Rows of a source in buffers of a fixed size, which hold whole batches.

    ``prepare(window) -> window`` is called in the reading thread; it may look at rows, but must
    leave them where they are.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        dtype: Any,
        prepare: Callable[[Window], Window] | None = None,
    ) -> None:
        self.source, self.prepare = source, prepare
        dtype = np.dtype(dtype)
        self.rows, self.block_rows = self.sizes(source, batch, dtype)
        # A source that fits into one buffer needs no second one.
        count = 1 if source.rows is not None and source.rows <= self.rows else 2
        self.buffers = [np.empty((self.rows, source.features), dtype) for _ in range(count)]

    @staticmethod
    def sizes(source: Source, batch: int, dtype: Any) -> tuple[int, int]:
        """Rows of a window and of a block: one window is filled while another is in use."""
        shuffle, row_bytes = source.shuffle, source.features * np.dtype(dtype).itemsize
        most = max(source.memory // (2 * row_bytes), 1)
        block = shuffle.block_rows or max(most // (shuffle.buffer_blocks or BLOCKS), 1)
        rows = block * (shuffle.buffer_blocks or max(most // block, 1))
        rows = max(rows // batch, 1) * batch
        return (rows if source.rows is None else min(rows, max(source.rows, 1))), block

    def go(self, seed: Any = None) -> Generator[Window]:
        """Go through the source once; close the generator to end early.

        `seed`, an integer or several, is for the order of blocks and rows; None means as they
        come.
        """
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        full: queue.SimpleQueue[Any] = queue.SimpleQueue()
        over = threading.Event()

        def read() -> None:
            try:
                for window in self._fill(seed, free, over):
                    full.put(window)
                full.put(None)
            except BaseException as error:  # raised again by whoever waits for the window
                error.add_note(f"while reading {self.source.name}")
                full.put(error)

        def release_buffers() -> None:
            for buffer in self.buffers:
                free.put(buffer)

        release_buffers()
        thread = threading.Thread(target=read, name=f"xpnn reads {self.source.name}", daemon=True)
        thread.start()
        try:
            while (window := full.get(block=True)) is not None:
                if isinstance(window, BaseException):
                    raise window
                yield window
                free.put(window.x.base)
        finally:
            over.set()
            release_buffers()  # should the thread wait for one
            thread.join()

    def _fill(self, seed: Any, free: Any, over: threading.Event) -> Iterator[Window]:
        """Copy blocks into free buffers, until the source or the pass is over."""
        rng = None if seed is None else np.random.default_rng(seed)
        units = None if rng is None else self.source.unit_rows(self.block_rows)
        order: Any = None if rng is None or units is None else rng.permutation(len(units))
        first, seen = 0, 0  # rows before this window, rows in it
        buffer: Any = None
        parts: list[Block] = []
        with closing(self.source.blocks(order, self.block_rows)) as blocks:
            for block in blocks:
                used = 0
                while used < len(block.x):
                    if buffer is None:
                        buffer = free.get(block=True)
                    if over.is_set():
                        return
                    stop = min(used + len(buffer) - seen, len(block.x))
                    rows = buffer[seen : seen + stop - used]
                    np.copyto(rows, block.x[used:stop], casting="unsafe")
                    # Their memory is the source's, which uses it again.
                    parts.append(Block(None, block.t, block.weight).copy(used, stop))
                    seen, used = seen + stop - used, stop
                    if seen == len(buffer):
                        yield self._window(buffer[:seen], parts, first, rng)
                        first, seen, buffer, parts = first + seen, 0, None, []
            if seen:
                yield self._window(buffer[:seen], parts, first, rng)

    def _window(self, rows: Any, parts: list[Block], first: int, rng: Any) -> Window:
        t = self._joined("t", [part.t for part in parts])
        weight = self._joined("weight", [part.weight for part in parts])
        order = None if rng is None else rng.permutation(len(rows))
        window = Window(rows, t, weight, order, first)
        return window if self.prepare is None else self.prepare(window)

    def _joined(self, what: str, parts: list[Any]) -> Any:
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise ValueError(f"{self.source.name} gives {what} with some batches only")
        return np.concatenate(parts)
