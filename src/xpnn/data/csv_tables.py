"""CSV and TSV files as tables: types that hold for the whole file, chunk by chunk.

Text is cut into blocks of whole records, each checked before it is parsed. A parser that only
has good records to read makes no guesses: a short record is not filled up, a long one not cut,
and each error names its line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.backends import Array, host
from xpnn.data.cells import MISSING, clean, is_padded, to_numbers
from xpnn.data.columns import listed, repeated
from xpnn.data.files import DataFileError, open_compressed
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", "\t", ";", "|")
MOST_COLUMNS = 50_000

_BLOCK = 1 << 22  # bytes that are read at once
_LONGEST = 1 << 24  # bytes of a record
_CELLS = 1 << 22  # cells of text in a chunk: the rest of its rows come in the next
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_ZERO, _NINE, _POINT, _SMALL_X, _LARGE_X = b"09.xX"
_MARK = b"\xef\xbb\xbf"  # that Windows programs put before UTF-8 text


# Blocks of records


@dataclass(frozen=True)
class Block:
    """Whole records: UTF-8 that ends in a newline, and the number of its first line."""

    path: Path
    content: bytes
    line: int

    def error(self, at: int, problem: str) -> DataFileError:
        """Say what is wrong at one of its bytes."""
        line = self.line + self.content.count(b"\n", 0, at)
        return DataFileError(f"{self.path}, line {line}: {problem}")


def blocks(path: Path, max_ratio: float | None) -> Iterator[Block]:
    """Cut a file, plain or packed, into blocks of records that are not yet checked."""
    with open_compressed(path, max_ratio) as file:
        kept = file.read(len(_MARK))
        if kept[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataFileError(f"{path}: UTF-16 text; expected UTF-8, so save it as that")
        kept = kept.removeprefix(_MARK)
        line, last = 1, False
        while not last:
            piece = file.read(_BLOCK)
            kept, last = kept + piece, not piece
            if last and kept and not kept.endswith(b"\n"):
                kept += b"\n"
            cut = _end_of_records(kept)
            if len(kept) - cut > _LONGEST or (last and cut < len(kept)):
                what = "is never closed" if last else f"or record of more than {_LONGEST:,} bytes"
                raise Block(path, kept, line).error(cut, f"a quoted field {what}")
            block, kept = Block(path, kept[:cut], line), kept[cut:]
            if block.content:
                _check_text(block)
                yield block
            line += block.content.count(b"\n")


def _end_of_records(text: bytes) -> int:
    """Place after the last newline that is not inside quotes."""
    if b'"' not in text:
        return text.rfind(b"\n") + 1
    data = host.frombuffer(text, dtype="uint8")
    quotes = host.flatnonzero(data == _QUOTE)
    ends = host.flatnonzero(data == _NEWLINE)
    outside = ends[host.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) + 1 if outside.size else 0


def _check_text(block: Block) -> None:
    at, what = block.content.find(b"\0"), "a NUL byte"
    if at < 0:
        try:
            block.content.decode()
            return
        except UnicodeDecodeError as error:
            at = error.start
            what = f"the byte {block.content[at]:02x}, which is not UTF-8"
    raise block.error(at, f"{what}; expected text in UTF-8")


def check_records(block: Block, separator: str, fields: int) -> int:
    """Check that each record has its fields, and count the records; blank lines are none."""
    data = host.frombuffer(block.content, dtype="uint8")
    mark = ord(separator)
    _check_returns(block, data)
    quotes = host.flatnonzero(data == _QUOTE) if b'"' in block.content else None
    if quotes is not None:
        _check_quotes(block, data, quotes, mark)
    starts, counts, blank = _records(data, quotes, mark)
    wrong = (counts != fields) & ~blank
    if wrong.any():
        place = int(wrong.argmax())
        raise block.error(
            int(starts[place]),
            f"{int(counts[place])} fields; expected {fields}, as many as there are columns",
        )
    return int(len(counts) - blank.sum())


def _check_returns(block: Block, data: Array) -> None:
    """Refuse a carriage return that ends no line: parsers do not agree on what it is."""
    if b"\r" not in block.content:
        return
    returns = host.flatnonzero(data == _RETURN)
    alone = returns[data[returns + 1] != _NEWLINE]
    if alone.size:
        raise block.error(
            int(alone[0]),
            "a carriage return in the middle of a line; expected lines that end in a newline",
        )


def _check_quotes(block: Block, data: Array, quotes: Array, mark: int) -> None:
    """Refuse a quote that neither begins nor ends a field, nor is doubled in a quoted one."""
    opens, closes = quotes[::2], quotes[1::2]
    begins = host.isin(data[opens - 1], [mark, _NEWLINE, _QUOTE]) | (opens == 0)
    ends = host.isin(data[closes + 1], [mark, _NEWLINE, _RETURN, _QUOTE])
    wrong = host.sort(host.concatenate([opens[~begins], closes[~ends]]))
    if wrong.size:
        raise block.error(
            int(wrong[0]),
            'a quote in the middle of a field; expected fields with quotes as "so ""quoted""", '
            "without spaces around them",
        )


