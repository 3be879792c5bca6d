"""Parquet files as tables, row group by row group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.data.columns import listed
from xpnn.data.csv_records import MOST_COLUMNS
from xpnn.data.files import FREE_BYTES, DataFileError
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1 << 14
# pandas keeps an index without a name under such a one.
_INDEX = re.compile("__index_level_[0-9]+__")
_NULLABLE = {
    "bool": "boolean",
    **{f"{sign}int{n}": f"{sign.upper()}Int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)},
}


def parquet_chunks(path: Path, rows: int | None, max_ratio: float) -> Iterator[pd.DataFrame]:
    """Tables of the rows of a Parquet file.

    Parameters
    ----------
    path : Path
        The file.
    rows : int or None
        Most rows of a table; None for all in one.
    max_ratio : float
        How many times larger than the file its cells may be, eight bytes each.

    Yields
    ------
    pandas.DataFrame
        The same types in each.

    Raises
    ------
    DataFileError
        The file is damaged, has no rows, or is far larger than it looks.
    """
    pa, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
    # Opened here, so that it is closed whatever the reader does.
    with pa.OSFile(str(path)) as source:
        try:
            file = parquet.ParquetFile(source)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from error
        meta, names = file.metadata, file.schema_arrow.names
        if len(set(names)) != len(names) or not names or len(names) > MOST_COLUMNS:
            raise DataFileError(
                f"{path}: columns {listed(names) or 'none'}; expected 1 to {MOST_COLUMNS:,} "
                "different names"
            )
        if meta.num_rows < 1:
            raise DataFileError(f"{path}: no rows")
        _check_parquet_size(path, meta, max_ratio)
        yield from _parquet_rows(path, file, rows)


def _check_parquet_size(path: Path, meta: Any, max_ratio: float) -> None:
    """Refuse a table that is far larger than its file."""
    cells, packed = meta.num_rows * meta.num_columns, path.stat().st_size
    if 8 * cells > FREE_BYTES + max_ratio * packed:
        raise DataFileError(
            f"{path}: {packed:,} bytes hold {cells:,} cells, over {max_ratio:g} times as many "
            "bytes; if that is right, read it with a larger max_ratio"
        )


def _parquet_rows(path: Path, file: Any, rows: int | None) -> Iterator[pd.DataFrame]:
    pa = import_optional("pyarrow")
    names = [name for name in file.schema_arrow.names if not _INDEX.fullmatch(name)]
    batches = file.iter_batches(batch_size=rows or _ROWS, use_threads=False)
    start, kept, last = 0, [], False
    try:
        may_miss = _missing(file) if rows is not None else None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _damaged(path, error) from error
    while not last:
        try:
            batch = next(batches, None)
            last = batch is None
            kept += [] if batch is None else [pa.Table.from_batches([batch]).select(names)]
            if not kept or (rows is None and not last):
                continue
            frame = _frame(pa.concat_tables(kept), may_miss, start)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _damaged(path, error) from error
        yield frame
        start, kept = start + len(frame), []


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


def _frame(table: Any, may_miss: set[str] | None, start: int) -> pd.DataFrame:
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
    frame = pandas.DataFrame(made)
    frame.index = pandas.RangeIndex(start, start + len(frame))
    return frame


def _damaged(path: Path, error: Exception) -> DataFileError:
    said = str(error).strip().partition("\n")[0][:160]
    return DataFileError(f"{path}: a damaged Parquet file: {said}")
