"""What the columns of a table are, and what is learned of them: in one pass, chunk by chunk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.tabular.cells import (
    NO_SECONDS,
    date_parts,
    family_of,
    keys_of,
    numbers_of,
    seconds_of,
    words_of,
)
from xpnn.tabular.names import listed
from xpnn.tabular.sketch import QuantileSketch
from xpnn.tabular.text_types import ISO, TextType

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("numeric", "boolean", "categorical", "text", "datetime", "duration", "ignored")
MOST_VALUES = 100  # of a category, and words of a text, with a feature each
MOST_RARE = 1000  # values of a category that are known without a feature of their own
DATE_PARTS = ("year", "month", "weekday", "days since 1970")

_COUNTED = 200_000  # different values that are counted at a time
_MANY_WORDS = 1.5  # words in a value, on average, that make it a text
_SENTENCE = 5  # words in a value, on average, that make a text of values that are all different
_ROW_NAMES = ("rowid", "rownames", "rownum", "unnamed: 0")
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")
_ID_NAMES = (
    "id", "uuid", "guid", "index", "key", "uid", "pid", "patid", "caseid", "studyid", "idno",
    "idnum", "obs", "case",
)  # fmt: skip
_FAMILY_KINDS = {
    "integer": "numeric", "number": "numeric", "boolean": "boolean", "datetime": "datetime",
    "duration": "duration", "text": "categorical",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table: what it is, and what was learned of it.

    Parameters
    ----------
    name : str
        Its name.
    kind : str
        One of `KINDS`.
    dtype : str
        How it came, for people.
    reason : str
        Why it is ignored.
    missing : int
        Rows in which it was missing.
    distinct : int
        Different values, of those that are counted.
    text_type : TextType, optional
        How cells of text are read as numbers or dates.
    hours : bool
        Whether dates have a time of day.
    fill, center, scale : tuple of float
        Of each of its numbers: what stands for a missing one, what is taken off, and what is
        divided by.
    low, high : float
        Smallest and largest number of the training rows.
    values : tuple of str
        Values of a category, or words of a text, with a feature each; sorted.
    rare : tuple of str
        The other values of a category, where there are at most `MOST_RARE`; sorted.
    other : bool
        Whether a feature stands for all other values.
    flag : bool
        Whether a feature says that the cell is missing.
    """

    name: str
    kind: str
    dtype: str = ""
    reason: str = ""
    missing: int = 0
    distinct: int = 0
    text_type: TextType | None = None
    hours: bool = False
    fill: tuple[float, ...] = ()
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    other: bool = False
    flag: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the numbers that it turns into: one empty name where it is a number itself."""
        return parts_of(self.kind, self.hours)

    @property
    def reads_as(self) -> TextType:
        """How cells of text are read, where they come from a text file."""
        usual = {"numeric": "number", "boolean": "boolean", "datetime": "datetime"}
        if self.text_type is not None:
            return self.text_type
        if self.kind == "duration":
            return TextType("time", "%H:%M:%S")
        kind = usual.get(self.kind, "text")
        return TextType(kind, ISO if kind == "datetime" else "")

    @property
    def taken_for(self) -> str:
        """What it is taken for, such as 'numeric (int64), 3 missing'."""
        if self.kind == "ignored":
            return f"ignored: {self.reason}"
        said = f" ({self.dtype})" if self.dtype else ""
        counts = {"categorical": "values", "text": "words"}.get(self.kind)
        if counts == "values":
            said += f", {self.distinct:,} values"
        elif counts:
            said += f", {len(self.values):,} words of {self.distinct:,} values"
        if self.kind == "datetime":
            said += f", as {', '.join(self.parts)}"
        return f"{self.kind}{said}" + (f", {self.missing:,} missing" if self.missing else "")

    def __str__(self) -> str:
        return f"{self.name}: {self.taken_for}"


def parts_of(kind: str, hours: bool) -> tuple[str, ...]:
    """Names of the numbers that a column of a kind turns into."""
    if kind == "datetime":
        return (*DATE_PARTS, "hour") if hours else DATE_PARTS
    return ("",) if kind in ("numeric", "boolean", "duration") else ()


def describe(columns: Iterable[Column]) -> str:
    """Say what columns are taken for; neighbours that are taken for the same share a line."""
    runs: list[list[Column]] = []
    for column in columns:
        if runs and runs[-1][-1].taken_for == column.taken_for:
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


def check_types(column_types: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse column types of unknown columns, or that are none of `KINDS`."""
    known = list(names)
    for name, kind in column_types.items():
        if name not in known:
            raise InputError(f"column_types names {name!r}; the table has {listed(known)}")
        if kind not in KINDS:
            raise InputError(f"column_types[{name!r}] is {kind!r}; expected one of {listed(KINDS)}")


