"""Which operations share a CUDA kernel.

A kernel goes through a shape, one thread for each entry, or one block for each row where a
sum or a maximum along the row is needed on the way. Elementwise operations on that shape
share it. Sums over all rows, or over everything, are kernels of their own: other blocks
would have to wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnn.engine.operations import ELEMENTWISE, OTHER_ELEMENTWISE, REDUCTIONS
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
    """Operations that share a kernel, or a single one of another kind.

    Parameters
    ----------
    nodes : list of Node
        In order.
    domain : tuple of int or None
        The shape that the kernel goes through; None for what is no kernel of this kind.
    """

    nodes: list[Node] = field(default_factory=list)
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


def _elementwise(node: Node) -> bool:
    return node.op in ELEMENTWISE or node.op in OTHER_ELEMENTWISE


def _check(node: Node) -> None:
    for n in (node, *node.parents()):
        if str(n.value.dtype) not in TYPES:
            raise UnknownOperationError(f"kernels with {n.value.dtype}")


def _domain(node: Node) -> tuple[int, ...] | None:
    """Shape that an operation goes through, where it can share a kernel."""
    if along_rows(node):
        source: tuple[int, ...] = node.inputs[0].shape
        return source
    return node.shape if _elementwise(node) and len(node.shape) <= 2 else None


def _joins(node: Node, group: Group, members: set[int]) -> bool:
    """Whether a node can share the group's kernel."""
    own, domain = _domain(node), group.domain
    if own is None or domain is None:
        return False
    # What is there once for each row goes with the rows, once a sum along them is there.
    rows = len(domain) == 2 and own == (domain[0], 1) and group.by_rows
    if own != domain and not rows:
        return False
    inside = [p for p in node.parents() if id(p) in members]
    return all(p.shape == domain or (group.by_rows and p.shape == (domain[0], 1)) for p in inside)


def group(nodes: list[Node]) -> list[Group]:
    """Put operations into groups, keeping every one behind what it needs.

    Parameters
    ----------
    nodes : list of Node
        In the order in which they were recorded.

    Returns
    -------
    list of Group

    Raises
    ------
    UnknownOperationError
        An array has a dtype that kernels do not know.
    """
    groups: list[Group] = []
    current, members = Group(), set[int]()

    def close() -> None:
        nonlocal current
        if current.nodes:
            groups.append(current)
        current = Group()
        members.clear()

    for node in nodes:
        _check(node)
        if not (current.nodes and _joins(node, current, members)):
            waits = any(id(p) in members for p in node.parents())
            if current.nodes and not waits and _domain(node) in (None, ()):
                groups.append(Group([node], _domain(node)))  # goes before the group
                continue
            close()
            if _domain(node) is None:
                groups.append(Group([node]))
                continue
            current.domain = _domain(node)
        current.nodes.append(node)
        members.add(id(node))
    close()
    return _merge_numbers(groups)


def _merge_numbers(groups: list[Group]) -> list[Group]:
    """Let numbers (0-d operations) that follow one another share a kernel of one thread."""
    merged: list[Group] = []
    for one in groups:
        if merged and one.domain == () == merged[-1].domain:
            merged[-1].nodes += one.nodes
        else:
            merged.append(one)
    return merged
