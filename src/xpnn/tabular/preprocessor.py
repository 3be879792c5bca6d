"""`TabularPreprocessor`: raw columns in, numbers for a network out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import InputError
from xpnn.tabular.cells import date_parts, keys_of, numbers_of, seconds_of, words_of
from xpnn.tabular.columns import Column, ColumnStatistics, check_types
from xpnn.tabular.frames import take_columns, to_frame
from xpnn.tabular.names import listed
from xpnn.tabular.text_types import TextType
from xpnn.training.warn import warn_caller

if TYPE_CHECKING:
    import pandas as pd

_CELLS = 1 << 20  # numbers in float64 that are held at once
LARGEST = 1e100  # what infinity becomes before it is squared
CLIP = 3.0
# What makes something of a column that is ignored for a reason.
_KEPT_BY = {
    "a running row number": "numeric", "names of rows": "numeric", "every value is unique": "text",
}  # fmt: skip
Counts = dict[str, dict[str, int]]


class TabularPreprocessor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn the raw columns of a frame into float32 numbers.

    What a column is follows its dtype: numbers are numeric, dates and times datetime, lengths of
    time durations, text and categories categorical, or text where there are many values of
    several words. A column that cannot help (constant, all missing, every value unique and no
    number, date or text of more than five words, a running row number) is ignored, with one
    warning.

    - numeric: scaled by median and quartiles and softly clipped at 3, as in RealMLP
      (Holzmueller et al., NeurIPS 2024): ``z / sqrt(1 + (z / 3)^2)``. Outliers and infinities
      stay below 3.
    - boolean: 0 and 1.
    - datetime: year, month, weekday, days since 1970 and, where there are times of day, the
      hour, each a number; in UTC.
    - duration: seconds, a number.
    - categorical: a feature for each of the 100 most frequent values that come in at least 2
      rows (one in a thousand, up to 20), and one for all others, known or not.
    - text: a feature for each of the 100 most frequent words.

    A missing number is the median; a feature says where something was missing, if something was
    in the rows of `fit`. In a frame only real nulls are missing. 1, 1.0 and "1" are one value,
    and so are True and "True".

    Parameters
    ----------
    column_types : mapping of str to str, optional
        What some columns are, where their dtype does not say it: ``{"zip": "categorical"}``;
        'numeric', 'boolean', 'categorical', 'text', 'datetime', 'duration' or 'ignored'. A column
        named here is ignored only where nothing can be learned of it, with a warning.

    Attributes
    ----------
    columns_ : list of Column
        What each column is, and what was learned of it.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : numpy.ndarray of str
        Their names, where `X` had names.

    Examples
    --------
    >>> import pandas as pd
    >>> from xpnn.tabular import TabularPreprocessor
    >>> frame = pd.DataFrame({"size": [1.0, 2.0, None], "kind": ["a", "b", "a"]})
    >>> TabularPreprocessor().fit(frame).get_feature_names_out().tolist()
    ['size', 'size missing', 'kind=a', 'kind=other']
    """

    def __init__(self, column_types: Mapping[str, str] | None = None) -> None:
        self.column_types = column_types

    # Learning

    def fit(self, X: Any, y: Any = None) -> TabularPreprocessor:
        """Learn what the columns are.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Rows.
        y : None
            Not used.

        Returns
        -------
        TabularPreprocessor

        Raises
        ------
        ValueError
            There is no row, no column that can be learned from, or `column_types` does not fit.

        Warns
        -----
        UserWarning
            Columns are ignored; names them, with the reasons.
        """
        frame, has_names = to_frame(X)
        return self.fit_chunks([frame], has_names=has_names)

    def fit_chunks(
        self,
        chunks: Iterable[pd.DataFrame],
        *,
        has_names: bool = True,
        text_types: Mapping[str, TextType] | None = None,
    ) -> TabularPreprocessor:
        """Learn what the columns are from rows that come in parts, in one pass.

        Parameters
        ----------
        chunks : iterable of pandas.DataFrame
            The rows; all have the same columns.
        has_names : bool, default True
            Whether the names of the columns are the user's.
        text_types : mapping of str to TextType, optional
            How text was read, for columns from a text file.

        Returns
        -------
        TabularPreprocessor
        """
        found: dict[str, ColumnStatistics] = {}
        if not isinstance(self.column_types, Mapping | None):
            raise InputError(
                f"column_types is a {type(self.column_types).__name__}; expected a mapping of "
                "names of columns to what they are"
            )
        asked = {str(name): kind for name, kind in (self.column_types or {}).items()}
        types = text_types or {}
        rows = 0
        for frame in chunks:
            if not found:
                check_types(asked, frame.columns)
                found = {n: ColumnStatistics(n, asked.get(n), types.get(n)) for n in frame.columns}
            rows += len(frame)
            for i, name in enumerate(frame.columns):
                found[name].update(frame.iloc[:, i])
        if rows and not found:
            raise InputError("Found array with 0 feature(s) while a minimum of 1 is required.")
        if not rows:
            raise InputError(
                f"Found array with 0 sample(s) (shape=(0, {len(found)})) while a minimum of 1 is "
                "required."
            )
        self.columns_ = [statistics.result() for statistics in found.values()]
        self.n_features_in_ = len(found)
        self.__dict__.pop("feature_names_in_", None)
        if has_names:
            self.feature_names_in_ = np.asarray(list(found), object)
        self._warn(found)
        return self

    def _warn(self, found: Mapping[str, ColumnStatistics]) -> None:
        """Say what is not learned from, or say that nothing is left."""
        asked = {name: statistics.asked for name, statistics in found.items()}
        ignored = [c for c in self.columns_ if c.kind == "ignored" != asked[c.name]]
        said = listed([f"{column.name!r} ({column.reason})" for column in ignored], 100)
        if all(column.kind == "ignored" for column in self.columns_):
            count = next(iter(found.values())).rows
            raise InputError(
                f"no column can be learned from (n_samples={count}): {said or 'all are ignored'}"
            )
        if ignored:
            kept = next((c for c in ignored if c.reason in _KEPT_BY and not asked[c.name]), None)
            advice = "" if kept is None else (
                f". To keep one, name its type: "
                f'column_types={{"{kept.name}": "{_KEPT_BY[kept.reason]}"}}'
            )  # fmt: skip
            warn_caller(f"ignored columns: {said}{advice}")
        for name, statistics in found.items():
            if statistics.unread:
                warn_caller(
                    f"column {name!r}: {statistics.unread:,} cells are not {statistics.kind} and "
                    f"count as missing, first {statistics.first_unread!r}"
                )

    # Use

    @property
    def used_columns(self) -> list[Column]:
        """The columns that are not ignored."""
        check_is_fitted(self, "columns_")
        return [column for column in self.columns_ if column.kind != "ignored"]

    def transform(self, X: Any) -> Any:
        """Turn rows into numbers.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Rows. Columns of a frame are found by name, in any order; ignored ones may be missing.

        Returns
        -------
        numpy.ndarray of float32, shape (n, features)

        Raises
        ------
        ValueError
            A column is missing, or is not one of those of `fit`; names it.

        Warns
        -----
        UserWarning
            Cells cannot be read as what their column is, such as words among numbers; they count
            as missing.
        """
        return self.encode(self.check(X))

    def check(self, X: Any) -> pd.DataFrame:
        """Make a frame of rows whose columns are those of `fit`, by name."""
        check_is_fitted(self, "columns_")
        frame, has_names = to_frame(X)
        own = [column.name for column in self.columns_]
        if not has_names or "feature_names_in_" not in vars(self):
            if frame.shape[1] != len(own):
                raise InputError(
                    f"X has {frame.shape[1]} features, but {type(self).__name__} is expecting "
                    f"{len(own)} features as input."
                )
            if not has_names and "feature_names_in_" in vars(self):
                warn_caller(
                    f"X does not have valid feature names, but {type(self).__name__} was fitted "
                    "with feature names"
                )
            return frame.set_axis(own, axis=1)
        ignored = [column.name for column in self.columns_ if column.kind == "ignored"]
        return take_columns(frame, own, ignored)

    def encode(self, frame: pd.DataFrame, counts: Counts | None = None) -> Any:
        """Turn checked rows into numbers; `counts` gets what is unusual about them."""
        width = len(self.get_feature_names_out())
        features = np.empty((len(frame), width), np.float32)
        step = max(1, _CELLS // max(1, width))
        unread: dict[str, tuple[int, Any]] = {}
        for start in range(0, len(frame), step):
            rows = slice(start, start + step)
            self._fill(frame.iloc[rows], features[rows], unread, counts)
        for name, (number, first) in unread.items():
            warn_caller(
                f"column {name!r}: {number:,} cells cannot be read as "
                f"{self._kind_of(name)} and count as missing, first {first!r}"
            )
        return features

    def _kind_of(self, name: str) -> str:
        return next(column.kind for column in self.columns_ if column.name == name)

    def _fill(
        self,
        frame: pd.DataFrame,
        out: Any,
        unread: dict[str, tuple[int, Any]],
        counts: Counts | None,
    ) -> None:
        """Write the numbers of some rows."""
        columns = [column for column in self.columns_ if column.parts]
        table = np.empty((len(frame), sum(len(column.parts) for column in columns)))
        at = 0
        for column in columns:
            cells = frame[column.name]
            part = table[:, at : at + len(column.parts)]
            if column.kind == "datetime":
                seconds, odd = seconds_of(cells, column.text_type)
                part[:] = date_parts(seconds, column.hours)
            else:
                part[:, 0], odd = numbers_of(cells, column.kind, column.text_type)
            if odd.any():
                before = unread.get(column.name)
                first = cells.iloc[int(np.argmax(odd))] if before is None else before[1]
                unread[column.name] = (int(odd.sum()) + (before[0] if before else 0), first)
            if counts is not None:
                _count_numbers(column, part[:, 0], odd, counts)
            at += len(column.parts)
        missing = np.isnan(table)
        out[:, :at] = scaled(table, missing, columns)
        flagged = flagged_of(columns)
        out[:, at : at + len(flagged)] = missing[:, flagged]
        at += len(flagged)
        for column in self.columns_:
            if column.kind in ("categorical", "text"):
                at = _indicate(column, frame[column.name], out, at, counts)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Names of the numbers.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        numpy.ndarray of str objects
        """
        check_is_fitted(self, "columns_")
        numeric = [column for column in self.columns_ if column.parts]
        names = [f"{c.name} {part}".rstrip() for c in numeric for part in c.parts]
        names += [f"{column.name} missing" for column in numeric if column.flag]
        for column in self.columns_:
            if column.kind in ("categorical", "text"):
                mark = "=" if column.kind == "categorical" else " has "
                names += [f"{column.name}{mark}{value}" for value in column.values]
                names += [f"{column.name}=other"] * column.other
                names += [f"{column.name} missing"] * column.flag
        return np.asarray(names, object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def rows_of(columns: Sequence[Column]) -> tuple[dict[str, Any], Any]:
    """Fill, center and scale of all numbers of some columns, and which are clipped softly."""
    names = ("fill", "center", "scale")
    rows = {name: np.concatenate([[], *(getattr(c, name) for c in columns)]) for name in names}
    soft = np.asarray([c.kind != "boolean" for c in columns for _ in c.parts], bool)
    return rows, soft


def flagged_of(columns: Sequence[Column]) -> list[int]:
    """Of all numbers of some columns, the first of each column that has a flag for missing."""
    firsts = [column.flag and not i for column in columns for i in range(len(column.parts))]
    return np.flatnonzero(firsts).tolist()


def scaled(table: Any, missing: Any, columns: Sequence[Column]) -> Any:
    """Fill missing numbers in, scale all, and clip softly all but booleans; in place."""
    rows, soft = rows_of(columns)
    np.copyto(table, np.broadcast_to(rows["fill"], table.shape), where=missing)
    with np.errstate(over="ignore"):
        table -= rows["center"]
        table /= rows["scale"]
    np.clip(table, -LARGEST, LARGEST, out=table)
    return np.where(soft, table / np.sqrt(1 + (table / CLIP) ** 2), table)


def _note(counts: Counts, name: str, **found: Any) -> None:
    for what, number in found.items():
        if number:
            own = counts.setdefault(name, {})
            own[what] = own.get(what, 0) + int(number)


def _count_numbers(column: Column, values: Any, odd: Any, counts: Counts) -> None:
    missing = np.isnan(values) & ~odd
    infinite = np.isinf(values)
    reach = column.high - column.low
    with np.errstate(invalid="ignore"):
        far = (values < column.low - reach) | (values > column.high + reach)
    _note(
        counts, column.name, unreadable=odd.sum(), infinite=infinite.sum(),
        newly_missing=0 if column.flag else missing.sum(), far_outside=(far & ~infinite).sum(),
    )  # fmt: skip


def _indicate(column: Column, cells: pd.Series, out: Any, at: int, counts: Counts | None) -> int:
    """Write the features of a category or text from a place on; return the place after them."""
    codes, keys = keys_of(cells)
    places = {value: i for i, value in enumerate(column.values)}
    count = len(places)
    if column.kind == "text":
        known = np.zeros((len(keys) + 1, count), np.float32)
        for row, key in enumerate(keys):
            known[row, [places[word] for word in words_of(key) if word in places]] = 1
        out[:, at : at + count] = known[codes]
    else:
        other = count if column.other else -1
        found = np.asarray([*(places.get(key, other) for key in keys), -1])[codes]
        for i in range(count + column.other):
            out[:, at + i] = found == i
        if counts is not None and len(column.rare) + count == column.distinct:
            learned = {*column.values, *column.rare}
            unknown = np.asarray([*(key not in learned for key in keys), False])
            _note(counts, column.name, unknown=unknown[codes].sum())
    at += count + column.other
    if column.flag:
        out[:, at] = codes < 0
    elif counts is not None:
        _note(counts, column.name, newly_missing=(codes < 0).sum())
    return at + column.flag
