"""What can be read as a stream of rows, and the one way in: `stream`.

Arrays and NPY files, Parquet files, several files one after the other, iterators of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import to_host
from xpnn.data.files import DataFileError, npy_header
from xpnn.data.optional import import_optional
from xpnn.data.streams import MEMORY, PIECE, Block, BlockShuffle, Source, bytes_of

PARQUET = (".parquet", ".pq")


def check_numbers(dtype: Any, where: str) -> Any:
    """Refuse a dtype that holds no numbers."""
    if np.dtype(dtype).kind not in "biuf":
        raise TypeError(f"{where} holds {dtype}; expected numbers")
    return np.dtype(dtype)


# Tables that can be read at any place


class ArrayColumn:
    """Anything with a shape that can be sliced: NumPy, memory maps, Dask, zarr, HDF5.

    `chunks` are the rows of the pieces that it is stored in; empty where any piece will do.
    """

    def __init__(self, name: str, array: Any) -> None:
        shape = tuple(array.shape)
        if not shape or not all(isinstance(n, int | np.integer) for n in shape):
            raise ValueError(
                f"{name} has shape {shape}; expected known numbers of rows (for Dask: "
                "compute_chunk_sizes)"
            )
        if len(shape) > 2:
            raise ValueError(f"{name} has shape {shape}; expected one row for each example")
        self.name, self.array, self.shape = name, array, shape
        self.dtype = np.dtype(str(array.dtype).rpartition(".")[2])
        self.chunks: tuple[int, ...] = ()
        chunks = getattr(array, "chunks", None)
        if not callable(chunks) and chunks:
            first, rows = chunks[0], int(shape[0])
            if isinstance(first, int | np.integer):  # zarr and HDF5: one size for all
                starts = range(0, rows, int(first)) if first else ()
                self.chunks = tuple(min(int(first), rows - start) for start in starts)
            else:  # Dask: each of them
                self.chunks = tuple(int(n) for n in first)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Give a function ``read(start, stop)``; what it gives is valid until the next call."""
        yield lambda start, stop: to_host(self.array[start:stop])


