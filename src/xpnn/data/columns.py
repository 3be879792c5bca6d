"""What a raw column is taken for: decided once, from the rows that are learned from."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.cells import (
    FORMS,
    HOUR,
    ISO,
    NO,
    PARTS,
    YES,
    CellError,
    arrow_text,
    booleans_of,
    date_form,
    dates_of,
    has_hours,
    is_padded,
    is_text,
    numbers_of,
    to_codes,
    to_numbers,
)
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("numeric", "image", "boolean", "category", "date", "ignored")
PIXEL_MOST = 255

_FEW = 20  # different values that text may have without being looked at twice
_MOST_WORDS = 3  # different words among numbers that count as missing
_WORD_SHARE = 0.05
_ID_NAMES = ("id", "uuid", "guid", "index", "key", "rowid")


@dataclass(frozen=True)
class Column:
    """A column of a table, and what it is taken for.

    Parameters
    ----------
    name : str
        Its name.
    kind : str
        One of `KINDS`. A 'image' is a byte of a picture; it is scaled by 255.
    missing : int
        Rows that held nothing.
    distinct : int
        Different values.
    words : tuple of str
        Text among the numbers that counts as missing.
    form : str
        How dates are written; a key of `xpnn.data.cells.FORMS`.
    hours : bool
        Whether dates have a time of day.
    reason : str
        Why it is ignored.
    """

    name: str
    kind: str
    missing: int = 0
    distinct: int = 0
    words: tuple[str, ...] = ()
    form: str = ""
    hours: bool = False
    reason: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the numbers that a date turns into; one empty name for other numbers."""
        if self.kind == "date":
            return (*PARTS, HOUR) if self.hours else PARTS
        return ("",) if self.kind in ("numeric", "image", "boolean") else ()

    @property
    def taken_for(self) -> str:
        """What it is taken for, such as 'number, 3 missing'."""
        said = {"category": f"category of {self.distinct}", "ignored": f"ignored, {self.reason}"}
        text = said.get(self.kind, self.kind)
        if self.kind == "image":
            text = f"image, 0 to {PIXEL_MOST}"
        if self.kind == "date":
            written = "" if self.form == ISO else f" ({FORMS[self.form][0]})"
            text = f"date{written}, as {', '.join(self.parts)}"
        if self.missing and self.kind != "ignored":
            text += f", {self.missing:,} missing"
            if self.words:
                text += f" ({', '.join(map(repr, self.words))})"
        return text

    def __str__(self) -> str:
        return f"{self.name}: {self.taken_for}"


def describe(columns: Iterable[Column], *, joined: bool = False) -> str:
    """Say what columns are taken for, one line for each.

    Parameters
    ----------
    columns : iterable of Column
        The columns.
    joined : bool, default False
        Whether neighbours that are taken for the same share a line: a picture has hundreds.

    Returns
    -------
    str
    """
    runs: list[list[Column]] = []
    for column in columns:
        if joined and runs and runs[-1][-1].taken_for == column.taken_for:
            runs[-1].append(column)
        else:
            runs.append([column])
    lines: list[str] = []
    for run in runs:
        if len(run) < 3:
            lines += map(str, run)
        else:
            lines.append(f"{run[0].name} ... {run[-1].name}: {len(run)} x {run[0].taken_for}")
    return "\n".join(lines)


