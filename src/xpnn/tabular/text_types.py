"""What a column of text holds, and how its cells become numbers, truth values, dates and times."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("text", "integer", "number", "boolean", "datetime", "time")
ISO = "ISO8601"
NULLABLE = {
    "bool": "boolean",
    **{f"{s}int{n}": f"{s.upper()}Int{n}" for s in ("", "u") for n in (8, 16, 32, 64)},
}

_ODD_SHARE = 20  # one cell in so many may be something else

# What pandas takes for missing, in lower case; and cells without a letter or digit.
_WORDS = (
    "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "null", "none",
    "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
)  # fmt: skip
_MARKS = r"^[\p{P}\p{S}]+$"

_WHOLE = "^[+-]?[0-9]+$"
_PADDED = "^[+-]?0[0-9]+$"
_PHONE = r"^\+[0-9]{7,}$"
# Ways to write numbers, as (decimal, thousands), that text is tried for to tell of the options.
_OTHER_NUMBERS = ((",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"))

_ISO_SHAPE = (
    r"^[0-9]{4}(-[0-9]{1,2}-|/[0-9]{1,2}/)[0-9]{1,2}"
    r"([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?)?$"
)
_DAYS = (
    "%d.%m.%Y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y",
    "%B %d, %Y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y",
)  # fmt: skip
_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
_FORMATS = (
    *_DAYS, *(f"{day} {clock}" for day in _DAYS for clock in _CLOCKS), *_CLOCKS, "%H:%M:%S.%f",
    *(f"{day} {clock}" for day in ("%Y-%m-%d", "%Y/%m/%d") for clock in _CLOCKS[2:]),
)  # fmt: skip
_DIRECTIVES = {
    "Y": "[0-9]{4}", "y": "[0-9]{2}", "M": "[0-9]{2}", "S": "[0-9]{2}", "f": "[0-9]{1,6}",
    **dict.fromkeys("dmHI", "[0-9]{1,2}"), **dict.fromkeys("bB", "[A-Za-z]+"), "p": "[AaPp][Mm]",
}  # fmt: skip
# What every date and time begins with: most text is none of them, which this tells at once.
_DATE_LIKE = (
    r"^([0-9]{1,4}[-/. ][0-9A-Za-z]+[-/. ][0-9]{1,4}|[A-Za-z]{3,9} [0-9]{1,2}, [0-9]{4}"
    "|[0-9]{1,2}:[0-9]{2})"
)


@dataclass(frozen=True)
class ReadOptions:
    """How a table file is read, where its content does not say it.

    Parameters
    ----------
    encoding : str, optional
        Encoding of separated text, such as 'cp1252'. Default: UTF-8, or what a mark at the
        file's begin says.
    sep : str, optional
        What separates its fields. Default: found among comma, semicolon, tab and bar.
    decimal : str, optional
        What stands before decimals. Default: a point.
    thousands : str, optional
        What groups three digits each.
    na_values : tuple of str
        Cells that are missing, in all columns.
    dtype : mapping, optional
        What columns of text hold, where it shall not be found out: a kind of `TextType`.
    usecols : tuple of str, optional
        Columns to read. Default: all.
    date_format : str, optional
        strptime format, for the columns that match it.
    day_first : bool, optional
        Whether 01/02/2020 is in February. Default: a day above 12 in the column tells it.
    header : bool, default True
        Whether the first line holds names; without, they are x0, x1, ...
    labels : Path, optional
        IDX file with the labels of an IDX file of pictures. Default: the one beside it by
        MNIST's naming, where there is one.
    """

    encoding: str | None = None
    sep: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    na_values: tuple[str, ...] = ()
    dtype: Mapping[str, str] | None = None
    usecols: tuple[str, ...] | None = None
    date_format: str | None = None
    day_first: bool | None = None
    header: bool = True
    labels: Path | None = None

    @property
    def point(self) -> str:
        """What stands before decimals."""
        return "." if self.decimal is None else self.decimal

    @property
    def says_how(self) -> bool:
        """Whether there is an option for how numbers or dates are written."""
        given = (self.decimal, self.thousands, self.date_format, self.day_first)
        return any(value is not None for value in given)

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise InputError(f"encoding is {self.encoding!r}; expected one of Python's") from None
        if self.sep is not None and not (len(self.sep) == 1 and self.sep.isascii()):
            raise InputError(f"sep is {self.sep!r}; expected one ASCII character")
        for name in ("decimal", "thousands"):
            value = getattr(self, name)
            if value is not None and (len(value) != 1 or value.isalnum() or value in "+-"):
                raise InputError(f"{name} is {value!r}; expected one mark such as '.' or ','")
        if self.point == self.thousands:
            raise InputError(f"decimal and thousands are both {self.point!r}; expected two marks")
        for column, kind in (self.dtype or {}).items():
            if kind not in KINDS:
                raise InputError(
                    f"dtype[{column!r}] is {kind!r}; expected one of {', '.join(KINDS)}"
                )
        for name in ("na_values", "usecols"):
            if isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {getattr(self, name)!r}; expected several, as a tuple")


@dataclass(frozen=True)
class TextType:
    """What a column of text holds.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    format : str
        Of a datetime or time: its strptime format, or 'ISO8601'. Of an integer: 'uint64' where
        int64 is too small.
    decimal, thousands : str
        How numbers are written.
    """

    kind: str
    format: str = ""
    decimal: str = "."
    thousands: str = ""


# Cells: Arrow arrays of strings


def _matches(cells: Any, pattern: str) -> Any:
    """Which cells match a regular expression; null is no match."""
    pc = import_optional("pyarrow.compute")
    return np.array(pc.fill_null(pc.match_substring_regex(cells, pattern), False))


def _only(cells: Any, mask: Any) -> Any:
    """Cells with null where the mask is False."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    return cells if mask.all() else pc.if_else(pa.array(mask), cells, pa.scalar(None, cells.type))


