"""Rows of any library as a pandas frame, and columns of any library as a pandas series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from xpnn.backends import InputError, is_array, to_host
from xpnn.data.optional import import_optional
from xpnn.tabular.names import listed, repeated
from xpnn.tabular.reading import TableFile
from xpnn.tabular.text_types import to_pandas

if TYPE_CHECKING:
    import pandas as pd


def arrow_to_frame(table: Any) -> pd.DataFrame:
    """Make a pandas frame of an Arrow table; integers and booleans with gaps stay exact."""
    pandas = import_optional("pandas")
    _check_names(table.column_names)
    columns = {
        name: to_pandas(_as_times(column))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pandas.DataFrame(columns, index=pandas.RangeIndex(table.num_rows))


def _as_times(column: Any) -> Any:
    """Dates as times at midnight: Python's end with the year 9999."""
    pa = import_optional("pyarrow")
    if not pa.types.is_date(column.type):
        return column
    return column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))


def to_frame(X: Any) -> tuple[pd.DataFrame, bool]:
    """Make a pandas frame, whose columns have text as names, of what a caller gave as rows.

    Parameters
    ----------
    X : pandas, polars or pyarrow frame, or array_like, shape (n, features)
        Anything with the Arrow C stream interface is a frame. Arrays may be of any library, of
        numbers, booleans, text or objects.

    Returns
    -------
    frame : pandas.DataFrame
        The columns of an array are ``x0``, ``x1``, ...
    has_names : bool
        Whether the caller gave names.

    Raises
    ------
    InputError
        It has not two axes, no rows or no columns, or two columns of one name.
    TypeError
        A sparse matrix.
    """
    pandas = import_optional("pandas")
    if isinstance(X, str | Path | TableFile):
        raise InputError(
            f"X is a {type(X).__name__}; expected rows: fit takes xpnn.tabular.open_table(path), "
            "other methods its read() or chunks()"
        )
    if isinstance(X, pandas.Series):
        raise InputError("Expected 2D array, got a Series instead. Use to_frame() of one column")
    if isinstance(X, pandas.DataFrame):
        names = [str(name) for name in X.columns]
        _check_names(names)
        frame = X if names == list(X.columns) else X.set_axis(names, axis=1)
        return _with_rows(frame), True
    if hasattr(X, "__arrow_c_stream__"):
        pa = import_optional("pyarrow")
        try:
            table = pa.table(X)
        except pa.ArrowInvalid as error:  # a series, or types that Arrow has not
            what = f"{type(X).__module__}.{type(X).__name__}"
            raise InputError(f"X is a {what} and no frame for Arrow: {error}") from error
        return _with_rows(arrow_to_frame(table)), True
    if issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert "
            "to a dense numpy array."
        )
    rows = to_host(X) if is_array(X) and not isinstance(X, np.ndarray) else np.asarray(X)
    if rows.dtype.kind in "SU" and not isinstance(X, np.ndarray):  # numbers among text stay numbers
        rows = np.asarray(X, object)
    if rows.ndim != 2:
        raise InputError(
            f"Expected 2D array, got {rows.ndim}D array instead. Reshape your data either using "
            "reshape(-1, 1) if it has a single feature or reshape(1, -1) if it is one sample."
        )
    frame = pandas.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
    return _with_rows(frame.infer_objects() if rows.dtype == object else frame), False


def take_columns(
    frame: pd.DataFrame, names: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Put the columns of a frame into the order of `names`, of which some may be missing.

    Raises
    ------
    InputError
        A column is missing, or is none of them; names it.
    """
    unknown = [name for name in frame.columns if name not in names]
    missing = [name for name in names if name not in frame.columns and name not in optional]
    if unknown or missing:
        lines = ["The feature names should match those that were passed during fit."]
        if unknown:
            lines.append(f"Feature names unseen at fit time: {listed(unknown)}.")
        if missing:
            lines.append(f"Feature names seen at fit time, yet now missing: {listed(missing)}.")
        raise InputError(" ".join(lines))
    return frame[[name for name in names if name in frame.columns]]


def _check_names(names: Sequence[str]) -> None:
    name = repeated(names)
    if name is not None:
        raise InputError(f"X has two columns {name!r}; expected different names")


def _with_rows(frame: pd.DataFrame) -> pd.DataFrame:
    if not len(frame.columns):
        raise InputError(
            f"Found array with 0 feature(s) (shape={frame.shape}) while a minimum of 1 is required."
        )
    return frame


def to_series(y: Any, name: str = "y") -> pd.Series:
    """Make a pandas series of what a caller gave as labels, values or weights.

    Parameters
    ----------
    y : pandas, polars or pyarrow series, one-column frame, or array_like, shape (n,) or (n, 1)
        Of any dtype.
    name : str, default 'y'
        The argument, for errors.

    Returns
    -------
    pandas.Series
        With a plain index; its name is that of the column, or None.

    Raises
    ------
    InputError
        It has not one value for each row.

    Warns
    -----
    DataConversionWarning
        It has two axes.
    """
    pandas = import_optional("pandas")
    if isinstance(y, str):
        raise InputError(
            f"{name} is {y!r}; expected values: the name of a column goes with a TableFile as X"
        )
    if isinstance(y, pandas.Series):
        return y.reset_index(drop=True)
    if isinstance(y, pandas.Index):
        return y.to_series(index=pandas.RangeIndex(len(y)))
    if isinstance(y, pandas.api.extensions.ExtensionArray):
        return pandas.Series(y)
    arrow = hasattr(y, "__arrow_c_stream__") or hasattr(y, "__arrow_c_array__")
    if isinstance(y, pandas.DataFrame) or arrow:
        return _from_frame(y, name)
    values = to_host(y) if is_array(y) and not isinstance(y, np.ndarray) else y
    if not isinstance(values, np.ndarray):
        values = list(values) if np.iterable(values) and not isinstance(values, str) else values
        if isinstance(values, list) and not any(np.iterable(v) and not isinstance(v, str)
                                                for v in values):  # fmt: skip
            return pandas.Series(values, dtype=None if values else float)
        values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        _warn_column(name)
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(
            f"{name} should be a 1d array, got an array of shape {values.shape} instead."
        )
    return pandas.Series(values)


def _from_frame(y: Any, name: str) -> pd.Series:
    """Take the only column of a frame, or a series of polars or Arrow."""
    pandas, pa = import_optional("pandas"), import_optional("pyarrow")
    if isinstance(y, pandas.DataFrame):
        frame = y
    elif isinstance(y, pa.Table | pa.RecordBatch) or hasattr(y, "columns"):
        frame = arrow_to_frame(pa.table(y))
    else:
        own = getattr(y, "name", None)
        column = pa.chunked_array(y if hasattr(y, "__arrow_c_stream__") else [pa.array(y)])
        return to_pandas(column).rename(own or None)
    if frame.shape[1] != 1:
        raise InputError(
            f"{name} should be a 1d array, got an array of shape {frame.shape} instead."
        )
    _warn_column(name)
    return frame.iloc[:, 0].reset_index(drop=True)


def _warn_column(name: str) -> None:
    from sklearn.exceptions import DataConversionWarning

    from xpnn.training.warn import warn_caller

    warn_caller(
        f"A column-vector {name} was passed when a 1d array was expected. Please change the shape "
        f"of {name} to (n_samples,), for example using ravel().",
        DataConversionWarning,
    )
