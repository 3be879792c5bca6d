"""CSV and TSV files as tables: types that hold for the whole file, chunk by chunk."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.data.cells import MISSING, clean, is_padded, to_numbers
from xpnn.data.columns import listed
from xpnn.data.csv_records import (
    MOST_COLUMNS,
    Block,
    blocks,
    check_records,
    guess_separator,
    lines_of,
    may_be_padded,
)
from xpnn.data.files import DataFileError
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

_CELLS = 1 << 22  # cells of text in a chunk: the rest of its rows come in the next


@dataclass(frozen=True)
class Layout:
    """How a text table is written.

    Parameters
    ----------
    separator : str
        What stands between fields.
    names : tuple of str
        Names of the columns.
    skip : int
        Bytes of the first block before the first record.
    lines : int
        Lines of them.
    """

    separator: str
    names: tuple[str, ...]
    skip: int
    lines: int


def _layout(path: Path, block: Block, ending: str, header: bool) -> Layout:
    """Read the header of a table."""
    content = block.content
    start = len(content) - len(content.lstrip(b"\r\n"))
    if start == len(content):
        raise DataFileError(f"{path}: empty; expected a line of column names")
    line = block.line + content.count(b"\n", 0, start)
    end = content.index(b"\n", start) + 1
    while content.count(b'"', start, end) % 2:
        end = content.index(b"\n", end) + 1
    first = content[start:end].decode()
    separator = guess_separator(first, ending)
    fields = 1 + "".join(first.split('"')[::2]).count(separator)
    if fields > MOST_COLUMNS:
        raise DataFileError(f"{path}: {fields:,} columns; expected {MOST_COLUMNS:,} or fewer")
    check_records(path, Block(content[start:end], line), separator, fields)
    if not header:
        names = tuple(f"x{i}" for i in range(fields))
        return Layout(separator, names, start, line - block.line)
    # The csv module takes a whole list of lines; a name may hold a newline.
    try:
        (given,) = csv.reader([first], delimiter=separator)
    except csv.Error as error:
        raise DataFileError(f"{path}, line {line}: the column names: {error}") from error
    names = tuple(name.strip() for name in given)
    _check_header(path, line, names)
    return Layout(separator, _filled(names), end, line - block.line + first.count("\n"))


def _as_number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _check_header(path: Path, line: int, names: tuple[str, ...]) -> None:
    """Refuse a first line that holds data, and names that are there twice."""
    numbers = [number for name in names if (number := _as_number(name)) is not None]
    counted = all(b == a + 1 for a, b in pairwise(numbers))
    if numbers and not (counted and all(n.is_integer() for n in numbers)):
        raise DataFileError(
            f"{path}, line {line}: found {listed(names, 5)}; expected a header: a line of column "
            "names. If the file has none, add one or read it with header=False"
        )
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise DataFileError(f"{path}, line {line}: two columns are called {name!r}")
        seen.add(name)


def _filled(names: tuple[str, ...]) -> tuple[str, ...]:
    """Give columns without a name one, as pandas' index has none."""
    made: list[str] = []
    for place, name in enumerate(names, start=1):
        own = name or f"column {place}"
        while own in names[place:] or own in made:
            own += "_"
        made.append(own)
    return tuple(made)


@dataclass
class _Kind:
    """What a column can still be, after what was read of it."""

    can: str = "int64"
    missing: bool = False
    seen: bool = False

    def look(self, cells: Any, padded: bool) -> None:
        """Look at more of it."""
        pa = import_optional("pyarrow")
        self.missing = self.missing or cells.null_count > 0
        if self.can == "text" or cells.null_count == len(cells):
            return
        self.seen = True
        if padded and is_padded(cells):
            self.can = "text"
        elif self.can == "int64":
            try:
                cells.cast(pa.int64())
                return
            except pa.ArrowInvalid:
                self.can = "float64"
        if self.can == "float64" and len(to_numbers(cells)[1]):
            self.can = "text"

    def convert(self, cells: Any) -> pd.Series:
        """Cells of the column in the type that all of it has."""
        pandas = import_optional("pandas")
        if not self.seen or self.can == "text":
            return cells.to_pandas()
        if self.can == "int64":
            numbers = to_numbers(cells, "int64")[0]
            if not self.missing:
                return pandas.Series(numbers.to_numpy())
            return numbers.to_pandas(
                types_mapper={import_optional("pyarrow").int64(): pandas.Int64Dtype()}.get
            )
        return pandas.Series(to_numbers(cells)[0].to_numpy())


