"""Tables in files: text, Parquet, NPY, NPZ, IDX, or a folder of them; whole or in chunks."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.backends import InputError
from xpnn.data.digits_csv import PIXELS
from xpnn.data.files import DataFileError
from xpnn.data.idx import TYPES
from xpnn.data.optional import import_optional
from xpnn.tabular.binary_files import ArrayFile, ParquetFile, labels_beside
from xpnn.tabular.names import listed
from xpnn.tabular.text_files import TextFile, unpacked
from xpnn.tabular.text_types import (
    NULLABLE,
    ReadOptions,
    TextType,
    TypeDecider,
    convert_cells,
    to_pandas,
)

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (
    ".csv", ".tsv", ".tab", ".txt", ".data", ".dat", ".parquet", ".pq", ".npy", ".npz", ".idx",
)  # fmt: skip
_PACKED_ENDINGS = (".gz", ".zst", ".bz2", ".xz")
_MAGICS = {b"PAR1": "parquet", b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz"}
_PEEK = 1 << 13  # a digit's record takes at most 3140 bytes
_ROWS = 65536
_THREADS = min(os.cpu_count() or 1, 8)


def open_table(path: str | Path, options: ReadOptions | None = None) -> TableFile:
    """Open a table file, or a folder of them.

    Parameters
    ----------
    path : path
        Separated text (CSV, TSV, ...), plain or packed with gzip, zstd, bz2 or xz; Parquet; NPY;
        NPZ; or IDX. Their content tells which. Of a folder, all table files are read, also those
        in inner folders, as one table; they are matched by the names of their columns.
    options : ReadOptions, optional
        What the content does not say.

    Returns
    -------
    TableFile

    Raises
    ------
    DataFileError
        The file does not hold a table; the message names it and the line.
    InputError
        An option does not fit the file.
    ImportError
        pandas or pyarrow is not installed: they come with the extra `tables`.
    """
    return TableFile(Path(path), options or ReadOptions())


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table file, or a folder of them.

    Parameters
    ----------
    path : path
        As for `open_table`.
    **options
        As `ReadOptions` has.

    Returns
    -------
    pandas.DataFrame
    """
    return open_table(path, ReadOptions(**options)).read()


@dataclass
class _Count:
    """Cells of a column that are missing although something stands there."""

    words: int = 0
    strange: int = 0
    row: int = 0
    text: str = ""


