"""Tables in binary files, row by row: NPY, NPZ, IDX and Parquet, and the tutorial's digits."""

from __future__ import annotations

import errno
import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.data.columns import listed
from xpnn.data.csv_tables import MOST_COLUMNS, regroup
from xpnn.data.files import FREE_BYTES, DataFileError, npy_header
from xpnn.data.idx import iter_idx
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 1 << 48
_ROWS = 1 << 14  # of a Parquet file that are read at once
# pandas keeps an index without a name under such a one.
_INDEX = re.compile("__index_level_[0-9]+__")
_NULLABLE = {
    "bool": "boolean",
    **{f"{sign}int{n}": f"{sign.upper()}Int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)},
}
# What NumPy's reader of headers raises where they are damaged.
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, OverflowError,
    RecursionError, MemoryError, EOFError, UnicodeError, tokenize.TokenError,
)  # fmt: skip
_ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError,
    UnicodeError, struct.error, OverflowError,
)  # fmt: skip


class _Array:
    """An NPY file of so many bytes, on its own or in an NPZ file, that is read row by row."""

    def __init__(self, where: str, file: Any, length: int) -> None:
        self.where, self.file = where, file
        try:
            shape, fortran, self.dtype = npy_header(file)
        except _DAMAGE as error:
            said = str(error).partition("\n")[0][:120]
            raise DataFileError(f"{where}: a damaged NPY header: {said}") from error
        if self.dtype.hasobject:
            raise DataFileError(
                f"{where}: Python objects; expected numbers or text. Objects are pickles, which "
                "could run code and are never read"
            )
        if self.dtype.kind not in "biufUS" or self.dtype.itemsize < 1:
            raise DataFileError(
                f"{where}: numbers of the type {self.dtype}; expected numbers or text"
            )
        if not 1 <= len(shape) <= 64 or not all(0 <= n <= _MOST_ROWS for n in shape):
            raise DataFileError(f"{where}: an array of shape {shape}; expected a table")
        self.shape = tuple(map(int, shape))
        self.rows, self.width = self.shape[0], math.prod(self.shape[1:])
        if not self.rows or not self.width:
            raise DataFileError(f"{where}: an array of shape {shape} has no rows or no columns")
        if self.width > MOST_COLUMNS:
            raise DataFileError(
                f"{where}: {self.width:,} columns; expected {MOST_COLUMNS:,} or fewer"
            )
        expected = self.rows * self.width * self.dtype.itemsize
        if length - file.tell() != expected:
            raise DataFileError(
                f"{where}: {length - file.tell():,} bytes of numbers; expected {expected:,} for "
                f"shape {self.shape} of {self.dtype}"
            )
        self.by_columns = bool(fortran) and len(self.shape) > 1
        self.whole: Any = None  # an array that is stored by columns

    def take(self, start: int, rows: int) -> Any:
        """The next rows, in C order."""
        if self.by_columns:
            if self.whole is None:
                self.whole = self._read(self.rows).reshape(self.shape, order="F")
            return np.array(self.whole[start : start + rows], order="C")
        rows = min(rows, self.rows - start)
        return self._read(rows).reshape(rows, *self.shape[1:])

    def _read(self, rows: int) -> Any:
        data = bytearray(rows * self.width * self.dtype.itemsize)
        if self.file.readinto(data) < len(data):
            raise DataFileError(f"{self.where}: cut off")
        return np.frombuffer(data, self.dtype)


