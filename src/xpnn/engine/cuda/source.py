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
from xpnn.engine.operations import OPERATORS, axes_of
from xpnn.engine.trace import Node, UnknownOperationError

THREADS = 256  # in a block, at most: a GPU's multiprocessor holds several of them
WARP = 32  # threads that read memory together

TYPES = {
    "float16": "Float16", "bfloat16": "BFloat16", "float32": "float", "float64": "double",
    "bool": "bool", "int8": "Int8", "int16": "short", "int32": "int", "int64": "Int64",
    "uint8": "UInt8", "uint16": "UInt16", "uint32": "unsigned", "uint64": "UInt64",
}  # fmt: skip
"""C++'s names of the dtypes that kernels know; one word each, as casts are written `Name(a)`."""

WIDE = TYPES | {"float16": "float", "bfloat16": "float"}
"""What they are computed in."""

PTX = """\
__device__ unsigned short to_float16(float a) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(a));
  return bits;
}
__device__ float from_float16(unsigned short bits) {
  float a;
  asm("cvt.f32.f16 %0, %1;" : "=f"(a) : "h"(bits));
  return a;
}
"""
"""The GPU's own conversions."""

# The two classes of 16-bit floats become floats when they are read, and are rounded to nearest,
# ties to even. They do without CUDA's headers, which NVRTC does not bring along.
HEAD = (
    """\
using Int8 = signed char;
using Int64 = long long;
using UInt8 = unsigned char;
using UInt16 = unsigned short;
using UInt64 = unsigned long long;
"""
    + PTX
    + """\
struct Float16 {
  unsigned short bits;
  template <typename T> __device__ explicit Float16(T a) : bits(to_float16(float(a))) {}
  __device__ operator float() const { return from_float16(bits); }
};
struct BFloat16 {
  unsigned short bits;
  template <typename T> __device__ explicit BFloat16(T a) {
    const unsigned all = __float_as_uint(float(a)), size = all & 0x7fffffff;
    bits = size > 0x7f800000 ? 0x7fc0 : (all + 0x7fff + (all >> 16 & 1)) >> 16;
  }
  __device__ operator float() const { return __uint_as_float(unsigned(bits) << 16); }
};
template <typename T> __device__ T larger(T a, T b) { return (a < b || b != b) ? b : a; }
template <typename T> __device__ T smaller(T a, T b) { return (a > b || b != b) ? b : a; }
template <typename T> __device__ T added(T a, T b) { return a + b; }
template <typename T> __device__ T inverted(T a) { return a ^ T(-1); }
template <typename T> __device__ T sign_of(T a) {
  return a > 0 ? T(1) : a < 0 ? T(-1) : a == 0 ? T(0) : a;
}
template <typename T> __device__ T power(T a, T b) {
  if constexpr (T(0.5) != 0) return pow(a, b);
  T result = 1;
  for (; b > 0; b = Int64(b) / 2, a *= a)
    if (Int64(b) % 2) result *= a;
  return result;
}
// Quotients and remainders as NumPy has them: a remainder has the divisor's sign, and dividing
// an integer by 0 gives 0.
template <typename T> __device__ T modulo(T a, T b) {
  if constexpr (T(0.5) != 0) {
    const T rest = fmod(a, b);
    if (b == 0) return rest;
    if (rest == 0) return copysign(T(0), b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    if (b == 0 || (T(-1) < T(0) && b == T(-1))) return 0;
    const T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  }
}
template <typename T> __device__ T quotient(T a, T b) {
  if constexpr (T(0.5) != 0) {
    if (b == 0) return a / b;
    const T rest = fmod(a, b);
    T whole = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) whole -= 1;
    if (whole == 0) return copysign(T(0), a / b);
    const T below = floor(whole);
    return whole - below > T(0.5) ? below + 1 : below;
  } else {
    if (b == 0) return 0;
    if (T(-1) < T(0) && b == T(-1)) return T(0 - UInt64(a));
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
  }
}
template <typename T> __device__ T log_of_sum(T a, T b) {
  if (a == b) return a + T(0.693147180559945309417232121458);
  const T difference = a - b;
  if (difference > 0) return a + log1p(exp(-difference));
  return difference <= 0 ? b + log1p(exp(difference)) : difference;
}
template <typename T> __device__ T shifted(T a, T b, bool left) {
  const bool within = UInt64(b) < 8 * sizeof(T);
  if (left) return within ? T(UInt64(a) << b) : T(0);
  return within ? T(a >> b) : a < 0 ? T(-1) : T(0);
}
"""
)