def _clean(cells: Any, na_values: Iterable[str]) -> Any:
    """Cells without white space around them; null where that leaves nothing, or says so."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    cells = pc.utf8_trim_whitespace(cells)
    nothing = pc.is_in(cells, value_set=pa.array(["", *na_values], cells.type))
    return pc.if_else(nothing, pa.scalar(None, cells.type), cells)


def _are_words(cells: Any) -> Any:
    """Which cells are words or marks for missing, in a column that else holds no text."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    found = pc.is_in(pc.utf8_lower(cells), value_set=pa.array(_WORDS, cells.type))
    return np.array(found) | _matches(cells, _MARKS)


@cache
def _number_shape(decimal: str, thousands: str) -> tuple[str, str]:
    """Regular expressions of a number, and of what groups its digits."""
    mark = f"[{re.escape(thousands)}]" if thousands.strip() else "[ \u00a0\u202f]"
    whole = f"[0-9]+|[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+" if thousands else "[0-9]+"
    point = f"[{re.escape(decimal)}]"
    shape = rf"(?:(?:{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    return f"^[+-]?(?:{shape}|(?i:inf|infinity))$", mark


def _plain_numbers(cells: Any, decimal: str, thousands: str) -> tuple[Any, Any]:
    """Cells as numbers are written in programs, and which of them are numbers."""
    pc = import_optional("pyarrow.compute")
    if _matches(cells, "[$€£¥%]").any():
        cells = pc.replace_substring_regex(cells, r"^([+-]?) ?[$€£¥] ?", r"\1")
        cells = pc.replace_substring_regex(cells, r"\s?[%$€£¥]$", "")
    shape, mark = _number_shape(decimal, thousands)
    fits = _matches(cells, shape)
    if thousands:
        cells = pc.replace_substring_regex(cells, mark, "")
    if decimal != ".":
        cells = pc.replace_substring(cells, decimal, ".")
    return cells, fits


@cache
def _date_shape(format_: str) -> str:
    """Regular expression of how a strptime format looks."""
    if format_ == ISO:
        return _ISO_SHAPE
    parts = re.split("%(.)", format_)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = (_DIRECTIVES.get(directive, ".+") for directive in parts[1::2])
    return f"^{''.join(parts)}$"


