"""Native steps: a plan's calls written as LLVM's IR, to the bytes that NumPy gives.

What is exactly rounded becomes loops of our own, which go through memory once for many
operations. Everything else, matrix products, exponentials, sums along rows, calls the inner loop
of the ufunc that NumPy would call, with the strides that NumPy would use: so the bytes are
NumPy's, whatever BLAS it was built with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from xpnn.backends import host
from xpnn.engine.fuse import sums_over_rows
from xpnn.engine.llvm import inner_loop
from xpnn.engine.operations import REDUCTIONS, axes_of
from xpnn.engine.trace import Node

TYPES = {
    "float32": "float", "float64": "double", "int32": "i32", "int64": "i64", "uint8": "i8",
    "bool": "i8",
}  # fmt: skip
"""LLVM's types of the dtypes that native loops know, in memory; a bool's value is an i1."""

# Exactly rounded operations on values of one dtype: {t} is its type, {w} its width.
_COMPARED = {
    "equal": ("oeq", "eq"), "not_equal": ("une", "ne"), "less": ("olt", "slt"),
    "less_equal": ("ole", "sle"), "greater": ("ogt", "sgt"), "greater_equal": ("oge", "sge"),
}  # fmt: skip
_FLOATING = {
    "add": "fadd {t} {0}, {1}",
    "subtract": "fsub {t} {0}, {1}",
    "multiply": "fmul {t} {0}, {1}",
    "divide": "fdiv {t} {0}, {1}",
    "negative": "fneg {t} {0}",
    "square": "fmul {t} {0}, {0}",
    "reciprocal": "fdiv {t} 1.0, {0}",
    "copysign": "call {t} @llvm.copysign.{w}({t} {0}, {t} {1})",
    "isnan": "fcmp uno {t} {0}, {0}",
    "abs": "call {t} @llvm.fabs.{w}({t} {0})",
    "ceil": "call {t} @llvm.ceil.{w}({t} {0})",
    "floor": "call {t} @llvm.floor.{w}({t} {0})",
    "sqrt": "call {t} @llvm.sqrt.{w}({t} {0})",
    "trunc": "call {t} @llvm.trunc.{w}({t} {0})",
    **{op: f"fcmp {how} {{t}} {{0}}, {{1}}" for op, (how, _) in _COMPARED.items()},
}
_WHOLE = {
    "add": "add {t} {0}, {1}",
    "subtract": "sub {t} {0}, {1}",
    "multiply": "mul {t} {0}, {1}",
    **{op: f"icmp {how} {{t}} {{0}}, {{1}}" for op, (_, how) in _COMPARED.items()},
}
_LOGICAL = {
    "logical_and": "and i1 {0}, {1}",
    "logical_or": "or i1 {0}, {1}",
    "logical_xor": "xor i1 {0}, {1}",
    "logical_not": "xor i1 {0}, true",
    "equal": "icmp eq i1 {0}, {1}",
    "not_equal": "icmp ne i1 {0}, {1}",
}
_RULES = {"float32": _FLOATING, "float64": _FLOATING, "int32": _WHOLE, "int64": _WHOLE}
_RULES |= {"uint8": {}, "bool": _LOGICAL}

# Conversions, by the kinds of both dtypes; where sizes differ: to a larger one, to a smaller one.
_CASTS: dict[str, str | tuple[str, str]] = {
    "ff": ("fpext {a} {0} to {b}", "fptrunc {a} {0} to {b}"),
    "ii": ("sext {a} {0} to {b}", "trunc {a} {0} to {b}"),
    "fi": "fptosi {a} {0} to {b}",
    "if": "sitofp {a} {0} to {b}",
    "fb": "fcmp une {a} {0}, 0.0",
    "ib": "icmp ne {a} {0}, 0",
    "ub": "icmp ne {a} {0}, 0",
    "iu": "trunc {a} {0} to {b}",
    **{f"{unsigned}f": "uitofp {a} {0} to {b}" for unsigned in "bu"},
    **{f"{unsigned}i": "zext {a} {0} to {b}" for unsigned in "bu"},
    "bu": "zext {a} {0} to {b}",
}
_COPY = "call void @llvm.memcpy.p0.p0.i64(ptr {}, ptr {}, i64 {}, i1 0)"
_LINE = 64  # bytes of a cache line


class NoNativeCode(Exception):
    """There is no native code for a call."""


@cache
def _larger_zero() -> str:
    """Which of two zeros NumPy's maximum takes on this processor: 'second', 'positive', or ''."""
    found: set[Any] = set()
    for size in (1, 67):
        for dtype in ("float32", "float64"):
            low, high = host.full(size, -0.0, dtype), host.zeros(size, dtype)
            for one, other in ((low, high), (high, low)):
                for larger in (host.maximum, host.minimum):
                    signs = set(host.signbit(larger(one, other)).tolist())
                    found.add((one is low, larger is host.maximum, *signs))
    both = (True, False)
    if found == {(a, b, not a) for a in both for b in both}:
        return "second"
    return "positive" if found == {(a, b, not b) for a in both for b in both} else ""