def learn_columns(frame: pd.DataFrame, kinds: Mapping[str, str] | None = None) -> list[Column]:
    """Decide what each column of a table is.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows to learn from, and no others.
    kinds : mapping, optional
        What some columns are, where the rules would get it wrong: ``{"zip": "category"}``.

    Returns
    -------
    list of Column

    Raises
    ------
    ValueError
        `kinds` names an unknown column or kind, or one that does not fit its cells.
    """
    kinds = dict(kinds or {})
    names = [str(name) for name in frame.columns]
    for name, kind in kinds.items():
        if name not in names:
            raise InputError(f"kinds names the column {name!r}; the table has {listed(names)}")
        if kind not in KINDS:
            raise InputError(f"kinds[{name!r}] is {kind!r}; expected one of {', '.join(KINDS)}")
    return [learn_column(name, frame.iloc[:, i], kinds.get(name)) for i, name in enumerate(names)]


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names as text, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def repeated(names: Iterable[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def learn_column(name: str, series: pd.Series, kind: str | None = None) -> Column:
    """Decide what one column is; see `learn_columns`."""
    types = import_optional("pandas.api.types")
    if kind == "ignored":
        return Column(name, kind, reason="as was asked for")
    if kind is not None:
        return _as_asked(name, series, kind)
    if series.dtype == np.uint8:
        return Column(name, "image", 0, int(series.nunique()))
    try:
        codes, texts = to_codes(series)
    except TypeError:
        value = series.dropna().iloc[0]
        return Column(name, "ignored", reason=f"its cells are each a {type(value).__name__}")
    base = Column(name, "category", int((codes < 0).sum()), len(texts))
    if not texts:
        return replace(base, kind="ignored", reason="nothing in it")
    if len(texts) == 1 and not base.missing:
        shown = texts[0] if len(texts[0]) <= 30 else f"{texts[0][:27]}..."
        return replace(base, kind="ignored", reason=f"constant: {shown}")
    if isinstance(series.dtype, types.CategoricalDtype):
        return base
    if _is_dates(series):
        dates = dates_of(series, ISO)
        missing = int(dates.isna().sum())
        return replace(base, kind="date", form=ISO, missing=missing, hours=has_hours(dates))
    if types.is_bool_dtype(series.dtype) or _are_booleans(texts):
        return replace(base, kind="boolean")
    if is_text(series):
        return _learn_text(base, series, len(codes) - base.missing)
    return _learn_numbers(base, series)


def _as_asked(name: str, series: pd.Series, kind: str) -> Column:
    """Take a column for what the user says."""
    if kind == "category":
        codes, texts = to_codes(series)
        return Column(name, kind, int((codes < 0).sum()), len(texts))
    form, hours = "", False
    try:
        if kind == "date":
            known = arrow_text(series).drop_null() if is_text(series) else []
            form = (date_form(known) if len(known) else None) or ISO
            values = dates_of(series, form)
            hours = has_hours(values)
        else:
            values = booleans_of(series) if kind == "boolean" else numbers_of(series)
        missing = int(import_optional("pandas").isna(values).sum())
    except CellError as error:
        raise InputError(f"kinds[{name!r}] is {kind!r}, but {error}") from error
    if missing == len(series):
        raise InputError(f"kinds[{name!r}] is {kind!r}, but no cell of it is one")
    return Column(name, kind, missing, len(set(values)), form=form, hours=hours)


def _is_dates(series: pd.Series) -> bool:
    types = import_optional("pandas.api.types")
    if types.is_datetime64_any_dtype(series.dtype):
        return True
    if types.is_object_dtype(series.dtype):
        return all(isinstance(value, datetime.date) for value in series.dropna())
    return False


def _are_booleans(texts: Sequence[str]) -> bool:
    """Whether there are one word for yes and the one for no that goes with it."""
    if len(texts) != 2:
        return False
    found = {text.lower() for text in texts}
    pairs = ({"yes", "no"}, {"y", "n"}, {"true", "false"}, {"t", "f"}, {"on", "off"}, {"1", "0"})
    return found in pairs and found <= YES | NO


def _learn_text(base: Column, series: pd.Series, known: int) -> Column:
    cells = arrow_text(series)
    filled = cells.drop_null()
    form = date_form(filled)
    if form is not None:
        return replace(base, kind="date", form=form, hours=has_hours(dates_of(series, form)))
    numbers, words = to_numbers(cells)
    if not is_padded(filled):
        odd = len(numbers) - numbers.null_count
        among = len(words) <= _MOST_WORDS and base.distinct - len(words) > _FEW / 2
        if not len(words) or (among and known - odd <= _WORD_SHARE * known):
            column = replace(base, kind="numeric", words=tuple(sorted(words.to_pylist())))
            return replace(column, missing=int(np.isnan(numbers_of(series, column.words)).sum()))
    if base.distinct <= _FEW or base.distinct <= known / 2:
        return base
    if base.distinct == known:
        return replace(base, kind="ignored", reason="each row its own")
    return replace(
        base, kind="ignored", reason=f"free text: {base.distinct:,} different in {known:,} rows"
    )


def _learn_numbers(base: Column, series: pd.Series) -> Column:
    types = import_optional("pandas.api.types")
    if types.is_timedelta64_dtype(series.dtype):
        return replace(base, kind="ignored", reason="a length of time")
    try:
        values = numbers_of(series)
    except CellError:
        kinds = {type(value).__name__ for value in series.dropna()}
        reason = f"a mixture of {' and '.join(sorted(kinds))}"
        return replace(base, kind="ignored", reason=reason)
    missing = int(np.isnan(values).sum())
    if missing == len(values):
        return replace(base, kind="ignored", reason="no finite number in it")
    if not missing and base.distinct == len(values) > _FEW and _is_numbering(base.name, values):
        return replace(base, kind="ignored", reason="each row its own")
    return replace(base, kind="numeric", missing=missing)


def _is_numbering(name: str, values: Any) -> bool:
    """Whether different numbers only count the rows, or are called an identifier."""
    if (values != np.floor(values)).any():
        return False
    words = name.lower().replace("_", " ").replace("-", " ").split()
    return bool((np.diff(values) == 1).all()) or (bool(words) and words[-1] in _ID_NAMES)
