"""From raw tables to numbers: learned with scikit-learn, kept as plain values.

scikit-learn's transformers learn what a missing number becomes, how numbers are scaled and
which categories count. What they learned is read out of them and applied here: so it goes
into a file as it is, and comes back bit for bit under any version of scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.cells import booleans_of, numbers_of, to_codes
from xpnn.data.columns import PIXEL_MOST, Column, describe, learn_columns, listed
from xpnn.data.dates import date_parts, dates_of
from xpnn.data.optional import import_optional
from xpnn.estimators.table_code import FORMAT, ColumnCode, check_names, codes_from_config

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100
_CELLS = 1 << 20  # numbers in float64 that are held at once
_LARGEST = float(np.finfo(np.float32).max)


class TablePreprocessing:
    """Turn raw rows into float32 numbers, in the way that was learned from other rows.

    Numbers are scaled to mean 0 and deviation 1, missing ones become the median; a boolean is
    1 and 0; a date is year, month, weekday and days, each a number; a category has a
    feature for each of its values. Rare values (less than 2 rows, or one in a thousand up
    to 20) share a feature, which an unknown value also takes; where there is no such
    feature, an unknown value is none of the known ones. Features that say where something
    was missing come with the columns that had missing cells. Bytes of pictures are divided
    by 255.

    Parameters
    ----------
    kinds : mapping, optional
        What some columns are, where `learn_columns` would get it wrong.

    Attributes
    ----------
    codes : tuple of ColumnCode
        What was learned, in the order of the columns.
    feature_names : list of str
        Names of the numbers.
    """

    def __init__(self, kinds: Mapping[str, str] | None = None) -> None:
        self.kinds = dict(kinds or {})
        self.codes: tuple[ColumnCode, ...] = ()
        self._said_extra = False

    # Learning

    def fit(self, frame: pd.DataFrame) -> TablePreprocessing:
        """Learn from rows.

        Parameters
        ----------
        frame : pandas.DataFrame
            The rows to learn from, without the target.

        Returns
        -------
        TablePreprocessing

        Raises
        ------
        ValueError
            There is no row, or no column to learn from.
        """
        frame = _named(frame)
        if not len(frame):
            raise InputError("the table has no rows")
        columns = learn_columns(frame, self.kinds)
        if all(column.kind == "ignored" for column in columns):
            raise InputError(f"no column to learn from:\n{describe(columns)}")
        self.codes = _learn(frame, columns)
        self._said_extra = False
        return self

    @property
    def columns(self) -> list[Column]:
        """What each column is taken for."""
        return [code.column for code in self.codes]

    def describe(self, *, joined: bool = False) -> str:
        """Say what each column is taken for; see `xpnn.data.columns.describe`."""
        return describe(self.columns, joined=joined)

    # Use

    def transform(self, frame: pd.DataFrame) -> Any:
        """Turn rows into numbers.

        Parameters
        ----------
        frame : pandas.DataFrame
            Raw rows, in any order of columns. Text of numbers and dates is read.

        Returns
        -------
        numpy.ndarray of float32, shape (n, features)

        Raises
        ------
        ValueError
            Columns are missing, or a cell is not of its column's kind.

        Warns
        -----
        UserWarning
            There are columns that were never learned; said once.
        """
        frame = _named(frame)
        self._check_columns(list(frame.columns))
        features = np.empty((len(frame), len(self.feature_names)), np.float32)
        step = max(1, _CELLS // max(1, len(self.feature_names)))
        for start in range(0, len(frame), step):
            rows = slice(start, start + step)
            self._fill(frame.iloc[rows], features[rows])
        return features

    def _check_columns(self, given: Sequence[str]) -> None:
        if not self.codes:
            raise InputError("the preprocessing has learned nothing yet; call fit")
        used = [c.name for c in self.columns if c.kind != "ignored"]
        missing = sorted(set(used) - set(given), key=used.index)
        if missing:
            raise InputError(
                f"the table lacks the columns {listed(missing)}; it has {listed(given)}"
            )
        known = {c.name for c in self.columns}
        extra = [name for name in given if name not in known]
        if extra and not self._said_extra:
            self._said_extra = True
            warnings.warn(
                f"columns that the model has not learned are ignored: {listed(extra)}",
                stacklevel=4,
            )

    def _fill(self, frame: pd.DataFrame, out: Any) -> None:
        """Write the numbers of some rows."""
        codes = list(self._of_numbers())
        table = _numbers(frame, [code.column for code in codes])
        fill, mean, scale = (
            np.asarray([v for code in codes for v in getattr(code, name)])
            for name in ("fill", "mean", "scale")
        )
        missing = np.isnan(table)
        np.copyto(table, np.broadcast_to(fill, table.shape), where=missing)
        with np.errstate(over="ignore"):
            table -= mean
            table /= scale
        at = table.shape[1]
        out[:, :at] = np.clip(table, -_LARGEST, _LARGEST, out=table)
        starts = np.cumsum([0, *(len(code.fill) for code in codes)])
        flagged = [start for start, code in zip(starts[:-1], codes, strict=True) if code.flag]
        out[:, at : at + len(flagged)] = missing[:, flagged]
        at += len(flagged)
        for code in self._of_categories():
            at = _one_hot(code, frame[code.column.name], out, at)

    def _of_numbers(self) -> Iterator[ColumnCode]:
        return (code for code in self.codes if code.column.parts)

    def _of_categories(self) -> Iterator[ColumnCode]:
        return (code for code in self.codes if code.column.kind == "category")

    @property
    def feature_names(self) -> list[str]:
        """Names of the numbers: of all numbers, of what says missing, and of categories."""
        names = [
            f"{code.column.name} {part}".rstrip()
            for code in self._of_numbers()
            for part in code.column.parts
        ]
        names += [f"{code.column.name} missing" for code in self._of_numbers() if code.flag]
        for code in self._of_categories():
            name = code.column.name
            names += [
                f"{name}={value}" if value else f"{name} missing" for value in code.categories
            ]
            names += [f"{name} other"] * code.rare
        return names

    # As data

    def to_config(self) -> dict[str, Any]:
        """All that was learned, as plain values for JSON.

        Returns
        -------
        dict
            For `from_config`.
        """
        if not self.codes:
            raise InputError("the preprocessing has learned nothing yet; call fit")
        return {"format": FORMAT, "columns": [code.to_config() for code in self.codes]}

    @classmethod
    def from_config(cls, config: Any) -> TablePreprocessing:
        """Make a preprocessing that gives the same numbers, bit for bit.

        Parameters
        ----------
        config : dict
            What `to_config` gave.

        Returns
        -------
        TablePreprocessing

        Raises
        ------
        ValueError
            It is something else; the message says what is wrong.
        """
        made = cls()
        made.codes = codes_from_config(config)
        return made

    def __repr__(self) -> str:
        if not self.codes:
            return "TablePreprocessing(nothing learned)"
        return f"TablePreprocessing({len(self.codes)} columns, {len(self.feature_names)} features)"


def _named(frame: Any) -> pd.DataFrame:
    """Check that a table is one, with text as names."""
    pandas = import_optional("pandas")
    if not isinstance(frame, pandas.DataFrame):
        raise InputError(f"frame is a {type(frame).__name__}; expected a pandas.DataFrame")
    names = [str(name) for name in frame.columns]
    check_names(names)
    return frame if names == list(frame.columns) else frame.set_axis(names, axis=1)


def _numbers(frame: pd.DataFrame, columns: Sequence[Column]) -> Any:
    """Numbers of columns that have any, shape (n, parts of all), NaN where there is nothing."""
    table = np.empty((len(frame), sum(len(column.parts) for column in columns)))
    at, plain = 0, {}
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    for column in columns:
        dtype, part = dtypes[column.name], table[:, at : at + len(column.parts)]
        if column.kind == "date":
            part[:] = date_parts(dates_of(frame[column.name], column.form), column.hours)
        elif column.kind == "boolean":
            part[:, 0] = booleans_of(frame[column.name])
        elif isinstance(dtype, np.dtype) and dtype.kind in "biuf":
            plain[at] = column.name
        else:
            part[:, 0] = numbers_of(frame[column.name], column.words)
        at += len(column.parts)
    if plain:  # pictures have hundreds of them
        values = frame[list(plain.values())].to_numpy()
        places: Any = list(plain)
        if len(places) == table.shape[1]:
            places = slice(None)
        table[:, places] = values
        if values.dtype.kind == "f":
            table[np.isinf(table)] = np.nan
    return table


def _learn(frame: pd.DataFrame, columns: list[Column]) -> tuple[ColumnCode, ...]:
    """Learn fills, scales and categories."""
    codes = []
    for column in columns:
        if column.kind == "image":
            code = ColumnCode(column, (0.0,), (0.0,), (float(PIXEL_MOST),))
        elif column.parts:
            code = _learn_scaling(column, _numbers(frame, [column]))
        elif column.kind == "category":
            code = _learn_categories(column, frame[column.name])
        else:
            code = ColumnCode(column)
        codes.append(code)
    return tuple(codes)


def _learn_scaling(column: Column, table: Any) -> ColumnCode:
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with np.errstate(over="ignore", invalid="ignore"):
        learned = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(table)
    imputer, scaler = learned[0], learned[1]
    if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.scale_).all()):
        raise InputError(f"column {column.name!r} holds numbers that are too large to be scaled")
    flag = len(MissingIndicator().fit(table[:, :1]).features_) > 0
    fill, mean, scale = (
        tuple(map(float, values)) for values in (imputer.statistics_, scaler.mean_, scaler.scale_)
    )
    return ColumnCode(column, fill, mean, scale, flag)


def _learn_categories(column: Column, series: pd.Series) -> ColumnCode:
    from sklearn.preprocessing import OneHotEncoder

    numbers, texts = to_codes(series)
    values = np.asarray([*texts, ""], object)[numbers][:, None]
    least = max(2, min(20, len(values) // 1000))
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=least, max_categories=MOST_CATEGORIES
    ).fit(values)
    (rare,) = encoder.infrequent_categories_
    names = set(encoder.categories_[0].tolist()) - set([] if rare is None else rare.tolist())
    column = replace(column, missing=int((numbers < 0).sum()), distinct=len(texts))
    return ColumnCode(column, categories=tuple(sorted(names)), rare=rare is not None)


def _one_hot(code: ColumnCode, series: pd.Series, out: Any, at: int) -> int:
    """Write a category's features from a place on; return the place after them."""
    numbers, texts = to_codes(series)
    places = {value: i for i, value in enumerate(code.categories)}
    other = len(places) if code.rare else -1
    found = np.asarray([places.get(text, other) for text in [*texts, ""]])[numbers]
    for i in range(len(places) + code.rare):
        out[:, at + i] = found == i
    return at + len(places) + code.rare
