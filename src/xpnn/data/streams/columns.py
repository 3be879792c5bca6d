"""Tables that are read a few rows at a time: NPY files and whatever can be sliced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xpnn.backends import to_host
from xpnn.data.files import DataFileError


class Column:
    """Rows of one table: `shape`, `dtype`, and a way to read some of them.

    Parameters
    ----------
    name : str
        For errors.
    shape : tuple of int
        One or two numbers.
    dtype : dtype
        Of the table.
    chunks : tuple of int, default ()
        Rows of the pieces that the table is stored in; empty where any piece will do.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] = ()
    ) -> None:
        if len(shape) not in (1, 2):
            raise ValueError(f"{name} has shape {shape}; expected one row for each example")
        self.name, self.shape, self.dtype, self.chunks = name, shape, np.dtype(dtype), chunks

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Give a function ``read(start, stop)``; what it gives is valid until the next call."""
        raise NotImplementedError
        yield


class ArrayColumn(Column):
    """Anything with a shape that can be sliced: NumPy, memory maps, Dask, zarr, HDF5.

    Parameters
    ----------
    name : str
        For errors.
    array : object
        Has `shape`, `dtype` and slices that `numpy.asarray` takes; `chunks` says in which
        pieces it is stored.
    """

    def __init__(self, name: str, array: Any) -> None:
        shape = tuple(array.shape)
        if not shape or not all(isinstance(n, int | np.integer) for n in shape):
            raise ValueError(
                f"{name} has shape {shape}; expected known numbers of rows (for Dask: "
                "compute_chunk_sizes)"
            )
        rows = int(shape[0])
        chunks = getattr(array, "chunks", None)
        if not callable(chunks) and chunks:
            first = chunks[0]
            if isinstance(first, int | np.integer):  # zarr and HDF5: one size for all
                starts = range(0, rows, int(first)) if first else ()
                chunks = tuple(min(int(first), rows - start) for start in starts)
            else:  # Dask: each of them
                chunks = tuple(int(n) for n in first)
        else:
            chunks = ()
        super().__init__(name, shape, str(array.dtype).rpartition(".")[2], chunks)
        self.array = array

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """See `Column.reading`."""
        yield lambda start, stop: to_host(self.array[start:stop])


class NpyColumn(Column):
    """An NPY file, read piece by piece.

    The file is not mapped into memory but read: that takes less time than a page fault for
    every few pages, the pages do not count as the process's own, and a file that is cut
    off meanwhile is an error and not a crash.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    DataFileError
        It is not an NPY file of numbers or texts with one or two axes, or it is cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            shape, by_columns, dtype = self._header(file)
            self.offset = file.tell()
            size = file.seek(0, 2) - self.offset
        if dtype.hasobject or dtype.kind not in "biufUS":
            raise DataFileError(f"{path}: holds {dtype}; expected numbers")
        if len(shape) not in (1, 2):
            raise DataFileError(f"{path}: has shape {shape}; expected one row for each example")
        super().__init__(str(path), shape, dtype)
        self.row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=int))
        wanted = shape[0] * self.row_bytes
        if size < wanted:
            raise DataFileError(f"{path}: {size:,} bytes of data; its header speaks of {wanted:,}")
        self.by_columns = by_columns and len(shape) == 2

    def _header(self, file: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
        try:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise ValueError(f"version {version} is not known")
            return read(file)
        except (ValueError, EOFError, SyntaxError) as error:
            raise DataFileError(f"{self.path}: not a readable NPY file: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """See `Column.reading`."""
        if self.by_columns:  # rows lie scattered; the system's pages are the best buffer
            mapped = np.memmap(
                self.path, self.dtype, "r", self.offset, self.shape, order="F"
            )  # fmt: skip
            yield lambda start, stop: mapped[start:stop]
            return
        with self.path.open("rb", buffering=0) as file:
            kept: list[Any] = [np.empty((0, *self.shape[1:]), self.dtype)]

            def read(start: int, stop: int) -> Any:
                if len(kept[0]) < stop - start:
                    kept[0] = np.empty((stop - start, *self.shape[1:]), self.dtype)
                rows = kept[0][: stop - start]
                file.seek(self.offset + start * self.row_bytes)
                room = memoryview(rows.reshape(-1).view(np.uint8))
                while room.nbytes:
                    count = file.readinto(room)
                    if not count:
                        raise DataFileError(f"{self.path}: ends before row {stop:,}")
                    room = room[count:]
                return rows

            yield read
