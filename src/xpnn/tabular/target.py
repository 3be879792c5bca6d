"""Labels and values: what a model of a table learns to predict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.tabular.cells import family_of, key_of, keys_of, numbers_of
from xpnn.tabular.names import listed

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 20  # of integers that are taken for classes where nobody says
UNKNOWN, MISSING = -2, -1


def check_present(y: pd.Series, name: str = "y") -> None:
    """Refuse missing labels."""
    missing = y.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Input {name} contains NaN: {int(missing.sum()):,} labels are missing, the first in "
            f"row {int(np.argmax(missing))}; leave these rows out"
        )


def unique_labels(series: Iterable[pd.Series]) -> tuple[Any, dict[str, int]]:
    """Find the labels of a column that comes in parts.

    Returns
    -------
    classes : numpy.ndarray
        The labels, sorted, in their own dtype; objects where NumPy has none.
    counts : dict of str to int
        Rows of each class, by its key.
    """
    found: dict[str, Any] = {}
    counts: dict[str, int] = {}
    dtypes = set()
    for part in series:
        if family_of(part) == "number" and not _has_decimals(part):
            _check_whole(part)
        dtypes.add(part.dtype if isinstance(part.dtype, np.dtype) else None)
        codes, keys = keys_of(part)
        known = np.flatnonzero(codes >= 0)
        numbers, places, rows = np.unique(codes[known], return_index=True, return_counts=True)
        for number, place, count in zip(numbers, places, rows.tolist(), strict=True):
            found.setdefault(keys[number], part.iloc[known[place]])
            counts[keys[number]] = counts.get(keys[number], 0) + count
    ordered = _sorted(list(found.values()))
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    classes = _as_array(ordered, dtype)
    return classes, {key_of(value): counts[key_of(value)] for value in ordered}


def _has_decimals(part: pd.Series) -> bool:
    """Whether numbers are exact decimals, which may be labels with fractions."""
    return any(isinstance(value, Decimal) for value in part.iloc[:1])


def _check_whole(part: pd.Series) -> None:
    values, _ = numbers_of(part, "numeric", None)
    values = values[~np.isnan(values)]
    if not np.isfinite(values).all():
        raise InputError("Input y contains infinity or a value too large; expected labels")
    if (values != np.floor(values)).any():
        raise InputError(
            "Unknown label type: continuous. y holds fractions; expected labels of classes. "
            "TabularRegressor learns numbers"
        )


def _sorted(values: list[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:  # of several types
        return sorted(values, key=lambda value: (type(value).__name__, key_of(value)))


def _as_array(values: list[Any], dtype: Any) -> Any:
    """Labels in a dtype of NumPy's where all are of one kind, else as objects."""
    if dtype is not None and dtype.kind in "biufUS":
        return np.asarray(values, dtype)
    if values and all(isinstance(v, bool | np.bool_) for v in values):
        return np.asarray(values, bool)
    if values and all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        for kind in (np.int64, np.uint64):
            if np.iinfo(kind).min <= min(values) and max(values) <= np.iinfo(kind).max:
                return np.asarray(values, kind)
    if values and all(isinstance(v, float | np.floating) for v in values):
        return np.asarray(values, np.float64)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def codes_of(series: pd.Series, classes: Sequence[Any]) -> Any:
    """Number of each row's class, int64; `MISSING` or `UNKNOWN` where there is none."""
    codes, keys = keys_of(series)
    places = {key_of(value): i for i, value in enumerate(classes)}
    if set(places) == {"True", "False"}:  # files write them in small or capital letters
        keys = [key.capitalize() if key.lower() in ("true", "false") else key for key in keys]
    found = [places.get(key, UNKNOWN) for key in keys]
    return np.asarray([*found, MISSING], np.int64)[codes]


def check_classes(classes: Any, counts: dict[str, int]) -> None:
    """Refuse labels that are no classes: only one, or nearly one for each row."""
    if len(classes) < 2:
        shown = classes[0] if len(classes) else "nothing"
        raise InputError(f"y holds one class only, {shown!r}; expected at least two")
    rows = sum(counts.values())
    if classes.dtype.kind in "OUS" and len(classes) > max(MOST_CLASSES, rows / 2):
        raise InputError(
            f"y holds {len(classes):,} different labels in {rows:,} rows; expected classes that "
            "come several times"
        )


def values_of(y: pd.Series, name: str = "y") -> Any:
    """Read values to predict, float64; an InputError where one is no finite number."""
    check_present(y, name)
    # Text that holds numbers is what some libraries make of them.
    values, unread = numbers_of(y, "numeric", None)
    if unread.any():
        raise InputError(
            f"{name} holds {y.iloc[int(np.argmax(unread))]!r}; expected numbers. "
            "TabularClassifier learns labels"
        )
    if not np.isfinite(values).all():
        raise InputError(f"Input {name} contains infinity or a value too large for float64")
    return values


def task_of(y: pd.Series) -> tuple[str, str]:
    """Tell from labels what is to be learned: 'classification' or 'regression', and why."""
    family = family_of(y)
    known = y.dropna()
    if not len(known):
        raise InputError(f"column {y.name!r} has no label in any row; expected labels or numbers")
    if family in ("text", "boolean"):
        return "classification", "text" if family == "text" else "boolean"
    if family in ("datetime", "duration", ""):
        raise InputError(
            f"column {y.name!r} holds {family or 'nothing'}; expected labels or numbers to learn"
        )
    values = known.to_numpy(np.float64, na_value=np.nan)
    count = len(np.unique(values))
    if (values != np.floor(values)).any():
        return "regression", "fractions"
    if count <= MOST_CLASSES and 2 * count <= len(values):
        return "classification", f"{count} different integers"
    return "regression", f"{count:,} different integers"


def split_rows(rows: int, codes: Any, share: float, seed: Any) -> tuple[Any, Any]:
    """Set a share of the rows apart for validation: indices in order, and None where too few.

    Classes are spread evenly where there are `codes`; one of a single row is learned from.
    """
    from sklearn.model_selection import train_test_split

    indices = np.arange(rows)
    alone = np.zeros(rows, bool) if codes is None else np.bincount(codes)[codes] == 1
    free = indices[~alone]
    count = min(max(1, int(np.ceil(rows * share))), rows - 1)
    if rows < 4 or not 0 < count < len(free):
        return indices, None
    even = None
    if codes is not None and len(np.unique(codes[free])) <= min(count, len(free) - count):
        even = codes[free]
    train, apart = train_test_split(free, test_size=count, random_state=seed, stratify=even)
    train = np.concatenate([train, indices[alone]])
    if codes is not None:  # every class is learned: what would only be measured goes back
        strange = ~np.isin(codes[apart], codes[train])
        train, apart = np.concatenate([train, apart[strange]]), apart[~strange]
    return np.sort(train), (np.sort(apart) if len(apart) else None)


def describe_classes(classes: Any) -> str:
    """Write labels in a line."""
    return listed([str(value) for value in classes])
