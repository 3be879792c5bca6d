"""From raw tables to numbers: learned with scikit-learn, kept as plain values.

scikit-learn's transformers learn what a missing number becomes, how numbers are scaled and
which categories count. What they learned is read out of them and applied here: so it goes
into a file as it is, and comes back bit for bit under any version of scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import numpy as np

from xpnn.backends import InputError
from xpnn.data.cells import FORMS, booleans_of, date_parts, dates_of, numbers_of, to_codes
from xpnn.data.columns import KINDS, PIXEL_MOST, Column, describe, learn_columns, listed, repeated
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
MOST_CATEGORIES = 100
_CELLS = 1 << 20  # numbers in float64 that are held at once
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ColumnCode:
    """A column and how its cells turn into numbers.

    `fill`, `mean` and `scale` have a value for each of the column's numbers: what stands for a
    missing one, what is taken off, and what is divided by. `flag` is whether a feature says where
    the column had nothing. `categories` are values with a feature each, sorted; an empty text is
    the missing value. `rare` is whether a feature stands for all other values.
    """

    column: Column
    fill: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    flag: bool = False
    categories: tuple[str, ...] = ()
    rare: bool = False

    def to_config(self) -> dict[str, Any]:
        """All of it as plain values, without what is empty."""
        given = vars(self.column) | {k: v for k, v in vars(self).items() if k != "column"}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        return {k: v for k, v in plain.items() if v or k in ("name", "kind")}


def scaling(codes: Sequence[ColumnCode]) -> tuple[list[float], list[float], list[float], list[int]]:
    """Fills, means and scales of all numbers, and where those begin whose missing ones count."""
    fill, mean, scale = (
        list(chain.from_iterable(getattr(code, name) for code in codes))
        for name in ("fill", "mean", "scale")
    )
    starts = accumulate((len(code.fill) for code in codes), initial=0)
    return fill, mean, scale, [at for at, code in zip(starts, codes, strict=False) if code.flag]


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
        self._has_warned = False

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
        self.codes = tuple(_learn(frame, column) for column in columns)
        self._has_warned = False
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
        if extra and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"columns that the model has not learned are ignored: {listed(extra)}", stacklevel=4
            )

    def _fill(self, frame: pd.DataFrame, out: Any) -> None:
        """Write the numbers of some rows."""
        codes = self._numeric
        table = _numbers(frame, [code.column for code in codes])
        fill, mean, scale, flagged = scaling(codes)
        missing = np.isnan(table)
        np.copyto(table, np.broadcast_to(fill, table.shape), where=missing)
        with np.errstate(over="ignore"):
            table -= mean
            table /= scale
        at = table.shape[1]
        out[:, :at] = np.clip(table, -_LARGEST, _LARGEST, out=table)
        out[:, at : at + len(flagged)] = missing[:, flagged]
        at += len(flagged)
        for code in self._categorical:
            at = _one_hot(code, frame[code.column.name], out, at)

    @property
    def _numeric(self) -> list[ColumnCode]:
        return [code for code in self.codes if code.column.parts]

    @property
    def _categorical(self) -> list[ColumnCode]:
        return [code for code in self.codes if code.column.kind == "category"]

    @property
    def feature_names(self) -> list[str]:
        """Names of the numbers: of all numbers, of what says missing, and of categories."""
        names = [
            f"{code.column.name} {part}".rstrip()
            for code in self._numeric
            for part in code.column.parts
        ]
        names += [f"{code.column.name} missing" for code in self._numeric if code.flag]
        for code in self._categorical:
            name = code.column.name
            names += [f"{name}={text}" if text else f"{name} missing" for text in code.categories]
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
        made.codes = _codes_from_config(config)
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
    _check_names(names)
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


def _learn(frame: pd.DataFrame, column: Column) -> ColumnCode:
    """Learn the fills and scales of a column, or its categories."""
    if column.kind == "image":
        return ColumnCode(column, (0.0,), (0.0,), (float(PIXEL_MOST),))
    if column.parts:
        return _learn_scaling(column, _numbers(frame, [column]))
    if column.kind == "category":
        return _learn_categories(column, frame[column.name])
    return ColumnCode(column)


def _learn_scaling(column: Column, table: Any) -> ColumnCode:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    with np.errstate(over="ignore", invalid="ignore"):
        imputer = SimpleImputer(strategy="median").fit(table)
        scaler = StandardScaler().fit(imputer.transform(table))
    if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.scale_).all()):
        raise InputError(f"column {column.name!r} holds numbers that are too large to be scaled")
    flag = bool(np.isnan(table[:, 0]).any())
    fill, mean, scale = (
        tuple(map(float, values)) for values in (imputer.statistics_, scaler.mean_, scaler.scale_)
    )
    return ColumnCode(column, fill, mean, scale, flag)


def _learn_categories(column: Column, series: pd.Series) -> ColumnCode:
    from sklearn.preprocessing import OneHotEncoder

    codes, texts = to_codes(series)
    values = np.asarray([*texts, ""], object)[codes][:, None]
    least = max(2, min(20, len(values) // 1000))
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=least, max_categories=MOST_CATEGORIES
    ).fit(values)
    (rare,) = encoder.infrequent_categories_
    names = set(encoder.categories_[0].tolist()) - set([] if rare is None else rare.tolist())
    column = replace(column, missing=int((codes < 0).sum()), distinct=len(texts))
    return ColumnCode(column, categories=tuple(sorted(names)), rare=rare is not None)


def _one_hot(code: ColumnCode, series: pd.Series, out: Any, at: int) -> int:
    """Write a category's features from a place on; return the place after them."""
    codes, texts = to_codes(series)
    places = {value: i for i, value in enumerate(code.categories)}
    other = len(places) if code.rare else -1
    found = np.asarray([places.get(text, other) for text in [*texts, ""]])[codes]
    for i in range(len(places) + code.rare):
        out[:, at + i] = found == i
    return at + len(places) + code.rare