class TableFile:
    """A table in a file, or in all files of a folder; made by `open_table`.

    Parameters
    ----------
    path : Path
        The file or folder.
    options : ReadOptions
        What its content does not say.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns that are read.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self.options = path, options
        self._said: set[str] = set()
        self._decided: tuple[dict[str, TextType], set[str]] | None = None
        import_optional("pandas")
        import_optional("pyarrow")
        files = self._files_of_folder() if path.is_dir() else [path]
        self._parts = [_open(file, options) for file in files]
        names = self._parts[0].names
        for part in self._parts[1:]:
            _check_names(part.path, part.names, names, self._parts[0].path)
        texts = [isinstance(part, TextFile) for part in self._parts]
        if any(texts) and not all(texts):
            raise InputError(
                f"{self._parts[texts.index(True)].path} is text, "
                f"{self._parts[texts.index(False)].path} is not; expected files of one sort"
            )
        self._text = all(texts)
        for option, asked in (("usecols", options.usecols), ("dtype", options.dtype)):
            unknown = [name for name in asked or () if name not in names]
            if unknown or (asked is not None and not asked and option == "usecols"):
                what = f"{option} names {unknown[0]!r}" if unknown else "usecols is empty"
                raise InputError(f"{what}; {path} has the columns {listed(names)}")
        wanted = options.usecols or names
        self.columns = tuple(name for name in names if name in wanted)

    def _files_of_folder(self) -> list[Path]:
        files = sorted(file for file in self.path.rglob("*") if file.is_file())
        labels = {labels_beside(file) for file in files} | {self.options.labels}
        tables = [file for file in files if _is_table(file) and file not in labels]
        skipped = [str(f.relative_to(self.path)) for f in files if f not in labels | set(tables)]
        if not tables:
            raise DataFileError(
                f"{self.path}: no table file in the folder; expected endings {', '.join(ENDINGS)}"
            )
        if skipped:
            what = f"skipped {len(skipped):,} files that are no tables"
            self._warn(f"{self.path}: {what}: {listed(skipped, 5)}")
        return tables

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, UserWarning, stacklevel=2)

    # Types of text

    @property
    def types(self) -> Mapping[str, TextType]:
        """What the columns of a text file hold; empty for other files, which have dtypes.

        The first time, the whole file is read for it.

        Raises
        ------
        DataFileError
            The text is broken, or has no rows.
        InputError
            No cell of a column is what `options.dtype` says.
        """
        return self._decision()[0]

    def _decision(
        self, tables: Iterable[Any] | None = None
    ) -> tuple[dict[str, TextType], set[str]]:
        """Types of the columns of text, and which columns have gaps that change their dtype."""
        if self._decided is None:
            if self._text:
                self._decided = self._decide(self._tables(_ROWS) if tables is None else tables)
            else:
                self._decided = {}, self._gaps()
        return self._decided

    def _decide(self, tables: Iterable[Any]) -> tuple[dict[str, TextType], set[str]]:
        deciders = {name: TypeDecider(self.options, name) for name in self.columns}
        with ThreadPoolExecutor(_THREADS) as pool:
            for table in _regroup(tables, _ROWS):
                list(pool.map(TypeDecider.update, deciders.values(), table.columns))
        types, gaps = {}, set()
        wanted = self.options.date_format
        for name, decider in deciders.items():
            try:
                types[name] = decider.result()
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from None
            if decider.notice:
                self._warn(f"{self.path}, column {name!r}: {decider.notice}")
            if types[name].kind in ("integer", "boolean") and decider.gaps(types[name].kind):
                gaps.add(name)
        if wanted is not None and all(type_.format != wanted for type_ in types.values()):
            self._warn(f"{self.path}: no column has dates as date_format={wanted!r} says")
        return types, gaps

    def _gaps(self) -> set[str]:
        """Whole numbers and truth values of Parquet files that are missing somewhere."""
        found = set()
        for part in self._parts:
            if isinstance(part, ParquetFile):
                names = [name for name in part.counted if name in self.columns]
                for table in part.tables(names, _ROWS) if names else ():
                    found |= {name for name in names if table.column(name).null_count}
        return found

    # Reading

    def read(self, types: Mapping[str, TextType] | None = None) -> pd.DataFrame:
        """Read the whole table.

        Parameters
        ----------
        types : mapping, optional
            What columns of a text file hold, such as a model knows it; others come as text.
            Default: `types` of the file.

        Returns
        -------
        pandas.DataFrame
            Columns of text are int64, uint64, bool, or their nullable types where cells are
            missing; float64; datetime64[us], in UTC where they have an offset; timedelta64[us]
            since midnight; or str.

        Raises
        ------
        DataFileError, InputError
            As for `types`.
        """
        pa = import_optional("pyarrow")
        tables = list(self._tables(_ROWS))
        if types is None:
            types = self._decision(tables)[0] if self._text else {}
        counts: dict[str, _Count] = {}
        frame = self._frame(pa.concat_tables(tables), types, set(), counts, 0)
        self._tell(counts, types)
        return frame

    def chunks(
        self, rows: int = _ROWS, types: Mapping[str, TextType] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Read the table in chunks, in constant memory.

        Parameters
        ----------
        rows : int, default 65536
            Rows of a chunk, but for the last.
        types : mapping, optional
            As for `read`. Whole numbers and truth values then come in nullable types, as
            nothing is known about the chunks ahead.

        Yields
        ------
        pandas.DataFrame
            The same dtypes in each; the index goes on from chunk to chunk.

        Raises
        ------
        DataFileError, InputError
            As for `types`.
        """
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise InputError(f"rows is {rows!r}; expected a positive integer")
        return self._chunks(rows, types)

    def _chunks(self, rows: int, types: Mapping[str, TextType] | None) -> Iterator[pd.DataFrame]:
        pandas = import_optional("pandas")
        gaps = set(self.columns)
        if types is None or not self._text:
            types, gaps = self._decision()
        counts: dict[str, _Count] = {}
        start = 0
        for table in _regroup(self._tables(rows), rows):
            frame = self._frame(table, types, gaps, counts, start)
            frame.index = pandas.RangeIndex(start, start + len(frame))
            start += len(frame)
            yield frame
        self._tell(counts, types)

    def _tables(self, rows: int) -> Iterator[Any]:
        """Arrow tables of the columns, of strings where the file is text."""
        pa = import_optional("pyarrow")
        schema, empty = None, True
        if len(self._parts) > 1 and not self._text:
            firsts = [next(part.tables(self.columns, 1), None) for part in self._parts]
            try:
                schemas = [first.schema for first in firsts if first is not None]
                schema = pa.unify_schemas(schemas, promote_options="permissive")
            except pa.ArrowException as error:
                raise InputError(f"{self.path}: the files differ in types: {error}") from error
        for part in self._parts:
            for table in part.tables(self.columns, rows):
                empty = empty and not table.num_rows
                yield table if schema is None else table.cast(schema)
        if empty:
            raise DataFileError(f"{self.path}: no rows")

    def _frame(
        self, table: Any, types: Mapping[str, TextType], gaps: set[str],
        counts: dict[str, _Count], start: int,
    ) -> pd.DataFrame:  # fmt: skip
        """A table in pandas' types, nullable ones for `gaps`; the first row is number `start`."""
        made = {}
        for name in self.columns:
            cells = table.column(name)
            if self._text:
                type_ = types.get(name, TextType("text"))
                made[name], strange, words = convert_cells(cells, type_, self.options.na_values)
                count = counts.setdefault(name, _Count())
                count.words += words
                if strange.any():
                    place = int(strange.argmax())
                    if not count.strange:
                        count.row, count.text = start + place, cells[place].as_py()
                    count.strange += int(strange.sum())
            else:
                made[name] = to_pandas(cells)
            if name in gaps:
                dtype = str(made[name].dtype)
                made[name] = made[name].astype(NULLABLE.get(dtype, dtype))
        return import_optional("pandas").DataFrame(made)

    def _tell(self, counts: Mapping[str, _Count], types: Mapping[str, TextType]) -> None:
        """Warn of cells that are missing although something stands there."""
        places = self._places(count.row for count in counts.values() if count.strange)
        for name, count in counts.items():
            where = f"{self.path}, column {name!r}"
            if count.words:
                self._warn(
                    f"{where}: {count.words:,} cells with a word or mark for missing (NA, null, "
                    f"?, -, ...) are missing, as the column holds {types[name].kind}s"
                )
            if count.strange:
                path, line = places[count.row]
                file = "" if path == self.path else f"{path}, "
                self._warn(
                    f"{where}: {count.strange:,} cells are no {types[name].kind}s and are missing; "
                    f"the first is {count.text!r} ({file}line {line})"
                )

    def _places(self, rows: Iterable[int]) -> dict[int, tuple[Path, int]]:
        """File and line that rows of text begin in."""
        left, start = set(rows), 0
        places: dict[int, tuple[Path, int]] = {}
        for part in self._parts:
            if not left or not isinstance(part, TextFile):
                break
            lines, count = part.lines_of(row - start for row in left)
            found = {start + row: (part.path, line) for row, line in lines.items()}
            left -= found.keys()
            start += count
            places |= found
        return places

    def line_of(self, row: int) -> int | None:
        """Find the line of a text file that a row begins in.

        Parameters
        ----------
        row : int
            Number of the row, from 0 on, as in the index of what was read.

        Returns
        -------
        int or None
            From 1 on; None where the file is no text, or has fewer rows.
        """
        place = self._places([row]).get(row)
        return None if place is None else place[1]


