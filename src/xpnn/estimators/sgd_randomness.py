"""Permutations of rows, and validation rows, as scikit-learn's SGD draws them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import check_random_state

_LARGEST = np.iinfo(np.int32).max


def draw(
    random_state: Any, y: Any, units: int, validation_fraction: float | None
) -> tuple[Any, list[int]]:
    """Draw everything random of one `fit`: which rows validate, and a seed for each unit."""

    def split() -> Any:
        validation = np.zeros(len(y), dtype=bool)
        if validation_fraction is not None:
            splitter = StratifiedShuffleSplit(
                test_size=validation_fraction, random_state=random_state
            )
            validation[next(splitter.split(validation[:, None], y))[1]] = True
        return validation

    # From each generator scikit-learn draws a number first that its SGD never uses.
    if units == 1:
        rng = check_random_state(random_state)
        rng.randint(1, _LARGEST)
        return split(), [int(rng.randint(_LARGEST))]
    validation, seeds = split(), []
    for seed in check_random_state(random_state).randint(_LARGEST, size=units):
        rng = np.random.RandomState(seed)
        rng.randint(1, _LARGEST)
        seeds.append(int(rng.randint(_LARGEST)))
    return validation, seeds


def permutation(rows: int, seed: int) -> Any:
    """Shuffle row indices as `SequentialDataset.shuffle` of scikit-learn does.

    R. Durstenfeld, "Algorithm 235: Random permutation", CACM 7 (1964), 420; the random
    numbers are those of G. Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8 (2003), 14.
    """
    indices, state = list(range(rows)), seed or 1
    for i in range(rows - 1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (rows - i)
        indices[i], indices[j] = indices[j], indices[i]
    return np.asarray(indices)


def permutations(validation: Any, seeds: list[int], shuffle: bool) -> Iterator[Any]:
    """For every epoch the rows that do not validate, in the order for each unit: (n, units)."""
    if not shuffle:
        indices = np.flatnonzero(~validation)[:, None].repeat(len(seeds), axis=1)
        while True:
            yield indices
    # The same seed shuffles what the epoch before left.
    moves = [permutation(len(validation), seed) for seed in seeds]
    orders = [np.arange(len(validation))] * len(seeds)
    while True:
        orders = [order[move] for order, move in zip(orders, moves, strict=True)]
        yield np.stack([order[~validation[order]] for order in orders], axis=1)