def _records(data: Array, quotes: Array | None, mark: int) -> tuple[Array, Array, Array]:
    """Where records begin, how many fields each has, and which are blank lines."""
    marks = host.flatnonzero((data == mark) | (data == _NEWLINE))
    if quotes is not None:
        marks = marks[host.searchsorted(quotes, marks) % 2 == 0]
    ends = host.flatnonzero(data[marks] == _NEWLINE)
    stops = marks[ends]
    starts = host.concatenate([host.zeros(1, stops.dtype), stops[:-1] + 1])
    lengths = stops - starts
    blank = lengths == 0
    blank |= (lengths == 1) & (data[starts] == _RETURN)
    return starts, host.diff(ends, prepend=-1), blank


def lines_of(block: Block, separator: str) -> Array:
    """Number of the line that each record of checked text begins in; blank lines are none."""
    data = host.frombuffer(block.content, dtype="uint8")
    starts, _, blank = _records(data, host.flatnonzero(data == _QUOTE), ord(separator))
    newlines = host.flatnonzero(data == _NEWLINE)
    return block.line + host.searchsorted(newlines, starts[~blank])


def _may_be_padded(content: bytes) -> bool:
    """Whether a field may be a number with a zero before it: seldom so, and dear to look for."""
    data = host.frombuffer(content, dtype="uint8")
    zeros = host.flatnonzero(data[:-1] == _ZERO)
    # A block ends in a newline, which stands before its first byte here.
    before, after = data[zeros - 1], data[zeros + 1]
    inside = ((before >= _ZERO) & (before <= _NINE)) | (before == _POINT)
    follows = ((after >= _ZERO) & (after <= _NINE)) | (after == _SMALL_X) | (after == _LARGE_X)
    return bool((~inside & follows).any())


def _may_have_space(content: bytes, separator: str, records: int) -> bool:
    """Whether a cell may begin or end with white space; most tables have none anywhere."""
    if not content.isascii() or content.count(b"\n") != records:
        return True
    spaces = [space for space in (b" ", b"\t", b"\x0b", b"\x0c") if space != separator.encode()]
    return any(space in content for space in spaces)


# The header


def _read_header(block: Block, ending: str, named: bool) -> tuple[str, tuple[str, ...], Block]:
    """Separator, names of the columns, and the records of the first block without the header."""
    content = block.content
    start = len(content) - len(content.lstrip(b"\r\n"))
    end = content.index(b"\n", start) + 1
    while content.count(b'"', start, end) % 2:
        end = content.index(b"\n", end) + 1
    line = block.line + content.count(b"\n", 0, start)
    first = content[start:end].decode()
    separator = _guess_separator(first, ending)
    fields = 1 + "".join(first.split('"')[::2]).count(separator)
    if fields > MOST_COLUMNS:
        raise DataFileError(f"{block.path}: {fields:,} columns; expected {MOST_COLUMNS:,} or fewer")
    check_records(Block(block.path, content[start:end], line), separator, fields)
    if not named:
        names = tuple(f"x{i}" for i in range(fields))
        return separator, names, Block(block.path, content[start:], line)
    # The csv module takes a whole list of lines; a name may hold a newline.
    try:
        (given,) = csv.reader([first], delimiter=separator)
    except csv.Error as error:
        raise block.error(start, f"the column names: {error}") from error
    names = tuple(name.strip() for name in given)
    problem = _problem_of(names)
    if problem:
        raise block.error(start, problem)
    return separator, _filled(names), Block(block.path, content[end:], line + first.count("\n"))


def _guess_separator(first: str, ending: str) -> str:
    """Guess what separates the fields of the first record.

    A tab for '.tsv' and '.tab', a comma where none is more frequent outside quotes, else the most
    frequent one.
    """
    if ending in (".tsv", ".tab"):
        return "\t"
    outside = "".join(first.split('"')[::2])
    return max(SEPARATORS, key=outside.count)  # the first of several, so the comma


def _as_number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _problem_of(names: tuple[str, ...]) -> str:
    """What is wrong with a first line that holds data, or a name twice."""
    numbers = [number for name in names if (number := _as_number(name)) is not None]
    counted = all(b == a + 1 for a, b in pairwise(numbers))
    if numbers and not (counted and all(n.is_integer() for n in numbers)):
        return (
            f"found {listed(names, 5)}; expected a header: a line of column names. If the file "
            "has none, add one or read it with header=False"
        )
    twice = repeated(filter(None, names))
    return f"two columns are called {twice!r}" if twice else ""


