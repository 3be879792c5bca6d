"""Rows with a target, and those of them that are set apart to measure on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.columns import listed
from xpnn.data.optional import import_optional
from xpnn.estimators.table_target import NOTHING, UNKNOWN, Target

if TYPE_CHECKING:
    import pandas as pd


def hold_out(
    rows: pd.DataFrame, target: Target, share: float | None, seed: int
) -> tuple[pd.DataFrame, Any]:
    """Set rows apart: the same ones for the same seed.

    Parameters
    ----------
    rows : pandas.DataFrame
        All rows with a target.
    target : Target
        Its classes are spread evenly; a class of one row stays with what is learned.
    share : float or None
        Share of the rows, above 0 and below 1; None or 0 for none.
    seed : int
        Which rows.

    Returns
    -------
    train, held : pandas.DataFrame
        In their order in the table; `held` is None where nothing is set apart.

    Raises
    ------
    ValueError
        The share is out of range, or there are too few rows.
    """
    from sklearn.model_selection import train_test_split

    if not share:
        return rows, None
    if not 0 < share < 1:
        raise InputError(f"validation is {share!r}; expected a share above 0 and below 1")
    count = len(rows)
    if count < 4:
        raise InputError(f"{count} rows with a target are too few to set some apart")
    numbers = np.arange(count)
    held_count = min(max(1, math.ceil(count * share)), count - 1)
    if target.task != "classify":
        train, held = train_test_split(numbers, test_size=held_count, random_state=seed)
        return rows.iloc[np.sort(train)], rows.iloc[np.sort(held)]
    codes = target.codes(rows[target.name])
    alone = np.bincount(codes)[codes] == 1
    free = numbers[~alone]
    classes = len(np.unique(codes[free]))
    even = codes[free] if classes <= min(held_count, len(free) - held_count) else None
    if not 0 < held_count < len(free):
        raise InputError(f"{len(free)} rows of classes with 2 rows are too few to set some apart")
    train, held = train_test_split(free, test_size=held_count, random_state=seed, stratify=even)
    train = np.concatenate([train, numbers[alone]])
    # Every class is learned: what would only be measured goes back.
    strange = ~np.isin(codes[held], codes[train])
    train, held = np.concatenate([train, held[strange]]), held[~strange]
    if not len(held):
        return rows, None
    return rows.iloc[np.sort(train)], rows.iloc[np.sort(held)]


def with_target(frame: Any, name: str) -> pd.DataFrame:
    """Rows of a table that have a target.

    Raises
    ------
    ValueError
        It is no table, or has no such column.
    """
    pandas = import_optional("pandas")
    if not isinstance(frame, pandas.DataFrame):
        raise InputError(f"a table is a {type(frame).__name__}; expected a pandas.DataFrame")
    names = [str(column) for column in frame.columns]
    if names.count(name) != 1:
        said = "no column" if name not in names else "more than one column"
        raise InputError(f"the table has {said} {name!r} to be the target; it has {listed(names)}")
    frame = frame.set_axis(names, axis=1)
    try:
        codes = Target(name, "classify").codes(frame[name])
    except TypeError as error:
        raise InputError(
            f"target {name!r} holds cells that are neither text nor numbers: {error}"
        ) from error
    return frame[codes != NOTHING]


def check_held(target: Target, held: pd.DataFrame) -> None:
    """Refuse validation rows of other classes than the training rows'."""
    if not len(held):
        raise InputError(f"validation has no row with a target in column {target.name!r}")
    if target.task != "classify":
        return
    strange = held[target.name][target.codes(held[target.name]) == UNKNOWN].unique()
    if len(strange):
        raise InputError(
            f"validation has classes that the training rows have not: "
            f"{listed([str(value) for value in strange])}"
        )