def _kind(dtype: str) -> str:
    return str(host.dtype(dtype).kind)


def loop_dtype(node: Node) -> Any:
    """Dtype that an elementwise operation computes in: that of all operands together."""
    operands = node.inputs[1:] if node.op == "where" else node.inputs
    return host.result_type(*(o.value.dtype if isinstance(o, Node) else o for o in operands))


def domain(node: Node) -> tuple[int, ...] | None:
    """Shape of the loop of our own that gives an operation's bytes; None where there is none."""
    if len(node.shape) > 2 or not node.is_elementwise:
        return None
    if any(str(n.value.dtype) not in TYPES for n in (node, *node.parents())):
        return None
    name, op = str(loop_dtype(node)), node.op
    exact = op == "where" and name in TYPES
    if op == "astype":
        exact = name == str(node.value.dtype) or _kind(name) + node.value.dtype.kind in _CASTS
    elif op in ("maximum", "minimum"):
        exact = _kind(name) == "f" and bool(_larger_zero())
    elif op == "pow":
        exact = _kind(name) == "f" and node.inputs[1] == 2
    elif op != "where":
        exact = op in _RULES.get(name, ())
    return None if not exact else node.shape if node.value.size > 1 else ()


class Writer:
    """Writes one function, ``void f(ptr table, i64 step)``.

    Addresses, extents, strides and numbers are entries of the table, so that steps of one
    structure share functions, whatever their sizes.
    """

    def __init__(self) -> None:
        self.slots: list[Any] = []  # what the table's entries are made of
        self._head: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self._named: dict[Any, str] = {}
        self._inside: list[bool] = []  # whether the loops around this line are parallel
        self._parallel = 0  # how many there were

    def text(self) -> str:
        """The function, for `compile_functions`."""
        areas = (f"  %{area} = alloca [16 x i64]" for area in ("args", "counts", "strides"))
        lines = "\n".join([*areas, *self._head, *self._lines])
        return f"(ptr %table, i64 %step) {{\nentry:\n{lines}\n  ret void\n}}\n"

    def table(self) -> Any:
        """The table that it is to be handed."""
        return host.asarray([_entry(value) for value in self.slots], host.int64)

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append(f"  {text}")

    def value(self, text: str) -> str:
        """Add an instruction, and name its result."""
        self._count += 1
        self.line(f"%v{self._count} = {text}")
        return f"%v{self._count}"

    def slot(self, kind: str, value: Any) -> str:
        """Name an entry of the table, which is read once: a ptr, i64 or double."""
        number = len(self.slots)
        self.slots.append(value)
        self._head += [
            f"  %a{number} = getelementptr i64, ptr %table, i64 {number}",
            f"  %s{number} = load {kind}, ptr %a{number}",
        ]
        return f"%s{number}"

    def size(self, value: int) -> str:
        """Name an extent, a stride, or a number of bytes."""
        return self.slot("i64", int(value))

    def pointer(self, array: Any) -> str:
        """Name an array's address."""
        key = array.ctypes.data, array.dtype
        if key not in self._named:
            self._named[key] = self.slot("ptr", array)
        return self._named[key]

    def number(self, value: Any, dtype: str) -> str:
        """Make a number of a dtype."""
        if dtype == "bool":
            return "true" if value else "false"
        if _kind(dtype) == "f":
            found = self.slot("double", float(host.asarray(value, dtype)))
            return self.cast(found, "float64", dtype)
        return self.cast(self.size(value), "int64", dtype)

    def cast(self, value: str, old: str, new: str) -> str:
        """Convert a value as NumPy does."""
        if old == new:
            return value
        rule = _CASTS[_kind(old) + _kind(new)]
        if isinstance(rule, tuple):
            rule = rule[host.dtype(new).itemsize < host.dtype(old).itemsize]
        a, b = ("i1" if name == "bool" else TYPES[name] for name in (old, new))
        return self.value(rule.format(value, a=a, b=b))

    @contextmanager
    def loop(self, extent: str, parallel: bool = False) -> Iterator[str]:
        """Write a loop from 0 to an extent; gives the index.

        The turns of a `parallel` one do not depend on each other: LLVM need not prove it.
        """
        self._count += 1
        k = self._count
        self._lines += [f"  br label %e{k}", f"e{k}:", f"  br label %h{k}", f"h{k}:"]
        self.line(f"%i{k} = phi i64 [ 0, %e{k} ], [ %n{k}, %l{k} ]")
        self.line(f"%c{k} = icmp slt i64 %i{k}, {extent}")
        self._lines += [f"  br i1 %c{k}, label %b{k}, label %x{k}", f"b{k}:"]
        self._inside.append(parallel)
        yield f"%i{k}"
        self._inside.pop()
        self._lines += [f"  br label %l{k}", f"l{k}:", f"  %n{k} = add i64 %i{k}, 1"]
        mark = f", !llvm.loop !loop{self._parallel}" if parallel else ""
        self._parallel += parallel
        self._lines += [f"  br label %h{k}{mark}", f"x{k}:"]

    def _mark(self) -> str:
        return ", !llvm.access.group !0" if self._inside and self._inside[-1] else ""

    def load(self, dtype: str, address: str) -> str:
        """Read a value."""
        found = self.value(f"load {TYPES[dtype]}, ptr {address}{self._mark()}")
        return self.value(f"icmp ne i8 {found}, 0") if dtype == "bool" else found

    def store(self, dtype: str, value: str, address: str) -> None:
        """Write a value."""
        if dtype == "bool":
            value = self.value(f"zext i1 {value} to i8")
        self.line(f"store {TYPES[dtype]} {value}, ptr {address}{self._mark()}")

    def at(self, base: str, index: str, stride: int, itemsize: int = 0) -> str:
        """Find an address a number of strides away; a stride of the item's size is a constant."""
        step = str(stride) if stride == itemsize else self.size(stride)
        offset = self.value(f"mul i64 {index}, {step}")
        return self.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def zero(self, array: Any) -> None:
        """Fill contiguous memory with zeros."""
        place, size = self.pointer(array), self.size(array.nbytes)
        self.line(f"call void @llvm.memset.p0.i64(ptr {place}, i8 0, i64 {size}, i1 0)")

    def operate(self, node: Node, operands: Sequence[str]) -> str:
        """Write an elementwise operation on values of its dtype."""
        name = str(loop_dtype(node))
        words = {"t": "i1" if name == "bool" else TYPES[name], "w": f"f{name[-2:]}"}
        if node.op == "astype":
            return self.cast(operands[0], name, str(node.value.dtype))
        if node.op == "where":
            chosen, a, b = operands
            return self.value(f"select i1 {chosen}, {words['t']} {a}, {words['t']} {b}")
        if node.op in ("maximum", "minimum"):
            return self._extremum(node.op, operands, words)
        rule = _FLOATING["square"] if node.op == "pow" else _RULES[name][node.op]
        return self.value(rule.format(*operands, **words))

    def _extremum(self, op: str, operands: Sequence[str], words: dict[str, str]) -> str:
        """NumPy's maximum or minimum; a NaN wins."""
        if _larger_zero() == "positive":
            text = f"call {{t}} @llvm.{op}.{{w}}({{t}} {{0}}, {{t}} {{1}})"
            return self.value(text.format(*operands, **words))
        (a, b), t = operands, words["t"]
        wins = self.value(f"fcmp {'ogt' if op == 'maximum' else 'olt'} {t} {a}, {b}")
        first = self.value(f"or i1 {wins}, {self.value(f'fcmp uno {t} {a}, {a}')}")
        return self.value(f"select i1 {first}, {t} {a}, {t} {b}")


