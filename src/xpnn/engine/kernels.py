"""Kernels: one compiled loop for many operations; which share it, and its source.

NumPy does one operation at a time and keeps every result; a kernel keeps results that
only it needs in registers and goes through memory once. The source is made from the
recorded operations and can be read in `Plan.describe`.

A kernel goes through the rows of its arrays; a row is a number (vectors) or a line of
numbers (matrices). Elementwise operations, and sums and maxima along a row, can share one:
for every row they run in order, so one that needs a row's sum comes after it. Sums over all
rows can share it too, but nothing in the kernel can need them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from xpnn.backends import host
from xpnn.engine.operations import OPERATORS
from xpnn.engine.schedule import grouped
from xpnn.engine.trace import Node

# Operations that Numba's code does as NumPy does, bit for bit.
EXACT: dict[str, str] = OPERATORS | {
    "abs": "abs({0})",
    # A NaN wins, as in NumPy; `|` leaves no branch, so that compilers use vector registers.
    "maximum": "{1} if ({0} < {1}) | ({1} != {1}) else {0}",
    "minimum": "{1} if ({0} > {1}) | ({1} != {1}) else {0}",
    "sqrt": "np.sqrt({0})",
    "where": "{1} if {0} else {2}",
}
# Within an ulp or two of NumPy's. NumPy does many at once with vector registers and wins
# on large arrays; on small ones its calls cost more than its loops.
CLOSE = {name: f"np.{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "tanh")}
SMALL = 4096  # elements up to which a kernel does the operations of CLOSE
DTYPES = frozenset({"float32", "float64", "bool", "int32", "int64", "uint8"})
_REDUCTIONS = {"sum": "{0} + {1}", "max": EXACT["maximum"], "min": EXACT["minimum"]}

# Four rows at a time: memory that is far away brings several of them as fast as one. Rows
# of a thousand numbers took 70 us where NumPy's `take` took 95 us.
GATHER = """\
def kernel(rows, numbers, out):
    whole = numbers.shape[0] // 4 * 4
    for i in range(0, whole, 4):
        a = numbers[i]
        b = numbers[i + 1]
        c = numbers[i + 2]
        d = numbers[i + 3]
        for j in range(rows.shape[1]):
            out[i, j] = rows[a, j]
            out[i + 1, j] = rows[b, j]
            out[i + 2, j] = rows[c, j]
            out[i + 3, j] = rows[d, j]
    for i in range(whole, numbers.shape[0]):
        a = numbers[i]
        for j in range(rows.shape[1]):
            out[i, j] = rows[a, j]
"""


# Which operations share a kernel


def _loop_shape(node: Node) -> tuple[int, ...]:
    """Shape that an operation's loops go through: a reduction's is that of what it reads."""
    shape: tuple[int, ...] = node.inputs[0].shape if node.op in _REDUCTIONS else node.shape
    return shape


def _over_rows(node: Node) -> bool:
    """Whether it is a sum over all rows, one for each column."""
    return node.op == "sum" and node.attributes["axis"] == 0 and len(node.inputs[0].shape) == 2


def _has_kernel(node: Node) -> bool:
    """Whether a kernel can do an operation at all."""
    if any(str(n.value.dtype) not in DTYPES for n in (node, *node.parents())):
        return False
    if node.op in _REDUCTIONS:
        source = node.inputs[0]
        whole = node.attributes["axis"] is None and node.shape == ()
        along = node.attributes["axis"] in (1, -1) and node.attributes["keepdims"]
        small = source.value.size <= 8 * SMALL
        fits = along or _over_rows(node) or (whole and node.op == "sum" and small)
        return len(source.shape) == 2 and fits and node.value.dtype == source.value.dtype
    if len(node.shape) not in (1, 2) or node.value.size < 2:
        return False
    if node.op == "astype":
        return bool(node.value.dtype != host.bool)
    return node.op in EXACT or (node.op in CLOSE and node.value.size <= SMALL)


def _joins(node: Node, group: list[Node]) -> bool:
    """Whether an operation can share the kernel of a group: one loop can index every operand."""
    if not _has_kernel(node):
        return False
    shape = _loop_shape(node)
    if group:
        first = _loop_shape(group[0])
        if len(first) != len(shape) or first[0] != shape[0]:
            return False
    for p in node.parents():
        if p in group:
            if p.shape == () or _over_rows(p) or p.shape not in (shape, (shape[0], 1)):
                return False
        elif len(shape) == 1:
            if p.shape not in ((), shape):
                return False
        elif p.shape not in ((), shape, (shape[0], 1), (1, shape[1]), (shape[1],)):
            return False
    return True


def _goes_back(node: Node) -> bool:
    """Whether it is a bias's gradient, added up where it is made though a product came between."""
    return _over_rows(node) and _has_kernel(node) and not _over_rows(node.inputs[0])


