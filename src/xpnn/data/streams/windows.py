"""Buffers of rows: filled by a thread, while the step runs on the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnn.data.streams.source import Block, Source

_END = object()


@dataclass
class Window:
    """Some rows at a time, a whole number of batches but for the last; see `Block`.

    Parameters
    ----------
    x : numpy.ndarray, shape (rows, features)
        Rows; the memory is used again once the next window is asked for.
    t, weight : numpy.ndarray or None
        Targets and weights.
    order : numpy.ndarray of int or None
        In which order the rows are to be shown; None means as they are.
    first : int
        Number of the first row in this pass.
    total, own : int, optional
        Where several processes share a window: rows of all of them, and rows of this one;
        if that is 0, there is a row that does not count.
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


class _Pass:
    """One way through a source: what the reading thread does, and how it is ended."""

    def __init__(self, windows: Windows, seed: Any) -> None:
        self.windows, self.source = windows, windows.source
        self.random = None if seed is None else np.random.default_rng(seed)
        self.free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.full: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for buffer in windows.buffers:
            self.free.put(buffer)
        self.over = threading.Event()
        self.thread = threading.Thread(
            target=self._run, name=f"xpnn reads {self.source.name}", daemon=True
        )

    def _run(self) -> None:
        try:
            for window in self._windows():
                self.full.put(window)
            self.full.put(_END)
        except BaseException as error:  # raised again by whoever waits for the window
            error.add_note(f"while reading {self.source.name}")
            self.full.put(error)

    def _windows(self) -> Iterator[Window]:
        source, random, block_rows = self.source, self.random, self.windows.block_rows
        units = None if random is None else source.units(block_rows)
        order: Any = None if units is None or random is None else random.permutation(units)
        seen, done = 0, 0  # rows in this window, rows before it
        buffer: Any = None
        parts: list[Block] = []
        blocks = source.blocks(order, block_rows)
        try:
            for block in blocks:
                used = 0
                while used < len(block.x):
                    if buffer is None:
                        buffer = self.free.get(block=True)
                    if self.over.is_set():
                        return
                    count = min(len(block.x) - used, len(buffer) - seen)
                    np.copyto(buffer[seen : seen + count], block.x[used : used + count],
                              casting="unsafe")  # fmt: skip
                    parts.append(_kept(block, used, used + count))
                    seen, used = seen + count, used + count
                    if seen == len(buffer):
                        yield self._window(buffer, seen, parts, done)
                        seen, done, buffer, parts = 0, done + seen, None, []
            if seen:
                yield self._window(buffer, seen, parts, done)
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def _window(self, buffer: Any, rows: int, parts: list[Block], first: int) -> Window:
        t, weight = (self._joined([getattr(p, n) for p in parts], n) for n in ("t", "weight"))
        order = None if self.random is None else self.random.permutation(rows)
        window = Window(buffer[:rows], t, weight, order, first)
        return window if self.windows.prepare is None else self.windows.prepare(window)

    def _joined(self, parts: list[Any], what: str) -> Any:
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise ValueError(f"{self.source.name} gives {what} with some batches only")
        return np.concatenate(parts)

    def end(self) -> None:
        """Let the thread end, and wait for it."""
        self.over.set()
        for buffer in self.windows.buffers:  # should it wait for one
            self.free.put(buffer)
        self.thread.join()


def _kept(block: Block, start: int, stop: int) -> Block:
    """Copy targets and weights, whose memory the source uses again."""
    parts = [None if p is None else np.array(p[start:stop]) for p in (block.t, block.weight)]
    return Block(None, *parts)


class Windows:
    """Rows of a source in buffers of a fixed size, again and again.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    batch : int
        Rows of a step; a buffer holds whole batches.
    dtype : dtype
        Of the buffers.
    prepare : callable, optional
        ``prepare(window) -> window``, called in the reading thread; may look at rows, but
        must leave them where they are.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        dtype: Any,
        prepare: Callable[[Window], Window] | None = None,
    ) -> None:
        self.source, self.batch, self.prepare = source, batch, prepare
        dtype = np.dtype(dtype)
        self.rows, self.block_rows = self.sizes(source, batch, dtype)
        # A source that fits into one buffer needs no second one.
        count = 1 if source.rows is not None and source.rows <= self.rows else 2
        self.buffers = [np.empty((self.rows, source.features), dtype) for _ in range(count)]

    @staticmethod
    def sizes(source: Source, batch: int, dtype: Any) -> tuple[int, int]:
        """Rows of a window and of a block."""
        width = source.features * np.dtype(dtype).itemsize
        rows, block = source.shuffle.sizes(width, source.memory, batch)
        return (rows if source.rows is None else min(rows, max(source.rows, 1))), block

    def go(self, seed: Any = None) -> Generator[Window]:
        """Go through the source once.

        Parameters
        ----------
        seed : int or sequence of int, optional
            For the order of blocks and rows; None means as they come.

        Yields
        ------
        Window
            Close the generator to end early: the thread that reads ends with it.
        """
        one = _Pass(self, seed)
        one.thread.start()
        try:
            while True:
                window = one.full.get(block=True)
                if window is _END:
                    return
                if isinstance(window, BaseException):
                    raise window
                yield window
                one.free.put(window.x.base)
        finally:
            one.end()
