"""Which operations share a CUDA kernel.

A kernel goes through a shape, one thread for each entry, or one block for each row where a
sum or a maximum along the row is needed on the way. Elementwise operations on that shape
share it. Sums over all rows, or over everything, are kernels of their own: other blocks
would have to wait for them.
"""

from __future__ import annotations

from xpnn.engine.operations import REDUCTIONS
from xpnn.engine.schedule import grouped
from xpnn.engine.trace import Node, UnknownOperationError

TYPES = {
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    "int8": "Int8",
    "int16": "short",
    "int32": "int",
    "int64": "Int64",
    "uint8": "UInt8",
    "uint16": "UInt16",
    "uint32": "unsigned",
    "uint64": "UInt64",
}
"""C++'s names of the dtypes that kernels know; one word each, as casts are written `Name(a)`."""

WIDE = TYPES | {"float16": "float", "bfloat16": "float"}
"""What they are computed in."""


def along_rows(node: Node) -> bool:
    """Whether it is a reduction of each row of a matrix that keeps its place."""
    return (
        node.op in REDUCTIONS
        and len(node.inputs[0].shape) == 2
        and node.attributes["axis"] in (1, -1)
        and bool(node.attributes["keepdims"])
    )


def by_rows(group: list[Node]) -> bool:
    """Whether there is a sum or a maximum along rows."""
    return any(n.op in REDUCTIONS for n in group)


def domain_of(node: Node) -> tuple[int, ...] | None:
    """Shape that the kernel of a group goes through that begins with this; None for no kernel."""
    if along_rows(node):
        source: tuple[int, ...] = node.inputs[0].shape
        return source
    return node.shape if node.is_elementwise and len(node.shape) <= 2 else None


def _joins(node: Node, group: list[Node]) -> bool:
    """Whether a node can share the group's kernel."""
    own = domain_of(node)
    domain = domain_of(group[0]) if group else own
    if own is None or domain is None:
        return False
    # What is there once for each row goes with the rows, once a sum along them is there.
    once = (domain[0], 1) if by_rows(group) else domain
    inside = [p.shape for p in node.parents() if p in group]
    return own in (domain, once) and all(shape in (domain, once) for shape in inside)


def group(nodes: list[Node]) -> list[list[Node]]:
    """Put operations into groups: one, or several that share a kernel.

    Raises UnknownOperationError where an array has a dtype that kernels do not know.
    """
    for node in nodes:
        for n in (node, *node.parents()):
            if str(n.value.dtype) not in TYPES:
                raise UnknownOperationError(f"kernels with {n.value.dtype}")
    merged: list[list[Node]] = []
    for one in grouped(nodes, _joins, lambda node: domain_of(node) in (None, ())):
        # Numbers (0-d operations) that follow one another share a kernel of one thread.
        if merged and domain_of(one[0]) == () == domain_of(merged[-1][0]):
            merged[-1] += one
        else:
            merged.append(one)
    return merged