class TextTable:
    """A CSV or TSV file.

    Parameters
    ----------
    path : Path
        The file.
    ending : str
        Such as '.csv'.
    header : bool
        Whether the first line holds names.
    max_ratio : float or None
        See `open_compressed`.
    """

    def __init__(self, path: Path, ending: str, header: bool, max_ratio: float | None) -> None:
        self.path, self.ending, self.header = path, ending, header
        self.max_ratio = max_ratio
        self.layout: Layout | None = None

    def _blocks(self) -> Iterator[tuple[Block, Layout]]:
        """Blocks of records without the header, and what it says."""
        found: Layout | None = None
        for block in blocks(self.path, self.max_ratio):
            if found is None:
                if not block.content.strip(b"\r\n"):
                    continue
                found = self.layout = _layout(self.path, block, self.ending, self.header)
                block = Block(block.content[found.skip :], block.line + found.lines)
            if block.content:
                yield block, found
        if found is None:
            raise DataFileError(f"{self.path}: empty; expected a line of column names")

    def line_of(self, row: int) -> int | None:
        """Line of the file that a row begins in; None where there are fewer rows."""
        for block, layout in self._blocks():
            lines = lines_of(block, layout.separator)
            if row < len(lines):
                return int(lines[row])
            row -= len(lines)
        return None

    def _parts(self) -> Iterator[tuple[Any, bool]]:
        """Tables of cleaned text, a block's records in each; and whether zeros may lead."""
        for block, layout in self._blocks():
            yield from self._parse(block, layout)

    def _parse(self, block: Block, layout: Layout) -> Iterator[tuple[Any, bool]]:
        pa, text = import_optional("pyarrow"), import_optional("pyarrow.csv")
        names = list(layout.names)
        count = check_records(self.path, block, layout.separator, len(names))
        if not count:
            return
        try:
            table = text.read_csv(
                pa.BufferReader(block.content),
                read_options=text.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(block.content) + 1
                ),
                parse_options=text.ParseOptions(
                    delimiter=layout.separator, newlines_in_values=True
                ),
                convert_options=text.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.large_string()),
                    strings_can_be_null=True,
                    null_values=MISSING,
                ),
            )
        except pa.ArrowInvalid as error:
            raise DataFileError(f"{self.path}, from line {block.line}: {error}") from error
        if table.num_rows != count:
            raise DataFileError(
                f"{self.path}, from line {block.line}: read {table.num_rows} records; there are "
                f"{count}"
            )
        if _may_have_space(block.content, layout.separator, count):
            table = pa.table([clean(column) for column in table.columns], names=names)
        yield table, may_be_padded(block)

    def _kinds(self, tables: Iterator[tuple[Any, bool]]) -> list[_Kind]:
        kinds: list[_Kind] = []
        rows = 0
        for table, padded in tables:
            kinds = kinds or [_Kind() for _ in table.columns]
            rows += table.num_rows
            for kind, cells in zip(kinds, table.columns, strict=True):
                kind.look(cells, padded)
        if not rows:
            raise DataFileError(f"{self.path}: no rows after the line of column names")
        return kinds

    def read(self) -> pd.DataFrame:
        """Read the whole table."""
        pa = import_optional("pyarrow")
        parts = list(self._parts())
        kinds = self._kinds(iter(parts))
        return _frame(pa.concat_tables([table for table, _ in parts]), kinds, 0)

    def chunks(self, rows: int, as_text: bool) -> Iterator[pd.DataFrame]:
        """Read the table chunk by chunk: twice, unless all columns shall be text."""
        kinds = None if as_text else self._kinds(self._parts())
        start = 0
        for table in self._regrouped(rows):
            kinds = kinds or [_Kind("text") for _ in table.columns]
            yield _frame(table, kinds, start)
            start += table.num_rows
        if not start:
            raise DataFileError(f"{self.path}: no rows after the line of column names")

    def _regrouped(self, rows: int) -> Iterator[Any]:
        pa = import_optional("pyarrow")
        kept: list[Any] = []
        count, most = 0, rows
        for table, _ in self._parts():
            most = max(1, min(rows, _CELLS // table.num_columns))
            while count + table.num_rows >= most:
                cut = most - count
                yield pa.concat_tables([*kept, table.slice(0, cut)])
                kept, count, table = [], 0, table.slice(cut)
            if table.num_rows:
                kept.append(table)
                count += table.num_rows
        if kept:
            yield pa.concat_tables(kept)


def _may_have_space(content: bytes, separator: str, records: int) -> bool:
    """Whether a cell may begin or end with white space; most tables have none anywhere."""
    if not content.isascii() or content.count(b"\n") != records:
        return True
    spaces = [space for space in (b" ", b"\t", b"\x0b", b"\x0c") if space != separator.encode()]
    return any(space in content for space in spaces)


def _frame(table: Any, kinds: list[_Kind], start: int) -> pd.DataFrame:
    """A table in its types; rows are numbered on from chunk to chunk."""
    pandas = import_optional("pandas")
    made = {
        name: kind.convert(column)
        for name, column, kind in zip(table.column_names, table.columns, kinds, strict=True)
    }
    frame = pandas.DataFrame(made)
    frame.index = pandas.RangeIndex(start, start + table.num_rows)
    return frame
