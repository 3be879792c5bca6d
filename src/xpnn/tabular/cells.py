"""The cells of a column: as keys that meet however they came, as numbers, as words."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.optional import import_optional
from xpnn.tabular.text_types import ISO, TextType, convert_text

if TYPE_CHECKING:
    import pandas as pd

_WHOLE_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.0+")
_WORD = re.compile(r"\d+(?:[.,:/-]\d+)+|\w+")  # a number or date is one word
_TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
_DAY = 86400
_BEGIN = datetime.datetime.min
NO_SECONDS = int(np.iinfo(np.int64).min)
"""A date that is missing, as NumPy writes NaT."""


def key_of(value: Any) -> str:
    """Write a value as text, the same whatever type it came in.

    Text is itself with composed letters, but an integer that was written with ``.0`` is that
    integer. 1, 1.0 and "1" are "1"; True and "True" are "True".
    """
    if isinstance(value, str):
        text = value if value.isascii() else unicodedata.normalize("NFC", value)
        return text.partition(".")[0] if _WHOLE_FLOAT.fullmatch(text) else text
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value).removesuffix("T00:00:00")
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, Decimal):
        text = format(value or Decimal(0), "f")  # -0 is 0
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, Number) and not isinstance(value, complex):
        number: Any = float(value)  # type: ignore[arg-type]
        if number.is_integer() and value == number:
            return str(int(number))
        return str(number if isinstance(value, np.float64) else value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).removesuffix("T00:00:00")
    return str(value)


def keys_of(column: pd.Series) -> tuple[Any, list[str]]:
    """Number the different values of a column: codes (int64, -1 for missing), and their keys.

    An InputError names the column where its cells are lists or the like.
    """
    pandas = import_optional("pandas")
    if len(_types_of(column)) > 1:  # True and 1 are equal, and no one value
        column = column.map(lambda v: str(v) if isinstance(v, bool | np.bool_) else v)
    try:
        codes, values = pandas.factorize(column)
        values = values.array  # an Index makes float64 of float32
    except (TypeError, NotImplementedError):  # of cells that cannot be hashed; Arrow's lists
        codes, values = (), [next((cell for cell in column if not _is_value(cell)), [])]
    places: dict[str, int] = {}
    numbers = []
    for value in values:
        if not _is_value(value):
            raise InputError(
                f"{_where(column)} holds a {type(value).__name__} in a cell: argument must be a "
                "string or a number"
            )
        numbers.append(places.setdefault(key_of(value), len(places)))
    return np.asarray([*numbers, -1], np.int64)[codes], list(places)


def _is_value(cell: Any) -> bool:
    try:
        hash(cell)
    except TypeError:
        return False
    return not isinstance(cell, bytes)


def _types_of(column: pd.Series) -> list[Any]:
    """Rows of the cells of each Python type in a column of objects; missing ones are of none.

    Nothing where all cells are there and of one type.
    """
    pandas = import_optional("pandas")
    if column.dtype != object or "mixed" not in pandas.api.types.infer_dtype(column, skipna=True):
        return []
    types = column.map(type)[column.notna()].reset_index(drop=True)
    if types.nunique() < 2 and len(types) == len(column):
        return []
    places = np.flatnonzero(column.notna().to_numpy())
    return [places[rows] for rows in types.groupby(types.map(id)).indices.values()]


def _where(column: pd.Series) -> str:
    return "y" if column.name is None else f"column {column.name!r}"


def words_of(key: str) -> set[str]:
    """The different words of a text, in small letters."""
    return set(_WORD.findall(key.casefold()))


# What a column is by its dtype


def family_of(column: pd.Series) -> str:
    """Tell what cells a column has.

    'integer', 'number', 'boolean', 'datetime', 'duration' or 'text'; '' where all are missing and
    the dtype does not say. Text is all that has values and no order: categories, intervals and
    mixtures too.
    """
    pandas = import_optional("pandas")
    types, dtype = pandas.api.types, column.dtype
    if isinstance(dtype, pandas.CategoricalDtype | pandas.IntervalDtype):
        return "text"
    tests: tuple[tuple[Callable[[Any], bool], str], ...] = (
        (types.is_bool_dtype, "boolean"),
        (types.is_integer_dtype, "integer"),
        (types.is_float_dtype, "number"),
        (types.is_datetime64_any_dtype, "datetime"),
        (types.is_timedelta64_dtype, "duration"),
    )
    for test, family in tests:
        if test(dtype):
            return family
    if isinstance(dtype, pandas.ArrowDtype):
        return _family_of_arrow(dtype.pyarrow_dtype)
    if types.is_complex_dtype(dtype):
        raise InputError(f"Complex data not supported: {_where(column)}")
    if not types.is_object_dtype(dtype):
        return "text"
    found = types.infer_dtype(column, skipna=True)
    if found == "complex":
        raise InputError(f"Complex data not supported: {_where(column)}")
    return {
        "boolean": "boolean", "integer": "integer", "floating": "number", "decimal": "number",
        "mixed-integer-float": "number", "date": "datetime", "datetime": "datetime",
        "datetime64": "datetime", "timedelta": "duration", "timedelta64": "duration",
        "time": "duration", "empty": "",
    }.get(found, "text")  # fmt: skip


def _family_of_arrow(dtype: Any) -> str:
    types = import_optional("pyarrow").types
    if types.is_decimal(dtype):
        return "number"
    if types.is_date(dtype) or types.is_timestamp(dtype):
        return "datetime"
    return "duration" if types.is_duration(dtype) or types.is_time(dtype) else "text"


# Numbers


def seconds_of(column: pd.Series, text_type: TextType | None) -> tuple[Any, Any]:
    """Read dates as seconds since 1970 in UTC, int64, `NO_SECONDS` where missing.

    Second, which cells are no dates.
    """
    pandas = import_optional("pandas")
    family, unread = family_of(column), np.zeros(len(column), bool)
    kinds = _types_of(column) if family == "text" else []
    if kinds:
        seconds = np.full(len(column), NO_SECONDS)
        for rows in kinds:
            seconds[rows], unread[rows] = seconds_of(column.iloc[rows], text_type)
        return seconds, unread
    if family == "text":
        column, unread = convert_text(_plain_text(column), text_type or TextType("datetime", ISO))
    elif family not in ("datetime", ""):
        unread = column.notna().to_numpy()
        return np.full(len(column), NO_SECONDS), unread
    if not isinstance(column.dtype, np.dtype) or column.dtype == object:
        dates = _of_arrow(column) if isinstance(column.dtype, pandas.ArrowDtype) else column
        if not pandas.api.types.is_datetime64_any_dtype(dates.dtype):
            dates = pandas.to_datetime(dates, utc=True, errors="coerce")
        unread |= dates.isna().to_numpy() & column.notna().to_numpy()
        column = dates.dt.tz_convert(None) if dates.dt.tz is not None else dates
    return column.to_numpy().astype("datetime64[s]").astype(np.int64), unread


def _of_arrow(column: pd.Series) -> pd.Series:
    """Arrow's dates and times in NumPy's seconds, which hold any year."""
    pandas, pa = import_optional("pandas"), import_optional("pyarrow")
    if pa.types.is_date(column.dtype.pyarrow_dtype):
        column = column.astype(pandas.ArrowDtype(pa.timestamp("s")))
    zone = getattr(column.dtype.pyarrow_dtype, "tz", None)
    return column.astype("datetime64[s, UTC]" if zone else "datetime64[s]")


def date_parts(seconds: Any, hours: bool) -> Any:
    """Turn seconds since 1970 into numbers, float64 of shape (n, 4 or 5), NaN where missing.

    Year, month, weekday (Monday is 0) and days since 1970, and the hour with its fraction if
    `hours`. Any year that int64 holds.
    """
    missing = seconds == NO_SECONDS
    seconds = np.where(missing, 0, seconds)
    days, rest = np.divmod(seconds, _DAY)
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    parts = [months // 12 + 1970, months % 12 + 1, (days + 3) % 7, seconds / _DAY]
    table = np.column_stack([*parts, rest / 3600] if hours else parts).astype(np.float64)
    table[missing] = np.nan
    return table


def numbers_of(column: pd.Series, kind: str, text_type: TextType | None) -> tuple[Any, Any]:
    """Read cells as float64, NaN where missing; second, which cells cannot be read.

    `kind` is 'numeric', 'boolean' or 'duration' (in seconds).
    """
    pandas = import_optional("pandas")
    family, unread = family_of(column), np.zeros(len(column), bool)
    kinds = _types_of(column) if family == "text" else []
    if kinds:  # what a cell is does not depend on the others
        numbers = np.full(len(column), np.nan)
        for rows in kinds:
            numbers[rows], unread[rows] = numbers_of(column.iloc[rows], kind, text_type)
        return numbers, unread
    if kind == "boolean" and family == "text":
        codes, keys = keys_of(column)
        known = np.asarray([*(_TRUTH.get(key.strip().lower(), np.nan) for key in keys), np.nan])
        return known[codes], (codes >= 0) & np.isnan(known[codes])
    if family == "text":
        usual = TextType("time", "%H:%M:%S") if kind == "duration" else TextType("number")
        column, unread = convert_text(_plain_text(column), text_type or usual)
        family = family_of(column)
    if family == "duration" and kind == "duration":
        if column.dtype == object or isinstance(column.dtype, pandas.ArrowDtype):
            column = pandas.to_timedelta(
                column.astype(object).map(_since_midnight), errors="coerce"
            )
        return column.dt.total_seconds().to_numpy(np.float64, na_value=np.nan), unread
    if family in ("datetime", "duration"):
        return np.full(len(column), np.nan), column.notna().to_numpy()
    if column.dtype == object or isinstance(column.dtype, pandas.ArrowDtype):
        column = pandas.Series([_number(cell) for cell in column.astype(object)], dtype=float)
    values = column.to_numpy(np.float64, na_value=np.nan)
    if kind == "boolean":
        odd = ~np.isnan(values) & (values != 0) & (values != 1)
        return np.where(odd, np.nan, values), unread | odd
    return values, unread


def _number(cell: Any) -> float:
    """A number as a float; NaN where it is missing, infinity where it is beyond all floats."""
    try:
        return float(cell)
    except OverflowError:
        return np.inf if cell > 0 else -np.inf
    except TypeError:  # None and NA
        return np.nan


def _since_midnight(cell: Any) -> Any:
    """A time of day as the duration since midnight, anything else as it is."""
    if not isinstance(cell, datetime.time):
        return cell
    return datetime.datetime.combine(datetime.date.min, cell.replace(tzinfo=None)) - _BEGIN


def _plain_text(column: pd.Series) -> pd.Series:
    """Cells as text of their keys, where they are not text already."""
    pandas = import_optional("pandas")
    if isinstance(column.dtype, pandas.StringDtype):
        return column
    codes, keys = keys_of(column)
    return pandas.Series(np.asarray([*keys, None], object)[codes], dtype="str", name=column.name)
