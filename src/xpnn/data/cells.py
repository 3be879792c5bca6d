"""The cells of a raw column: as text, as numbers, as yes and no, as dates."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

# What stands for nothing, in text; without the spaces around it.
MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "Null", "null",
    "None", "none", "?",
)  # fmt: skip
YES = frozenset({"yes", "y", "true", "t", "on", "1"})
NO = frozenset({"no", "n", "false", "f", "off", "0"})

_NUMBER = r"^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|(?i:inf|infinity))$"
# A post code or an article's number: what 02134 stands for is not 2134.
_PADDED = r"^[+-]?0[0-9xX]"


def clean(cells: Any) -> Any:
    """Strip Arrow strings, and make null of what stands for nothing."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    cells = pc.utf8_trim_whitespace(cells)
    nothing = pc.is_in(cells, value_set=pa.array(MISSING, cells.type))
    return pc.if_else(nothing, pa.scalar(None, cells.type), cells)


def is_text(series: pd.Series) -> bool:
    """Whether all cells that hold something hold text."""
    types = import_optional("pandas.api.types")
    if isinstance(series.dtype, types.CategoricalDtype):
        return False
    if types.is_object_dtype(series.dtype):
        return all(isinstance(value, str) for value in series.dropna())
    return bool(types.is_string_dtype(series.dtype))


def arrow_text(series: pd.Series) -> Any:
    """Text cells as cleaned Arrow strings."""
    pa = import_optional("pyarrow")
    return clean(pa.array(series, pa.large_string(), from_pandas=True))


def is_padded(cells: Any) -> bool:
    """Whether a cell is a number with a zero before it, which only text keeps."""
    pc = import_optional("pyarrow.compute")
    return bool(pc.any(pc.match_substring_regex(cells, _PADDED)).as_py())


