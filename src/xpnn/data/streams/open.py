"""The one way in: `stream`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.data.files import DataFileError
from xpnn.data.streams.batches import BatchSource
from xpnn.data.streams.columns import ArrayColumn, Column, NpyColumn
from xpnn.data.streams.parquet import ParquetSource
from xpnn.data.streams.source import MEMORY, BlockShuffle, Source, bytes_of
from xpnn.data.streams.tables import Shards, TableSource

PARQUET = (".parquet", ".pq")


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
    source = _open(data, target, weight, features, rows)
    source.memory = bytes_of(memory)
    source.shuffle = shuffle or BlockShuffle()
    source.classes = None if classes is None else np.asarray(classes)
    if source.rows == 0:
        raise ValueError(f"{source.name} has no rows; expected at least one")
    return source


def _open(data: Any, target: Any, weight: Any, features: Any, rows: int | None) -> Source:
    paths = _paths(data)
    if paths is not None:
        found = _files(str(data) if isinstance(data, str | Path) else "the list of files",
                       paths, target, weight, features)  # fmt: skip
    elif hasattr(data, "shape") and hasattr(data, "dtype"):
        found = TableSource(
            ArrayColumn("x", data), *(_place(n, v) for n, v in (("t", target), ("weight", weight)))
        )
    else:
        extra = {"target": target, "weight": weight}
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
        return _without(features, BatchSource(data, rows))
    if rows is not None and rows != found.rows:
        raise ValueError(f"rows is {rows}; {found.name} has {found.rows}")
    return found if paths is not None else _without(features, found)


def _without(features: Any, source: Source) -> Source:
    if features is not None:
        raise ValueError("features names columns of Parquet files; the data has no names")
    return source


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
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return ArrayColumn(name, given)
    return ArrayColumn(name, np.asarray(given))


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


def _files(name: str, paths: list[Path], target: Any, weight: Any, features: Any) -> Source:
    kinds = {"Parquet" if p.suffix in PARQUET else p.suffix for p in paths}
    if len(kinds) > 1 or not kinds <= {"Parquet", ".npy"}:
        shown = ", ".join(sorted(k or "no ending" for k in kinds))
        raise DataFileError(f"{name}: files of {shown}; expected NPY files or Parquet files")
    if kinds == {"Parquet"}:
        for what, value in (("target", target), ("weight", weight)):
            if value is not None and not isinstance(value, str):
                raise ValueError(
                    f"{what} is {value!r}; expected the name of a column of the Parquet files"
                )
        parts: list[Source] = [ParquetSource(p, target, weight, features) for p in paths]
    else:
        places = [_places(what, value, paths)
                  for what, value in (("target", target), ("weight", weight))]  # fmt: skip
        parts = [
            _without(features, TableSource(NpyColumn(path), t, w))
            for path, t, w in zip(paths, *places, strict=True)
        ]
    # A file without rows, as some writers leave, has nothing to say.
    parts = [part for part in parts if part.rows] or parts[:1]
    return parts[0] if len(parts) == 1 else Shards(name, parts)


def _places(name: str, given: Any, paths: list[Path]) -> list[Column | int | None]:
    """For each NPY file, where its targets or weights are."""
    others = _paths(given)
    if others is None:
        if len(paths) > 1 and not (given is None or isinstance(given, int)):
            raise ValueError(
                f"{name} is a {type(given).__name__}; expected for several files a column's "
                "number, or as many files"
            )
        return [_place(name, given) for _ in paths]
    if len(others) != len(paths):
        raise ValueError(f"{name} has {len(others)} files; expected {len(paths)}, as the data has")
    return [_place(name, path) for path in others]
