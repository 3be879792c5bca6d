"""The order of a plan's operations: which are done together.

The optimizer is a chain of some ten operations over all parameters. Done one after the
other, each streams the whole vector through memory; done block by block, every block stays
in the cache from the first operation to the last. Numbers (0-d operations) that stand
between them are moved to the front.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """Put operations into groups: one, or a chain of several that goes block by block."""
    return grouped(nodes, _joins, lambda node: node.shape == ())


def grouped(
    nodes: list[Node],
    joins: Callable[[Node, list[Node]], bool],
    passes: Callable[[Node], bool],
    goes_back: Callable[[Node], bool] = lambda node: False,
) -> list[list[Node]]:
    """Put operations into groups, keeping every one behind what it needs.

    `joins` says whether an operation can go on with a group, or begin one; `passes` whether one
    that cannot, and needs nothing of the group, may go before it; `goes_back` whether it may go
    on with an earlier group that its first operand is of.
    """
    groups: list[list[Node]] = []
    current: list[Node] = []
    closed: dict[int, list[Node]] = {}
    for node in nodes:
        if goes_back(node) and id(node.inputs[0]) in closed:
            closed[id(node.inputs[0])].append(node)
            continue
        if not joins(node, current):
            if passes(node) and not any(p in current for p in node.parents()):
                groups.append([node])
                continue
            groups.append(current)
            closed.update((id(n), current) for n in current)
            current = []
            if not joins(node, current):
                groups.append([node])
                continue
        current.append(node)
    groups.append(current)
    return [group for group in groups if group]
