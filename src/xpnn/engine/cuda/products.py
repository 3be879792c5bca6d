"""CUDA C++ of matrix products, for those that are too small to be worth a library's call.

A library's product cannot be part of a CUDA graph that CuPy records; one of these can.
"""

from __future__ import annotations

from typing import Any

from xpnn.engine.cuda.groups import TYPES, WIDE
from xpnn.engine.cuda.source import Kernel, Writer
from xpnn.engine.trace import UnknownOperationError

TILE = 32  # rows and columns of the result that a block computes
LINES = 8  # rows of a tile that are worked on side by side: 8 * 32 threads
EACH = TILE // LINES  # rows of a tile that a thread computes


def product(a: Any, b: Any, out: Any) -> Kernel:
    """Write ``out = a @ b`` for matrices that lie in memory in whatever order.

    Parameters
    ----------
    a, b, out : numpy.ndarray
        With shapes (n, k), (k, m), (n, m); `a` and `b` of one float dtype, `out` too, or
        float32 where that is one of 16 bits.

    Returns
    -------
    Kernel
    """
    check_dtypes(a, b, out)
    for array in (a, b, out):
        _check_reach(array)
    (n, k), m, kind = a.shape, b.shape[1], WIDE[str(a.dtype)]
    stored = TYPES[str(out.dtype)]
    writer = Writer(out.shape, lambda node: node)
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
    """Refuse a product of dtypes that do not go together."""
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
