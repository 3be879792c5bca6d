"""The kernels round a step: fetching its batch, rate and noise, and counting it.

Everything that differs from step to step is on the GPU and looked up with the step's
number there, so that all steps are the same launches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpnn.engine.cuda.groups import TYPES
from xpnn.engine.cuda.source import THREADS, Kernel
from xpnn.engine.trace import UnknownOperationError

BLOCKS = 264  # two for each multiprocessor of a large GPU


def fetch(
    count: Any, order: Any, rates: Any, rate: Any, size: int,
    columns: Sequence[tuple[Any, Any]], noise: Sequence[tuple[Any, Any]],
) -> Kernel:  # fmt: skip
    """Write the kernel that brings a step's rows, rate and noise to their places.

    Parameters
    ----------
    count, order, rates, rate : array
        On the GPU: number of the step, numbers of the rows in order, rates of all steps,
        and the place of this step's.
    size : int
        Rows in a whole batch.
    columns : sequence of (array, array)
        Data, and the place for a batch of it, in C order.
    noise : sequence of (array, array)
        Noise of some steps, and the place for one step's, in C order.

    Returns
    -------
    Kernel
        Its arrays are the GPU's.

    Raises
    ------
    UnknownOperationError
        Data has a dtype that kernels do not know, or more than two axes.
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
    return Kernel(_text(arrays, lines), arrays, arrays[3:], BLOCKS, THREADS, "fetch the batch")


def tick(count: Any) -> Kernel:
    """Write the kernel that counts a step."""
    return Kernel(_text([count], ["  a0[0] += 1;"]), [count], [count], 1, 1, "count the step")


def _names(arrays: list[Any], *more: Any) -> list[str]:
    for array in more:
        if str(array.dtype) not in TYPES:
            raise UnknownOperationError(f"kernels with {array.dtype}")
    arrays += more
    return [f"a{len(arrays) - len(more) + i}" for i in range(len(more))]


def _text(arrays: Sequence[Any], lines: Sequence[str]) -> str:
    arguments = ", ".join(f"{TYPES[str(a.dtype)]}* a{i}" for i, a in enumerate(arrays))
    return "\n".join([f"({arguments}) {{", *lines, "}"])