# Of operands that have the dtype NumPy would compute in.
EXPRESSIONS: dict[str, str] = OPERATORS | {
    "abs": "({0} < 0 ? -{0} : {0} + 0)",
    "bitwise_and": "{0} & {1}",
    "bitwise_invert": "inverted({0})",
    "bitwise_left_shift": "shifted({0}, {1}, true)",
    "bitwise_or": "{0} | {1}",
    "bitwise_right_shift": "shifted({0}, {1}, false)",
    "bitwise_xor": "{0} ^ {1}",
    "floor_divide": "quotient({0}, {1})",
    "isfinite": "{0} - {0} == 0",
    "isinf": "{0} == {0} && {0} - {0} != 0",
    "isnan": "{0} != {0}",
    "logaddexp": "log_of_sum({0}, {1})",
    "logical_and": "{0} && {1}",
    "logical_not": "!{0}",
    "logical_or": "{0} || {1}",
    "logical_xor": "!{0} != !{1}",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "positive": "{0}",
    "pow": "power({0}, {1})",
    "reciprocal": "1 / {0}",
    "remainder": "modulo({0}, {1})",
    "sign": "sign_of({0})",
    "signbit": "copysign(1.0, double({0})) < 0",
}
for _name in (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1",
    "floor", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
):  # fmt: skip
    EXPRESSIONS[_name] = f"{_name}({{0}})"
for _name in ("atan2", "copysign", "hypot", "nextafter"):
    EXPRESSIONS[_name] = f"{_name}({{0}}, {{1}})"

JOIN = {"sum": "added", "max": "larger", "min": "smaller"}


@dataclass(eq=False)
class Kernel:
    """A kernel and what it is started with."""

    text: str  # its source after the name: arguments and body
    operands: list[Any]  # arrays, in the order of its arguments
    results: list[Any]  # those that it writes
    blocks: int
    threads: int
    says: str  # what it does, for people


def domain(node: Node) -> tuple[int, ...] | None:
    """Shape that the kernel of an elementwise operation goes through; None for no such kernel."""
    if not node.is_elementwise or len(node.shape) > 2 or not node.value.size:
        return None
    return node.shape if node.value.size > 1 else ()


def number(value: Any, dtype: Any) -> str:
    """Write a number exactly, as the dtype has it; 16-bit floats as a float."""
    name = str(dtype)
    if name == "bool":
        return "true" if value else "false"
    if "float" not in name:
        limits = host.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise UnknownOperationError(f"{value} beside {name}")
        return f"{TYPES[name]}({int(value)})"
    exact = float(host.asarray(value, dtype))
    text = exact.hex()
    if not math.isfinite(exact):  # C++ has no word for these without headers
        text = f"{'0.0 * ' if math.isnan(exact) else '-' if exact < 0 else ''}(1e300 * 1e300)"
    return f"{WIDE[name]}({text})"


def common_dtype(node: Node) -> Any:
    """Dtype that an operation computes in: its result's, or its operands' where that is a bool."""
    if node.value.dtype != host.bool or node.op == "where":
        return node.value.dtype
    others = [host.ones((), i.value.dtype) if isinstance(i, Node) else i for i in node.inputs]
    return host.result_type(*others)


