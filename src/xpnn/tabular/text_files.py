"""Separated text, such as CSV: its names, its records as Arrow tables, and where they stand."""

from __future__ import annotations

import bz2
import codecs
import csv
import io
import lzma
import re
import unicodedata
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from xpnn.data.files import DataFileError, open_compressed
from xpnn.data.optional import import_optional
from xpnn.tabular.names import listed, repeated
from xpnn.tabular.text_types import ReadOptions

_BLOCK = 1 << 22  # bytes of text that are parsed at once; a record may not be longer
_PIECE = 1 << 20
_SEPARATORS = ("\t", ";", "|", ",")
# Put behind the last record: where it does not come back as a record, a quote was never closed.
_END = "\x1eend\x1e"
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_PACKERS: tuple[tuple[bytes, Any], ...] = ((b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes, unpacked where it begins like gzip, zstd, bz2 or xz."""
    with open_compressed(path) as file:
        begin = cast(Any, file).peek(6)[:6]
        unpack = next((unpack for magic, unpack in _PACKERS if begin.startswith(magic)), None)
        try:
            yield file if unpack is None else unpack(file)
        except (EOFError, lzma.LZMAError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DataFileError(f"{path}: a broken packed file: {error}") from error


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


class TextFile:
    """A file of separated text.

    Parameters
    ----------
    path : Path
        The file.
    options : ReadOptions
        What its content does not say.

    Raises
    ------
    DataFileError
        It has no line of names, or one that cannot be one.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        with unpacked(path) as file:
            begin = file.read(3)
        marked = next((name for mark, name in _MARKS.items() if begin.startswith(mark)), "utf-8")
        self._encoding = codecs.lookup(options.encoding or marked).name.removesuffix("-sig")
        with closing(self._lines()) as lines:
            sample = list(islice(lines, 100))
        told = re.fullmatch(r"(?i)sep=([^\r\n])[\r\n]*", sample[0]) if sample else None
        self._skipped = 1 if told else 0
        self._sep = options.sep or (told[1] if told else _find_separator(sample))
        with closing(self._records()) as records:
            line, end, first = next(records, (0, 0, []))
        if not first:
            raise DataFileError(f"{path}: empty; expected a table")
        self.names = tuple(f"x{i}" for i in range(len(first)))
        if options.header:
            self._skipped = end
            self.names = self._names(first, line)

    def _names(self, first: Sequence[str], line: int) -> tuple[str, ...]:
        names = [unicodedata.normalize("NFC", name.strip()) for name in first]
        where = f"{self.path}, line {line}"
        names[0] = names[0] or "Unnamed: 0"  # how pandas reads its own index
        if not all(names):
            place = names.index("") + 1
            raise DataFileError(f"{where}: column {place} has no name; expected names of all")
        twice = repeated(names)
        if twice:
            raise DataFileError(f"{where}: two columns are called {twice!r}")
        if all(re.fullmatch(r"[+-]?[0-9.,]*[0-9][0-9.,]*([eE][+-]?[0-9]+)?", n) for n in names):
            warnings.warn(
                f"{where}: the column names are numbers, {listed(names, 5)}; if they are a row, "
                "read it with header=False (--no-header)",
                UserWarning,
                stacklevel=2,
            )
        return tuple(names)

    def _error(self, line: int, problem: str) -> DataFileError:
        return DataFileError(f"{self.path}, line {line}: {problem}")

    def _lines(self) -> Generator[str]:
        """Checked lines; a lone carriage return ends one, too."""
        with unpacked(self.path) as file:
            text = io.TextIOWrapper(cast(Any, file), self._encoding, "surrogateescape", newline="")
            number, bad = 0, ""
            try:
                for number, line in enumerate(text, start=1):
                    if "\0" in line:
                        raise self._error(number, "a NUL byte; expected separated text")
                    if not line.isascii() and (found := re.search("[\ud800-\udfff]", line)):
                        bad = f"the byte {ord(found[0]) & 0xFF:02x}"
                        break
                    yield line.removeprefix("\ufeff") if number == 1 else line
            except UnicodeError:
                number, bad = number + 1, "a cut off character"
            if bad:
                raise self._error(
                    number,
                    f"{bad} is not {self._encoding.upper()}; name the file's own encoding, such "
                    "as encoding='cp1252'",
                )

    def _records(self) -> Generator[tuple[int, int, list[str]]]:
        """First and last line of each record, and its fields; blank lines are none."""
        csv.field_size_limit(max(csv.field_size_limit(), _BLOCK))
        skipped = self._skipped
        lines = islice(self._lines(), skipped, None)
        records = csv.reader(chain(lines, [_END]), delimiter=self._sep)
        begin = 1
        try:
            for record in records:
                if record == [_END]:
                    return
                if record and _END in record[-1]:
                    raise csv.Error
                if record:
                    yield begin + skipped, records.line_num + skipped, record
                begin = records.line_num + 1
        except csv.Error:
            raise self._error(
                begin + skipped, f"a quoted field is never closed, or longer than {_BLOCK:,} bytes"
            ) from None

    def lines_of(self, rows: Iterable[int]) -> tuple[dict[int, int], int]:
        """Lines that some rows begin in, where there are such; and how many rows were passed."""
        wanted, found, count = set(rows), {}, 0
        with closing(self._records()) as records:
            for line, _, _ in records:
                if count in wanted:
                    found[count] = line
                count += 1
                if len(found) == len(wanted):
                    break
        return found, count

    def _problem(self, error: Exception) -> DataFileError:
        """What is wrong with the file, which the parser does not say, with the line."""
        try:
            with closing(self._records()) as records:
                for line, _, record in records:
                    if len(record) != len(self.names):
                        return self._error(
                            line, f"{len(record)} fields; expected {len(self.names)}, as many as "
                            "there are columns",
                        )  # fmt: skip
        except DataFileError as found:
            return found
        return DataFileError(f"{self.path}: {error}")

    def _pieces(self) -> Iterator[bytes]:
        """The file as UTF-8 without a mark before it, and with `_END` behind it."""
        decoder = codecs.getincrementaldecoder(self._encoding)()
        with unpacked(self.path) as file:
            first = True
            for piece in iter(lambda: file.read(_PIECE), b""):
                if self._encoding != "utf-8":
                    piece = decoder.decode(piece).encode()
                if first:
                    piece = piece.removeprefix(codecs.BOM_UTF8)
                if b"\0" in piece:
                    raise ValueError("a NUL byte")
                first = first and not piece
                if piece:
                    yield piece
        decoder.decode(b"", final=True)
        yield f"\n{self._sep.join([_END] * len(self.names))}\n".encode()

    def tables(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Arrow tables of strings, null where a field is empty; how long, the text decides.

        Raises
        ------
        DataFileError
            A record has too few or too many fields, or the text is broken.
        """
        pa, text = import_optional("pyarrow"), import_optional("pyarrow.csv")
        last = None
        try:
            reader = text.open_csv(
                pa.PythonFile(io.BufferedReader(_Stream(self._pieces()), _PIECE), "r"),
                text.ReadOptions(
                    block_size=_BLOCK, column_names=self.names, skip_rows=self._skipped
                ),
                text.ParseOptions(delimiter=self._sep, newlines_in_values=True),
                text.ConvertOptions(
                    column_types=dict.fromkeys(self.names, pa.string()),
                    include_columns=list(columns),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                if not batch.num_rows:
                    continue
                if last is not None:
                    yield pa.Table.from_batches([last])
                last = batch
        except DataFileError:
            raise
        except ValueError as error:  # Arrow's, or the decoder's
            raise self._problem(error) from error
        if last is None or last.column(0)[-1].as_py() != _END:
            raise self._problem(ValueError("a quoted field is never closed"))
        if last.num_rows > 1:
            yield pa.Table.from_batches([last.slice(0, last.num_rows - 1)])


def _find_separator(lines: list[str]) -> str:
    """What separates the fields of all records alike, and else what the first has most of."""
    for sep in _SEPARATORS:
        try:
            widths = [len(record) for record in csv.reader(lines, delimiter=sep) if record]
        except csv.Error:
            continue
        if len(lines) == 100 and len(widths) > 1:
            widths.pop()  # it may be cut off
        if widths and len(set(widths)) == 1 and widths[0] > 1:
            return sep
    first = next((line for line in lines if line.strip()), "")
    outside = "".join(first.split('"')[::2])
    return max(reversed(_SEPARATORS), key=outside.count)
