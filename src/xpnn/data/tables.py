"""A user's own table, whatever file it is in: whole, or chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.backends import InputError
from xpnn.data.binary_tables import (
    digits_chunks,
    idx_chunks,
    npy_chunks,
    npz_chunks,
    parquet_chunks,
)
from xpnn.data.csv_tables import TextTable
from xpnn.data.digits_csv import PIXELS, iter_digits
from xpnn.data.files import MAX_RATIO, DataFileError, compression, open_compressed
from xpnn.data.idx import TYPES
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "digits", "parquet", "npy", "npz", "idx")

_PACKED_ENDINGS = (".gz", ".zst", ".zstd", ".gzip")
_PEEK = 1 << 13  # a digit's record takes at most 3140 bytes


def table_format(path: str | Path) -> str:
    """Tell the format of a table from its content, and else from its ending.

    Parameters
    ----------
    path : path
        The file; CSV, TSV and IDX may be packed with gzip or zstd.

    Returns
    -------
    str
        One of `FORMATS`; 'csv' for all separated text, 'digits' for the digit tutorial's.

    Raises
    ------
    DataFileError
        It is empty, or packed and not a format that is read so.
    """
    path = Path(path)
    if path.is_dir():
        raise DataFileError(f"{path}: a folder; expected a file")
    with open_compressed(path, MAX_RATIO) as file:
        begin = file.read(_PEEK)
        packed = compression(file) is not None
    if not begin:
        raise DataFileError(f"{path}: empty; expected a table")
    magics = {b"PAR1": "parquet", b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz"}
    found = next((form for magic, form in magics.items() if begin.startswith(magic)), None)
    if found is None:
        idx = begin[:2] == b"\0\0" and len(begin) > 3 and begin[2] in TYPES
        return "idx" if idx else "digits" if _is_digits(begin) else "csv"
    if packed:
        raise DataFileError(f"{path}: a packed {found} file; unpack it first")
    return found


def _is_digits(begin: bytes) -> bool:
    """Whether text begins with a record ``label,p0,...,p783``."""
    fields = begin.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].split(b",")
    if len(fields) != PIXELS + 1 or not all(field.strip().isdigit() for field in fields):
        return False
    values = [int(field) if len(field) < 9 else 256 for field in fields]
    if max(values) > 255 or values[0] > 9:
        return False
    # Names 0, 1, 2, ... are a header.
    return values[1:4] != [values[0] + 1, values[0] + 2, values[0] + 3]


def _ending(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED_ENDINGS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_table(
    path: str | Path,
    *,
    header: bool = True,
    labels: str | Path | None = None,
    max_ratio: float = MAX_RATIO,
) -> pd.DataFrame:
    """Read a table: CSV, TSV, Parquet, NPY, NPZ, IDX, or the digit tutorial's CSV.

    Parameters
    ----------
    path : path
        CSV and TSV (UTF-8; commas, tabs, semicolons or bars) and IDX may be packed with gzip
        or zstd. An NPZ file holds ``X`` and ``y``, one array, or columns of one length.
    header : bool, default True
        Whether the first line of separated text holds names; without, they are x0, x1, ...
    labels : path, optional
        IDX file with the labels of an IDX file of pictures. Default: the one beside it by
        MNIST's naming, where there is one.
    max_ratio : float, default 200
        How many times larger than the file its unpacked content may be, beside 64 MiB that
        any may have. Real tables take up to 50; what passes the limit is refused.

    Returns
    -------
    pandas.DataFrame
        Columns of separated text are int64, float64, nullable Int64 where whole numbers
        are missing, or text. Numbers with zeros before them stay text.

    Raises
    ------
    DataFileError
        The file does not hold a table; the message names it and the line.
    ImportError
        pandas or pyarrow is not installed: they come with the extra `tables`.
    """
    frames = list(_frames(path, None, False, header, labels, max_ratio))
    if not frames:
        raise DataFileError(f"{path}: no rows")
    pandas = import_optional("pandas")
    return frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)


def stream_table(
    path: str | Path,
    rows: int = 65536,
    *,
    text: bool = False,
    header: bool = True,
    labels: str | Path | None = None,
    max_ratio: float = MAX_RATIO,
) -> Iterator[pd.DataFrame]:
    """Read a table chunk by chunk, in constant memory and in the order of its rows.

    Parameters
    ----------
    path, header, labels, max_ratio
        As in `read_table`.
    rows : int, default 65536
        Most rows of a chunk; of very wide text there come fewer.
    text : bool, default False
        Whether all columns of separated text are given as text, which reads the file once.
        Else it is read twice, as only its end tells what type a column has.

    Yields
    ------
    pandas.DataFrame
        The same types in each chunk; the index goes on from chunk to chunk.

    Raises
    ------
    ValueError
        `rows` is not positive.
    DataFileError, ImportError
        As in `read_table`.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise InputError(f"rows is {rows!r}; expected a positive integer")
    return _numbered(_frames(path, rows, text, header, labels, max_ratio))


def _numbered(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Tables whose rows are numbered on from one to the next."""
    start = 0
    for frame in frames:
        frame.index = import_optional("pandas").RangeIndex(start, start + len(frame))
        start += len(frame)
        yield frame


def line_of_row(path: str | Path, row: int, *, header: bool = True) -> int | None:
    """Find the line of a file that a row of its table begins in.

    Parameters
    ----------
    path, header
        As in `read_table`.
    row : int
        Number of the row, from 0 on, as in the index of what was read.

    Returns
    -------
    int or None
        From 1 on; None where the table is no separated text, or has fewer rows.
    """
    if table_format(path) != "csv":
        return None
    return TextTable(Path(path), _ending(Path(path)), header, MAX_RATIO).line_of(row)


def _frames(
    path: str | Path, rows: int | None, text: bool, header: bool, labels: Any, max_ratio: float
) -> Iterator[pd.DataFrame]:
    """Tables of `rows` rows each, or one of all."""
    path, form = Path(path), table_format(path)
    if labels is not None and form != "idx":
        raise InputError(f"labels is {str(labels)!r}; expected none beside a file that is no IDX")
    import_optional("pandas")
    if form == "csv":
        return TextTable(path, _ending(path), header, max_ratio).chunks(rows, text)
    if form == "npy":
        return npy_chunks(path, rows)
    if form == "npz":
        return npz_chunks(path, rows, max_ratio)
    if form == "idx":
        return idx_chunks(path, rows, None if labels is None else Path(labels))
    if form == "digits":
        return digits_chunks(iter_digits(path, max_ratio), rows)
    return parquet_chunks(path, rows, max_ratio)
