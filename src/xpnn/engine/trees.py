"""Arrays in nested tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to the leaves of nested tuples; None stays."""
    if isinstance(tree, tuple):
        return tuple(map_tree(function, branch) for branch in tree)
    return None if tree is None else function(tree)


def leaves(tree: Any) -> list[Any]:
    """Leaves of nested tuples in order, None left out."""
    if isinstance(tree, tuple):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [] if tree is None else [tree]
