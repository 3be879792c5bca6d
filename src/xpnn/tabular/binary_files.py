"""Tables in binary files as Arrow tables: Parquet, NPY, NPZ, IDX, and the tutorial's digits."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.digits_csv import PIXELS, iter_digits
from xpnn.data.files import DataFileError
from xpnn.data.idx import iter_idx
from xpnn.data.optional import import_optional
from xpnn.tabular.names import listed, repeated
from xpnn.tabular.text_types import NULLABLE

# pandas keeps an index without a name under such a one.
_INDEX = re.compile("__index_level_[0-9]+__")
# What NumPy's readers raise where a file is damaged.
_DAMAGE = (
    ValueError, TypeError, KeyError, AttributeError, SyntaxError, ArithmeticError, MemoryError,
    EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class ParquetFile:
    """A Parquet file, whose row groups are read one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        schema = self._opened(lambda file: file.schema_arrow)
        self.names = tuple(name for name in schema.names if not _INDEX.fullmatch(name))
        self.counted = [f.name for f in schema if str(f.type) in NULLABLE]
        twice = repeated(schema.names)
        if twice or not self.names:
            what = f"two columns are called {twice!r}" if twice else "no columns"
            raise DataFileError(f"{path}: {what}")

    def _opened(self, use: Any) -> Any:
        pa, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        try:
            with pa.OSFile(str(self.path)) as source:
                return use(parquet.ParquetFile(source))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataFileError:
        said = str(error).strip().partition("\n")[0][:160]
        return DataFileError(f"{self.path}: a damaged Parquet file: {said}")

    def tables(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Arrow tables of some columns, in types that text has, too, where it has such."""
        pa, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        with pa.OSFile(str(self.path)) as source:
            try:
                file = parquet.ParquetFile(source)
                schema = file.schema_arrow
                for name in columns:
                    self._check(schema.field(name))
                for batch in file.iter_batches(rows, columns=list(columns)):
                    arrays = [_plain(batch.column(name)) for name in columns]
                    yield pa.table(arrays, names=list(columns))
            except DataFileError:
                raise
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(error) from error

    def _check(self, field: Any) -> None:
        types = import_optional("pyarrow").types
        plain = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_nested(plain) or types.is_interval(plain):
            raise InputError(
                f"{self.path}, column {field.name!r}: each cell is a {field.type}; expected "
                "numbers, text, dates or truth values, so leave it out with usecols"
            )


def _plain(column: Any) -> Any:
    """A column in a type that pandas has: UTC without zones, no dictionaries, no decimals."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    types = pa.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    type_ = column.type
    if types.is_date(type_):
        return column.cast(pa.timestamp("us"))
    if types.is_timestamp(type_):
        return column.cast(pa.timestamp("ns" if type_.unit == "ns" else "us"))
    if types.is_time(type_):
        clock = pc.cast(column, pa.time64("us"), safe=False)
        return clock.cast(pa.int64()).cast(pa.duration("us"))
    if types.is_decimal(type_):
        exact = type_.scale == 0 and type_.precision <= 18
        return column.cast(pa.int64() if exact else pa.float64())
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_null(type_):
        return column.cast(pa.large_string())
    return column


class ArrayFile:
    """Arrays side by side: NPY, NPZ, IDX, or the tutorial's digits.

    The names and the first arrays are read at once; an array of an NPZ file lies in memory
    whole, the others come piece by piece.
    """

    def __init__(self, path: Path, form: str, labels: Path | None = None) -> None:
        self.path, self.form = path, form
        self.labels = (labels or labels_beside(path)) if form == "idx" else None
        first = next(self._pieces(1), None)
        if first is None:
            raise DataFileError(f"{path}: no rows")
        names = [name for key, array in first.items() for name in _names(key, array)]
        twice = repeated(names)
        if twice:
            raise DataFileError(f"{path}: two columns are called {twice!r}")
        self.names = tuple(names)

    def tables(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Arrow tables of some columns."""
        pa = import_optional("pyarrow")
        wanted = set(columns)
        for arrays in self._pieces(rows):
            made = {}
            for key, array in arrays.items():
                flat = array.reshape(len(array), -1)
                for place, name in enumerate(_names(key, array)):
                    if name in wanted:
                        made[name] = self._column(key, flat[:, place])
            yield pa.table({name: made[name] for name in columns})

    def _column(self, key: str, values: Any) -> Any:
        pa = import_optional("pyarrow")
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        if values.dtype.kind == "U":
            return pa.array(values.astype(object), pa.large_string())
        if values.dtype.kind not in "biufM" or values.dtype.itemsize > 8:
            raise DataFileError(
                f"{self.path}: {key} holds {values.dtype}; expected numbers, dates or text"
            )
        native = values.astype(values.dtype.newbyteorder("="))
        return pa.array(np.ascontiguousarray(native))

    def _pieces(self, rows: int) -> Iterator[dict[str, Any]]:
        """Rows of the arrays: one of two axes has a column for each of its own columns."""
        if self.form == "idx":
            yield from self._idx(rows)
        elif self.form == "digits":
            for table in iter_digits(self.path):
                yield {"label": table[:, 0].astype(np.int64), "p": table[:, 1:].reshape(-1, PIXELS)}
        else:
            arrays = self._loaded()
            for start in range(0, len(next(iter(arrays.values()))), rows):
                yield {key: array[start : start + rows] for key, array in arrays.items()}

    def _loaded(self) -> dict[str, Any]:
        try:
            if self.form == "npy":
                return self._checked({"": np.load(self.path, "r", allow_pickle=False)})
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                strange = [n for n in archive.zip.namelist() if not n.endswith(".npy")]
                if strange:
                    raise DataFileError(
                        f"{self.path}: a zip file with {listed(strange, 3)}; expected an NPZ file "
                        "of arrays, or the table saved as CSV"
                    )
                return self._checked({name: archive[name] for name in archive.files})
        except (FileNotFoundError, PermissionError, DataFileError):
            raise
        except _DAMAGE as error:
            said = str(error).partition("\n")[0][:160]
            what = f"a damaged {self.form.upper()} file, or one of Python objects (no pickles)"
            raise DataFileError(f"{self.path}: {what}: {said}") from error

    def _checked(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Arrays by the names of their columns, all of the same number of rows."""
        table = next((key for key in arrays if key in ("X", "x")), None)
        if len(arrays) == 1:
            (table,) = arrays
        rows = -1
        for key, array in arrays.items():
            wide = key == table and array.ndim > 1
            rows = array.shape[0] if rows < 0 and array.ndim else rows
            if not wide and array.shape not in ((rows,), (rows, 1)):
                said = ", ".join(f"{k or 'one'} {a.shape}" for k, a in list(arrays.items())[:8])
                raise DataFileError(
                    f"{self.path}: the array {key!r} has shape {array.shape}; expected X of "
                    f"rows and columns, others of one axis and as many rows: {said}"
                )
        if rows < 1 or not all(array.size for array in arrays.values()):
            raise DataFileError(f"{self.path}: no rows or no columns")
        renamed = {table: "x", "Y": "y"}
        return {
            renamed.get(key, key): array if key == table else array.reshape(rows)
            for key, array in arrays.items()
        }

    def _idx(self, rows: int) -> Iterator[dict[str, Any]]:
        tags = iter(()) if self.labels is None else iter_idx(self.labels, rows)
        for images in iter_idx(self.path, rows):
            if not images.size:
                raise DataFileError(f"{self.path}: no rows or no columns: shape {images.shape}")
            if images.ndim == 1:
                yield {"label": images}
                continue
            arrays = {"p": images.reshape(len(images), -1)}
            if self.labels is not None:
                own = next(tags, images[:0])
                if own.shape != (len(images),):
                    raise DataFileError(
                        f"{self.labels}: labels of shape {own.shape} beside {len(images)} "
                        f"entries of {self.path.name}; expected one for each"
                    )
                arrays = {"label": own, **arrays}
            yield arrays
        if next(tags, None) is not None:
            raise DataFileError(
                f"{self.labels}: more labels than there are entries in {self.path.name}"
            )


def _names(key: str, array: Any) -> list[str]:
    """Names of an array's columns: its own, or with a number for each of several."""
    if array.ndim == 1:
        return [key]
    return [f"{key}{place}" for place in range(math.prod(array.shape[1:]))]


def labels_beside(images: Path) -> Path | None:
    """Where the labels of an IDX file of pictures lie, by MNIST's naming."""
    found = re.fullmatch(r"(.*)images([-.])idx[0-9]*(.*?)(\.gz|\.zst)?", images.name)
    for packed in ("", ".gz", ".zst") if found else ():
        assert found is not None
        head, mark, rest, _ = found.groups()
        path = images.with_name(f"{head}labels{mark}idx1{rest}{packed}")
        if path.is_file():
            return path
    return None