def fuse(nodes: list[Node]) -> list[list[Node]]:
    """Put operations into groups: one, or several that share a kernel."""
    return grouped(nodes, _joins, lambda node: True, _goes_back)


# Its source


class Writer:
    """Writes the source of one group.

    `used_outside` is the `id` of all nodes that something outside the group reads.
    """

    def __init__(self, nodes: list[Node], used_outside: set[int]) -> None:
        self.nodes = nodes
        self.place: Callable[[Node], Any] = lambda node: node
        self.members = {id(n): i for i, n in enumerate(nodes)}
        self.rows, *width = _loop_shape(nodes[0])
        self.flat = not width
        self.segments = self._cut()
        self.stored = {id(n) for n in nodes if id(n) in used_outside or self._crosses(n)}
        self.arguments: list[Any] = []
        self.names: dict[tuple[Any, ...], str] = {}
        self.numbers: dict[tuple[str, str], str] = {}
        self.loads: list[str] = []

    def _width(self, node: Node) -> int:
        """Numbers in a row of the loop that computes a node."""
        if self.flat:
            return 1
        return int(_loop_shape(node)[1])

    def _cut(self) -> list[list[Node]]:
        """Split into loops over a row: same width, nothing that needs a sum of the same loop."""
        segments: list[list[Node]] = []
        for node in self.nodes:
            last = segments[-1] if segments else None
            waits = last and any(p in last and p.op in _REDUCTIONS for p in node.parents())
            if last and not waits and self._width(last[0]) == self._width(node):
                last.append(node)
            else:
                segments.append([node])
        return segments

    def _crosses(self, node: Node) -> bool:
        """Whether a row of numbers is read in a later loop, and so must be stored."""
        if self.flat or node.shape == () or _over_rows(node) or node.shape[1] == 1:
            return False
        others = [s for s in self.segments if node not in s]
        return any(node in other.parents() for s in others for other in s)

    def _name(self, operand: Any) -> str:
        """Name an argument; results that go in place share the name of what they replace.

        A compiler that sees one pointer where there is one uses vector registers; with a
        pair for each of Adam's vectors it gives up proving that they do not overlap.
        """
        array = self.place(operand) if isinstance(operand, Node) else operand
        memory = array.ctypes.data, array.shape, array.strides, str(array.dtype)
        key = memory if array.ndim else (id(array),)
        if key not in self.names:
            self.names[key] = f"a{len(self.arguments)}"
            self.arguments.append(array)
        return self.names[key]

    def _load(self, name: str) -> str:
        """Read a 0-d array once, before the loops."""
        line = f"    n{name} = {name}[()]"
        if line not in self.loads:
            self.loads.append(line)
        return f"n{name}"

    def _number(self, value: float, dtype: Any) -> str:
        """Return a number: the plainest as they are, others as arguments, so that kernels recur."""
        key = (str(dtype), str(float(value)))  # as text: 0.0 and -0.0 are equal
        if key[1] in ("0.0", "1.0"):
            return f"np.{dtype}({int(value)})"
        if key not in self.numbers:
            self.numbers[key] = self._name(host.asarray(value, dtype))
        return self._load(self.numbers[key])

    def _index(self, node: Node) -> str:
        name = self._name(node)
        if node.shape == ():
            return self._load(name)
        if self.flat:
            return f"{name}[i]"
        if len(node.shape) == 1:
            return f"{name}[0]" if node.shape[0] == 1 else f"{name}[j]"
        row = "0" if node.shape[0] == 1 and node.shape[0] != self.rows else "i"
        column = "0" if node.shape[1] == 1 else "j"
        return f"{name}[{row}, {column}]"

    def _value(self, operand: Any, node: Node, segment: list[Node]) -> str:
        """Return the name or number that stands for an operand inside a loop."""
        if not isinstance(operand, Node):
            others = [p.value.dtype for p in node.parents() if p.value.dtype != host.bool]
            return self._number(operand, host.result_type(*others, operand))
        if id(operand) in self.members:
            register = operand in segment or (
                operand.shape != () and not self.flat and operand.shape[1] == 1
            )
            if register or self.flat:
                return f"t{self.members[id(operand)]}"
        return self._index(operand)

    def write(self, place: Callable[[Node], Any]) -> tuple[str, list[Any]]:
        """Write the function ``kernel``; also return the arrays that it is called with.

        `place` tells the array of a node.
        """
        self.place = place
        body: list[str] = []
        totals = [n for n in self.nodes if n.shape == ()]
        for node in totals:
            body.append(f"    s{self.members[id(node)]} = np.{node.value.dtype}(0)")
        for node in self.nodes:
            if _over_rows(node):
                body.append(f"    {self._name(node)}[:] = 0")
        # The length is an argument's, so that a kernel serves any number of rows.
        long = (n for n in self._passed(self.nodes) if n.shape and not _over_rows(n))
        first = next(n for n in long if n.shape[0] == self.rows)
        body.append(f"    for i in range({self._name(first)}.shape[0]):")
        for segment in self.segments:
            body += self._segment(segment)
        for node in totals:
            body.append(f"    {self._name(node)}[()] = s{self.members[id(node)]}")
        arguments = ", ".join(f"a{i}" for i in range(len(self.arguments)))
        text = "\n".join([f"def kernel({arguments}):", *self.loads, *body]) + "\n"
        return text, self.arguments

    def _passed(self, nodes: list[Node]) -> Iterator[Node]:
        """Go through operations and their operands, as far as they are arguments."""
        for node in nodes:
            for n in (node, *node.parents()):
                if id(n) not in self.members or id(n) in self.stored:
                    yield n

    def _segment(self, segment: list[Node]) -> list[str]:
        if self.flat or self._width(segment[0]) == 1:
            return [line for n in segment for line in self._statement(n, segment, " " * 8)]
        lines = []
        for node in segment:
            if self._along_row(node):
                number = self.members[id(node)]
                start = {"sum": "0", "max": "-np.inf", "min": "np.inf"}[node.op]
                lines.append(f"        t{number} = np.{node.value.dtype}({start})")
        lines.append(f"        for j in range({self._width_source(segment)}):")
        for node in segment:
            lines += self._statement(node, segment, " " * 12)
        for node in segment:
            if self._along_row(node) and id(node) in self.stored:
                lines.append(f"        {self._name(node)}[i, 0] = t{self.members[id(node)]}")
        return lines

    def _along_row(self, node: Node) -> bool:
        return node.op in _REDUCTIONS and node.shape != () and not _over_rows(node)

    def _width_source(self, segment: list[Node]) -> str:
        """Write the length of a loop over a row, from an argument that has it."""
        width = self._width(segment[0])
        node = next(n for n in self._passed(segment) if n.shape and n.shape[-1] == width)
        return f"{self._name(node)}.shape[{len(node.shape) - 1}]"

    def _statement(self, node: Node, segment: list[Node], indent: str) -> list[str]:
        number = self.members[id(node)]
        if _over_rows(node):
            row = "0, " if len(node.shape) == 2 else ""
            column = "0" if self._width(node) == 1 else "j"
            target = f"{self._name(node)}[{row}{column}]"
            value = self._value(node.inputs[0], node, segment)
            return [f"{indent}{target} = {target} + {value}"]
        if node.op in _REDUCTIONS:
            value = self._value(node.inputs[0], node, segment)
            target = f"{'s' if node.shape == () else 't'}{number}"
            if node.shape != () and self._width(node) == 1:
                lines = [f"{indent}{target} = {value}"]
                if id(node) in self.stored:
                    lines.append(f"{indent}{self._name(node)}[i, 0] = {target}")
                return lines
            return [f"{indent}{target} = {_REDUCTIONS[node.op].format(target, value)}"]
        operands = [self._value(operand, node, segment) for operand in node.inputs]
        lines = [f"{indent}t{number} = {expression(node, operands)}"]
        if id(node) in self.stored:
            column = "" if self.flat else (", 0" if node.shape[1] == 1 else ", j")
            lines.append(f"{indent}{self._name(node)}[i{column}] = t{number}")
        return lines