def _entry(value: Any) -> int:
    """An entry of a table: an address, a number, or a float's bits."""
    if isinstance(value, host.ndarray):
        return int(value.ctypes.data)
    if isinstance(value, float):
        return int(struct.unpack("q", struct.pack("d", value))[0])
    return int(value)


# A plan's calls


def write_call(call: Any, place: dict[int, Any]) -> Writer:
    """Write one call of a plan; `place` has the array of each node, by `id`.

    Raises NoNativeCode.
    """
    writer, arguments = Writer(), call.arguments
    if call.function is None:
        _Loop(writer, call, lambda node: place[id(node)]).write()
    elif call.function is host.matmul:
        _multiply(writer, *arguments)
    elif call.function in REDUCTIONS.values():
        array, axis, _, out, _ = arguments
        _reduce(writer, call.function, array, axis, out)
    elif call.function is host.copyto and len(arguments) < 4:
        _copy(writer, arguments[1], arguments[0])
    elif isinstance(call.function, host.ufunc):
        *operands, out = arguments if call.out is None else (*arguments, call.out)
        _apply(writer, call.function, operands, out)
    else:
        raise NoNativeCode
    return writer


class _Loop:
    """Writes a loop of elementwise operations; `place` tells the array of a node.

    What is not stored is a value only.
    """

    def __init__(self, writer: Writer, call: Any, place: Callable[[Node], Any]) -> None:
        self.writer, self.place, nodes = writer, place, call.nodes
        self.products = sorted(call.products, key=lambda product: product[0].ctypes.data)
        self.sums = [n for n in nodes if sums_over_rows(n)]
        self.nodes = [n for n in nodes if not sums_over_rows(n)]
        own = set(map(id, nodes))
        read = {id(p): p for n in self.nodes for p in n.parents() if id(p) not in own}
        self.read = list(read.values())
        self.stored = [n for n in self.nodes if id(n) in call.stored]
        self.values: dict[int, str] = {}

    def write(self) -> None:
        """Write it: for a number, for contiguous arrays of one shape, or row by row."""
        for node in self.sums:
            self.writer.zero(self.place(node))
        shape = max((n.shape for n in self.nodes), key=lambda s: (host.prod(s, dtype=int), len(s)))
        size = int(host.prod(shape, dtype=int))
        ends = (*self.read, *self.stored, *self.sums)
        bases = {n: self.writer.pointer(self.place(n)) for n in ends}
        for node in self.read:
            if node.value.size == 1:
                self._load(node, bases[node])
        if size == 1:
            self._operations(bases)
            return
        long = {n: base for n, base in bases.items() if n.value.size > 1}
        arrays = [self.place(n) for n in long]
        if not self.sums and all(a.shape == shape and a.flags.c_contiguous for a in arrays):
            self._flat(long, size)
            return
        rows, columns = shape if len(shape) == 2 else (1, shape[0])
        strides = {n: (0, n.value.itemsize) for n in self.sums}
        for node in long.keys() - strides.keys():
            wide = (0, *host.broadcast_to(self.place(node), shape).strides)
            strides[node] = wide[-2], wide[-1]
        with self.writer.loop(self.writer.size(rows)) as i:
            starts = {
                n: base if not strides[n][0] else self.writer.at(base, i, strides[n][0])
                for n, base in long.items()
            }
            self._row({n: (start, strides[n][1]) for n, start in starts.items()}, columns)

    def _flat(self, bases: dict[Node, str], size: int) -> None:
        """Go through contiguous arrays, and compute outer products where they would lie."""
        writer, done = self.writer, 0

        def moved(first: int) -> dict[Node, tuple[str, int]]:
            items = {n: n.value.itemsize for n in bases}
            return {
                n: (
                    writer.at(base, writer.size(first), items[n], items[n]) if first else base,
                    items[n],
                )
                for n, base in bases.items()
            }

        for out, a, b in self.products:
            (whole,) = (n for n in self.read if host.may_share_memory(self.place(n), out))
            first = (out.ctypes.data - self.place(whole).ctypes.data) // out.itemsize
            if first > done:
                self._row(moved(done), first - done)
            self._product(moved(first), whole, a, b)
            done = first + out.size
        if done < size:
            self._row(moved(done), size - done)

    def _product(self, starts: dict[Node, tuple[str, int]], whole: Node, a: Any, b: Any) -> None:
        """Go through an outer product, which is computed in place of being read."""
        writer, name, columns = self.writer, str(a.dtype), b.shape[1]
        kind, item, right = TYPES[name], a.itemsize, writer.pointer(b)
        with writer.loop(writer.size(a.shape[0])) as i:
            left = writer.load(name, writer.at(writer.pointer(a), i, a.strides[0]))

            def multiply(j: str) -> None:
                factor = writer.load(name, writer.at(right, j, b.strides[1], item))
                product = writer.value(f"fmul {kind} {left}, {factor}")
                # NumPy adds it to 0.
                self.values[id(whole)] = writer.value(f"fadd {kind} {product}, 0.0")

            rows = {
                n: (writer.at(start, i, columns * stride), stride)
                for n, (start, stride) in starts.items()
                if n is not whole
            }
            self._row(rows, columns, multiply)

    def _row(
        self, starts: dict[Node, tuple[str, int]], size: int,
        before: Callable[[str], None] = lambda j: None,
    ) -> None:  # fmt: skip
        """Go through entries that lie a stride apart; those without one are read once."""
        for node in self.read:
            if node in starts and not starts[node][1]:
                self._load(node, starts[node][0])
        with self.writer.loop(self.writer.size(size), parallel=True) as j:
            addresses = {
                n: self.writer.at(base, j, stride, n.value.itemsize)
                for n, (base, stride) in starts.items()
                if stride
            }
            for node in self.read:
                if node in addresses:
                    self._load(node, addresses[node])
            before(j)
            self._operations(addresses)

    def _load(self, node: Node, address: str) -> None:
        self.values[id(node)] = self.writer.load(str(node.value.dtype), address)

    def _operand(self, value: Any, dtype: str) -> str:
        if not isinstance(value, Node):
            return self.writer.number(value, dtype)
        return self.writer.cast(self.values[id(value)], str(value.value.dtype), dtype)

    def _operations(self, addresses: dict[Node, str]) -> None:
        """Do the operations on one entry, and store what others read."""
        writer = self.writer
        for node in self.nodes:
            dtype = str(loop_dtype(node))
            flags = ["bool"] if node.op == "where" else []
            dtypes = [*flags, *[dtype] * (len(node.inputs) - len(flags))]
            operands = [self._operand(v, d) for v, d in zip(node.inputs, dtypes, strict=True)]
            self.values[id(node)] = writer.operate(node, operands)
        for node in self.stored:
            writer.store(str(node.value.dtype), self.values[id(node)], addresses[node])
        for node in self.sums:
            add_to(writer, str(node.value.dtype), addresses[node], self.values[id(node.inputs[0])])


