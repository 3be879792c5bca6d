"""Permutations of rows, and validation rows, as scikit-learn's SGD draws them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce
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


def _xorshift(states: Any) -> Any:
    for amount in (13, -17, 5):
        states = states ^ (states << amount if amount > 0 else states >> -amount) & 0xFFFFFFFF
    return states


def _jump(states: Any, tables: Any) -> Any:
    """Take states further: steps are linear in the bits, so bytes are looked up one by one."""
    return reduce(np.bitwise_xor, (t[states >> 8 * byte & 255] for byte, t in enumerate(tables)))


@cache
def _tables(doublings: int) -> Any:
    """What 2**doublings steps make of each of a state's four bytes."""
    if not doublings:
        return _xorshift(np.arange(256) << np.asarray([[0], [8], [16], [24]]))
    half = _tables(doublings - 1)
    return _jump(half, half)


def _random(count: int, seed: int) -> Any:
    """Draw the numbers after a seed, as many again at a time.

    G. Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8 (2003), 14.
    """
    states, doublings = _xorshift(np.asarray([seed])), 0
    while len(states) < count:
        later = _jump(states[: count - len(states)], _tables(doublings))
        states, doublings = np.concatenate([states, later]), doublings + 1
    return states[:count]


def permutation(rows: int, seed: int) -> Any:
    """Shuffle row indices as `SequentialDataset.shuffle` of scikit-learn does.

    R. Durstenfeld, "Algorithm 235: Random permutation", CACM 7 (1964), 420.
    """
    states, left = _random(rows - 1, seed or 1), np.arange(rows, 1, -1)
    chosen = (states & 0x7FFFFFFF) % left + np.arange(rows - 1)
    indices = list(range(rows))
    for i, j in enumerate(chosen.tolist()):
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
