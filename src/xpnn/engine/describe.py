"""Showing a plan to a person."""

from __future__ import annotations

from typing import Any

from xpnn.backends import host
from xpnn.engine.memory import ALIGNMENT


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"


def _shape(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


class _Names:
    """Short names for the memory that a plan touches."""

    def __init__(self, plan: Any) -> None:
        self.ranges: list[tuple[int, int, str]] = []
        for node, array in zip(plan.trace.inputs, plan.arrays, strict=True):
            self._add(array, node.label, array.ctypes.data)
        for number, array in plan.elsewhere.items():
            label = f"next {plan.trace.inputs[number].label}"
            self._add(array, label, array.ctypes.data)

    def _add(self, array: Any, name: str, first: int) -> None:
        last = array.ctypes.data + max(array.nbytes, 1)
        self.ranges.append((first, last, name))

    def of(self, value: Any) -> str:
        """Name an operand: an input, a buffer (made up when first seen), or a number."""
        if not isinstance(value, host.ndarray):
            return repr(value)
        start = value.ctypes.data
        for first, last, name in self.ranges:
            if first <= start < last:
                return f"{name}{'' if start == first else '[..]'}"
        if value.ndim == 0 and value.base is None:
            return f"{float(value):g}"
        name = f"buffer {sum(n.startswith('buffer') for _, _, n in self.ranges)}"
        base = value
        while isinstance(base.base, host.ndarray):
            base = base.base
        # A buffer's memory begins at the first cache line of what was allocated for it.
        begin = base.ctypes.data
        line = begin + -begin % ALIGNMENT
        self._add(base, name, line if line <= start else begin)
        return name


def describe(plan: Any) -> str:
    """List a `Plan`'s inputs, calls, buffers and bytes, then the source of each kernel.

    The blocks of a long chain are counted, not listed.
    """
    names = _Names(plan)
    lines = ["inputs"]
    for node, array in zip(plan.trace.inputs, plan.arrays, strict=True):
        lines.append(f"  {node.label:<12} {_shape(array):<22} {_bytes(array.nbytes)}")
    lines.append(f"calls ({len(plan.calls)})")
    for index, call in enumerate(plan.calls):
        if call.block > 0:
            continue
        out = call.written()
        operands = [names.of(a) for a in call.read()]
        blocks = 1 + max(
            (c.block for c in plan.calls[index:] if c.chain == call.chain), default=0
        ) if call.block == 0 else 1  # fmt: skip
        times = f"  x {blocks} blocks" if blocks > 1 else ""
        lines.append(
            f"  {names.of(out)} <- {call.text}({', '.join(operands)})  {_shape(out)}{times}"
        )
    lines.append(f"{plan.buffers} buffers, {_bytes(plan.bytes)}")
    if plan.turns > 1:
        also = " and for the parameters" if plan.elsewhere else ""
        lines.append(f"{plan.turns} buffers for the batch{also}, taken in turn")
    for source in dict.fromkeys(call.source for call in plan.calls if call.source):
        lines += ["", source.rstrip()]
    return "\n".join(lines)