def add_to(writer: Writer, dtype: str, place: str, value: str) -> None:
    """Add a value to what is at a place."""
    total = writer.value(f"fadd {TYPES[dtype]} {writer.load(dtype, place)}, {value}")
    writer.store(dtype, total, place)


def call_loop(
    writer: Writer, loop: tuple[int, int], pointers: Sequence[str], counts: Sequence[str],
    strides: Sequence[str],
) -> None:  # fmt: skip
    """Call a ufunc's inner loop."""
    areas = (("args", pointers, "ptr"), ("counts", counts, "i64"), ("strides", strides, "i64"))
    for area, values, kind in areas:
        for number, value in enumerate(values):
            address = writer.value(f"getelementptr i64, ptr %{area}, i64 {number}")
            writer.line(f"store {kind} {value}, ptr {address}")
    function, data = (writer.slot("ptr", value) for value in loop)
    writer.line(f"call void {function}(ptr %args, ptr %counts, ptr %strides, ptr {data})")


def loop_of(function: Any, *arrays: Any) -> tuple[int, int]:
    """A ufunc's inner loop for arrays, and its data."""
    found = inner_loop(function, tuple(str(a.dtype) for a in arrays))
    if found is None:
        raise NoNativeCode
    return found


def _multiply(writer: Writer, a: Any, b: Any, out: Any) -> None:
    """Multiply two matrices as `numpy.matmul` does."""
    loop, arrays = loop_of(host.matmul, a, b, out), (a, b, out)
    pointers = [writer.pointer(x) for x in arrays]
    if a.shape[1] > 1 or out.size == 1 or out.dtype.kind != "f":
        counts = [writer.size(n) for n in (*a.shape, b.shape[1])]
        strides = [writer.size(n) for n in (0, 0, 0, *a.strides, *b.strides, *out.strides)]
        call_loop(writer, loop, pointers, ["1", *counts], strides)
        return
    # An outer product. NumPy computes it number by number too, from 0 on.
    name, item = str(out.dtype), out.itemsize
    with writer.loop(writer.size(a.shape[0])) as i:
        left = writer.load(name, writer.at(pointers[0], i, a.strides[0]))
        row = writer.at(pointers[2], i, out.strides[0])
        with writer.loop(writer.size(b.shape[1]), parallel=True) as j:
            right = writer.load(name, writer.at(pointers[1], j, b.strides[1], item))
            product = writer.value(f"fmul {TYPES[name]} {left}, {right}")
            whole = writer.value(f"fadd {TYPES[name]} {product}, 0.0")
            writer.store(name, whole, writer.at(row, j, out.strides[1], item))