class ColumnStatistics:
    """What a pass over a column finds; memory does not grow with the rows.

    Parameters
    ----------
    name : str
        The column.
    kind : str, optional
        What the caller says that it is. Default: found out from the first rows' dtype.
    text_type : TextType, optional
        How its text was read, where it came from a text file.
    """

    def __init__(self, name: str, kind: str | None, text_type: TextType | None) -> None:
        self.name, self.asked = name, kind
        self.kind, self.family, self.dtype = kind, "", ""
        # Text that was read as text is read as what the caller says that it is.
        own = text_type is None or text_type.kind == "text"
        self.text_type = None if own else text_type
        self.rows = self.missing = self.unread = 0
        self.first_unread: Any = None
        self.hours = False
        # Of numbers: hours of a date are looked at whether there are any or not.
        self.sketches: list[QuantileSketch] = []
        self.low, self.high = np.inf, -np.inf
        self.infinite = 0
        # Whether it counts rows, from 0 or 1 on: those there are, or those of the index, which
        # also has the ones that were left out.
        self.counted = {(what, first) for what in ("rows", "index") for first in (0, 1)}
        self.is_rising, self.last = True, -np.inf
        # Of values
        self.counts: Counter[str] = Counter()
        self.dropped = 0

    def update(self, column: pd.Series) -> None:
        """Take some rows."""
        self.rows += len(column)
        if self.asked == "ignored":  # whatever its cells are
            return
        if self.family in ("", "integer") and (family := family_of(column)):
            self.family, self.dtype = family, str(column.dtype)
        if self.kind is None and self.family:
            self.kind = _FAMILY_KINDS[self.family]
        if self.kind is None:
            self.missing += int(column.isna().sum())
            return
        if self.kind in ("categorical", "text"):
            self._count(column)
        else:
            self._measure(column)

    def _count(self, column: pd.Series) -> None:
        codes, keys = keys_of(column)
        found = np.bincount(codes + 1, minlength=len(keys) + 1).tolist()
        self.missing += found[0]
        self.counts.update(dict(zip(keys, found[1:], strict=True)))
        if len(self.counts) > 2 * _COUNTED:  # the seldom ones go, as they would in the end
            self.dropped += len(self.counts) - _COUNTED
            self.counts = Counter(dict(self.counts.most_common(_COUNTED)))

    def _measure(self, column: pd.Series) -> None:
        if self.kind == "datetime":
            seconds, unread = seconds_of(column, self.text_type)
            table = date_parts(seconds, True)
            known = seconds[seconds != NO_SECONDS]
            self.hours = self.hours or bool((known % 86400).any())
        else:
            assert self.kind is not None
            values, unread = numbers_of(column, self.kind, self.text_type)
            table = values[:, None]
        if unread.any():
            self.unread += int(unread.sum())
            if self.first_unread is None:
                self.first_unread = column.iloc[int(np.argmax(unread))]
        self.missing += int(np.isnan(table[:, 0]).sum())
        self.infinite += int(np.isinf(table[:, 0]).sum())
        if not self.sketches:
            self.sketches = [QuantileSketch() for _ in range(table.shape[1])]
        for sketch, values in zip(self.sketches, table.T, strict=True):
            finite = values[np.isfinite(values)]
            sketch.update(finite)
            if len(finite) and sketch is self.sketches[0]:
                self.low = min(self.low, float(finite.min()))
                self.high = max(self.high, float(finite.max()))
        if self.family == "integer" and len(table):
            self._compare(table[:, 0], column.index)

    def _compare(self, values: Any, index: pd.Index) -> None:
        """Look whether numbers only count the rows."""
        numbers = {"rows": np.arange(self.rows - len(values), self.rows)}
        if index.dtype.kind in "iu" and index.name is None:  # a name says that it is more
            numbers["index"] = index.to_numpy()
        self.counted = {
            (what, first)
            for what, first in self.counted
            if what in numbers and (values == numbers[what] + first).all()
        }
        before = np.append(self.last, values[:-1])
        self.is_rising = self.is_rising and bool((values > before).all())
        self.last = float(values[-1])

    # What it is

    def result(self) -> Column:
        """Decide what the column is, and what was learned of it."""
        text_type = self.text_type
        if self.kind == "numeric" and text_type is not None and text_type.kind == "integer":
            text_type = replace(text_type, kind="number", format="")
        base = Column(
            self.name,
            self.kind or "ignored",
            self.dtype,
            missing=self.missing,
            text_type=text_type,
        )
        if self.asked == "ignored":
            return replace(base, reason="column_types says so")
        if self.asked and self.unread and self.missing == self.rows:
            raise InputError(
                f"column_types[{self.name!r}] is {self.asked!r}, but no cell of it is one; the "
                f"first is {self.first_unread!r}"
            )
        if self.missing == self.rows or (not self.counts and self.low > self.high):
            kind = "every value is missing" if not self.infinite else "no value is finite"
            return replace(base, kind="ignored", reason=kind)
        if self.kind in ("categorical", "text"):
            return self._values(base)
        return self._numbers(base)

    def _numbers(self, base: Column) -> Column:
        alike = self.low == self.high and not self.hours
        if self.kind == "datetime":  # of one year there may be many days
            alike = alike and all(np.ptp(s.quantiles([0, 1])) == 0 for s in self.sketches)
        if self.asked is None and alike and not self.missing and not self.infinite:
            return replace(base, kind="ignored", reason="constant")
        if self.asked is None and self._counts_rows():
            return replace(base, kind="ignored", reason="a running row number")
        if self.asked is None and self._names_rows():
            return replace(base, kind="ignored", reason="names of rows")
        if self.kind == "boolean":
            fill, center, scale = (0.0,), (0.0,), (1.0,)
        else:
            wanted = self.sketches if self.hours or self.kind != "datetime" else self.sketches[:4]
            learned = [_robust(sketch) for sketch in wanted]
            fill, center, scale = zip(*learned, strict=True)
        return replace(
            base, hours=self.hours, fill=fill, center=center, scale=scale, low=self.low,
            high=self.high, flag=self.missing > 0,
        )  # fmt: skip

    def _counts_rows(self) -> bool:
        if self.family != "integer" or self.missing or self.rows < 3 or self.kind != "numeric":
            return False
        named = [word.lower() for word in _BETWEEN_WORDS.split(self.name) if word]
        of_rows = self.name.lower() in _ROW_NAMES or (bool(named) and named[-1] in _ID_NAMES)
        return bool(self.counted) or (of_rows and self.is_rising)

    def _names_rows(self) -> bool:
        """Whether it is called what R and pandas call it, in whatever order the rows are by now."""
        return self.kind == "numeric" and not self.missing and self.name.lower() in _ROW_NAMES

    def _values(self, base: Column) -> Column:
        known, distinct = self.rows - self.missing, len(self.counts)
        base = replace(base, distinct=distinct, flag=self.missing > 0)
        if self.asked is None and distinct == 1 and not self.missing:
            return replace(base, kind="ignored", reason="constant")
        least = max(2, min(20, self.rows // 1000))
        words: Counter[str] = Counter()
        length = 0
        if distinct > MOST_VALUES or distinct > known / 2 or self.asked == "text":
            for key, count in self.counts.items():
                found = words_of(key)
                length += len(found)
                words.update(dict.fromkeys(found, count))
        unique = self.asked is None and distinct + self.dropped == known and known > 1
        if unique and length <= _SENTENCE * distinct:
            return replace(base, kind="ignored", reason="every value is unique")
        if self.asked == "text" or (self.asked is None and length > _MANY_WORDS * distinct):
            # A word in every row tells nothing.
            few = {word: n for word, n in words.items() if least <= n < known}
            kept = _most(few)
            made = replace(base, kind="text", values=kept)
        else:
            kept = _most({key: n for key, n in self.counts.items() if n >= least})
            rest = sorted(set(self.counts).difference(kept))
            rare = tuple(rest) if len(rest) <= MOST_RARE else ()
            made = replace(base, kind="categorical", values=kept, rare=rare, other=bool(rest))
        if not made.values and not made.flag:
            what = "word" if made.kind == "text" else "value"
            return replace(base, kind="ignored", reason=f"no {what} comes in {least} rows")
        return made


def _most(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The most frequent values, sorted by themselves."""
    ranked = sorted(counts, key=lambda key: (-counts[key], key))
    return tuple(sorted(ranked[:MOST_VALUES]))


def _robust(sketch: QuantileSketch) -> tuple[float, float, float]:
    """Median for missing numbers, and center and scale that outliers leave alone.

    Holzmueller et al., "Better by default" (NeurIPS 2024), robust scaling: the distance of the
    quartiles, or where these are one half of the range.
    """
    low, lower, middle, upper, high = (float(q) for q in sketch.quantiles([0, 0.25, 0.5, 0.75, 1]))
    with np.errstate(over="ignore"):
        scale = upper - lower if upper > lower else (high - low) / 2
    if not np.isfinite(scale):
        scale = float(np.finfo(np.float64).max)
    return middle, middle, scale or 1.0