@cache
def _shapes() -> dict[str, list[str]]:
    """Formats of dates and times by how they look."""
    shapes: dict[str, list[str]] = {}
    for format_ in (ISO, *_FORMATS):
        shapes.setdefault(_date_shape(format_), []).append(format_)
    return shapes


def _is_clock(format_: str) -> bool:
    """Whether a format has a time of day only."""
    return format_ != ISO and re.search("%[YyGmbBdjcxD]", format_) is None


def _parse_dates(cells: Any, format_: str) -> Any:
    """Dates as naive UTC; NaT where a cell is not written that way."""
    pandas, pc = import_optional("pandas"), import_optional("pyarrow.compute")
    cells = _only(cells, _matches(cells, _date_shape(format_)))
    if format_ == ISO:  # microseconds are the finest
        cells = pc.replace_substring_regex(cells, "[.,]([0-9]{1,6})[0-9]*", r".\1")
    texts = cells.to_pandas()
    try:
        dates = pandas.to_datetime(texts, format=format_, errors="coerce", utc=True)
    except ValueError as error:
        raise InputError(f"date_format is {format_!r}: {error}") from error
    return dates.dt.tz_localize(None).astype("datetime64[us]")


class TypeDecider:
    """Decides what a column of text holds, whatever pieces its cells come in.

    Parameters
    ----------
    options : ReadOptions
        What the user says.
    column : str
        Name of the column.
    """

    def __init__(self, options: ReadOptions, column: str) -> None:
        self.options, self.column = options, column
        self.notice = ""  # about the decision, where the user may want another one
        self._found: Counter[Any] = Counter()
        self._first = ""
        self._examples: dict[str, str] = {}

    def update(self, cells: Any) -> None:
        """Look at more cells of the column, an Arrow array of strings."""
        pc = import_optional("pyarrow.compute")
        self._found["rows"] += len(cells)
        if self.options.na_values or self.options.date_format:
            cells = _clean(cells, self.options.na_values)
        cells = cells.drop_null()
        if not len(cells):
            return
        self._first = self._first or cells[0].as_py()
        if self.options.date_format is None:
            cells = self._without_plain(cells)
        counted = pc.value_counts(_clean(cells, self.options.na_values).drop_null())
        if len(counted):
            self._look(counted.field("values"), counted.field("counts").to_numpy())

    def _without_plain(self, cells: Any) -> Any:
        """Count numbers that nothing is special about; give what is to be looked at closely."""
        pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
        if not re.match(r"[+-]?[0-9.]+([eE]|$)", cells[0].as_py()):  # casts that fail are slow
            return cells
        whole = _matches(cells, _WHOLE)
        if whole.all():
            if not _matches(cells, "^-?(0|[1-9][0-9]{0,17})$").all():
                return cells
            self._found.update(cells=len(cells), number=len(cells), whole=len(cells))
            self._found["negative"] += bool(_matches(cells, "^-").any())
            return cells[:0]
        rest = cells.filter(pa.array(~whole))
        try:
            numbers = pc.cast(rest, pa.float64()) if self.options.point == "." else None
        except pa.ArrowInvalid:
            return cells
        if numbers is None or pc.any(pc.is_nan(numbers)).as_py():
            return cells
        self._found.update(cells=len(rest), number=len(rest))
        return cells.filter(pa.array(whole))

    def _look(self, texts: Any, counts: Any) -> None:
        """Count what different texts may be, each so many times."""
        pa = import_optional("pyarrow")
        found = self._found
        found["cells"] += int(counts.sum())
        if self.options.date_format is not None:
            parsed = _parse_dates(texts, self.options.date_format).notna().to_numpy()
            found["date_format"] += int(counts[parsed].sum())
        words = _are_words(texts)
        found["words"] += int(counts[words].sum())
        found["boolean"] += int(counts[_matches(texts, "^(?i:true|false)$")].sum())
        plain, fits = _plain_numbers(texts, self.options.point, self.options.thousands or "")
        fits &= ~words
        self._look_at_numbers(plain.filter(pa.array(fits)), counts[fits])
        rest = ~fits & ~words
        texts, counts = texts.filter(pa.array(rest)), counts[rest]
        begins = _matches(texts, "^[+-]?[$€£¥]? ?[.,]?[0-9]")
        for marks in _OTHER_NUMBERS if begins.any() else ():
            _, fits = _plain_numbers(texts, *marks)
            found[marks] += int(counts[fits].sum())
            if fits.any():
                self._examples.setdefault("number", texts[int(fits.argmax())].as_py())
        like = _matches(texts, _DATE_LIKE)
        if like.any():
            self._look_at_dates(texts.filter(pa.array(like)), counts[like])

    def _look_at_numbers(self, plain: Any, counts: Any) -> None:
        found = self._found
        whole = _matches(plain, _WHOLE)
        found["number"] += int(counts.sum())
        found["whole"] += int(counts[whole].sum())
        for name, shape in {"padded": _PADDED, "phone": _PHONE, "negative": "^-.*[1-9]"}.items():
            found[name] += int(_matches(plain, shape).any())
        long = import_optional("pyarrow").array(_matches(plain, "^[+-]?[0-9]{19,}$"))
        for text in plain.filter(long).to_pylist():
            if not -(1 << 63) <= int(text) < 1 << 64:
                found["huge"] += 1
            elif int(text) >= 1 << 63:
                found["unsigned"] += 1

    def _look_at_dates(self, texts: Any, counts: Any) -> None:
        pa = import_optional("pyarrow")
        for shape, formats in _shapes().items():
            fits = _matches(texts, shape)
            if not fits.any():
                continue
            cells = texts.filter(pa.array(fits))
            for format_ in formats:
                parsed = _parse_dates(cells, format_).notna().to_numpy()
                self._found[format_] += int(counts[fits][parsed].sum())
                if parsed.any():
                    self._examples.setdefault(format_, cells[int(parsed.argmax())].as_py())
            texts, counts = texts.filter(pa.array(~fits)), counts[~fits]
            if not len(texts):
                return

    def result(self) -> TextType:
        """What all cells together are, or what the user says that they are.

        Raises
        ------
        InputError
            No cell is what the user says.
        """
        self.notice = ""
        asked = (self.options.dtype or {}).get(self.column)
        if asked == "text":
            return TextType("text")
        return self._as_asked(asked) if asked else self._decided()

    @property
    def filled(self) -> int:
        """Cells that are neither empty nor words for missing."""
        return self._found["cells"] - self._found["words"]

    def gaps(self, kind: str) -> bool:
        """Whether a cell of the whole column is missing once it is of that kind."""
        found = self._found
        if kind == "integer" and (found["huge"] or (found["unsigned"] and found["negative"])):
            return True
        return found["rows"] > found["whole" if kind == "integer" else kind]

    def _mostly(self, count: int) -> bool:
        return count > 0 and (self.filled - count) * _ODD_SHARE <= self.filled

    def _number(self, kind: str) -> TextType:
        unsigned = kind == "integer" and self._found["unsigned"]
        options = self.options
        format_ = "uint64" if unsigned else ""
        return TextType(kind, format_, options.point, options.thousands or "")

    def _date(self, format_: str) -> TextType:
        return TextType("time" if _is_clock(format_) else "datetime", format_)

    def _decided(self) -> TextType:
        found, options = self._found, self.options
        if options.date_format and self._mostly(found["date_format"]):
            return self._date(options.date_format)
        if found["boolean"] and found["boolean"] == self.filled:
            return TextType("boolean")
        if self._mostly(found["number"]):
            return TextType("text") if self._are_codes() else self._number(self._number_kind())
        format_ = self._best_format(("datetime", "time"))
        if self._mostly(found[format_]):
            return self._unless_ambiguous(format_)
        for marks in _OTHER_NUMBERS:
            if found[marks] and self._mostly(found[marks] + self._plain(marks[0])):
                return self._text_that_may_be_numbers()
        return TextType("text")

    def _plain(self, decimal: str) -> int:
        """How many cells are numbers with this decimal mark and without any other."""
        return self._found["number" if decimal == self.options.point else "whole"]

    def _number_kind(self) -> str:
        return "integer" if self._found["whole"] == self._found["number"] else "number"

    def _are_codes(self) -> bool:
        """Whether numbers would lose what their digits say."""
        found = self._found
        if found["padded"] or found["huge"]:
            return True
        negative = bool(found["negative"])
        beyond = found["unsigned"] and negative  # neither int64 nor uint64
        phone = found["phone"] and not negative
        return self._number_kind() == "integer" and bool(beyond or phone)

    def _text_that_may_be_numbers(self) -> TextType:
        """Text, and a notice of the options that would make numbers of it."""
        found, said = self._found, []
        for decimal, thousands in _OTHER_NUMBERS:
            fits = found[decimal, thousands]
            plainer = bool(thousands) and found[decimal, ""] == fits
            if fits and not plainer and self._mostly(fits + self._plain(decimal)):
                named = {"decimal": decimal if decimal != "." else "", "thousands": thousands}
                said.append(", ".join(f"{name}={mark!r}" for name, mark in named.items() if mark))
        example = self._examples["number"]
        self.notice = (
            f"cells such as {example!r} stay text; they are numbers with {' or '.join(said[:2])}"
        )
        return TextType("text")

    def _best_format(self, kinds: Iterable[str]) -> str:
        """Format of dates or times that most cells have, the first of several."""
        counts = {f: self._found[f] for f in (ISO, *_FORMATS) if self._date(f).kind in kinds}
        return max(counts, key=counts.__getitem__)

    def _unless_ambiguous(self, format_: str) -> TextType:
        """Type of a format, unless its day and month may be the other way round."""
        day_first = self.options.day_first
        swapped = format_.translate(str.maketrans("dm", "md"))
        if swapped == format_ or self._found[swapped] < self._found[format_]:
            return self._date(format_)
        if day_first is None:
            self.notice = (
                f"dates such as {self._examples[format_]!r} stay text, as they may begin with "
                "the day or the month; say which with day_first, or give their date_format"
            )
            return TextType("text")
        return self._date(format_ if format_.startswith("%d") == day_first else swapped)

    def _as_asked(self, kind: str) -> TextType:
        """Type of a kind that the user names."""
        found, type_ = self._found, TextType(kind)
        if kind in ("integer", "number"):
            type_, fits = self._number(kind), found["whole" if kind == "integer" else "number"]
        elif kind == "boolean":
            fits = found["boolean"]
        elif self.options.date_format and found["date_format"]:
            return self._date(self.options.date_format)
        else:
            format_ = self._best_format([kind])
            fits = found[format_]
            type_ = self._unless_ambiguous(format_) if fits else self._date(format_)
        if self.notice:
            raise InputError(f"dtype[{self.column!r}] is {kind!r}, but {self.notice}")
        if self.filled and not fits:
            raise InputError(
                f"dtype[{self.column!r}] is {kind!r}, but no cell is one; the first is "
                f"{self._first!r}"
            )
        return type_


