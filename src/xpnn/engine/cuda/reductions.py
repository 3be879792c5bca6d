"""CUDA C++ of reductions that share no kernel; every order of additions is fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.engine.cuda.groups import TYPES, WIDE
from xpnn.engine.cuda.source import (
    JOIN,
    THREADS,
    Kernel,
    Writer,
    index_type,
    letters,
    neutral,
    power,
)
from xpnn.engine.trace import Node, UnknownOperationError

LONG = 2**16  # entries up to which one block reduces all
PARTS = 264  # blocks of a longer one: two for each multiprocessor of a large GPU; a guess
LINES = 8  # rows that a block adds up side by side, 32 columns each


def reduction(node: Node, place: Callable[[Node], Any]) -> Kernel:
    """Write a reduction that shares no kernel."""
    source, axis = node.inputs[0], node.attributes["axis"]
    axes = {axis} if isinstance(axis, int) else set(axis or ())
    axes = {a % len(source.shape) for a in axes} if axis is not None else set()
    if axis is None or len(axes) == len(source.shape):
        return _over_all(node, place(source), place(node), 1)
    if len(source.shape) != 2:
        raise UnknownOperationError(f"{node.op} along an axis of {len(source.shape)}")
    return _over_rows(node, place) if axes == {0} else _along_rows(node, place)


def is_long(node: Node) -> bool:
    """Whether a reduction over all entries is too long for one block."""
    source = node.inputs[0]
    return node.value.size == 1 and source.value.size > LONG


def in_two(node: Node, place: Callable[[Node], Any], parts: Any) -> list[Kernel]:
    """Write a long reduction: many blocks make a part each, and one block joins them.

    Parameters
    ----------
    node : Node
        The reduction.
    place : callable
        The array of a node.
    parts : numpy.ndarray, shape (PARTS,)
        Place for the parts, in the result's dtype.
    """
    first = _over_all(node, place(node.inputs[0]), parts, len(parts))
    return [first, _over_all(node, parts, place(node), 1)]


def _over_all(node: Node, source: Any, out: Any, blocks: int) -> Kernel:
    """One result for each block: the order of additions is always the same."""
    kind, join = WIDE[str(node.value.dtype)], JOIN[node.op]
    if source.ndim > 2:
        raise UnknownOperationError(f"a reduction of {source.ndim} axes")
    writer = Writer(source.shape, lambda node: node)
    count, threads = source.size, 1024 if source.size > 4096 and blocks == 1 else THREADS
    item = writer.wide(writer.entry(source), source.dtype, node.value.dtype)
    name = writer.name(out, True)
    body = [
        f"  using Index = {index_type(count)};",
        f"  __shared__ double memory[{threads}];",
        f"  {kind} total = {neutral(node)};",
        "  for (Index n = blockIdx.x * Index(blockDim.x) + threadIdx.x; "
        f"n < {count}; n += Index(gridDim.x) * blockDim.x) {{",
        *letters(source.shape),
        f"    total = {join}()(total, {item});",
        "  }",
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


def _along_rows(node: Node, place: Callable[[Node], Any]) -> Kernel:
    """One block for each row, where the result has one axis."""
    source, kind, join = node.inputs[0], WIDE[str(node.value.dtype)], JOIN[node.op]
    height, width = source.shape
    writer = Writer(source.shape, place)
    item = writer.wide(writer.entry(place(source)), source.value.dtype, node.value.dtype)
    out = place(node).reshape(-1)
    threads = min(THREADS, max(power(width), 32))
    body = [
        f"  __shared__ double memory[{threads}];",
        f"  for (int i = blockIdx.x; i < {height}; i += gridDim.x) {{",
        f"    {kind} total = {neutral(node)};",
        f"    for (int j = threadIdx.x; j < {width}; j += blockDim.x)",
        f"      total = {join}()(total, {item});",
        f"    total = together<{join}>(({kind}*)memory, total);",
        f"    if (threadIdx.x == 0) {writer.name(out, True)}"
        f"[i * {out.strides[0] // out.itemsize}] = {_rounded(node)};",
        "  }",
    ]
    return writer.kernel(body, min(height, 65_535), threads, f"{node.op} along rows")