class Writer:
    """Collects a kernel's arguments, and writes how entries are read, computed and written.

    The kernel goes through a shape of two axes at most, `domain`; `place` tells a node's array.
    """

    def __init__(
        self, domain: tuple[int, ...], place: Callable[[Node], Any] = lambda node: node
    ) -> None:
        if len(domain) > 2:
            raise UnknownOperationError(f"a kernel of {len(domain)} axes")
        self.domain, self.place = domain, place
        self.operands: list[Any] = []
        self.results: list[Any] = []
        self.names: dict[tuple[int, str], str] = {}
        self.reach = math.prod(domain)  # the largest index

    def name(self, array: Any, written: bool = False) -> str:
        """Name an argument; views that begin at the same place share one."""
        key = (array.ctypes.data, str(array.dtype))
        if key not in self.names:
            self.names[key] = f"a{len(self.operands)}"
            self.operands.append(array)
        if written:
            self.results.append(array)
        far = sum((n - 1) * abs(s) for n, s in zip(array.shape, array.strides, strict=True))
        self.reach = max(self.reach, far // array.itemsize)
        return self.names[key]

    def entry(self, array: Any, written: bool = False) -> str:
        """Write the entry of an array, broadcast to the domain, at ``i``, ``j``."""
        missing = len(self.domain) - array.ndim
        terms = [
            f"{'ij'[axis + missing]} * {stride // array.itemsize}"
            for axis, (length, stride) in enumerate(zip(array.shape, array.strides, strict=True))
            if length > 1
        ]
        return f"{self.name(array, written)}[{' + '.join(terms) or '0'}]"

    def cast(self, text: str, of: Any, to: Any) -> str:
        """Convert where the dtypes differ."""
        return text if of == to else f"{TYPES[str(to)]}({text})"

    def wide(self, text: str, of: Any, to: Any) -> str:
        """Convert for computing: 16-bit floats, once rounded to them, become floats."""
        text = self.cast(text, of, to)
        return text if TYPES[str(to)] == WIDE[str(to)] else f"{WIDE[str(to)]}({text})"

    def operation(self, node: Node, inside: dict[int, str]) -> str:
        """Write an elementwise operation; `inside` names what is at hand, by `id`."""
        common, operands = common_dtype(node), []
        for position, operand in enumerate(node.inputs):
            if not isinstance(operand, Node):
                operands.append(number(operand, common))
                continue
            text = inside.get(id(operand)) or self.entry(self.place(operand))
            if node.op == "astype":
                return self.cast(text, operand.value.dtype, node.value.dtype)
            if not (node.op == "where" and position == 0):
                text = self.wide(text, operand.value.dtype, common)
            operands.append(text)
        kind = str(node.value.dtype)
        narrow = TYPES[kind] != WIDE[kind]
        if node.op == "where":
            text = f"{operands[0]} ? {operands[1]} : {operands[2]}"
        elif node.op in ("ceil", "floor", "trunc") and "float" not in kind:
            text = operands[0]
        elif node.op not in EXPRESSIONS or (node.op == "nextafter" and narrow):
            raise UnknownOperationError(f"{node.op} of {kind}")
        else:
            # As NumPy does: it rounds once, which `pow` does not promise.
            squared = node.op == "pow" and node.inputs[1] == 2
            text = EXPRESSIONS["square" if squared else node.op].format(*operands)
        return f"{TYPES[kind]}({text})" if narrow else text

    def entrywise(self, lines: list[str], says: str) -> Kernel:
        """Put a kernel together in which each thread works on an entry of the domain."""
        count = math.prod(self.domain)
        threads = min(THREADS, _power(count))
        body = [
            "  const Index n = blockIdx.x * Index(blockDim.x) + threadIdx.x;",
            f"  if (n < {count}) {{",
            f"    {_place_in(self.domain)}",
            *lines,
            "  }",
        ]
        return self.kernel(body, -(-count // threads), threads, says)

    def kernel(self, body: list[str], blocks: int, threads: int, says: str) -> Kernel:
        """Put a kernel together; indices have 32 bits where those reach all entries."""
        index = f"  using Index = {'int' if self.reach < 2**30 else 'Int64'};"
        text = _function(self.operands, [index, *body])
        return Kernel(text, self.operands, self.results, blocks, threads, says)


def _function(operands: Sequence[Any], body: Sequence[str]) -> str:
    arguments = ", ".join(f"{TYPES[str(a.dtype)]}* a{i}" for i, a in enumerate(operands))
    return "\n".join([f"({arguments}) {{", *body, "}"])


def _place_in(shape: tuple[int, ...]) -> str:
    """Write which entry of a shape the one with the number ``n`` is."""
    if len(shape) < 2:
        return "const Index i = n;"
    return f"const Index i = n / {shape[1]}, j = n % {shape[1]};"


def _power(count: int) -> int:
    """Return the smallest power of two that is not less."""
    return 1 << max(count - 1, 0).bit_length()


def entries(group: list[Node], stored: set[int], place: Callable[[Node], Any]) -> Kernel:
    """Write a kernel of elementwise operations: one thread for each entry."""
    writer, members = Writer(domain(group[0]) or (), place), dict[int, str]()
    lines = []
    for number, node in enumerate(group):
        text, kind = writer.operation(node, members), TYPES[str(node.value.dtype)]
        members[id(node)] = f"t{number}"
        lines.append(f"    const {kind} t{number} = {text};")
        if id(node) in stored:
            lines.append(f"    {writer.entry(place(node), True)} = t{number};")
    return writer.entrywise(lines, ", ".join(n.op for n in group))


def copy(source: Any, target: Any) -> Kernel:
    """Copy an array, converting where dtypes differ."""
    writer = Writer(target.shape)
    item = writer.cast(writer.entry(source), source.dtype, target.dtype)
    return writer.entrywise([f"    {writer.entry(target, True)} = {item};"], "copy")


def reductions(op: str, source: Any, axis: Any, out: Any) -> list[Kernel]:
    """Write a sum or an extremum along an axis or all; every order of additions is fixed.

    Threads of a block that lie side by side in a warp read what lies side by side: the entries
    of one sum, or, in a sum over rows, those of different columns. Each thread adds up as many
    entries as a block has threads; of longer sums further blocks make parts, which are joined
    like rows.
    """
    axes = axes_of(axis, source.ndim)
    along = axes[0] if len(axes) < source.ndim else None
    count = source.size if along is None else source.shape[along]
    columns = min(WARP, _power(out.size)) if along == 0 and source.ndim == 2 else 1
    parts = -(-count // (THREADS * THREADS // columns))
    if parts < 2:
        return [_reduction(op, source, along, out, columns, 1)]
    between = host.empty((parts, out.size), out.dtype)
    first = _reduction(op, source, along, between, columns, parts)
    return [first, *reductions(op, between, 0, out)]


def _reduction(
    op: str, source: Any, axis: int | None, out: Any, columns: int, parts: int
) -> Kernel:
    """Write a reduction, each block of which makes a part of the results for some columns."""
    writer, results = Writer(source.shape), out.size // parts
    count = source.size if axis is None else source.shape[axis]
    chunk, tiles = -(-count // parts), -(-results // columns)
    threads = min(THREADS, max(_power(chunk) * columns, WARP))
    kind, stored = WIDE[str(out.dtype)], TYPES[str(out.dtype)]
    item = writer.wide(writer.entry(source), source.dtype, out.dtype)
    target = f"{writer.name(out, True)}[part * {results} + r] = {stored}(memory[column])"
    where = f"const Index n = k; {_place_in(source.shape)}"
    if axis is not None:
        where = f"const Index i = {'kr'[axis]}, j = {'rk'[axis]};"
    body = [
        f"  __shared__ {kind} memory[{threads}];",
        f"  const int column = threadIdx.x % {columns}, line = threadIdx.x / {columns};",
        f"  const Index part = blockIdx.x / {tiles};",
        f"  const Index r = blockIdx.x % {tiles} * {columns} + column;",
        f"  const Index last = smaller(Index({count}), (part + 1) * {chunk});",
        f"  {kind} total = {_neutral(op, out.dtype)};",
        f"  if (r < {results})",
        f"    for (Index k = part * {chunk} + line; k < last; k += {threads // columns}) {{",
        f"      {where}",
        f"      total = {JOIN[op]}<{kind}>(total, {item});",
        "    }",
        "  memory[threadIdx.x] = total;",
        f"  for (int half = {threads // columns // 2}; half > 0; half /= 2) {{",
        "    __syncthreads();",
        "    if (line < half) {",
        f"      {kind}& mine = memory[threadIdx.x];",
        f"      mine = {JOIN[op]}<{kind}>(mine, memory[threadIdx.x + half * {columns}]);",
        "    }",
        "  }",
        f"  if (line == 0 && r < {results}) {target};",
    ]
    name = f"{op} over {'all' if axis is None else ('rows', 'columns')[axis]}"
    return writer.kernel(body, parts * tiles, threads, name)


def _neutral(op: str, dtype: Any) -> str:
    """Write what a reduction begins with."""
    kind = str(dtype)
    if TYPES[kind] != WIDE[kind] if op == "sum" else "float" not in kind:
        raise UnknownOperationError(f"{op} of {kind}")
    return number(0 if op == "sum" else -math.inf if op == "max" else math.inf, dtype)


# The kernels round a step. What differs from step to step, and from one call of the runner to the
# next, they look up in a table on the GPU, so that all steps are the same launches. It holds the
# number of the step, the number of its first row, that of all rows, and the addresses of the rows'
# numbers in order, of the rates of all steps, and of the columns.


def fetch(table: Any, rate: Any, columns: Sequence[tuple[Any, Any]]) -> Kernel:
    """Write the kernel that brings a step's rate and rows to their places.

    `columns` are pairs of data and the place, in C order, for a batch of it.
    """
    operands = [table, rate, *(place for _, place in columns)]
    lines = [
        "  const Int64* order = (const Int64*)a0[3] + a0[1];",
        "  const Int64 first = blockIdx.x * Int64(blockDim.x) + threadIdx.x;",
        "  const Int64 all = gridDim.x * Int64(blockDim.x);",
        f"  if (first == 0) a1[0] = ((const {TYPES[str(rate.dtype)]}*)a0[4])[a0[0]];",
    ]
    for number, (column, place) in enumerate(columns):
        kind, width = TYPES[str(column.dtype)], math.prod(place.shape[1:])
        strides = [s // column.dtype.itemsize for s in column.strides]
        if len(strides) > 2:
            raise UnknownOperationError(f"data of {len(strides)} axes")
        inner = f" + n % {width} * {strides[1]}" if len(strides) == 2 else ""
        lines += [
            f"  for (Int64 n = first; n < {math.prod(place.shape)}; n += all)",
            f"    a{number + 2}[n] = ((const {kind}*)a0[{number + 5}])"
            f"[order[n / {width}] * {strides[0]}{inner}];",
        ]
    most = max((math.prod(place.shape) for _, place in columns), default=1)
    blocks = -(-most // THREADS)
    return Kernel(
        _function(operands, lines), operands, operands[1:], blocks, THREADS, "fetch the batch"
    )


def tick(table: Any, rows: int) -> Kernel:
    """Write the kernel that goes on to the next step; after the last row comes the first."""
    lines = [f"  a0[0] += 1; a0[1] += {rows};", "  if (a0[1] >= a0[2]) a0[1] = 0;"]
    return Kernel(_function([table], lines), [table], [table], 1, 1, "count the step")