def _filled(names: tuple[str, ...]) -> tuple[str, ...]:
    """Give columns without a name one, as pandas' index has none."""
    made: list[str] = []
    for place, name in enumerate(names, start=1):
        own = name or f"column {place}"
        while own in names[place:] or own in made:
            own += "_"
        made.append(own)
    return tuple(made)


# Tables


@dataclass
class _ColumnType:
    """What a column can still be, after what was read of it: int64, float64 or text."""

    can: str = "int64"
    missing: bool = False
    seen: bool = False

    def look(self, cells: Any, padded: bool) -> None:
        """Look at more of it; `padded` says whether zeros may stand before numbers."""
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
        pa, pandas = import_optional("pyarrow"), import_optional("pandas")
        if not self.seen or self.can == "text":
            return cells.to_pandas()
        numbers, _ = to_numbers(cells, self.can)
        if self.can == "int64" and self.missing:
            return numbers.to_pandas(types_mapper={pa.int64(): pandas.Int64Dtype()}.get)
        return pandas.Series(numbers.to_numpy())


def regroup(parts: Iterable[Any], rows: float, join: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Put tables together and cut them anew: each has so many rows, but for the last."""
    kept: list[Any] = []
    count = 0
    for part in parts:
        while count + len(part) >= rows:
            cut = int(rows) - count
            yield join([*kept, part[:cut]])
            kept, count, part = [], 0, part[cut:]
        if len(part):
            kept.append(part)
            count += len(part)
    if kept:
        yield join(kept)


class TextTable:
    """A CSV or TSV file; `ending`, such as '.csv', decides where several separators would do."""

    def __init__(self, path: Path, ending: str, header: bool, max_ratio: float | None) -> None:
        self.path, self.ending, self.header = path, ending, header
        self.max_ratio = max_ratio
        self.separator = ""
        self.names: tuple[str, ...] = ()

    def _blocks(self) -> Iterator[Block]:
        """Blocks of records without the header, which tells the separator and the names."""
        self.names = ()
        for block in blocks(self.path, self.max_ratio):
            if not self.names:
                if not block.content.strip(b"\r\n"):
                    continue
                self.separator, self.names, block = _read_header(block, self.ending, self.header)
            if block.content:
                yield block
        if not self.names:
            raise DataFileError(f"{self.path}: empty; expected a line of column names")

    def line_of(self, row: int) -> int | None:
        """Line of the file that a row begins in; None where there are fewer rows."""
        for block in self._blocks():
            lines = lines_of(block, self.separator)
            if row < len(lines):
                return int(lines[row])
            row -= len(lines)
        return None

    def _parts(self) -> Iterator[tuple[Any, bool]]:
        """Tables of cleaned text, a block's records in each; and whether zeros may lead."""
        for block in self._blocks():
            count = check_records(block, self.separator, len(self.names))
            if count:
                yield self._parse(block, count), _may_be_padded(block.content)

    def _parse(self, block: Block, count: int) -> Any:
        """Text of a block of so many records, as an Arrow table."""
        pa, text = import_optional("pyarrow"), import_optional("pyarrow.csv")
        names, content = list(self.names), block.content
        try:
            table = text.read_csv(
                pa.BufferReader(content),
                read_options=text.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(content) + 1
                ),
                parse_options=text.ParseOptions(delimiter=self.separator, newlines_in_values=True),
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
        if _may_have_space(content, self.separator, count):
            table = pa.table([clean(column) for column in table.columns], names=names)
        return table

    def chunks(self, rows: int | None, as_text: bool) -> Iterator[pd.DataFrame]:
        """Tables of so many rows, or one of all.

        In chunks the file is read twice, unless all columns shall be text.
        """
        pa, pandas = import_optional("pyarrow"), import_optional("pandas")
        whole = list(self._parts()) if rows is None else None
        types: list[_ColumnType] = []
        for table, padded in () if as_text else whole or self._parts():
            types = types or [_ColumnType() for _ in table.columns]
            for type_, cells in zip(types, table.columns, strict=True):
                type_.look(cells, padded)
        tables = (table for table, _ in whole or self._parts())
        first = next(tables, None)
        if first is None:
            raise DataFileError(f"{self.path}: no rows after the line of column names")
        types = types or [_ColumnType("text")] * first.num_columns
        most = math.inf if rows is None else max(1, min(rows, _CELLS // first.num_columns))
        for table in regroup(chain([first], tables), most, pa.concat_tables):
            cells = zip(types, table.columns, strict=True)
            made = [type_.convert(column) for type_, column in cells]
            yield pandas.DataFrame(dict(zip(table.column_names, made, strict=True)))