def _apply(writer: Writer, function: Any, operands: Sequence[Any], out: Any) -> None:
    """Call a ufunc on contiguous arrays and numbers."""
    arrays = (*operands, out)
    if any(a.size > 1 and not (a.shape == out.shape and a.flags.c_contiguous) for a in arrays):
        raise NoNativeCode
    strides = [writer.size(0 if a.size == 1 < out.size else a.itemsize) for a in arrays]
    pointers = [writer.pointer(a) for a in arrays]
    call_loop(writer, loop_of(function, *arrays), pointers, [writer.size(out.size)], strides)


def _reduce(writer: Writer, function: Any, array: Any, axis: Any, out: Any) -> None:
    """Reduce everything, or along one axis of a matrix, as NumPy does."""
    if not array.flags.c_contiguous or array.dtype != out.dtype or array.ndim > 2:
        raise NoNativeCode
    ufunc, axes = function.__self__, axes_of(axis, array.ndim)
    loop, source, target = loop_of(ufunc, out, out, out), writer.pointer(array), writer.pointer(out)
    name, item = str(array.dtype), array.itemsize
    if all(n == 1 or i in axes for i, n in enumerate(array.shape)):
        _fold(writer, ufunc, loop, array.size, name, source, target)
    elif axes == (1,):
        with writer.loop(writer.size(array.shape[0])) as i:
            start, place = writer.at(source, i, array.strides[0]), writer.at(target, i, item, item)
            _fold(writer, ufunc, loop, array.shape[1], name, start, place)
    elif ufunc is host.add and array.ndim == 2 and name in _RULES and array.dtype.kind == "f":
        writer.zero(out)  # NumPy adds row after row
        with writer.loop(writer.size(array.shape[0])) as i:
            start = writer.at(source, i, array.strides[0])
            with writer.loop(writer.size(array.shape[1]), parallel=True) as j:
                value = writer.load(name, writer.at(start, j, item, item))
                add_to(writer, name, writer.at(target, j, item, item), value)
    else:
        raise NoNativeCode