def decide_type(text: pd.Series, options: ReadOptions) -> TextType:
    """Decide what a column of text holds.

    Parameters
    ----------
    text : pandas.Series
        The cells as text. Its name is the column's.
    options : ReadOptions
        What the user says about it.

    Returns
    -------
    TextType

    Raises
    ------
    InputError
        No cell is what `options.dtype` says.

    Warns
    -----
    UserWarning
        Numbers or dates stay text until an option says how they are written.
    """
    decider = TypeDecider(options, str(text.name))
    decider.update(_arrow_text(text))
    found = decider.result()
    if decider.notice:
        warnings.warn(f"column {text.name!r}: {decider.notice}", UserWarning, stacklevel=2)
    return found


def _arrow_text(text: pd.Series) -> Any:
    pa = import_optional("pyarrow")
    return pa.array(text.astype("str"), pa.large_string(), from_pandas=True)


def convert_text(
    text: pd.Series, type: TextType, na_values: Iterable[str] = ()
) -> tuple[pd.Series, Any]:
    """Convert a column of text to what it holds.

    Parameters
    ----------
    text : pandas.Series
        The cells as text.
    type : TextType
        What they are.
    na_values : iterable of str
        Cells that are missing.

    Returns
    -------
    values : pandas.Series
        int64, uint64, bool, or their nullable types where cells are missing; float64,
        datetime64[us], timedelta64[us] since midnight, or str.
    strange : numpy.ndarray of bool
        Cells that hold something else. They are missing, as those that are empty.
    """
    values, strange, _ = convert_cells(_arrow_text(text), type, na_values)
    values.index, values.name = text.index, text.name
    return values, strange