def _plain(values: Any) -> Any:
    """Rows in the machine's byte order, with text for text."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "latin-1")
    if values.dtype.kind == "U":
        return values.astype(object)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _frame(arrays: dict[str, Any]) -> pd.DataFrame:
    """Arrays side by side: 'name' of a 1-d one; 'name0', 'name1', ... of another."""
    pandas = import_optional("pandas")
    parts = []
    for name, array in arrays.items():
        values = _plain(array)
        if values.ndim == 1:
            parts.append(pandas.DataFrame({name: values}))
            continue
        flat = values.reshape(len(values), -1)
        names = [f"{name}{i}" for i in range(flat.shape[1])]
        parts.append(pandas.DataFrame(flat, columns=names))
    return parts[0] if len(parts) == 1 else pandas.concat(parts, axis=1)


def npy_chunks(path: Path, rows: int | None) -> Iterator[pd.DataFrame]:
    """Tables of the rows of an NPY file."""
    with path.open("rb") as file:
        array = _Array(str(path), file, path.stat().st_size)
        if array.by_columns:  # rows lie scattered; the system's pages are the best buffer
            array.whole = np.memmap(path, array.dtype, "r", file.tell(), array.shape, "F")
        step = array.rows if rows is None else rows
        for start in range(0, array.rows, step):
            yield _frame({"x": array.take(start, step)})


def npz_chunks(path: Path, rows: int | None, max_ratio: float) -> Iterator[pd.DataFrame]:
    """Tables of the rows of an NPZ file."""
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            members = {}
            for info in _members(path, archive, max_ratio):
                file, where = stack.enter_context(archive.open(info)), f"{path}: {info.filename}"
                name = info.filename.removesuffix(".npy")
                members[name] = _Array(where, file, info.file_size)
            chosen = _choose(path, members)
            count = min(member.rows for member in chosen.values())
            step = count if rows is None else rows
            for start in range(0, count, step):
                yield _frame({name: m.take(start, step) for name, m in chosen.items()})
            for member in chosen.values():
                member.file.read(1)  # at the end, the checksum is compared
    except _ZIP_DAMAGE as error:
        # A damaged directory sends the reader to places before the file's begin.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DataFileError(f"{path}: a damaged NPZ file: {error}") from error


def _members(path: Path, archive: zipfile.ZipFile, max_ratio: float) -> list[zipfile.ZipInfo]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if "[Content_Types].xml" in names:
        raise DataFileError(f"{path}: an Office file; expected a table, so save it as CSV")
    if len(set(names)) != len(names) or len(names) > MOST_COLUMNS:
        raise DataFileError(f"{path}: a damaged NPZ file: {len(names):,} entries, some twice")
    if not names or not all(name.endswith(".npy") for name in names):
        raise DataFileError(
            f"{path}: a zip file with {listed(names) or 'nothing in it'}; expected an NPZ file"
        )
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise DataFileError(f"{path}: packed otherwise than NumPy packs; expected an NPZ file")
    unpacked = sum(info.file_size for info in infos)
    packed = path.stat().st_size
    if unpacked > FREE_BYTES + max_ratio * packed:
        raise DataFileError(
            f"{path}: {packed:,} packed bytes unpack to {unpacked:,}, over {max_ratio:g} times as "
            "many; if that is right, read it with a larger max_ratio"
        )
    return infos


def _choose(path: Path, members: dict[str, _Array]) -> dict[str, _Array]:
    """Which arrays make the table, and the names of their columns."""
    shapes = {name: member.shape for name, member in members.items()}
    said = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:8])
    if len(members) == 1:
        (member,) = members.values()
        return {"x": member}
    tables = [name for name in members if name in ("X", "x")]
    targets = [name for name in members if name in ("Y", "y")]
    if len(tables) == len(targets) == 1:
        x, y = members[tables[0]], members[targets[0]]
        if x.rows != y.rows:
            raise DataFileError(f"{path}: X and y have different numbers of rows: {said}")
        width = y.width
        if width > 1 and len(y.shape) > 1:
            raise DataFileError(f"{path}: y has shape {y.shape}; expected one column")
        return {"x": x, "y": y}
    if all(len(shape) == 1 for shape in shapes.values()) and len(set(shapes.values())) == 1:
        return members
    raise DataFileError(
        f"{path}: arrays {said}; expected X and y, or one array, or arrays of one axis and one "
        "length"
    )


def labels_beside(images: Path) -> Path | None:
    """Where the labels of an IDX file of pictures lie, by MNIST's naming."""
    name = images.name
    for mark in ("-", "."):
        place = f"images{mark}idx"
        if place not in name:
            continue
        head, _, tail = name.partition(place)
        rest = tail.lstrip("0123456789")
        plain = rest.removesuffix(".gz").removesuffix(".zst")
        for ending in (rest, plain, f"{plain}.gz", f"{plain}.zst"):
            found = images.with_name(f"{head}labels{mark}idx1{ending}")
            if found.is_file():
                return found
    return None