def _fold(
    writer: Writer, ufunc: Any, loop: tuple[int, int], size: int, name: str, source: str,
    target: str,
) -> None:  # fmt: skip
    """Reduce contiguous entries to one: a sum from 0 on, an extremum from the first entry on."""
    if name not in TYPES:
        raise NoNativeCode
    item, kind = host.dtype(name).itemsize, TYPES[name]
    if ufunc is host.add:
        writer.line(f"store {kind} {'0.0' if _kind(name) == 'f' else '0'}, ptr {target}")
    else:
        writer.line(f"store {kind} {writer.value(f'load {kind}, ptr {source}')}, ptr {target}")
        source, size = writer.at(source, "1", item, item), size - 1
    if size:
        strides = ["0", str(item), "0"]
        call_loop(writer, loop, [target, source, target], [writer.size(size)], strides)


def _copy(writer: Writer, source: Any, target: Any) -> None:
    """Copy an array into another of its shape, with conversion."""
    old, new = str(source.dtype), str(target.dtype)
    known = old == new or _kind(old) + _kind(new) in _CASTS
    if old not in TYPES or new not in TYPES or not known or source.shape != target.shape:
        raise NoNativeCode
    if target.ndim > 2:
        raise NoNativeCode
    rows, columns = (1, 1, *target.shape)[-2:]
    ends = [((0, 0, *a.strides)[-2:], writer.pointer(a), a.itemsize) for a in (source, target)]
    with writer.loop(writer.size(rows)) as i:
        starts = [writer.at(base, i, strides[0]) for strides, base, _ in ends]
        with writer.loop(writer.size(columns), parallel=True) as j:
            places = [
                writer.at(start, j, strides[1], item)
                for start, (strides, _, item) in zip(starts, ends, strict=True)
            ]
            writer.store(new, writer.cast(writer.load(old, places[0]), old, new), places[1])


