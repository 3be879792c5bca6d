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
    """Strip text, and make nothing of what stands for nothing.

    Parameters
    ----------
    cells : pyarrow.Array or ChunkedArray of string
        Raw text.

    Returns
    -------
    pyarrow.Array or ChunkedArray of string
    """
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
    """Read numbers.

    Parameters
    ----------
    cells : pyarrow.Array or ChunkedArray of string
        Cleaned text.
    kind : str, default 'float64'
        Arrow's type of the result.

    Returns
    -------
    numbers : pyarrow array
        Null where there is nothing, or a word.
    words : pyarrow array of string
        The words, each once: cells that are no numbers.
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
    """Number the different values of a column.

    Parameters
    ----------
    series : pandas.Series
        Raw cells.

    Returns
    -------
    codes : numpy.ndarray of int64, shape (n,)
        Place in the list; -1 where there is nothing.
    texts : list of str
        The different values as text: 1, 1.0 and "1" are one value.

    Raises
    ------
    TypeError
        The cells are lists or the like.
    """
    pandas = import_optional("pandas")
    if isinstance(series.dtype, pandas.CategoricalDtype):
        found = series.cat.categories.astype(object)
        codes = series.cat.codes.to_numpy().astype(np.int64)
    else:
        codes, found = pandas.factorize(series)
    texts = [_written(value) for value in found]
    places: dict[str | None, int] = {}
    for text in texts:
        if text is not None:
            places.setdefault(text, len(places))
    numbers = np.asarray([places.get(text, -1) for text in texts] + [-1], np.int64)
    kept = numbers[codes]
    # A category that no row has does not count.
    used = np.unique(kept[kept >= 0])
    names = [str(text) for text in places]
    if len(used) == len(names):
        return kept, names
    again = np.full(len(names) + 1, -1, np.int64)
    again[used] = np.arange(len(used))
    return again[kept], [names[i] for i in used]


class CellError(InputError):
    """A cell is not of its column's kind.

    Attributes
    ----------
    row : object
        Its row in the index of the table.
    column : str
        The name of its column.
    problem : str
        What was found, and what was expected.
    """

    def __init__(self, series: pd.Series, place: int, expected: str) -> None:
        value = str(series.iloc[place])
        shown = value if len(value) <= 40 else f"{value[:37]}..."
        self.row, self.column = series.index[place], str(series.name)
        self.problem = f"found {shown!r}; expected {expected}"
        super().__init__(f"column {series.name!r}, row {self.row}: {self.problem}")


def numbers_of(series: pd.Series, words: Iterable[str] = ()) -> Any:
    """Read a column of numbers.

    Parameters
    ----------
    series : pandas.Series
        Raw cells: numbers, or text of numbers.
    words : iterable of str
        Text that counts as missing.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        NaN where there is nothing, or no finite number.

    Raises
    ------
    CellError
        A cell holds something else.
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
    """Read a column of yes and no.

    Parameters
    ----------
    series : pandas.Series
        Raw cells: truth values, 0 and 1, or words of `YES` and `NO`.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        1 for yes, 0 for no, NaN where there is nothing or something else.
    """
    codes, texts = to_codes(series)
    known = [1.0 if t.lower() in YES else 0.0 if t.lower() in NO else np.nan for t in texts]
    return np.asarray([*known, np.nan])[codes]