def convert_cells(
    cells: Any, type: TextType, na_values: Iterable[str] = ()
) -> tuple[Any, Any, int]:
    """Convert an Arrow array of strings; see `convert_text`. Last, how many are words."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    values = None if na_values else _fast_numbers(cells, type)
    strange = np.zeros(len(cells), bool)
    if values is not None:
        return values, strange, 0
    cells = _clean(cells, na_values)
    if type.kind == "text":
        if not pc.all(pc.string_is_ascii(cells), min_count=0).as_py():
            cells = pc.utf8_normalize(cells, "NFC")
        return cells.to_pandas().astype("str"), strange, 0
    if type.kind in ("integer", "number"):
        values = _to_numbers(cells, type)
    elif type.kind == "boolean":
        known = _only(cells, _matches(cells, "^(?i:true|false)$"))
        values = to_pandas(pc.equal(pc.utf8_lower(known), "true"))
    else:
        values = _parse_dates(cells, type.format)
        if type.kind == "time":
            values = (values - values.dt.normalize()).astype("timedelta64[us]")
    strange = np.array(cells.is_valid()) & values.isna().to_numpy()
    unread = int(strange.sum())
    if unread:
        strange[strange] = ~_are_words(cells.filter(pa.array(strange)))
    return values, strange, unread - int(strange.sum())


def _fast_numbers(cells: Any, type: TextType) -> Any:
    """Plain numbers without anything special among them; None where something is."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    try:
        if type.kind == "number" and type.decimal == ".":
            numbers = pc.cast(cells, pa.float64())
            return None if pc.any(pc.is_nan(numbers)).as_py() else to_pandas(numbers)
        if (
            type.kind == "integer"
            and (_matches(cells, "^-?[0-9]+$") | np.array(cells.is_null())).all()
        ):
            return to_pandas(pc.cast(cells, type.format or "int64"))
    except pa.ArrowInvalid:
        pass
    return None


def _to_numbers(cells: Any, type: TextType) -> pd.Series:
    pc = import_optional("pyarrow.compute")
    plain, fits = _plain_numbers(cells, type.decimal, type.thousands)
    if type.kind == "number":
        return to_pandas(pc.cast(_only(plain, fits), "float64"))
    low, high = (0, 1 << 64) if type.format else (-(1 << 63), 1 << 63)
    fits &= _matches(plain, _WHOLE)
    long = fits & (_matches(plain, "[0-9]{19}") | ((low == 0) & _matches(plain, "^-")))
    for place in np.flatnonzero(long):
        fits[place] = low <= int(plain[int(place)].as_py()) < high
    plain = pc.utf8_ltrim(_only(plain, fits), "+-" if type.format else "+")
    return to_pandas(pc.cast(plain, type.format or "int64"))


def to_pandas(values: Any) -> pd.Series:
    """Arrow values in NumPy's types; in nullable ones where whole numbers or truth values miss."""
    pandas, name = import_optional("pandas"), NULLABLE.get(str(values.type))
    if name is None or not values.null_count:
        return values.to_pandas()
    return values.to_pandas(types_mapper=lambda _: pandas.array([], name).dtype)
