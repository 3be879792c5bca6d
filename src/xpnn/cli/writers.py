"""Predictions into files, chunk by chunk: CSV, Parquet, NPZ."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from xpnn.cli.output import write_data
from xpnn.data import atomic_write
from xpnn.data.optional import import_optional

ENDINGS = (".csv", ".tsv", ".parquet", ".npz")
Chunk = tuple[Any, Any]  # what is predicted, and the probabilities or None


def names_of(classes: Sequence[object]) -> list[str]:
    """Names of the columns: of what is predicted, and of each class's probability."""
    names = ["predicted"]
    for label in classes:
        name, number = f"p({label})", 1
        while name in names:  # of classes that are written alike
            number += 1
            name = f"p({label})_{number}"
        names.append(name)
    return names


def write_predictions(path: Path | None, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    """Write predictions chunk by chunk in the order of their rows; return how many.

    Without a path they go to standard output as CSV.
    """
    if path is None:
        return _count(_as_text(chunks, classes, ",", write_data))
    kind = path.suffix.lower()
    with atomic_write(path) as beside:
        if kind == ".parquet":
            return _parquet(beside, chunks, classes)
        if kind == ".npz":
            return _npz(beside, chunks, classes)
        with beside.open("w", encoding="utf-8", newline="") as file:
            mark = "," if kind == ".csv" else "\t"
            return _count(_as_text(chunks, classes, mark, file.write))


def _count(parts: Iterator[int]) -> int:
    return sum(parts)


def _frame(chunk: Chunk, classes: Sequence[Any]) -> Any:
    predicted, proba = chunk
    columns = [predicted] if proba is None else [predicted, *proba.T]
    return import_optional("pandas").DataFrame(
        dict(zip(names_of(classes if proba is not None else []), columns, strict=True))
    )


def _as_text(
    chunks: Iterable[Chunk], classes: Sequence[Any], mark: str, give: Callable[[str], Any]
) -> Iterator[int]:
    first = True
    for chunk in chunks:
        text = _frame(chunk, classes).to_csv(
            index=False, header=first, sep=mark, lineterminator="\n"
        )
        give(text)
        first = False
        yield len(chunk[0])


def _parquet(path: Path, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    arrow, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
    count = 0
    with ExitStack() as stack:
        writer: Any = None
        for chunk in chunks:
            table = arrow.Table.from_pandas(_frame(chunk, classes), preserve_index=False)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)
            count += len(chunk[0])
    return count


class _Grown:
    """An array on disk that rows are added to, as nobody knows how many there will be."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.rows, self.like = file, 0, np.empty(0)

    def add(self, values: Any) -> None:
        values = np.ascontiguousarray(values)
        self.like = values[:0]
        self.file.write(memoryview(values).cast("B") if values.size else b"")
        self.rows += len(values)

    def store(self, archive: zipfile.ZipFile, name: str) -> None:
        form, like = np.lib.format, self.like
        self.file.seek(0)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            header = form.header_data_from_array_1_0(like)
            form.write_array_header_1_0(
                cast(Any, member), {**header, "shape": (self.rows, *like.shape[1:])}
            )
            shutil.copyfileobj(self.file, member)


def _npz(path: Path, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    with ExitStack() as stack:
        grown = [_Grown(stack.enter_context(tempfile.TemporaryFile())) for _ in range(2)]
        with_proba = False
        for predicted, proba in chunks:
            grown[0].add(predicted)
            if proba is not None:
                grown[1].add(proba)
                with_proba = True
        with zipfile.ZipFile(path, "w") as archive:
            grown[0].store(archive, "predicted")
            if with_proba:
                grown[1].store(archive, "probabilities")
                with archive.open("classes.npy", "w") as member:
                    np.lib.format.write_array(cast(Any, member), np.asarray(classes))
        return grown[0].rows
