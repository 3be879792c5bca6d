"""Parquet files, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.data.files import DataFileError
from xpnn.data.optional import import_optional
from xpnn.data.streams.source import PIECE, Block, Source


def _module() -> Any:
    return import_optional("pyarrow.parquet")


class ParquetSource(Source):
    """A Parquet file; its row groups are the blocks.

    Parameters
    ----------
    path : path
        The file.
    target, weight : str, optional
        Names of columns.
    features : sequence of str, optional
        Names of the columns that make a row. Default: all that are left.

    Raises
    ------
    DataFileError
        It is not a Parquet file, a name is not in it, or a feature is not a number.
    """

    def __init__(
        self,
        path: str | Path,
        target: str | None = None,
        weight: str | None = None,
        features: Sequence[str] | None = None,
    ) -> None:
        self.path, self.target, self.weight = Path(path), target, weight
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
        dtypes = [self._dtype(schema.field(name)) for name in self.columns]
        dtype = np.result_type(*dtypes)
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
        parquet, arrow = _module(), import_optional("pyarrow")
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

    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Iterator[Block]:
        """See `Source.blocks`."""
        extra = [name for name in (self.target, self.weight) if name is not None]
        rows = np.empty((self.features, 0), self.dtype)
        for where, table in self._tables(order, block_rows, [*self.columns, *extra]):
            count = table.num_rows
            if rows.shape[1] < count:
                rows = np.empty((self.features, count), self.dtype)
            for i, name in enumerate(self.columns):
                rows[i, :count] = self._values(table, name, where)
            found = [None if n is None else self._values(table, n, where)
                     for n in (self.target, self.weight)]  # fmt: skip
            yield Block(rows[:, :count].T, *found)

    def targets(self) -> Iterator[Any]:
        """See `Source.targets`; the other columns are not read."""
        if self.target is None:
            yield from super().targets()
            return
        for where, table in self._tables(None, PIECE // 8, [self.target]):
            yield self._values(table, self.target, where)

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

    def _values(self, table: Any, name: str, where: str) -> Any:
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
