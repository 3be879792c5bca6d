"""Quantiles of more numbers than fit into memory, with a stated error."""

from __future__ import annotations

from typing import Any

import numpy as np

CAPACITY = 8192


class QuantileSketch:
    """Summary of numbers that come in parts: exact for few, within a stated error for many.

    Sorted blocks of `CAPACITY` numbers are merged in pairs, of whose numbers every other one is
    kept, and stands for twice as many from then on (Munro and Paterson, "Selection and sorting
    with limited storage", 1980). A quantile is then off by at most ``error`` ranks in all: 0 up to
    8192 numbers, 0.1 % of them for a hundred million.
    """

    def __init__(self) -> None:
        self._waiting: list[Any] = []  # not yet a whole block
        self._held = 0
        self._levels: list[Any] = []  # the block of each level, or None
        self._odd = False

    def update(self, values: Any) -> None:
        """Take finite numbers, float64 of shape (n,)."""
        self._waiting.append(values)
        self._held += len(values)
        if self._held < CAPACITY:
            return
        values = np.concatenate(self._waiting)
        whole = len(values) // CAPACITY * CAPACITY
        for block in np.sort(values[:whole].reshape(-1, CAPACITY), axis=1):
            self._add(block)
        self._waiting, self._held = [values[whole:].copy()], len(values) - whole

    def _add(self, block: Any) -> None:
        level = 0
        while level < len(self._levels) and self._levels[level] is not None:
            both = np.sort(np.concatenate([self._levels[level], block]), kind="stable")
            # The lower and the upper of each pair in turn, so that nothing drifts.
            block, self._odd = both[int(self._odd) :: 2], not self._odd
            self._levels[level] = None
            level += 1
        if level == len(self._levels):
            self._levels.append(None)
        self._levels[level] = block

    @property
    def error(self) -> float:
        """Largest error of a rank, as a share of all numbers."""
        levels = len(self._levels)
        return 0.0 if levels < 2 else (levels - 1) / (2 * CAPACITY)

    def quantiles(self, shares: Any) -> Any:
        """Find quantiles, as NumPy's linear method does; NaN of nothing.

        Parameters
        ----------
        shares : sequence of float
            From 0 to 1.

        Returns
        -------
        numpy.ndarray of float64
        """
        parts = [np.concatenate([np.empty(0), *self._waiting])]
        counts = [np.ones(len(parts[0]))]
        for level, block in enumerate(self._levels):
            if block is not None:
                parts.append(block)
                counts.append(np.full(len(block), 2.0**level))
        values, weights = np.concatenate(parts), np.concatenate(counts)
        if not len(values):
            return np.full(len(shares), np.nan)
        order = np.argsort(values, kind="stable")
        values, weights = values[order], weights[order]
        # Ranks of the values: each stands in the middle of those that it stands for.
        ranks = np.cumsum(weights) - (weights + 1) / 2
        return np.interp(np.asarray(shares) * (weights.sum() - 1), ranks, values)