def idx_chunks(path: Path, rows: int | None, labels: Path | None) -> Iterator[pd.DataFrame]:
    """Tables of the entries of an IDX file: 'label' and 'pixel0', 'pixel1', ..."""
    labels = labels or labels_beside(path)
    tags = iter(()) if labels is None else iter_idx(labels, rows)
    start = 0
    for images in iter_idx(path, rows):
        width = math.prod(images.shape[1:])
        if not len(images) or not width or width > MOST_COLUMNS:
            raise DataFileError(
                f"{path}: numbers of shape {images.shape}; expected rows of 1 to {MOST_COLUMNS:,}"
            )
        arrays = {"label" if images.ndim == 1 else "pixel": images}
        if labels is not None:
            own = next(tags, images[:0])
            if own.shape != images.shape[:1]:
                raise DataFileError(
                    f"{labels}: labels of shape {own.shape} beside rows {start} to "
                    f"{start + len(images)} of {path.name}; expected {len(images)} labels"
                )
            arrays = {"label": own, **arrays}
        yield _frame(arrays)
        start += len(images)
    if next(tags, None) is not None:
        raise DataFileError(f"{labels}: more labels than there are entries in {path.name}")


def digits_chunks(tables: Iterator[Any], rows: int | None) -> Iterator[pd.DataFrame]:
    """Tables of the tutorial's digits: 'label' and 'pixel0', ..., 'pixel783'."""
    for table in regroup(tables, rows or math.inf, np.concatenate):
        yield _frame({"label": table[:, 0].astype(np.int64), "pixel": table[:, 1:]})


# Parquet


def parquet_chunks(path: Path, rows: int | None, max_ratio: float) -> Iterator[pd.DataFrame]:
    """Tables of the rows of a Parquet file, with the same types in each."""
    pa, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
    # Opened here, so that it is closed whatever the reader does.
    with pa.OSFile(str(path)) as source:
        try:
            file = parquet.ParquetFile(source)
            _check_parquet(path, file, max_ratio)
            names = [name for name in file.schema_arrow.names if not _INDEX.fullmatch(name)]
            may_miss = None if rows is None else _missing(file)
            batches = file.iter_batches(batch_size=rows or _ROWS, use_threads=False)
            tables = (pa.Table.from_batches([batch]).select(names) for batch in batches)
            for table in [pa.concat_tables(tables)] if rows is None else tables:
                yield _parquet_frame(table, may_miss)
        except DataFileError:
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            said = str(error).strip().partition("\n")[0][:160]
            raise DataFileError(f"{path}: a damaged Parquet file: {said}") from error


def _check_parquet(path: Path, file: Any, max_ratio: float) -> None:
    """Refuse names that are no table's, and a table that is far larger than its file."""
    meta, names = file.metadata, file.schema_arrow.names
    if len(set(names)) != len(names) or not names or len(names) > MOST_COLUMNS:
        raise DataFileError(
            f"{path}: columns {listed(names) or 'none'}; expected 1 to {MOST_COLUMNS:,} "
            "different names"
        )
    if meta.num_rows < 1:
        raise DataFileError(f"{path}: no rows")
    cells, packed = meta.num_rows * meta.num_columns, path.stat().st_size
    if 8 * cells > FREE_BYTES + max_ratio * packed:
        raise DataFileError(
            f"{path}: {packed:,} bytes hold {cells:,} cells, over {max_ratio:g} times as many "
            "bytes; if that is right, read it with a larger max_ratio"
        )


def _missing(file: Any) -> set[str]:
    """Whole numbers and truth values that are missing somewhere: these get nullable types.

    The file's own statistics would say so at once, but where they are damaged, reading them
    ends the process.
    """
    names = [field.name for field in file.schema_arrow if str(field.type) in _NULLABLE]
    found: set[str] = set()
    if names:
        for batch in file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
            found |= {n for n in batch.schema.names if batch.column(n).null_count}
    return found


def _parquet_frame(table: Any, may_miss: set[str] | None) -> pd.DataFrame:
    """A table in types that do not depend on what the others of the file hold."""
    pa, pandas = import_optional("pyarrow"), import_optional("pandas")
    made = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        missing = column.null_count > 0 if may_miss is None else name in may_miss
        nullable = _NULLABLE.get(str(column.type)) if missing else None
        mapper = None if nullable is None else {column.type: pandas.array([], nullable).dtype}.get
        made[name] = column.to_pandas(types_mapper=mapper)
    return pandas.DataFrame(made)
