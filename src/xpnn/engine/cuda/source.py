"""CUDA C++ of the kernels: shapes and strides are written into the source.

The same text is compiled by NVRTC for a GPU, and in the tests by a host's compiler with a
few lines that stand for CUDA's words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.engine.cuda.groups import TYPES, WIDE, along_rows, domain_of
from xpnn.engine.operations import OPERATORS, axes_of
from xpnn.engine.trace import Node, UnknownOperationError

THREADS = 256  # in a block that goes through entries
LONG = 2**16  # entries up to which one block reduces all
PARTS = 264  # blocks of a longer one: two for each multiprocessor of a large GPU; a guess
LINES = 8  # rows that a block works on side by side, 32 columns each
TILE = 32  # rows and columns of a product that a block computes
EACH = TILE // LINES  # rows of a tile that a thread computes

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
EXPRESSIONS: dict[str, str] = OPERATORS | {
    "abs": "({0} < 0 ? -{0} : {0} + 0)",
    "logical_and": "{0} && {1}",
    "logical_not": "!{0}",
    "logical_or": "{0} || {1}",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "pow": "pow({0}, {1})",
    "sign": "sign_of({0})",
}
for _name in ("erf", "exp", "expm1", "log", "log1p", "sqrt", "tanh"):
    EXPRESSIONS[_name] = f"{_name}({{0}})"
_COMPARISONS = {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}
JOIN = {"sum": "Sum", "max": "Max", "min": "Min"}


@dataclass
class Kernel:
    """A kernel and what it is started with."""

    text: str  # its source after the name: arguments and body
    operands: list[Any]  # arrays, in the order of its arguments
    results: list[Any]  # those that it writes
    blocks: int
    threads: int
    says: str  # what it does, for people


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

    The kernel goes through a shape of two axes at most, `domain`; `place` tells the array of a
    node.
    """

    def __init__(
        self, domain: tuple[int, ...], place: Callable[[Node], Any] = lambda node: node
    ) -> None:
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
        text = _function(self.operands, [*self.loads.values(), *body])
        return Kernel(text, self.operands, self.results, blocks, threads, says)


def _function(operands: Sequence[Any], body: Sequence[str]) -> str:
    arguments = ", ".join(f"{TYPES[str(a.dtype)]}* a{i}" for i, a in enumerate(operands))
    return "\n".join([f"({arguments}) {{", *body, "}"])


def _loop(shape: tuple[int, ...], lines: list[str]) -> list[str]:
    """Write a loop over all entries of a shape, ``i, j``, that all threads share."""
    count = math.prod(shape)
    letters = ["    const Index i = n;"] if shape else []
    if len(shape) == 2:
        letters = [f"    const Index i = n / {shape[1]}, j = n % {shape[1]};"]
    return [
        f"  using Index = {'int' if count < 2**30 else 'Int64'};",
        "  for (Index n = blockIdx.x * Index(blockDim.x) + threadIdx.x; "
        f"n < {count}; n += Index(gridDim.x) * blockDim.x) {{",
        *letters,
        *lines,
        "  }",
    ]


