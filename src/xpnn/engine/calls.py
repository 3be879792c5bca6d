"""A plan's calls, made ready to run: by NumPy, or as native code.

Both take a plan's steps on the memory that it is bound to, and can be shown other memory for
some of its inputs, where that is laid out alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from xpnn.backends import host
from xpnn.engine.llvm import compile_functions, driver
from xpnn.engine.native import (
    NoNativeCode,
    Writer,
    can_gather,
    write_call,
    write_gather,
    write_rate,
)
from xpnn.engine.plan import Plan, compile_calls, moved
from xpnn.engine.trees import plain


class NumpyCalls:
    """Runs a plan as calls of NumPy."""

    def __init__(self, plan: Plan) -> None:
        self._bind = compile_calls(plan.calls)
        self._replay = self._bind(lambda value: value)

    def show(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Let other memory take the place of inputs: pairs of old and new."""
        self._replay = self._bind(moved(pairs))

    def step(self) -> None:
        """Take a step on the batch and the rate that are in their places."""
        self._replay()


class NativeCalls:
    """Runs a plan as native code; what has none stays a call of NumPy between native pieces.

    `rate` is the plan's input for the learning rate, and `batch` are those that hold a batch.
    """

    def __init__(self, plan: Plan, batch: Sequence[Any], rate: Any) -> None:
        self._batch, self._rate = list(batch), rate
        self.slow: list[str] = []  # what stays a call of NumPy
        self._kept = plan  # whose memory the tables point to
        self._pieces: list[Callable[[], None]] = []
        self._native: list[Calls] = []  # the pieces that are native code
        self._bind: dict[int, Any] = {}  # by the number of a piece that is not: see `compile_calls`
        waiting: list[Writer] = []
        for call in plan.calls:
            try:
                waiting.append(write_call(call, plan.place))
            except NoNativeCode:
                self.slow.append(call.text)
                self._end_piece(waiting)
                self._bind[len(self._pieces)] = bind = compile_calls([call])
                self._pieces.append(bind(lambda value: value))
                waiting = []
        self._end_piece(waiting)
        self._gathers: dict[Any, _Steps] = {}
        self._shown: Sequence[tuple[Any, Any]] = ()

    def _end_piece(self, writers: list[Writer]) -> None:
        """Compile calls that follow one another."""
        if writers:
            self._native.append(calls := Calls(writers))
            self._pieces.append(partial(driver(), calls.list.ctypes.data, len(calls.list), 1))

    def show(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Let other memory take the place of inputs: pairs of old and new."""
        ranges = [(old.ctypes.data, old.nbytes, new.ctypes.data) for old, new in pairs]
        for writer, table in (pair for calls in self._native for pair in calls.pairs()):
            for number, value in enumerate(writer.slots):
                if isinstance(value, host.ndarray):
                    for first, size, new in ranges:
                        if 0 <= value.ctypes.data - first < size:
                            table[number] = new + value.ctypes.data - first
        for number, bind in self._bind.items():
            self._pieces[number] = bind(moved(pairs))
        self._shown = pairs  # keeps the memory alive

    def step(self) -> None:
        """Take a step on the batch and the rate that are in their places."""
        for piece in self._pieces:
            piece()

    def steps(self, columns: Sequence[Any], numbers: Any, rates: Any) -> None:
        """Take a step for each rate, on the rows with these numbers; None: on what is shown.

        Only where no call of NumPy stands between.
        """
        columns = [c if can_gather(c) else plain(c) for c in columns]
        key = None if numbers is None else tuple((c.strides, c.dtype) for c in columns)
        if key not in self._gathers:
            places = [] if numbers is None else zip(columns, self._batch, strict=True)
            self._gathers[key] = _Steps(list(places), self._rate, self._native)
        self._gathers[key].run(columns, numbers, rates)


class Calls:
    """Compiled functions, their tables, and the list of both that the driver goes through."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = writers
        self.functions = compile_functions([writer.text() for writer in writers])
        self.tables = [writer.table() for writer in writers]
        pairs = [
            (f.address, t.ctypes.data) for f, t in zip(self.functions, self.tables, strict=True)
        ]
        self.list = host.asarray(pairs, host.int64).reshape(len(pairs), 2)

    def pairs(self) -> Iterable[tuple[Writer, Any]]:
        """Each writer and its table."""
        return zip(self.writers, self.tables, strict=True)


class _Steps:
    """Native steps behind what gathers their batches."""

    def __init__(self, places: list[tuple[Any, Any]], rate: Any, pieces: Sequence[Calls]) -> None:
        gathers = [write_gather(column, place) for column, place in places]
        self.first = Calls([*gathers, write_rate(rate)])
        self.list = host.concatenate([self.first.list, *(piece.list for piece in pieces)])

    def run(self, columns: Sequence[Any], numbers: Any, rates: Any) -> None:
        """Take a step for each rate."""
        *gathers, rate = self.first.tables
        for table, column in zip(gathers, columns, strict=False):
            table[:2] = column.ctypes.data, numbers.ctypes.data
        rate[0] = rates.ctypes.data
        driver()(self.list.ctypes.data, len(self.list), len(rates))