# What comes out of a file


_FIELDS = get_type_hints(Column) | get_type_hints(ColumnCode)  # their types
del _FIELDS["column"]


def _value(where: str, name: str, value: Any) -> Any:
    """One field of a column, held against its type."""
    hint = _FIELDS.get(name)
    if hint is None:
        raise InputError(f"{where} has the field {name!r}; expected {', '.join(_FIELDS)}")
    if get_origin(hint) is not tuple:
        return _plain(f"{where}: {name}", value, hint)
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: {name} is {value!r}; expected a list")
    return tuple(_plain(f"{where}: {name}", entry, get_args(hint)[0]) for entry in value)


def _plain(what: str, value: Any, kind: type) -> Any:
    allowed: Any = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{what} is {value!r}; expected a {kind.__name__}")
    if kind is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; expected a finite number")
    return number


def _code_from_config(config: Any, place: int) -> ColumnCode:
    """Make the code of the column of this number from what `ColumnCode.to_config` gave."""
    where = f"preprocessing, column {place}"
    if not isinstance(config, Mapping) or not {"name", "kind"} <= set(config):
        raise InputError(f"{where} is {str(config)[:80]}; expected its name and kind")
    given = {name: _value(where, str(name), value) for name, value in config.items()}
    where = f"preprocessing, column {given['name']!r}"
    own = {name: given.pop(name) for name in list(given) if name in Column.__annotations__}
    column = Column(**own)
    code = ColumnCode(column, **given)
    if column.kind not in KINDS:
        raise InputError(f"{where}: kind is {column.kind!r}; expected one of {', '.join(KINDS)}")
    if column.kind == "date" and column.form not in FORMS:
        raise InputError(f"{where}: form is {column.form!r}; expected one of {', '.join(FORMS)}")
    for name in ("missing", "distinct"):
        if getattr(column, name) < 0:
            raise InputError(f"{where}: {name} is {getattr(column, name)}; expected 0 or more")
    _check_numbers(where, code)
    _check_categories(where, code)
    return code


def _check_numbers(where: str, code: ColumnCode) -> None:
    parts = len(code.column.parts)
    for name in ("fill", "mean", "scale"):
        if len(getattr(code, name)) != parts:
            raise InputError(
                f"{where}: {name} has {len(getattr(code, name))} numbers; expected {parts} for a "
                f"column of the kind {code.column.kind!r}"
            )
    if not all(s > 0 for s in code.scale):
        raise InputError(f"{where}: scale is {list(code.scale)}; expected numbers above 0")
    if code.flag and not parts:
        raise InputError(f"{where}: flag is True, but it has no numbers")


def _check_categories(where: str, code: ColumnCode) -> None:
    names, kind = code.categories, code.column.kind
    if kind != "category":
        if names or code.rare:
            raise InputError(f"{where}: a column of the kind {kind!r} has categories")
        return
    if not names and not code.rare:
        raise InputError(f"{where}: a category without categories")
    if list(names) != sorted(set(names)):
        raise InputError(f"{where}: its categories are not sorted, or one is there twice")


def _codes_from_config(config: Any) -> tuple[ColumnCode, ...]:
    """Read the codes of all columns: ``{"format": 1, "columns": [...]}``."""
    if not isinstance(config, Mapping) or set(config) != {"format", "columns"}:
        raise InputError(f"preprocessing is {str(config)[:80]}; expected a format and columns")
    form = config["format"]
    if isinstance(form, bool) or not isinstance(form, int) or form < 1:
        raise InputError(f"preprocessing has the format {form!r}; expected {FORMAT}")
    if form > FORMAT:
        raise InputError(
            f"preprocessing has the format {form}; this xpnn reads up to {FORMAT}: install a newer "
            "one"
        )
    if not isinstance(config["columns"], list | tuple):
        raise InputError("preprocessing has columns that are no list")
    codes = tuple(_code_from_config(c, i) for i, c in enumerate(config["columns"], start=1))
    _check_names([code.column.name for code in codes])
    if not any(code.column.kind != "ignored" for code in codes):
        raise InputError("preprocessing leaves all columns out")
    return codes


def _check_names(names: Sequence[str]) -> None:
    name = repeated(names)
    if name is not None:
        raise InputError(f"there are two columns {name!r}; expected different names")
