"""Labels of classes as numbers, with names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnn.backends import InputError, to_host


def label_column(name: str, values: Any) -> Any:
    """Bring labels to the host as a column.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    values : array_like, shape (n,) or (n, 1)
        Of any library.

    Returns
    -------
    numpy.ndarray, shape (n,)

    Raises
    ------
    ValueError
        The shape is another, or there are fractions.
    """
    found = np.asarray(to_host(values))
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise InputError(f"{name} has shape {found.shape}; expected (n,), one label for each row")
    if found.dtype.kind == "f":
        strange = np.flatnonzero(found != np.round(found))  # nan too
        if strange.size:
            i = int(strange[0])
            raise InputError(f"{name}[{i}] is {found[i]}; expected labels of classes")
    return found


def coded(
    columns: Sequence[Any], classes: Sequence[object] | None, known: Sequence[object] | None = None
) -> tuple[list[Any], list[object]]:
    """Turn labels into numbers from 0.

    Parameters
    ----------
    columns : sequence of array, each of shape (n,)
        Of `label_column`.
    classes : sequence, optional
        Names of the classes. Labels among them stand for themselves; labels 0, 1, ... are
        places among them.
    known : sequence, optional
        All labels of a model, in its order; `classes` then names these.

    Returns
    -------
    codes : list of array of int
        For each of the columns.
    names : list
        What each number stands for.

    Raises
    ------
    ValueError
        A label has no name.
    """
    ends = np.cumsum([len(column) for column in columns])[:-1]
    if len({column.dtype.kind in "OUST" for column in columns}) > 1:
        columns = [column.astype(str) for column in columns]  # texts and numbers have no order
        known = None if known is None else [str(label) for label in known]
    values = np.concatenate(list(columns))
    if classes is None and known is None:
        # As lists, since texts of an object array and numbers in it have no order either.
        listed = values.tolist()
        names = _sorted(listed)
        codes = _places(listed, names)
    elif known is not None:
        codes = _places(values.tolist(), list(known))
        names = list(known if classes is None or len(classes) != len(known) else classes)
    else:
        names = list(classes or ())
        listed = values.tolist()
        numbers = values.dtype.kind in "biu" and not set(listed) <= set(names)
        fit = numbers and min(listed) >= 0 and max(listed) < len(names)
        codes = values.astype(np.int64) if fit else _places(listed, names)
    return list(np.split(codes, ends)), names


def _sorted(values: list[Any]) -> list[Any]:
    try:
        return sorted(set(values))
    except TypeError:
        return sorted(set(values), key=lambda value: (str(type(value)), str(value)))


def _places(values: list[Any], names: list[Any]) -> Any:
    place = {name: i for i, name in enumerate(names)}
    strange = next((value for value in values if value not in place), None)
    if strange is not None:
        some = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        raise InputError(f"the label {strange!r} is not among the classes {some}")
    return np.asarray([place[value] for value in values], dtype=np.int64)
