"""Dates in a column: which way they are written, and the numbers they turn into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.data.cells import CellError, arrow_text, is_text
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

ISO = "ISO8601"
# pandas' format of each way, and what it looks like; where two fit, the first is taken.
_DAY = {
    "%Y/%m/%d": ("year/month/day", r"[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}"),
    "%d.%m.%Y": ("day.month.year", r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}"),
    "%m/%d/%Y": ("month/day/year", r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "%d/%m/%Y": ("day/month/year", r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "%d-%m-%Y": ("day-month-year", r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}"),
}
_TIME = {
    "": "",
    " %H:%M": " [0-9]{1,2}:[0-9]{2}",
    " %H:%M:%S": " [0-9]{1,2}:[0-9]{2}:[0-9]{2}",
}
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
    """Find the way in which all cells are written.

    Parameters
    ----------
    cells : pyarrow array of string
        Cleaned text, without nulls.

    Returns
    -------
    str or None
        A key of `FORMS`; None where they are not all dates.
    """
    pc = import_optional("pyarrow.compute")
    for form, (_, shape) in FORMS.items():
        if not pc.all(pc.match_substring_regex(cells, shape)).as_py():
            continue
        if _parse(cells, form).notna().all():
            return form
    return None


def dates_of(series: pd.Series, form: str) -> pd.Series:
    """Read a column of dates.

    Parameters
    ----------
    series : pandas.Series
        Raw cells: dates, or text.
    form : str
        How text is written; a key of `FORMS`.

    Returns
    -------
    pandas.Series of datetime64
        In UTC, without a zone; NaT where there is nothing.

    Raises
    ------
    CellError
        A cell holds something else.
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
    """Turn dates into numbers.

    Parameters
    ----------
    dates : pandas.Series of datetime64
        NaT where there is nothing.
    hours : bool
        Whether the hour is one of them.

    Returns
    -------
    numpy.ndarray of float64, shape (n, 4 or 5)
        Year, month, weekday (Monday is 0), days since 1970 with their fraction, and the
        hour with its fraction.
    """
    pandas = import_optional("pandas")
    days = (dates - pandas.Timestamp(0)) / pandas.Timedelta(days=1)
    parts = [dates.dt.year, dates.dt.month, dates.dt.day_of_week, days]
    if hours:
        parts.append((days - np.floor(days)) * 24)
    return np.column_stack([part.to_numpy(np.float64, na_value=np.nan) for part in parts])