class NpyColumn:
    """An NPY file of numbers or texts with one or two axes, read piece by piece.

    The file is not mapped into memory but read: that takes less time than a page fault for
    every few pages, the pages do not count as the process's own, and a file that is cut
    off meanwhile is an error and not a crash.
    """

    chunks = ()

    def __init__(self, path: str | Path) -> None:
        self.name, self.path = str(path), Path(path)
        with self.path.open("rb") as file:
            try:
                self.shape, by_columns, self.dtype = npy_header(file)
            except (ValueError, EOFError, SyntaxError) as error:
                raise DataFileError(f"{path}: not a readable NPY file: {error}") from error
            self.offset = file.tell()
            size = file.seek(0, 2) - self.offset
        if self.dtype.hasobject or self.dtype.kind not in "biufUS":
            raise DataFileError(f"{path}: holds {self.dtype}; expected numbers")
        if len(self.shape) not in (1, 2):
            raise DataFileError(
                f"{path}: has shape {self.shape}; expected one row for each example"
            )
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=int))
        wanted = self.shape[0] * self.row_bytes
        if size < wanted:
            raise DataFileError(f"{path}: {size:,} bytes of data; its header speaks of {wanted:,}")
        self.by_columns = by_columns and len(self.shape) == 2

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """See `ArrayColumn.reading`."""
        if self.by_columns:  # rows lie scattered; the system's pages are the best buffer
            mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
            yield lambda start, stop: mapped[start:stop]
            return
        buffer: Any = np.empty((0, *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:

            def read(start: int, stop: int) -> Any:
                nonlocal buffer
                if len(buffer) < stop - start:
                    buffer = np.empty((stop - start, *self.shape[1:]), self.dtype)
                rows = buffer[: stop - start]
                file.seek(self.offset + start * self.row_bytes)
                room = memoryview(rows.reshape(-1).view(np.uint8))
                while room.nbytes:
                    count = file.readinto(room)
                    if not count:
                        raise DataFileError(f"{self.path}: ends before row {stop:,}")
                    room = room[count:]
                return rows

            yield read


Column = ArrayColumn | NpyColumn


class TableSource(Source):
    """Rows, and targets and weights from tables of equal length or from columns of the rows."""

    def __init__(
        self, x: Column, t: Column | int | None = None, weight: Column | int | None = None
    ) -> None:
        dtype = check_numbers(x.dtype, x.name)
        if len(x.shape) != 2:
            raise ValueError(f"{x.name} has shape {x.shape}; expected (n, features)")
        width = int(x.shape[1])
        self.x = x
        self.tables: dict[str, Column] = {}
        self.taken: dict[str, int] = {}  # columns of x
        for name, given in (("t", t), ("weight", weight)):
            if isinstance(given, Column):
                if given.shape[0] != x.shape[0]:
                    raise ValueError(
                        f"{given.name} has {given.shape[0]:,} rows and {x.name} has "
                        f"{x.shape[0]:,}; expected as many"
                    )
                self.tables[name] = given
            elif given is not None:
                if not -width <= given < width:
                    raise ValueError(
                        f"column {given} is not in {x.name}, which has {width} columns"
                    )
                self.taken[name] = given % width
        # A slice is a view and costs nothing.
        left = [i for i in range(width) if i not in self.taken.values()]
        whole = bool(left) and left == list(range(left[0], left[-1] + 1))
        self.left: Any = slice(left[0], left[-1] + 1) if whole else left
        if isinstance(weight, Column):
            check_numbers(weight.dtype, weight.name)
        super().__init__(x.name, len(left), dtype, int(x.shape[0]))

    def _bounds(self, block_rows: int) -> Sequence[int]:
        """Row numbers where blocks begin, and one behind; small chunks are put together."""
        rows = self.x.shape[0]
        if not self.x.chunks:
            return range(0, rows + block_rows, block_rows)
        bounds = [0]
        for end in accumulate(self.x.chunks):
            if end - bounds[-1] >= block_rows or end == rows:
                bounds.append(end)
        return bounds

    def unit_rows(self, block_rows: int) -> list[int]:
        """See `Source.unit_rows`."""
        ends = [min(bound, self.x.shape[0]) for bound in self._bounds(block_rows)]
        return [stop - start for start, stop in pairwise(ends)]

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Generator[Block]:
        """See `Source.blocks`."""
        bounds = self._bounds(block_rows)
        # A stored chunk is read once; from a file, pieces that fit the cache.
        step = None if self.x.chunks else max(PIECE // self.row_bytes, 1)
        with ExitStack() as stack:
            read = stack.enter_context(self.x.reading())
            others = {n: stack.enter_context(table.reading()) for n, table in self.tables.items()}
            for number in range(len(bounds) - 1) if order is None else order:
                first, last = bounds[number], min(bounds[number + 1], self.x.shape[0])
                for start in range(first, last, step or max(last - first, 1)):
                    stop = min(start + (step or last), last)
                    rows = read(start, stop)
                    found = {name: one(start, stop) for name, one in others.items()}
                    found |= {name: rows[:, column] for name, column in self.taken.items()}
                    yield Block(rows[:, self.left] if self.taken else rows, **found)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`; the rows are not read where the targets have a table."""
        table = self.tables.get("t")
        if table is None:
            yield from super().targets()
            return
        rows, step = self.x.shape[0], max(PIECE // max(table.dtype.itemsize, 1), 1)
        with table.reading() as read:
            for start in range(0, rows, step):
                yield read(start, min(start + step, rows))


class ParquetSource(Source):
    """A Parquet file; its row groups are the blocks.

    `target`, `weight` and `features` are names of columns; by default all columns that are left
    are features.
    """

    def __init__(
        self, path: Path, target: str | None, weight: str | None, features: Sequence[str] | None
    ) -> None:
        self.path, self.target, self.weight = path, target, weight
        with self._open(None) as file:
            self.metadata, schema = file.metadata, file.schema_arrow
        for name in (target, weight, *(features or ())):
            if name is not None and name not in schema.names:
                shown = ", ".join(schema.names[:10]) + (", ..." if len(schema.names) > 10 else "")
                raise DataFileError(f"{path}: no column {name!r}; expected one of {shown}")
        left = [n for n in schema.names if n not in (target, weight)]
        self.columns = list(left if features is None else features)
        if not self.columns:
            raise DataFileError(f"{path}: no column beside the target; expected features")
        dtype = np.result_type(*(self._dtype(schema.field(name)) for name in self.columns))
        super().__init__(str(path), len(self.columns), dtype, self.metadata.num_rows)

    def _dtype(self, field: Any) -> Any:
        try:
            dtype = np.dtype(field.type.to_pandas_dtype())
        except (NotImplementedError, TypeError):
            dtype = np.dtype(object)
        if dtype.kind not in "biuf":
            raise DataFileError(
                f"{self.path}: column {field.name!r} holds {field.type}; expected numbers. Leave "
                "it out with features=[...], or make numbers of it"
            )
        return np.dtype(np.uint8) if dtype.kind == "b" else dtype

    def _open(self, metadata: Any) -> Any:
        parquet, arrow = import_optional("pyarrow.parquet"), import_optional("pyarrow")
        try:
            # Without these two, all of a row group would be fetched before its first row.
            return parquet.ParquetFile(
                self.path, metadata=metadata, pre_buffer=False, buffer_size=PIECE
            )
        except arrow.ArrowException as error:
            raise DataFileError(f"{self.path}: not a readable Parquet file: {error}") from error

    def unit_rows(self, block_rows: int) -> list[int]:
        """See `Source.unit_rows`."""
        groups = range(self.metadata.num_row_groups)
        return [int(self.metadata.row_group(group).num_rows) for group in groups]

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Generator[Block]:
        """See `Source.blocks`."""
        extra = [name for name in (self.target, self.weight) if name is not None]
        rows = np.empty((self.features, 0), self.dtype)
        for where, table in self._tables(order, block_rows, [*self.columns, *extra]):
            count = table.num_rows
            if rows.shape[1] < count:
                rows = np.empty((self.features, count), self.dtype)
            for i, name in enumerate(self.columns):
                rows[i, :count] = _values(table, name, where)
            found = [None if n is None else _values(table, n, where)
                     for n in (self.target, self.weight)]  # fmt: skip
            yield Block(rows[:, :count].T, *found)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`; the other columns are not read."""
        if self.target is None:
            yield from super().targets()
            return
        for where, table in self._tables(None, PIECE // 8, [self.target]):
            yield _values(table, self.target, where)

    def _tables(
        self, order: Sequence[int] | None, block_rows: int, names: list[str]
    ) -> Iterator[tuple[str, Any]]:
        """Some rows after the other, and where they come from."""
        arrow = import_optional("pyarrow")
        with self._open(self.metadata) as file:
            for group in range(self.metadata.num_row_groups) if order is None else order:
                where = f"{self.path}, row group {group}"
                try:
                    for table in file.iter_batches(block_rows, [int(group)], names):
                        if table.num_rows:
                            yield where, table
                except (arrow.ArrowException, OSError) as error:
                    raise DataFileError(f"{where}: {error}") from error


def _values(table: Any, name: str, where: str) -> Any:
    column = table.column(name)
    if column.null_count:
        raise DataFileError(
            f"{where}, column {name!r}: {column.null_count} missing values; expected numbers"
        )
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    values = column.to_numpy(zero_copy_only=False)
    # Texts come as Python objects; NumPy's own compare faster.
    return values.astype(str) if values.dtype.kind == "O" else values


class Shards(Source):
    """Several sources of known lengths and equal features, one after the other."""

    def __init__(self, name: str, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        first = self.parts[0]
        for part in self.parts:
            if part.features != first.features:
                raise ValueError(
                    f"{part.name} has {part.features} features and {first.name} has "
                    f"{first.features}; expected as many"
                )
        dtype = np.result_type(*(part.dtype for part in self.parts))
        super().__init__(name, first.features, dtype, sum(part.count() for part in self.parts))

    def _units(self, block_rows: int) -> list[Sequence[int]]:
        return [part.unit_rows(block_rows) or () for part in self.parts]

    def unit_rows(self, block_rows: int) -> list[int]:
        """See `Source.unit_rows`."""
        return list(chain.from_iterable(self._units(block_rows)))

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Generator[Block]:
        """See `Source.blocks`."""
        if order is None:
            for part in self.parts:
                yield from part.blocks(None, block_rows)
            return
        bounds = [0, *accumulate(map(len, self._units(block_rows)))]
        for number in order:
            which = int(np.searchsorted(bounds, number, side="right")) - 1
            yield from self.parts[which].blocks([int(number) - bounds[which]], block_rows)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`."""
        for part in self.parts:
            yield from part.targets()


class BatchSource(Source):
    """Batches as they come from an iterable, or from a function that makes an iterator.

    What gives itself as its iterator, such as a generator, can be gone through once.
    """

    def __init__(self, batches: Iterable[Any] | Callable[[], Any], rows: int | None) -> None:
        self.given = batches
        self.name = getattr(batches, "__name__", None) or f"the {type(batches).__name__}"
        source = batches() if callable(batches) else batches
        try:
            found = iter(source)
        except TypeError:
            raise TypeError(
                f"{self.name} gives a {type(source).__name__}; expected an iterator of batches "
                "(x, t)"
            ) from None
        first = next(found, None)
        if first is None:
            raise ValueError(f"{self.name} gives no batch; expected batches (x, t)")
        once = found is batches
        self.waiting: Iterator[Any] | None = chain([first], found) if once else None
        if not once:
            _close(found)
        x = self._block(first, 1, None).x
        super().__init__(self.name, int(x.shape[1]), x.dtype, rows, once)

    def _block(self, batch: Any, number: int, features: int | None) -> Block:
        """Look at one batch."""
        where = f"batch {number} of {self.name}"
        parts = batch if isinstance(batch, tuple | list) else (batch,)
        if not 1 <= len(parts) <= 3 or not hasattr(parts[0], "shape"):
            raise TypeError(f"{where} is a {type(batch).__name__}; expected arrays (x, t)")
        block = Block(*(None if part is None else to_host(part) for part in parts))
        x = block.x
        check_numbers(x.dtype, where)
        if x.ndim != 2 or (features is not None and x.shape[1] != features):
            raise ValueError(f"{where} has shape {x.shape}; expected (n, {features or 'features'})")
        for what, values in (("targets", block.t), ("weights", block.weight)):
            if values is not None and (values.ndim == 0 or len(values) != len(x)):
                raise ValueError(
                    f"{where} has {len(x)} rows and {what} of shape {values.shape}; expected as "
                    "many"
                )
        return block

    def _batches(self) -> Iterator[Any]:
        if not self.once:
            return iter(self.given() if callable(self.given) else self.given)
        if self.waiting is None:
            raise ValueError(
                f"{self.name} is used up: it can be gone through once; hand stream a function "
                "that makes the iterator anew, or a list"
            )
        found, self.waiting = self.waiting, None
        return found

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Generator[Block]:
        """See `Source.blocks`."""
        found, seen = self._batches(), 0
        try:
            for number, batch in enumerate(found, start=1):
                block = self._block(batch, number, self.features)
                seen += len(block.x)
                yield block
        finally:
            if not self.once:
                _close(found)
        if self.rows is not None and seen != self.rows:
            raise ValueError(f"{self.name} gave {seen:,} rows; expected {self.rows:,}")

    def sample(self) -> Block:
        """See `Source.sample`; a batch that can come once is put back."""
        if not self.once:
            return super().sample()
        found = self._batches()
        first = next(found)
        self.waiting = chain([first], found)
        return self._block(first, 1, self.features).copy(0, 1)


def _close(found: Any) -> None:
    """Let a generator end its `with` blocks now."""
    close = getattr(found, "close", None)
    if callable(close):
        close()


# The way in


def stream(
    data: Any,
    target: Any = None,
    *,
    weight: Any = None,
    features: Sequence[str] | None = None,
    rows: int | None = None,
    classes: Any = None,
    memory: int | str = MEMORY,
    shuffle: BlockShuffle | None = None,
) -> Source:
    """Make a source of rows, which a training takes in place of arrays.

    Only two buffers of rows are in memory at a time: one is used, while a thread fills the
    other.

    Parameters
    ----------
    data : path, folder, list of paths, array_like, or iterator of batches
        - An NPY file, a Parquet file, a folder of either (in the order of their names), or
          a list of such files.
        - Anything with a shape that can be sliced: NumPy's memory maps, arrays of Dask, of
          zarr, of HDF5. Nothing is loaded beforehand.
        - An iterable of batches ``(x, t)``, ``(x, t, weight)`` or ``x``, or a function
          that makes an iterator of them. A generator can be gone through once only.
    target : path, folder, list of paths, array_like, str or int, optional
        Where the targets are: in files or an array like those of `data`, in the Parquet
        column of that name, or in the column of that number of `data`. Batches bring
        their own. Without targets, a source is good for predicting.
    weight : as `target`, optional
        Weights of the rows.
    features : sequence of str, optional
        Parquet columns that make a row. Default: all that are left.
    rows : int, optional
        Number of rows that an iterator gives in all, where it is known.
    classes : array_like, optional
        All labels. Default: a classifier looks for them in a pass over the targets.
    memory : int or str, default 256 MiB
        What the two buffers take together, such as ``"1 GiB"``; at least a batch each.
        Every source in use has buffers of its own.
    shuffle : BlockShuffle, optional
        How rows are mixed, by a training that mixes them.

    Returns
    -------
    Source

    Raises
    ------
    DataFileError
        A file is not what it should be; the message names it.
    ValueError, TypeError
        An argument does not fit the data.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn import Network
    >>> from xpnn.data import stream
    >>> x = np.linspace(-1, 1, 1000, dtype="float32").reshape(-1, 1)
    >>> source = stream(x, np.abs(x), memory="1 KiB")
    >>> network = Network(1, [8, "relu", 1], loss="mean_squared_error", seed=0)
    >>> network.fit(source, epochs=2).epochs
    2
    """
    if shuffle is not None and not isinstance(shuffle, BlockShuffle):
        raise TypeError(f"shuffle is a {type(shuffle).__name__}; expected a BlockShuffle")
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise ValueError(f"rows is {rows!r}; expected a positive integer")
    source = _open(data, {"target": target, "weight": weight}, features, rows)
    source.memory = bytes_of(memory)
    source.shuffle = shuffle or BlockShuffle()
    source.classes = None if classes is None else np.asarray(classes)
    if source.rows == 0:
        raise ValueError(f"{source.name} has no rows; expected at least one")
    return source


def _is_array(data: Any) -> bool:
    return hasattr(data, "shape") and hasattr(data, "dtype")


def _open(data: Any, extra: dict[str, Any], features: Any, rows: int | None) -> Source:
    """Make a source; `extra` says where targets and weights are."""
    paths = _paths(data)
    if paths is None and features is not None:
        raise ValueError("features names columns of Parquet files; the data has no names")
    if paths is None and not _is_array(data):
        for name, value in extra.items():
            if value is not None:
                raise ValueError(
                    f"{name} is a {type(value).__name__}; batches bring their own: (x, t, weight)"
                )
        if not callable(data) and not hasattr(data, "__iter__"):
            raise TypeError(
                f"data is a {type(data).__name__}; expected a path, arrays, or an iterator of "
                "batches (x, t)"
            )
        return BatchSource(data, rows)
    if paths is None:
        t, weight = _place("t", extra["target"]), _place("weight", extra["weight"])
        found: Source = TableSource(ArrayColumn("x", data), t, weight)
    else:
        name = str(data) if isinstance(data, str | Path) else "the list of files"
        found = _open_files(name, paths, extra, features)
    if rows is not None and rows != found.rows:
        raise ValueError(f"rows is {rows}; {found.name} has {found.rows}")
    return found


def _paths(data: Any) -> list[Path] | None:
    """Files that are meant; None where none are."""
    if isinstance(data, str | Path):
        path = Path(data)
        if not path.is_dir():
            return [path]
        found = sorted(
            p for p in path.iterdir()
            if p.suffix in (".npy", *PARQUET) and not p.name.startswith(".")
        )  # fmt: skip
        if not found:
            raise DataFileError(f"{path}: no file there; expected NPY or Parquet files")
        return found
    if isinstance(data, list | tuple) and data and all(isinstance(p, str | Path) for p in data):
        return [Path(p) for p in data]
    return None


def _open_files(name: str, paths: list[Path], extra: dict[str, Any], features: Any) -> Source:
    kinds = {"Parquet" if p.suffix in PARQUET else p.suffix for p in paths}
    if len(kinds) > 1 or not kinds <= {"Parquet", ".npy"}:
        shown = ", ".join(sorted(k or "no ending" for k in kinds))
        raise DataFileError(f"{name}: files of {shown}; expected NPY files or Parquet files")
    parts: list[Source]
    if kinds == {"Parquet"}:
        for what, value in extra.items():
            if value is not None and not isinstance(value, str):
                raise ValueError(
                    f"{what} is {value!r}; expected the name of a column of the Parquet files"
                )
        target, weight = extra.values()
        parts = [ParquetSource(path, target, weight, features) for path in paths]
    else:
        if features is not None:
            raise ValueError("features names columns of Parquet files; the data has no names")
        places = [_places(what, value, len(paths)) for what, value in extra.items()]
        parts = [
            TableSource(NpyColumn(path), t, own)
            for path, t, own in zip(paths, *places, strict=True)
        ]
    # A file without rows, as some writers leave, has nothing to say.
    parts = [part for part in parts if part.rows] or parts[:1]
    return parts[0] if len(parts) == 1 else Shards(name, parts)


def _places(name: str, given: Any, count: int) -> list[Column | int | None]:
    """For each of several NPY files, where its targets or weights are."""
    others = _paths(given)
    if others is None:
        if count > 1 and not (given is None or isinstance(given, int)):
            raise ValueError(
                f"{name} is a {type(given).__name__}; expected for several files a column's "
                "number, or as many files"
            )
        return [_place(name, given)] * count
    if len(others) != count:
        raise ValueError(f"{name} has {len(others)} files; expected {count}, as the data has")
    return [_place(name, path) for path in others]


def _place(name: str, given: Any) -> Column | int | None:
    """Where targets or weights of arrays or NPY files are."""
    if given is None or (isinstance(given, int | np.integer) and not isinstance(given, bool)):
        return None if given is None else int(given)
    if isinstance(given, str | Path):
        path = Path(given)
        if path.suffix != ".npy":
            raise ValueError(
                f"{name} is {str(given)!r}; expected an NPY file, an array or a column's number"
            )
        return NpyColumn(path)
    return ArrayColumn(name, given if _is_array(given) else np.asarray(given))
