"""Arrays in nested tuples, and arrays beside each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from xpnn.backends import host


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


def plain(array: Any) -> Any:
    """Copy an array of NumPy's unless it is aligned and in C order, which products depend on."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return host.require(array, None, ["C", "A"])


def same_bytes(a: Any, b: Any) -> bool:
    """Whether two arrays have the same bytes; any NaN is like any other."""
    a, b = host.asarray(a), host.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = host.dtype(f"u{a.itemsize}") if a.itemsize in (1, 2, 4, 8) else a.dtype
    one, other = (host.ascontiguousarray(x).view(bits) for x in (a, b))
    if host.array_equal(one, other):
        return True
    known = ~(host.isnan(a) & host.isnan(b))
    return bool(a[known].tobytes() == b[known].tobytes())
