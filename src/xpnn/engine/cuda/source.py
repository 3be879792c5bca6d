"""CUDA C++ of the kernels: shapes and strides are written into the source.

The same text is compiled by NVRTC for a GPU, and in the tests by a host's compiler with a
few lines that stand for CUDA's words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.engine.cuda.groups import TYPES, WIDE, Group, along_rows
from xpnn.engine.trace import Node, UnknownOperationError

THREADS = 256  # in a block that goes through entries

HEAD = """\
using Int8 = signed char;
using Int64 = long long;
using UInt8 = unsigned char;
using UInt16 = unsigned short;
using UInt64 = unsigned long long;
template <typename T> __device__ T larger(T a, T b) { return (a < b || b != b) ? b : a; }
template <typename T> __device__ T smaller(T a, T b) { return (a > b || b != b) ? b : a; }
template <typename T> __device__ T sign_of(T a) { return a > 0 ? T(1) : (a < 0 ? T(-1) : a); }
struct Sum { template <typename T> __device__ T operator()(T a, T b) { return a + b; } };
struct Max { template <typename T> __device__ T operator()(T a, T b) { return larger(a, b); } };
struct Min { template <typename T> __device__ T operator()(T a, T b) { return smaller(a, b); } };
// Join what the threads of a block have, always in the same order; each gets the result.
template <typename Join, typename T> __device__ T together(T* shared, T value) {
  __syncthreads();
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      shared[threadIdx.x] = Join()(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  return shared[0];
}
"""

# Operands are cast to the dtype that NumPy would compute in.
EXPRESSIONS: dict[str, str] = {
    "abs": "({0} < 0 ? -{0} : {0} + 0)",
    "add": "{0} + {1}",
    "divide": "{0} / {1}",
    "equal": "{0} == {1}",
    "erf": "erf({0})",
    "exp": "exp({0})",
    "expm1": "expm1({0})",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "log": "log({0})",
    "log1p": "log1p({0})",
    "logical_and": "{0} && {1}",
    "logical_not": "!{0}",
    "logical_or": "{0} || {1}",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "not_equal": "{0} != {1}",
    "pow": "pow({0}, {1})",
    "sign": "sign_of({0})",
    "sqrt": "sqrt({0})",
    "square": "{0} * {0}",
    "subtract": "{0} - {1}",
    "tanh": "tanh({0})",
}
_COMPARISONS = {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}
JOIN = {"sum": "Sum", "max": "Max", "min": "Min"}


@dataclass
class Kernel:
    """A kernel and what it is started with.

    Parameters
    ----------
    text : str
        Its source after the name: arguments and body.
    operands : list of numpy.ndarray
        Arrays, in the order of its arguments.
    results : list of numpy.ndarray
        Those that it writes.
    blocks, threads : int
        How many run.
    says : str
        What it does, for people.
    """

    text: str
    operands: list[Any]
    results: list[Any]
    blocks: int
    threads: int
    says: str


def number(value: Any, dtype: Any) -> str:
    """Write a number exactly, as the dtype has it; 16-bit floats as a float."""
    name = str(dtype)
    if name == "bool":
        return "true" if value else "false"
    if "float" not in name:
        return f"{TYPES[name]}({int(value)})"
    name = WIDE[name]
    exact = float(host.asarray(value, dtype))
    if math.isnan(exact):
        return f"{name}(0.0 * (1e300 * 1e300))"
    if math.isinf(exact):
        return f"{name}({'-' if exact < 0 else ''}(1e300 * 1e300))"
    return f"{name}({exact.hex()})"


def common_dtype(node: Node) -> Any:
    """Dtype that an operation computes in: comparisons have another one than their result."""
    if node.op not in _COMPARISONS:
        return node.value.dtype
    others = [host.ones((), i.value.dtype) if isinstance(i, Node) else i for i in node.inputs]
    return host.result_type(*others)


class Writer:
    """Collects a kernel's arguments, and writes how its entries are read and written.

    Parameters
    ----------
    domain : tuple of int
        The shape that the kernel goes through, two axes at most.
    place : callable
        The array of a node.
    """

    def __init__(self, domain: tuple[int, ...], place: Callable[[Node], Any]) -> None:
        self.domain, self.place = domain, place
        self.operands: list[Any] = []
        self.results: list[Any] = []
        self.names: dict[tuple[int, str], str] = {}
        self.loads: dict[str, str] = {}

    def name(self, array: Any, written: bool = False) -> str:
        """Name an argument; views that begin at the same place share one."""
        key = (array.ctypes.data, str(array.dtype))
        if key not in self.names:
            self.names[key] = f"a{len(self.operands)}"
            self.operands.append(array)
        if written:
            self.results.append(array)
        return self.names[key]

    def entry(self, array: Any, written: bool = False) -> str:
        """Write the entry of an array, broadcast to the domain, at ``i``, ``j``."""
        missing = len(self.domain) - array.ndim
        terms = []
        for axis, (length, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
            if length > 1:
                letter, step = "ij"[axis + missing], stride // array.itemsize
                terms.append(letter if step == 1 else f"{letter} * {step}")
        return f"{self.name(array, written)}[{' + '.join(terms) or '0'}]"

    def cast(self, text: str, of: Any, to: Any) -> str:
        """Convert where the dtypes differ."""
        return text if of == to else f"{TYPES[str(to)]}({text})"

    def load(self, node: Node) -> str:
        """Read an operand from outside; a number is read once, before any loop."""
        array = self.place(node)
        if node.shape == () and self.domain != ():
            name = self.name(array)
            self.loads[name] = f"  const {TYPES[str(array.dtype)]} n{name} = {name}[0];"
            return f"n{name}"
        return self.entry(array)

    def wide(self, text: str, of: Any, to: Any) -> str:
        """Convert for computing: 16-bit floats, once rounded to them, become floats."""
        text = self.cast(text, of, to)
        return text if TYPES[str(to)] == WIDE[str(to)] else f"{WIDE[str(to)]}({text})"

    def operation(self, node: Node, inside: Callable[[Node], str | None]) -> str:
        """Write an elementwise operation; `inside` names what is at hand."""
        if node.op == "astype":
            source = node.inputs[0]
            text = inside(source) or self.load(source)
            return self.cast(text, source.value.dtype, node.value.dtype)
        text, kind = self._wide_operation(node, inside), str(node.value.dtype)
        return text if TYPES[kind] == WIDE[kind] else f"{TYPES[kind]}({text})"

    def _wide_operation(self, node: Node, inside: Callable[[Node], str | None]) -> str:
        common = common_dtype(node)
        operands = []
        for position, operand in enumerate(node.inputs):
            if not isinstance(operand, Node):
                operands.append(number(operand, common))
                continue
            text = inside(operand) or self.load(operand)
            if not (node.op == "where" and position == 0):
                text = self.wide(text, operand.value.dtype, common)
            operands.append(text)
        if node.op == "where":
            return f"{operands[0]} ? {operands[1]} : {operands[2]}"
        return EXPRESSIONS[node.op].format(*operands)

    def kernel(self, body: list[str], blocks: int, threads: int, says: str) -> Kernel:
        """Put the kernel together."""
        arguments = ", ".join(f"{TYPES[str(a.dtype)]}* a{i}" for i, a in enumerate(self.operands))
        text = "\n".join([f"({arguments}) {{", *self.loads.values(), *body, "}"])
        return Kernel(text, self.operands, self.results, blocks, threads, says)


def letters(shape: tuple[int, ...]) -> list[str]:
    """Write which entry the ``n``-th one of a shape is."""
    if len(shape) == 2:
        return [f"    const Index i = n / {shape[1]}, j = n % {shape[1]};"]
    return ["    const Index i = n;"] if shape else []


def entries(group: Group, stored: set[int], place: Callable[[Node], Any]) -> Kernel:
    """Write a kernel of elementwise operations: one thread for each entry."""
    domain = group.domain or ()
    writer, members = Writer(domain, place), {id(n): i for i, n in enumerate(group.nodes)}
    count = math.prod(domain)
    lines = letters(domain)

    def inside(node: Node) -> str | None:
        return f"t{members[id(node)]}" if id(node) in members else None

    for node in group.nodes:
        value = f"t{members[id(node)]}"
        lines.append(
            f"    const {TYPES[str(node.value.dtype)]} {value} = {writer.operation(node, inside)};"
        )
        if id(node) in stored:
            lines.append(f"    {writer.entry(place(node), True)} = {value};")
    loop = "for (Index n = blockIdx.x * Index(blockDim.x) + threadIdx.x;"
    step = "n += Index(gridDim.x) * blockDim.x"
    body = [
        f"  using Index = {index_type(count)};",
        f"  {loop} n < {count}; {step}) {{",
        *lines,
        "  }",
    ]
    threads = min(THREADS, power(count))
    blocks = min(-(-count // threads), 65_535)
    return writer.kernel(body, max(blocks, 1), threads, _says(group.nodes))


def rows(group: Group, stored: set[int], place: Callable[[Node], Any]) -> Kernel:
    """Write a kernel with sums or maxima along rows: one block for each row."""
    domain = group.domain or (1, 1)
    height, width = domain
    writer, members = Writer(domain, place), {id(n): i for i, n in enumerate(group.nodes)}
    threads = min(THREADS, max(power(width), 32))
    body = [
        f"  __shared__ double memory[{threads}];",
        f"  for (int i = blockIdx.x; i < {height}; i += gridDim.x) {{",
    ]
    for segment in _segments(group.nodes, domain):
        body += _segment(segment, writer, members, stored)
    return writer.kernel([*body, "  }"], min(height, 65_535), threads, _says(group.nodes))


def crossing(group: Group) -> set[int]:
    """`id` of the rows of numbers that a later loop over the row reads: they must be stored."""
    parts = _segments(group.nodes, group.domain or ())
    home = {id(n): k for k, part in enumerate(parts) for n in part}
    wide = {id(n) for n in group.nodes if not _once(n, group.domain)}
    return {
        id(p) for n in group.nodes for p in n.parents()
        if id(p) in wide and home[id(p)] != home[id(n)]
    }  # fmt: skip


def _once(node: Node, domain: tuple[int, ...] | None) -> bool:
    """Whether there is one result for a row, known to all its threads."""
    return along_rows(node) or node.shape != domain


def _in_loop(node: Node, domain: tuple[int, ...]) -> bool:
    return along_rows(node) or node.shape == domain


def _segments(nodes: list[Node], domain: tuple[int, ...]) -> list[list[Node]]:
    """Cut into loops over a row, in which none needs a sum that it makes, and what is between."""
    segments: list[list[Node]] = []
    for node in nodes:
        last = segments[-1] if segments else []
        waits = any(p in last and along_rows(p) for p in node.parents())
        if last and not waits and _in_loop(last[0], domain) == _in_loop(node, domain):
            last.append(node)
        else:
            segments.append([node])
    return segments


def _segment(
    segment: list[Node], writer: Writer, members: dict[int, int], stored: set[int]
) -> list[str]:
    """Write a loop over a row, or what is there once for the row."""
    domain = writer.domain
    loop = _in_loop(segment[0], domain)

    def inside(node: Node) -> str | None:
        known = id(node) in members and (_once(node, domain) or node in segment)
        return f"t{members[id(node)]}" if known else None

    before, lines, after = [], [], []
    indent = "      " if loop else "    "
    for node in segment:
        value, kind = f"t{members[id(node)]}", TYPES[str(node.value.dtype)]
        if along_rows(node):
            source, join, kind = node.inputs[0], JOIN[node.op], WIDE[str(node.value.dtype)]
            item = inside(source) or writer.entry(writer.place(source))
            item = writer.wide(item, source.value.dtype, node.value.dtype)
            before.append(f"    {kind} {value} = {neutral(node)};")
            lines.append(f"{indent}{value} = {join}()({value}, {item});")
            after.append(f"    {value} = together<{join}>(({kind}*)memory, {value});")
        else:
            lines.append(f"{indent}const {kind} {value} = {writer.operation(node, inside)};")
        if id(node) in stored:
            kept = f"{TYPES[str(node.value.dtype)]}({value})" if along_rows(node) else value
            text = f"{writer.entry(writer.place(node), True)} = {kept};"
            if _once(node, domain):
                (after if loop else lines).append(f"    if (threadIdx.x == 0) {text}")
            else:
                lines.append(f"{indent}{text}")
    if not loop:
        return lines
    head = f"    for (int j = threadIdx.x; j < {domain[1]}; j += blockDim.x) {{"
    return [*before, head, *lines, "    }", *after]


def neutral(node: Node) -> str:
    """Write what a reduction begins with."""
    kind = str(node.value.dtype)
    if node.op == "sum":
        if TYPES[kind] != WIDE[kind]:
            raise UnknownOperationError(f"a sum in {kind}")
        return number(0, node.value.dtype)
    if "float" not in str(node.value.dtype):
        raise UnknownOperationError(f"{node.op} of {node.value.dtype}")
    return number(-math.inf if node.op == "max" else math.inf, node.value.dtype)


def copy(source: Any, target: Any) -> Kernel:
    """Copy an array, converting where dtypes differ."""
    shape = source.shape
    if len(shape) > 2:
        raise UnknownOperationError(f"a copy of {len(shape)} axes")
    writer = Writer(shape, lambda node: node)
    count = source.size
    item = writer.cast(writer.entry(source), source.dtype, target.dtype)
    body = [
        f"  using Index = {index_type(count)};",
        "  for (Index n = blockIdx.x * Index(blockDim.x) + threadIdx.x; "
        f"n < {count}; n += Index(gridDim.x) * blockDim.x) {{",
        *letters(shape),
        f"    {writer.entry(target, True)} = {item};",
        "  }",
    ]
    threads = min(THREADS, power(count))
    return writer.kernel(body, min(-(-count // threads), 65_535), threads, "copy")


def power(count: int) -> int:
    """Return the smallest power of two that is not less."""
    return 1 << max(count - 1, 0).bit_length()


def index_type(count: int) -> str:
    """Choose the type of an index."""
    return "int" if count < 2**30 else "Int64"


def _says(nodes: list[Node]) -> str:
    return ", ".join(n.op for n in nodes)
