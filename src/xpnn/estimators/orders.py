"""Orders of rows, and validation rows, as scikit-learn's SGD draws them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state

_LARGEST = np.iinfo(np.int32).max


def permutation(rows: int, seed: int) -> Any:
    """Shuffle row numbers as `SequentialDataset.shuffle` of scikit-learn does.

    Parameters
    ----------
    rows : int
        How many.
    seed : int
        Seed in ``0 .. 2**32 - 1``.

    Returns
    -------
    numpy.ndarray of int, shape (rows,)

    References
    ----------
    R. Durstenfeld, "Algorithm 235: Random permutation", CACM 7 (1964), 420; the random
    numbers are those of G. Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8 (2003), 14.
    """
    numbers, state = list(range(rows)), seed or 1
    for i in range(rows - 1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (rows - i)
        numbers[i], numbers[j] = numbers[j], numbers[i]
    return np.asarray(numbers)


class Draws:
    """Everything random of one `fit` or `partial_fit`, in scikit-learn's sequence.

    Parameters
    ----------
    random_state : int, RandomState or None
        Where it comes from.
    codes : numpy.ndarray, shape (n,)
        Labels, which decide on the validation rows.
    units : int
        Number of units; several have seeds of their own.
    share : float or None
        Share of validation rows; None sets none apart.

    Attributes
    ----------
    held : numpy.ndarray of bool, shape (n,)
        The validation rows.
    """

    def __init__(self, random_state: Any, codes: Any, units: int, share: float | None) -> None:
        self.random_state, self.codes, self.share = random_state, codes, share
        if units == 1:
            source = check_random_state(random_state)
            self._seed_of_dataset(source)
            self.held = self._split()
            self.seeds = [int(source.randint(_LARGEST))]
            return
        self.held = self._split()
        self.seeds = []
        for seed in check_random_state(random_state).randint(_LARGEST, size=units):
            source = np.random.RandomState(seed)
            self._seed_of_dataset(source)
            self.seeds.append(int(source.randint(_LARGEST)))

    @staticmethod
    def _seed_of_dataset(source: np.random.RandomState) -> None:
        """Draw what scikit-learn draws first and its SGD never uses."""
        source.randint(1, _LARGEST)

    def _split(self) -> Any:
        held = np.zeros(len(self.codes), dtype=bool)
        if self.share is not None:
            split = StratifiedShuffleSplit(test_size=self.share, random_state=self.random_state)
            held[next(split.split(held[:, None], self.codes))[1]] = True
        return held

    def orders(self, shuffle: bool) -> Iterator[Any]:
        """Give the order of the rows that are shown, epoch by epoch.

        Parameters
        ----------
        shuffle : bool
            Whether each epoch has its own.

        Yields
        ------
        numpy.ndarray of int, shape (shown,) or (shown, units)
            With several units a column for each.
        """
        rows = len(self.codes)
        if not shuffle:
            order = np.flatnonzero(~self.held)
            while True:
                yield order
        # The same seed shuffles what the epoch before left.
        moves = [permutation(rows, seed) for seed in self.seeds]
        orders = [np.arange(rows) for _ in moves]
        while True:
            orders = [order[move] for order, move in zip(orders, moves, strict=True)]
            shown = [order[~self.held[order]] for order in orders]
            yield shown[0] if len(shown) == 1 else np.stack(shown, axis=1)
