"""Showing a plan to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import host


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"


def _shape(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _namer(plan: Any) -> Callable[[Any], str]:
    """Make what gives an operand a short name: an input, a buffer, or a number."""
    inputs = [node.label for node in plan.trace.inputs]
    memory = list(zip(plan.arrays, inputs, strict=True))
    memory += [(array, f"next {inputs[number]}") for number, array in plan.elsewhere.items()]
    memory += [(raw, f"buffer {number}") for number, raw in enumerate(plan.made)]

    def name(value: Any) -> str:
        if not isinstance(value, host.ndarray):
            return repr(value)
        for array, label in memory:
            offset = value.ctypes.data - array.ctypes.data
            if 0 <= offset < max(array.nbytes, 1):
                return f"{label}{'[..]' if offset else ''}"
        return f"{float(value):g}" if value.ndim == 0 else "constant"

    return name


def describe(plan: Any) -> str:
    """List a `Plan`'s inputs, calls, buffers and bytes, then the source of each kernel.

    The blocks of a long chain are counted, not listed.
    """
    name = _namer(plan)
    lines = ["inputs"]
    for node, array in zip(plan.trace.inputs, plan.arrays, strict=True):
        lines.append(f"  {node.label:<12} {_shape(array):<22} {_bytes(array.nbytes)}")
    lines.append(f"calls ({len(plan.calls)})")
    for call in plan.calls:
        if call.block > 0:
            continue
        out, operands = call.operands()
        blocks = max(c.block for c in plan.calls if c.chain == call.chain) + 1
        times = f"  x {blocks} blocks" if blocks > 1 else ""
        lines.append(
            f"  {name(out)} <- {call.text}({', '.join(map(name, operands))})  {_shape(out)}{times}"
        )
    lines.append(f"{plan.buffers} buffers, {_bytes(plan.bytes)}")
    if plan.turns > 1:
        also = " and for the parameters" if plan.elsewhere else ""
        lines.append(f"{plan.turns} buffers for the batch{also}, taken in turn")
    for source in dict.fromkeys(call.source for call in plan.calls if call.source):
        lines += ["", source.rstrip()]
    return "\n".join(lines)
