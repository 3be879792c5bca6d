"""The order of a plan's operations: long elementwise chains are put together.

The optimizer is a chain of some ten operations over all parameters. Done one after the
other, each streams the whole vector through memory; done block by block, every block stays
in the cache from the first operation to the last. Numbers (0-d operations) that stand
between them are moved to the front.
"""

from __future__ import annotations

from xpnn.engine.trace import Node

BLOCK = 16_384  # elements: four float32 arrays of it fit a 256 KiB cache
SMALLEST = 4 * BLOCK  # a vector shorter than this is done whole


def _joins(node: Node, chain: list[Node]) -> bool:
    """Whether a node can go on with a chain: same long vector, operands that blocks can cut."""
    if node.op == "where" or not node.is_elementwise or len(node.shape) != 1:
        return False
    if node.value.size < SMALLEST or (chain and node.shape != chain[0].shape):
        return False
    return all(p.shape in ((), node.shape) for p in node.parents())


def arrange(nodes: list[Node]) -> list[list[Node]]:
    """Put operations into groups, keeping every one behind what it needs.

    A group is one operation, or a chain of several that goes block by block.
    """
    groups: list[list[Node]] = []
    chain: list[Node] = []
    for node in nodes:
        if not _joins(node, chain):
            if node.shape == () and not any(p in chain for p in node.parents()):
                groups.append([node])
                continue
            groups.append(chain)
            chain = []
            if not _joins(node, chain):
                groups.append([node])
                continue
        chain.append(node)
    groups.append(chain)
    return [group for group in groups if group]