def expression(node: Node, operands: list[str]) -> str:
    """Write an elementwise operation on named scalars as Python."""
    if node.op == "astype":
        name = str(node.value.dtype)
        return f"np.{name if name != 'bool' else 'bool_'}({operands[0]})"
    template = EXACT.get(node.op) or CLOSE[node.op]
    return template.format(*operands)


# Compiling


@cache
def _folder() -> Path | None:
    """Folder for compiled kernels, made if need be; None where nothing can be written."""
    wanted = os.environ.get("XPNN_CACHE_DIR")
    try:
        base = Path(wanted) if wanted else Path.home() / ".cache" / "xpnn"
        folder = base / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: nobody's home directory is known
        return None


@cache
def compile_kernel(source: str) -> Callable[..., None]:
    """Compile a source that defines ``kernel``, once in a process and, if it can be, once at all.

    A kernel uses one thread. Two were measured to halve the time of long ones on an idle
    machine, and to take a hundred times as long where another process wants a core: they
    spin while they wait for each other.
    """
    numba = importlib.import_module("numba")
    options = {"error_model": "numpy", "nogil": True}
    folder = _folder()
    text = f"import numpy as np\n\n\n{source}"
    if folder is not None:
        return numba.njit(**options, cache=True)(_stored_module(folder, text).kernel)
    scope: dict[str, Any] = {}
    exec(compile(text, "<kernel>", "exec"), scope)
    return numba.njit(**options)(scope["kernel"])


def _stored_module(folder: Path, text: str) -> Any:
    """Import the source from a file: Numba keeps compiled code only of functions in files."""
    name = f"xpnn_kernel_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        handle, beside = tempfile.mkstemp(dir=folder, suffix=".py")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(beside, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
