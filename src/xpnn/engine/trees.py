"""Arrays in nested tuples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to the leaves of nested tuples; None stays."""
    if isinstance(tree, tuple):
        return tuple(map(partial(map_tree, function), tree))
    return None if tree is None else function(tree)


def leaves(tree: Any) -> list[Any]:
    """Leaves of nested tuples in order; None is ignored."""
    if not isinstance(tree, tuple):
        return [] if tree is None else [tree]
    found = []
    for branch in tree:
        found += leaves(branch)
    return found
