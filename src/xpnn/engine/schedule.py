"""The order of a plan's operations: long elementwise chains are put together.

The optimizer is a chain of some ten operations over all parameters. Done one after the
other, each streams the whole vector through memory; done block by block, every block stays
in the cache from the first operation to the last. Numbers (0-d operations) that stand
between them are moved to the front.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnn.engine.operations import ELEMENTWISE, OTHER_ELEMENTWISE
from xpnn.engine.trace import Node

BLOCK = 16_384  # elements: four float32 arrays of it fit a 256 KiB cache
SMALLEST = 4 * BLOCK  # a vector shorter than this is done whole


def is_elementwise(node: Node) -> bool:
    """Whether each entry of the result depends on the same entry of the operands alone."""
    return node.op in ELEMENTWISE or node.op in OTHER_ELEMENTWISE


@dataclass
class Group:
    """Operations done together: one, or a chain that goes block by block.

    Parameters
    ----------
    nodes : list of Node
        In order.
    blocked : bool
        Whether it is a chain over a long vector.
    """

    nodes: list[Node] = field(default_factory=list)
    blocked: bool = False


def _joins(node: Node, group: Group) -> bool:
    """Whether a node can go on with a chain: same long vector, operands that blocks can cut."""
    if node.op == "where" or not is_elementwise(node) or len(node.shape) != 1:
        return False
    if node.value.size < SMALLEST:
        return False
    if group.nodes and node.shape != group.nodes[0].shape:
        return False
    return all(p.shape in ((), node.shape) for p in node.parents())


def arrange(nodes: list[Node]) -> list[Group]:
    """Put the operations into groups, keeping every one behind what it needs.

    Parameters
    ----------
    nodes : list of Node
        In the order in which they were recorded.

    Returns
    -------
    list of Group
    """
    groups: list[Group] = []
    chain = Group(blocked=True)
    inside: set[int] = set()

    def close() -> None:
        nonlocal chain
        if chain.nodes:
            chain.blocked = len(chain.nodes) > 1
            groups.append(chain)
        chain = Group(blocked=True)
        inside.clear()

    for node in nodes:
        if _joins(node, chain):
            chain.nodes.append(node)
            inside.add(id(node))
        elif node.shape == () and not any(id(p) in inside for p in node.parents()):
            groups.append(Group([node]))
        else:
            close()
            if _joins(node, chain):
                chain.nodes.append(node)
                inside.add(id(node))
            else:
                groups.append(Group([node]))
    close()
    return groups