def _open(path: Path, options: ReadOptions) -> TextFile | ParquetFile | ArrayFile:
    """Open a file as what its content says that it is."""
    with unpacked(path) as file:
        begin = file.read(_PEEK)
    if not begin:
        raise DataFileError(f"{path}: empty; expected a table")
    form = next((form for magic, form in _MAGICS.items() if begin.startswith(magic)), "")
    if form:
        with path.open("rb") as raw:
            if not begin.startswith(raw.read(4)):
                raise DataFileError(f"{path}: a packed {form} file; unpack it first")
    elif begin[:2] == b"\0\0" and len(begin) > 3 and begin[2] in TYPES:
        form = "idx"
    elif _is_digits(begin):
        form = "digits"
    if options.labels is not None and form != "idx":
        raise InputError(
            f"labels is {str(options.labels)!r}; expected none, as {path} is no IDX file"
        )
    if form == "parquet":
        return ParquetFile(path)
    return ArrayFile(path, form, options.labels) if form else TextFile(path, options)


def _is_digits(begin: bytes) -> bool:
    """Whether text begins with a record ``label,p0,...,p783`` of the tutorial's digits."""
    fields = begin.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].split(b",")
    if len(fields) != PIXELS + 1 or not all(field.strip().isdigit() for field in fields):
        return False
    values = [int(field) if len(field) < 9 else 256 for field in fields]
    # Names 0, 1, 2, ... are a header.
    counted = values[1:4] == [values[0] + 1, values[0] + 2, values[0] + 3]
    return max(values) <= 255 and values[0] <= 9 and not counted


def _is_table(path: Path) -> bool:
    """Whether a file of a folder has the ending of a table, maybe a packed one."""
    name = path.name.lower()
    for packed in _PACKED_ENDINGS:
        name = name.removesuffix(packed)
    plain = not path.name.startswith((".", "_"))
    return plain and (
        name.endswith(ENDINGS) or re.search(r"-idx[0-9]+(-ubyte)?$", name) is not None
    )


def _check_names(path: Path, names: Sequence[str], expected: Sequence[str], first: Path) -> None:
    """Refuse a file that has not the columns of the first one of its folder."""
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    if missing or unknown:
        what = f"no column {missing[0]!r}" if missing else f"an unknown column {unknown[0]!r}"
        raise DataFileError(f"{path}: {what}; expected the columns of {first}: {listed(expected)}")


def _regroup(tables: Iterable[Any], rows: int) -> Iterator[Any]:
    """Put tables together and cut them anew: each has so many rows, but for the last."""
    pa = import_optional("pyarrow")
    kept: list[Any] = []
    count = 0
    for table in tables:
        while count + len(table) >= rows:
            cut = rows - count
            yield pa.concat_tables([*kept, table.slice(0, cut)])
            kept, count, table = [], 0, table.slice(cut)
        if len(table):
            kept.append(table)
            count += len(table)
    if kept:
        yield pa.concat_tables(kept)