def _entrywise(writer: Writer, lines: list[str], says: str) -> Kernel:
    """Put a kernel together in which each thread works on an entry of the domain, or on some."""
    count = math.prod(writer.domain)
    threads = min(THREADS, _power(count))
    blocks = max(min(-(-count // threads), 65_535), 1)
    return writer.kernel(_loop(writer.domain, lines), blocks, threads, says)


def entries(group: list[Node], stored: set[int], place: Callable[[Node], Any]) -> Kernel:
    """Write a kernel of elementwise operations: one thread for each entry."""
    writer = Writer(domain_of(group[0]) or (), place)
    members = {id(n): f"t{i}" for i, n in enumerate(group)}
    lines = []
    for node in group:
        value, kind = members[id(node)], TYPES[str(node.value.dtype)]
        text = writer.operation(node, lambda n: members.get(id(n)))
        lines.append(f"    const {kind} {value} = {text};")
        if id(node) in stored:
            lines.append(f"    {writer.entry(place(node), True)} = {value};")
    return _entrywise(writer, lines, _says(group))


def rows(group: list[Node], stored: set[int], place: Callable[[Node], Any]) -> Kernel:
    """Write a kernel with sums or maxima along rows: one block for each row."""
    domain = domain_of(group[0]) or (1, 1)
    height, width = domain
    writer, members = Writer(domain, place), {id(n): i for i, n in enumerate(group)}
    threads = min(THREADS, max(_power(width), 32))
    body = [
        f"  __shared__ double memory[{threads}];",
        f"  for (int i = blockIdx.x; i < {height}; i += gridDim.x) {{",
    ]
    for segment in _segments(group, domain):
        body += _segment(segment, writer, members, stored)
    return writer.kernel([*body, "  }"], min(height, 65_535), threads, _says(group))


def crossing(group: list[Node]) -> set[int]:
    """`id` of the rows of numbers that a later loop over the row reads: they must be stored."""
    domain = domain_of(group[0]) or ()
    parts = _segments(group, domain)
    part_of = {id(n): k for k, part in enumerate(parts) for n in part}
    wide = {id(n) for n in group if not _once(n, domain)}
    return {
        id(p) for n in group for p in n.parents()
        if id(p) in wide and part_of[id(p)] != part_of[id(n)]
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
    if source.ndim > 2:
        raise UnknownOperationError(f"a copy of {source.ndim} axes")
    writer = Writer(source.shape)
    item = writer.cast(writer.entry(source), source.dtype, target.dtype)
    return _entrywise(writer, [f"    {writer.entry(target, True)} = {item};"], "copy")


def _power(count: int) -> int:
    """Return the smallest power of two that is not less."""
    return 1 << max(count - 1, 0).bit_length()


def _says(nodes: list[Node]) -> str:
    return ", ".join(n.op for n in nodes)


# Reductions that share no kernel; every order of additions is fixed


def reduction(node: Node, place: Callable[[Node], Any]) -> Kernel:
    """Write a reduction that shares no kernel."""
    source = node.inputs[0]
    axes = axes_of(node.attributes["axis"], len(source.shape))
    if len(axes) == len(source.shape):
        return _over_all(node, place(source), place(node), 1)
    if len(source.shape) != 2:
        raise UnknownOperationError(f"{node.op} along an axis of {len(source.shape)}")
    if axes == (0,):
        return _over_rows(node, place)
    # The result has one axis: seen as a column it is that of a reduction that keeps its place.
    kept = Node(node.op, node.inputs, {"axis": 1, "keepdims": True}, node.value[:, None])
    return rows([kept], {id(kept)}, lambda n: place(node)[:, None] if n is kept else place(n))


def is_long(node: Node) -> bool:
    """Whether a reduction over all entries is too long for one block."""
    source = node.inputs[0]
    return node.value.size == 1 and source.value.size > LONG


def in_two(node: Node, place: Callable[[Node], Any], parts: Any) -> list[Kernel]:
    """Write a long reduction: many blocks make a part each, and one block joins them.

    `parts`, of shape (PARTS,) and the result's dtype, is the place for them.
    """
    first = _over_all(node, place(node.inputs[0]), parts, len(parts))
    return [first, _over_all(node, parts, place(node), 1)]


def _over_all(node: Node, source: Any, out: Any, blocks: int) -> Kernel:
    """One result for each block: the order of additions is always the same."""
    kind, join = WIDE[str(node.value.dtype)], JOIN[node.op]
    if source.ndim > 2:
        raise UnknownOperationError(f"a reduction of {source.ndim} axes")
    writer = Writer(source.shape)
    threads = 1024 if source.size > 4096 and blocks == 1 else THREADS
    item = writer.wide(writer.entry(source), source.dtype, node.value.dtype)
    name = writer.name(out, True)
    body = [
        f"  __shared__ double memory[{threads}];",
        f"  {kind} total = {neutral(node)};",
        *_loop(source.shape, [f"    total = {join}()(total, {item});"]),
        f"  total = together<{join}>(({kind}*)memory, total);",
        f"  if (threadIdx.x == 0) {name}[blockIdx.x] = {_rounded(node)};",
    ]
    return writer.kernel(body, blocks, threads, f"{node.op} of all")


def _rounded(node: Node) -> str:
    return f"{TYPES[str(node.value.dtype)]}(total)"


def _over_rows(node: Node, place: Callable[[Node], Any]) -> Kernel:
    """One result for each column: 32 columns a block, a few lines of rows side by side."""
    source, kind, join = node.inputs[0], WIDE[str(node.value.dtype)], JOIN[node.op]
    height, width = source.shape
    writer = Writer(source.shape, place)
    item = writer.wide(writer.entry(place(source)), source.value.dtype, node.value.dtype)
    out = place(node).reshape(-1)
    stride = out.strides[0] // out.itemsize
    body = [
        f"  __shared__ {kind} memory[{LINES}][33];",
        "  const int column = threadIdx.x % 32, line = threadIdx.x / 32;",
        "  const int j = blockIdx.x * 32 + column;",
        f"  {kind} total = {neutral(node)};",
        f"  if (j < {width})",
        f"    for (int i = line; i < {height}; i += {LINES}) total = {join}()(total, {item});",
        "  memory[line][column] = total;",
        "  __syncthreads();",
        f"  if (line == 0 && j < {width}) {{",
        f"    for (int k = 1; k < {LINES}; k++) total = {join}()(total, memory[k][column]);",
        f"    {writer.name(out, True)}[j * {stride}] = {_rounded(node)};",
        "  }",
    ]
    return writer.kernel(body, -(-width // 32), 32 * LINES, f"{node.op} over rows")


# Matrix products


def product(a: Any, b: Any, out: Any) -> Kernel:
    """Write ``out = a @ b`` for matrices that lie in memory in whatever order.

    Such a product is for those too small to be worth a library's call, and for a CUDA graph
    that a library's product cannot be part of.
    """
    check_dtypes(a, b, out)
    for array in (a, b, out):
        _check_reach(array)
    (n, k), m, kind = a.shape, b.shape[1], WIDE[str(a.dtype)]
    stored = TYPES[str(out.dtype)]
    writer = Writer(out.shape)
    across = -(-m // TILE)
    left = _tile(writer, a, "left", "i0", "k0", (n, k), kind)
    right = _tile(writer, b, "right", "k0", "j0", (k, m), kind)
    writer_out = writer.entry(out, True)
    body = [
        f"  __shared__ {kind} left[{TILE}][{TILE + 1}], right[{TILE}][{TILE + 1}];",
        f"  const int column = threadIdx.x % {TILE}, line = threadIdx.x / {TILE};",
        f"  const int i0 = blockIdx.x / {across} * {TILE}, j0 = blockIdx.x % {across} * {TILE};",
        f"  {kind} sums[{EACH}] = {{}};",
        f"  for (int k0 = 0; k0 < {k}; k0 += {TILE}) {{",
        f"    for (int q = line; q < {TILE}; q += {LINES}) {{",
        f"      {left}",
        f"      {right}",
        "    }",
        "    __syncthreads();",
        f"    for (int k = 0; k < {TILE}; k++)",
        f"      for (int q = 0; q < {EACH}; q++)",
        f"        sums[q] = fma(left[line + q * {LINES}][k], right[k][column], sums[q]);",
        "    __syncthreads();",
        "  }",
        f"  for (int q = 0; q < {EACH}; q++) {{",
        f"    const int i = i0 + line + q * {LINES}, j = j0 + column;",
        f"    if (i < {n} && j < {m}) {writer_out} = {stored}(sums[q]);",
        "  }",
    ]
    blocks = -(-n // TILE) * across
    return writer.kernel(body, blocks, TILE * LINES, f"matmul {n} x {k} x {m}")


def check_dtypes(a: Any, b: Any, out: Any) -> None:
    """Refuse a product unless `a` and `b` are of one float dtype.

    `out` is of the same, or float32 where that is one of 16 bits.
    """
    kind, result = str(a.dtype), str(out.dtype)
    halves = kind in ("float16", "bfloat16") and result == "float32"
    if kind != str(b.dtype) or "float" not in kind or kind not in TYPES:
        raise UnknownOperationError(f"matmul of {a.dtype} and {b.dtype}")
    if result != kind and not halves:
        raise UnknownOperationError(f"matmul of {a.dtype} in {out.dtype}")


def _check_reach(array: Any) -> None:
    """Refuse an array whose last entry a kernel's index cannot reach."""
    pairs = zip(array.shape, array.strides, strict=True)
    if sum((length - 1) * stride for length, stride in pairs) >= 2**31 * array.itemsize:
        raise UnknownOperationError(f"a kernel's matmul of a matrix as large as {array.shape}")


def _tile(
    writer: Writer, array: Any, name: str, first: str, second: str, shape: tuple[int, int],
    kind: str,
) -> str:  # fmt: skip
    """Write how a tile is fetched: threads side by side read numbers side by side."""
    rows, columns = shape
    down, along = (s // array.itemsize for s in array.strides)
    i, j, place = f"{first} + q", f"{second} + column", f"{name}[q][column]"
    if along != 1 and down == 1:
        i, j, place = f"{first} + column", f"{second} + q", f"{name}[column][q]"
    entry = f"{writer.name(array)}[({i}) * {down} + ({j}) * {along}]"
    return f"{place} = {i} < {rows} && {j} < {columns} ? {kind}({entry}) : {kind}(0);"


# The kernels round a step


def fetch(
    count: Any, order: Any, rates: Any, rate: Any, size: int,
    columns: Sequence[tuple[Any, Any]], noise: Sequence[tuple[Any, Any]],
) -> Kernel:  # fmt: skip
    """Write the kernel that brings a step's rows, rate and noise to their places.

    All arrays are on the GPU: the number of the step, the numbers of the rows in order, the
    rates of all steps and the place of this step's. `size` are the rows in a whole batch,
    `columns` pairs of data and the place for a batch of it, in C order; `noise` pairs of the
    noise of some steps and the place for one step's.

    Everything that differs from step to step is looked up with the step's number, so that all
    steps are the same launches.
    """
    arrays = [count, order, rates, rate]
    lines = [
        "  const Int64 step = a0[0];",
        "  const Int64 first = blockIdx.x * Int64(blockDim.x) + threadIdx.x;",
        "  const Int64 all = gridDim.x * Int64(blockDim.x);",
        "  if (first == 0) a3[0] = a2[step];",
    ]
    for column, place in columns:
        a, b = _names(arrays, column, place)
        width = math.prod(place.shape[1:])
        strides = [s // column.dtype.itemsize for s in column.strides]
        if len(strides) > 2:
            raise UnknownOperationError(f"data of {len(strides)} axes")
        inner = f" + n % {width} * {strides[1]}" if len(strides) == 2 else ""
        lines += [
            f"  for (Int64 n = first; n < {math.prod(place.shape)}; n += all)",
            f"    {b}[n] = {a}[a1[step * {size} + n / {width}] * {strides[0]}{inner}];",
        ]
    for ahead, place in noise:
        a, b = _names(arrays, ahead, place)
        each = math.prod(place.shape)
        lines += [
            f"  for (Int64 n = first; n < {each}; n += all)",
            f"    {b}[n] = {a}[step % {len(ahead)} * {each} + n];",
        ]
    return Kernel(_function(arrays, lines), arrays, arrays[3:], PARTS, THREADS, "fetch the batch")


def tick(count: Any) -> Kernel:
    """Write the kernel that counts a step."""
    return Kernel(_function([count], ["  a0[0] += 1;"]), [count], [count], 1, 1, "count the step")


def _names(arrays: list[Any], *more: Any) -> list[str]:
    for array in more:
        if str(array.dtype) not in TYPES:
            raise UnknownOperationError(f"kernels with {array.dtype}")
    arrays += more
    return [f"a{len(arrays) - len(more) + i}" for i in range(len(more))]
