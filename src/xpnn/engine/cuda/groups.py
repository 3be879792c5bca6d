"""Which operations share a CUDA kernel.

A kernel goes through a shape, one thread for each entry, or one block for each row where a
sum or a maximum along the row is needed on the way. Elementwise operations on that shape
share it. Sums over all rows, or over everything, are kernels of their own: other blocks
would have to wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnn.engine.operations import REDUCTIONS
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


@dataclass
class Group:
    """Operations that share a kernel, or a single one of another kind."""

    nodes: list[Node] = field(default_factory=list)
    # The shape that the kernel goes through; None for what is no kernel of this kind.
    domain: tuple[int, ...] | None = None

    @property
    def by_rows(self) -> bool:
        """Whether there is a sum or a maximum along rows."""
        return any(n.op in REDUCTIONS for n in self.nodes)


def along_rows(node: Node) -> bool:
    """Whether it is a reduction of each row of a matrix that keeps its place."""
    return (
        node.op in REDUCTIONS
        and len(node.inputs[0].shape) == 2
        and node.attributes["axis"] in (1, -1)
        and bool(node.attributes["keepdims"])
    )


def _domain(node: Node) -> tuple[int, ...] | None:
    """Shape that an operation goes through, where it can share a kernel."""
    if along_rows(node):
        source: tuple[int, ...] = node.inputs[0].shape
        return source
    return node.shape if node.is_elementwise and len(node.shape) <= 2 else None


def _joins(node: Node, group: Group) -> bool:
    """Whether a node can share the group's kernel."""
    own, domain = _domain(node), group.domain
    if not group.nodes or own is None or domain is None:
        return False
    # What is there once for each row goes with the rows, once a sum along them is there.
    by_rows = group.by_rows
    once = (domain[0], 1) if len(domain) == 2 and by_rows else domain
    inside = [p.shape for p in node.parents() if p in group.nodes]
    return own in (domain, once) and all(shape in (domain, once) for shape in inside)


def group(nodes: list[Node]) -> list[Group]:
    """Put operations into groups, keeping every one behind what it needs.

    Raises UnknownOperationError where an array has a dtype that kernels do not know.
    """
    groups: list[Group] = []
    current = Group()
    for node in nodes:
        for n in (node, *node.parents()):
            if str(n.value.dtype) not in TYPES:
                raise UnknownOperationError(f"kernels with {n.value.dtype}")
        domain = _domain(node)
        if _joins(node, current):
            current.nodes.append(node)
        elif (
            current.nodes
            and domain in (None, ())
            and not any(p in current.nodes for p in node.parents())
        ):
            groups.append(Group([node], domain))  # goes before the group
        else:
            groups.append(current)
            current = Group([node], domain)
            if domain is None:
                groups.append(current)
                current = Group()
    groups.append(current)
    return _merge_numbers([one for one in groups if one.nodes])


def _merge_numbers(groups: list[Group]) -> list[Group]:
    """Let numbers (0-d operations) that follow one another share a kernel of one thread."""
    merged: list[Group] = []
    for one in groups:
        if merged and one.domain == () == merged[-1].domain:
            merged[-1].nodes += one.nodes
        else:
            merged.append(one)
    return merged
