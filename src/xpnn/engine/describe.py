"""Showing a plan to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import host
from xpnn.engine.trace import Node


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
    """List a `Plan`'s inputs, its calls and what its loops do, buffers and bytes."""
    name = _namer(plan)
    lines = ["inputs"]
    for node, array in zip(plan.trace.inputs, plan.arrays, strict=True):
        lines.append(f"  {node.label:<12} {_shape(array):<22} {_bytes(array.nbytes)}")
    lines.append(f"calls ({len(plan.calls)})")
    for call in plan.calls:
        if call.function is None:
            lines += _loop(plan, call, name)
            continue
        out, operands = call.operands()
        lines.append(
            f"  {name(out)} <- {call.text}({', '.join(map(name, operands))})  {_shape(out)}"
        )
    lines.append(f"{plan.buffers} buffers, {_bytes(plan.bytes)}")
    return "\n".join(lines)


def _loop(plan: Any, call: Any, name: Callable[[Any], str]) -> list[str]:
    """List the operations of a loop: values that stay in registers have numbers."""
    whole = max(
        call.nodes,
        key=lambda node: node.inputs[0].value.size if node.op == "sum" else node.value.size,
    )
    lines, names = [f"  loop over {list(whole.shape)}"], dict[int, str]()
    for out, a, b in call.products:
        lines.append(f"    {name(out)} <- matmul({name(a)}, {name(b)}), as it is read")
    for node in call.nodes:
        stored = id(node) in plan.place and (node.op == "sum" or id(node) in call.stored)
        operands = ", ".join(
            names.get(id(i)) or name(plan.place[id(i)]) if isinstance(i, Node) else f"{i:g}"
            for i in node.inputs
        )
        names[id(node)] = name(plan.place[id(node)]) if stored else f"v{len(names) + 1}"
        lines.append(f"    {names[id(node)]} <- {node.op}({operands})")
    return lines