def to_numbers(cells: Any, kind: str = "float64") -> tuple[Any, Any]:
    """Read cleaned Arrow strings as numbers of an Arrow type.

    Null where there is nothing, or a word; second, the different words: cells that are no numbers.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    try:
        return pc.cast(cells, kind), pa.array([], cells.type)
    except pa.ArrowInvalid:
        fits = pc.match_substring_regex(cells, _NUMBER)
        words = pc.unique(pc.drop_null(pc.filter(cells, pc.invert(fits))))
        return pc.cast(pc.if_else(fits, cells, pa.scalar(None, cells.type)), kind), words


def _written(value: Any) -> str | None:
    """One value as text, the same whatever type a file kept it in; None for nothing."""
    if isinstance(value, str):
        text = value.strip()
        return None if text in MISSING else text
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Number) and not isinstance(value, complex):
        number = float(value)  # type: ignore[arg-type]
        if number != number:
            return None
        if isinstance(value, int | np.integer) or number.is_integer():
            return str(int(value))  # type: ignore[call-overload]
        return repr(number)
    return str(value)


def to_codes(series: pd.Series) -> tuple[Any, list[str]]:
    """Number the different values of a column: its codes (int64, -1 for nothing), and the values.

    These are text: 1, 1.0 and "1" are one value. Cells that are lists or the like raise TypeError.
    """
    codes, found = import_optional("pandas").factorize(series)
    places: dict[str, int] = {}
    numbers = []
    for value in found:
        text = _written(value)
        numbers.append(-1 if text is None else places.setdefault(text, len(places)))
    return np.asarray([*numbers, -1], np.int64)[codes], list(places)


class CellError(InputError):
    """A cell is not of its column's kind.

    `row` is its place in the table's index, `column` the name of its column, `problem` what was
    found and what was expected.
    """

    def __init__(self, series: pd.Series, place: int, expected: str) -> None:
        value = str(series.iloc[place])
        shown = value if len(value) <= 40 else f"{value[:37]}..."
        self.row, self.column = series.index[place], str(series.name)
        self.problem = f"found {shown!r}; expected {expected}"
        super().__init__(f"column {series.name!r}, row {self.row}: {self.problem}")


def numbers_of(series: pd.Series, words: Iterable[str] = ()) -> Any:
    """Read a column of numbers, or of text of numbers, as float64.

    NaN where there is nothing, one of `words`, or no finite number. Other cells raise `CellError`.
    """
    types = import_optional("pandas.api.types")
    if is_text(series):
        pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
        cells = arrow_text(series)
        numbers, found = to_numbers(cells)
        wrong = set(found.to_pylist()) - set(words)
        if wrong:
            strange = pc.is_in(cells, value_set=pa.array(sorted(wrong), cells.type))
            raise CellError(series, int(np.argmax(strange.to_numpy(False))), "a number")
        values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    elif isinstance(series.dtype, types.CategoricalDtype):
        return numbers_of(series.astype(object).infer_objects(), words)
    elif types.is_numeric_dtype(series.dtype) and not types.is_complex_dtype(series.dtype):
        values = series.to_numpy(np.float64, na_value=np.nan)
    else:
        values = _from_objects(series, frozenset(words))
    return np.where(np.isfinite(values), values, np.nan)


def _from_objects(series: pd.Series, words: frozenset[str]) -> Any:
    values = np.full(len(series), np.nan)
    nothing = series.isna().to_numpy()
    for place, value in enumerate(series):
        if nothing[place] or (isinstance(value, str) and value.strip() in words.union(MISSING)):
            continue
        try:
            if isinstance(value, complex):
                raise TypeError
            values[place] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise CellError(series, place, "a number") from None
    return values


def booleans_of(series: pd.Series) -> Any:
    """Read truth values, 0 and 1, and words of `YES` and `NO` as float64: NaN for all else."""
    codes, texts = to_codes(series)
    known = [1.0 if t.lower() in YES else 0.0 if t.lower() in NO else np.nan for t in texts]
    return np.asarray([*known, np.nan])[codes]


# Dates

ISO = "ISO8601"
# pandas' format of each way, and what it looks like; where two fit, the first is taken.
_DAY = {
    "%Y/%m/%d": ("year/month/day", r"[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}"),
    "%d.%m.%Y": ("day.month.year", r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}"),
    "%m/%d/%Y": ("month/day/year", r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "%d/%m/%Y": ("day/month/year", r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "%d-%m-%Y": ("day-month-year", r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}"),
}
_TIME = {"": "", " %H:%M": " [0-9]{1,2}:[0-9]{2}", " %H:%M:%S": " [0-9]{1,2}:[0-9]{2}:[0-9]{2}"}
_ISO = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
# Ways to write a date: name for people, regular expression.
FORMS: dict[str, tuple[str, str]] = {
    ISO: ("year-month-day", f"^{_ISO}$"),
    **{
        day + time: (name, f"^{shape}{clock}$")
        for day, (name, shape) in _DAY.items()
        for time, clock in _TIME.items()
    },
}
PARTS = ("year", "month", "weekday", "days since 1970")
HOUR = "hour"


def _parse(cells: Any, form: str) -> Any:
    """Dates as naive UTC; NaT where a cell is not written that way."""
    pandas, pc = import_optional("pandas"), import_optional("pyarrow.compute")
    fits = pc.match_substring_regex(cells, FORMS[form][1])
    texts = np.asarray(pc.if_else(fits, cells, None).to_numpy(zero_copy_only=False), object)
    dates = pandas.to_datetime(pandas.Series(texts), format=form, errors="coerce", utc=True)
    return dates.dt.tz_localize(None)


def date_form(cells: Any) -> str | None:
    """Find the form of `FORMS` in which all cells are written, Arrow strings without nulls.

    None where they are not all dates.
    """
    pc = import_optional("pyarrow.compute")
    for form, (_, shape) in FORMS.items():
        if not pc.all(pc.match_substring_regex(cells, shape)).as_py():
            continue
        if _parse(cells, form).notna().all():
            return form
    return None


def dates_of(series: pd.Series, form: str) -> pd.Series:
    """Read a column of dates, or of text in one of `FORMS`, as naive UTC.

    NaT where there is nothing; other cells raise `CellError`.
    """
    pandas = import_optional("pandas")
    if pandas.api.types.is_datetime64_any_dtype(series.dtype):
        dates = series.reset_index(drop=True)
        return dates.dt.tz_convert(None) if dates.dt.tz is not None else dates
    expected = f"a date, {FORMS[form][0]}"
    if is_text(series):
        cells = arrow_text(series)
        dates = _parse(cells, form)
        empty = np.asarray(cells.is_null())
    else:
        empty = series.isna().to_numpy()
        if pandas.api.types.is_numeric_dtype(series.dtype) and not empty.all():
            raise CellError(series, int(np.argmin(empty)), expected)
        plain = series.astype(object).reset_index(drop=True)
        dates = pandas.to_datetime(plain, errors="coerce", utc=True).dt.tz_localize(None)
    strange = dates.isna().to_numpy() & ~empty
    if strange.any():
        raise CellError(series, int(np.argmax(strange)), expected)
    return dates


def has_hours(dates: pd.Series) -> bool:
    """Whether the time of day is more than midnight everywhere."""
    known = dates.dropna()
    return bool((known != known.dt.normalize()).any())


def date_parts(dates: pd.Series, hours: bool) -> Any:
    """Turn dates into numbers, float64 of shape (n, 4 or 5), NaN where there is nothing.

    Year, month, weekday (Monday is 0), days since 1970 with their fraction, and the hour with its
    fraction if `hours`.
    """
    pandas = import_optional("pandas")
    days = (dates - pandas.Timestamp(0)) / pandas.Timedelta(days=1)
    parts = [dates.dt.year, dates.dt.month, dates.dt.day_of_week, days]
    if hours:
        parts.append((days - np.floor(days)) * 24)
    return np.column_stack([part.to_numpy(np.float64, na_value=np.nan) for part in parts])
