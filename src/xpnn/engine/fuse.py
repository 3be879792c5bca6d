"""Which operations are done together, in one loop, and in which order.

Operations go through a shape. Elementwise operations that go through the same one can share a
loop: what only they read of each other stays in registers. Everything is done as late as those
who read it allow, so that it is still in the cache then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpnn.engine.trace import Node

Shape = tuple[int, ...]


def sums_over_rows(node: Node) -> bool:
    """Whether it is a sum over all rows of a matrix, one for each of several columns."""
    if node.op != "sum" or node.attributes["axis"] not in (0, -2):
        return False
    shape = node.inputs[0].shape
    return len(shape) == 2 and shape[0] > 1 and shape[1] > 1


def fuse(
    nodes: Sequence[Node], domain: Callable[[Node], Shape | None], sums: bool = True
) -> list[list[Node]]:
    """Put operations into groups, in an order in which each finds what it needs.

    Parameters
    ----------
    nodes : sequence of Node
        Operations in recorded order.
    domain : callable
        Shape that an elementwise operation's loop goes through; None for an operation that is
        done by itself.
    sums : bool, default True
        Whether a sum over rows joins the loop that makes what it sums.

    Returns
    -------
    list of list of Node
        Groups of one, or of several that share a loop, each in recorded order.
    """
    last_first: list[list[Node]] = []  # groups, from the last one to the first
    domains: list[Shape | None] = []
    group_of: dict[int, int] = {}
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for parent in node.parents():
            readers.setdefault(id(parent), []).append(node)
    for node in reversed(nodes):
        own = None if node.is_view else domain(node)
        earliest = 0
        for reader in readers.get(id(node), ()):
            place = group_of[id(reader)]
            shares = own is not None and own == domains[place]
            earliest = max(earliest, place if shares else place + 1)
        place = len(last_first)
        if own is not None:
            same = (i for i in range(earliest, place) if domains[i] == own)
            place = next(same, place)
        if place == len(last_first):
            last_first.append([])
            domains.append(own)
        last_first[place].append(node)
        group_of[id(node)] = place
    groups = [group[::-1] for group in reversed(last_first)]
    return _with_sums(groups, domain) if sums else groups


def _with_sums(
    groups: list[list[Node]], domain: Callable[[Node], Shape | None]
) -> list[list[Node]]:
    """Move sums over rows to where what they sum is made."""
    made = {id(node): group for group in groups for node in group}
    for group in list(groups):
        node = group[0]
        if len(group) == 1 and sums_over_rows(node):
            home = made.get(id(node.inputs[0]))
            if home is not None and domain(node.inputs[0]) is not None:
                home.append(node)
                groups.remove(group)
    return groups
