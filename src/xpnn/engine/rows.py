"""Learning from rows in turn: by a rule in Python, or by native code that does the same.

A row that is wrong changes the weights before the next one is scored, so that no two rows can be
scored together. Products are made by the loop that NumPy would call: the bytes are the rule's.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from xpnn.backends import host
from xpnn.engine import llvm
from xpnn.engine.calls import Calls
from xpnn.engine.native import TYPES, NoNativeCode, Writer, add_to, call_loop, loop_of
from xpnn.engine.replay import LONGEST
from xpnn.engine.run_numpy import FIRST, NATIVE
from xpnn.engine.trees import same_bytes

SAVED, WRITTEN = 1.5e-6, 0.001  # seconds: that a row saves, and to write code, not to compile it
CHECKED = 128  # rows that are learned from both ways, for comparison
_AHEAD, _LINE = 8, 64  # rows that are asked for early, for none can be guessed; bytes of a line
_wanted: Counter[str] = Counter()  # rows of all passes that code was not made for yet, by its text


class RowPass:
    """Learns from rows in turn: by `rule`, which is handed their numbers, or natively if that pays.

    Both add a row that is wrong, times its entry of `steps`, to `weights`; `targets` are -1 and 1.
    `totals` hold the bias, which moves by `bias_step` times the step, the loss and updates. Where
    `fires_at_zero`, a score of 0 is right if the target is 1.
    """

    def __init__(
        self, rows: Any, targets: Any, steps: Any, weights: Any, totals: Any, bias_step: float,
        fires_at_zero: bool, rule: Callable[[Any], None],
    ) -> None:  # fmt: skip
        self.rows, self.targets, self.steps = rows, targets, steps
        self.weights, self.totals, self.rule = weights, totals, rule
        self.bias_step, self.fires_at_zero = bias_step, fires_at_zero
        self.has_native = llvm.llvm_is_there() and self._has_code()
        self._taken, self._each = 0, 0.0  # rows so far, and seconds of one natively
        self._writer: Writer | None = None
        self._calls: Calls | None = None

    def _has_code(self) -> bool:
        """Whether there is native code for these rows; others NumPy copies before a product."""
        rows, name, columns = self.rows, str(self.weights.dtype), (self.targets, self.steps)
        if not isinstance(rows, host.ndarray) or name not in ("float32", "float64"):
            return False
        plain = all(c.dtype == host.float64 and c.flags.c_contiguous for c in columns)
        stride = rows.strides[1] if rows.dtype == name and rows.flags.aligned else 0
        return bool(plain and stride > 0 and stride % rows.itemsize == 0)

    def run(self, numbers: Any) -> None:
        """Learn from the rows with these numbers."""
        numbers, done = host.ascontiguousarray(numbers, host.int64), 0
        self._taken += len(numbers)
        while done < len(numbers) and (calls := self._native_code(len(numbers))):
            done += self._natively(calls, numbers[done:])
        if done < len(numbers):
            self.rule(numbers[done:])

    def _native_code(self, rows: int) -> Calls | None:
        """Native code, where it saves the time to make it if as many rows come again."""
        if not self.has_native or self._calls or self._taken < WRITTEN / SAVED:
            return self._calls if self.has_native else None
        try:
            self._writer = self._writer or self.write()
            text, cost = self._writer.text(), NATIVE + (0.0 if llvm.llvm_is_loaded() else FIRST)
            _wanted[text] += rows
            if _wanted[text] > cost / SAVED or llvm.is_compiled(text):
                self._calls = Calls([self._writer])
        except (llvm.NativeCodeError, NoNativeCode):
            self.has_native = False
        return self._calls

    def _natively(self, calls: Calls, numbers: Any) -> int:
        """Learn from as many rows as a call may take; the first ones are compared."""
        part = numbers[: max(int(LONGEST / self._each), 1) if self._each else CHECKED]
        memory = self.weights, self.totals
        before = [] if self._each else [array.copy() for array in memory]
        calls.tables[0][:2] = part.ctypes.data, len(part)
        began = time.perf_counter()
        llvm.driver()(calls.list.ctypes.data, 1, 1)
        self._each = (time.perf_counter() - began) / len(part)
        if before:
            mine = [array.copy() for array in memory]
            for place, value in zip(memory, before, strict=True):
                place[...] = value
            self.rule(part)
            self.has_native = all(map(same_bytes, mine, memory))
        if not self.has_native:
            warnings.warn(
                "native code learned other numbers than the rule in Python, which runs in its "
                "place from now on: slower, but right. This is a bug of xpnn, please report it",
                RuntimeWarning,
                stacklevel=2,
            )
        return len(part)

    def write(self) -> Writer:
        """Write native code; its table begins with the numbers of rows, and how many they are."""
        writer, rows = Writer(), self.rows
        numbers, count = writer.slot("ptr", 0), writer.slot("i64", 0)
        base, last = writer.pointer(rows), writer.value(f"sub i64 {count}, 1")

        def row(i: str) -> tuple[str, str]:
            number = writer.load("int64", writer.at(numbers, i, 8, 8))
            return number, writer.at(base, number, rows.strides[0])

        with writer.loop(count) as i:
            if rows[:1].flags.c_contiguous:
                later = writer.value(f"add i64 {i}, {_AHEAD}")
                soon = row(writer.value(f"call i64 @llvm.smin.i64(i64 {later}, i64 {last})"))[1]
                with writer.loop(writer.size(-(-rows[0].nbytes // _LINE))) as k:
                    line = writer.at(soon, k, _LINE, _LINE)
                    writer.line(f"call void @llvm.prefetch.p0(ptr {line}, i32 0, i32 3, i32 1)")
            self._write_row(writer, *row(i))
        return writer

    def _write_row(self, writer: Writer, number: str, row: str) -> None:
        """Score a row, and let it change the weights where it is wrong."""
        do, own, totals = writer.value, self.weights, self.totals
        name, item, stride = str(own.dtype), own.itemsize, self.rows.strides[1]
        found, weights, size = own[:1].copy(), writer.pointer(own), writer.size(len(own))
        pointers, steps = [row, weights, writer.pointer(found)], map(writer.size, (stride, item))
        loop = loop_of(host.vecdot, own, own, own)
        call_loop(writer, loop, pointers, ["1", size], ["0", "0", "0", *steps])
        product = writer.cast(writer.load(name, writer.pointer(found)), name, "float64")
        columns = (writer.pointer(column) for column in (self.targets, self.steps))
        sign, step = (writer.load("float64", writer.at(c, number, 8, 8)) for c in columns)
        bias, loss, updates = (writer.pointer(totals[t:]) for t in range(3))
        score = do(f"fadd double {product}, {writer.load('float64', bias)}")
        margin = do(f"fmul double {score}, {sign}")
        below, zero = do(f"fcmp olt double {margin}, 0.0"), do(f"fcmp oeq double {score}, 0.0")
        if self.fires_at_zero:
            zero = do(f"and i1 {zero}, {do(f'fcmp olt double {sign}, 0.0')}")
        wrong = do(f"or i1 {below}, {zero}")
        lost = do(f"select i1 {wrong}, double {margin}, double 0.0")
        add_to(writer, "float64", loss, do(f"fneg double {lost}"))
        changes = do(f"and i1 {wrong}, {do(f'fcmp une double {step}, 0.0')}")
        with writer.loop(do(f"zext i1 {changes} to i64")):  # once, or not at all
            factor = writer.cast(step, "float64", name)
            with writer.loop(size, parallel=True) as j:
                entry = writer.load(name, writer.at(row, j, stride, item))
                added = do(f"fmul {TYPES[name]} {factor}, {entry}")
                add_to(writer, name, writer.at(weights, j, item, item), added)
            moved = do(f"fmul double {writer.number(self.bias_step, 'float64')}, {step}")
            add_to(writer, "float64", bias, moved)
            add_to(writer, "float64", updates, "1.0")