# What comes before a step's calls


def write_rate(place: Any) -> Writer:
    """Put a step's learning rate where the plan reads it; the table begins with the rates."""
    writer, name, item = Writer(), str(place.dtype), place.itemsize
    rate = writer.load(name, writer.at(writer.slot("ptr", 0), "%step", item, item))
    writer.store(name, rate, writer.pointer(place))
    return writer


def can_gather(column: Any) -> bool:
    """Whether `write_gather` can read a column's rows as they lie."""
    rows = bool(column[:1].flags.c_contiguous)
    return bool(column.flags.aligned) and (
        rows or (column.ndim == 2 and str(column.dtype) in TYPES)
    )


def write_gather(column: Any, place: Any) -> Writer:
    """Copy rows by their numbers into a batch; the table begins with the column and the numbers.

    The row after is prefetched meanwhile: the processor cannot know where in memory it is.
    """
    writer, name, size = Writer(), str(column.dtype), place.strides[0]
    base, numbers = writer.slot("ptr", 0), writer.slot("ptr", 0)
    target, rows = writer.pointer(place), writer.size(place.shape[0])
    stride = writer.size(column.strides[0])
    first = writer.at(numbers, writer.value(f"mul i64 %step, {rows}"), 8, 8)

    def row(i: str) -> str:
        number = writer.value(f"load i64, ptr {writer.at(first, i, 8, 8)}")
        offset = writer.value(f"mul i64 {number}, {stride}")
        return writer.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    with writer.loop(rows) as i:
        source, out = row(i), writer.at(target, i, size)
        if place.ndim == 1 and name in TYPES:
            writer.store(name, writer.load(name, source), out)
        elif column[:1].flags.c_contiguous:
            later = writer.value(f"add i64 {i}, 1")
            last = writer.value(f"icmp eq i64 {later}, {rows}")
            after = row(writer.value(f"select i1 {last}, i64 {i}, i64 {later}"))
            _copy_row(writer, source, out, after, size)
        else:
            with writer.loop(writer.size(place.shape[1])) as j:
                value = writer.load(name, writer.at(source, j, column.strides[1]))
                writer.store(name, value, writer.at(out, j, place.itemsize, place.itemsize))
    return writer


def _copy_row(writer: Writer, source: str, target: str, after: str, size: int) -> None:
    """Copy a row of so many bytes, cache line by cache line, and prefetch the one after."""
    whole, rest = divmod(size, _LINE)
    if whole:
        with writer.loop(writer.size(whole)) as j:
            soon, old, new = (writer.at(base, j, _LINE, _LINE) for base in (after, source, target))
            writer.line(f"call void @llvm.prefetch.p0(ptr {soon}, i32 0, i32 2, i32 1)")
            writer.line(_COPY.format(new, old, _LINE))
    if rest:
        offset = writer.size(whole * _LINE)
        old, new = (
            writer.value(f"getelementptr i8, ptr {base}, i64 {offset}") for base in (source, target)
        )
        writer.line(_COPY.format(new, old, writer.size(rest)))
