"""`xpnn predict`: a model's answers for every row of a table, chunk by chunk."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import Screen, UsageError, write_data
from xpnn.cli.tables import STDIN, opened, own_target

if TYPE_CHECKING:
    from xpnn.tabular import TableFile

_ENDINGS = (".csv", ".tsv", ".parquet", ".npz")
Chunk = tuple[Any, Any]  # what is predicted, and the probabilities or None


@options.reads_tables
def predict(
    model: options.Model,
    data: options.Data,
    proba: Annotated[
        bool, typer.Option("--proba", help="Write the probability of each class too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File that ends in .csv, .tsv, .parquet or .npz; default: CSV in UTF-8 on "
            "standard output.",
        ),
    ] = None,
    target: options.Target = None,
    backend: options.Compute = "numpy",
    device: options.Device = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    reading: options.Reading,
) -> None:
    """Predict a label or a number for each row of a table.

    Rows come out in their order. The table is read and written chunk by chunk,
    however large it is (all at once with --json and no --out).

    Example: cat new-pets.csv | xpnn predict pets.safetensors - --proba
    """
    from xpnn.cli.models import for_tables, open_model, task_of

    screen = Screen(json, quiet)
    if out is not None and str(out) == STDIN:
        out = None
    if out is not None:
        options.check_out(out, "--out", [model, data], _ENDINGS)
    with screen.notes(), opened(data, reading, screen) as table:
        read = for_tables(open_model(model, backend, device), target)
        if getattr(read, "target_name_", None) is None:
            read.target_name_ = own_target(table)
        if proba and not hasattr(read, "predict_proba"):
            why = "its loss is 'hinge'" if hasattr(read, "classes_") else "it predicts numbers"
            raise UsageError(f"--proba: the model has no probabilities: {why}")
        classes = read.classes_.tolist() if proba else []
        unusual: dict[str, Counter[str]] = {}
        chunks = _predictions(read, table, proba, unusual)
        found = {"model": str(model), "target": read.target_name_, "task": task_of(read)}
        found |= {"classes": classes} if proba else {}
        if out is None and json:
            parts = list(chunks)
            found["rows"] = sum(len(part) for part, _ in parts)
            found["predicted"] = [value for part, _ in parts for value in part.tolist()]
            if proba:
                found["probabilities"] = [row for _, part in parts for row in part.tolist()]
        else:
            found["rows"] = _write(out, chunks, classes)
            found["out"] = None if out is None else str(out)
        for name, counts in unusual.items():
            told = ", ".join(f"{number:,} {what}" for what, number in counts.items())
            screen.note(f"column {name!r}: {told.replace('_', ' ')}")
        if out is not None:
            screen.say(f"{found['rows']:,} rows: {out}")
        screen.result(found)


def _predictions(
    model: Any, table: TableFile, proba: bool, unusual: dict[str, Counter[str]]
) -> Iterator[Chunk]:
    """Predict chunk by chunk; `unusual` gets what the training rows had none of."""
    from xpnn.cli.models import parts_of

    for frame, _ in parts_of(model, table, need_target=False):
        if hasattr(model, "count_unusual"):
            for name, counts in model.count_unusual(frame).items():
                unusual.setdefault(name, Counter()).update(counts)
        predicted, labels = model.predict(frame), getattr(model, "classes_", ())
        if predicted.dtype == object:  # files have text, of one width in all chunks
            width = max(len(str(label)) for label in labels)
            predicted = predicted.astype(f"U{width}")
        yield predicted, model.predict_proba(frame) if proba else None


def _write(path: Path | None, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    """Write predictions in the order of their rows, as CSV without a path; return how many."""
    from xpnn.data import atomic_write

    if path is None:
        return _write_text(write_data, ",", chunks, classes)
    kind = path.suffix.lower()
    with atomic_write(path) as beside:
        if kind == ".parquet":
            return _write_parquet(beside, chunks, classes)
        if kind == ".npz":
            return _write_npz(beside, chunks, classes)
        with beside.open("w", encoding="utf-8", newline="") as file:
            return _write_text(file.write, "," if kind == ".csv" else "\t", chunks, classes)


def _frame(chunk: Chunk, classes: Sequence[Any]) -> Any:
    from xpnn.data.optional import import_optional

    predicted, proba = chunk
    columns = {"predicted": predicted}
    if proba is not None:
        columns |= {f"p({label})": part for label, part in zip(classes, proba.T, strict=True)}
    return import_optional("pandas").DataFrame(columns)


def _write_text(
    give: Callable[[str], Any], mark: str, chunks: Iterable[Chunk], classes: Sequence[Any]
) -> int:
    rows = 0
    for number, chunk in enumerate(chunks):
        frame = _frame(chunk, classes)
        give(frame.to_csv(index=False, header=number == 0, sep=mark, lineterminator="\n"))
        rows += len(chunk[0])
    return rows


def _write_parquet(path: Path, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    from xpnn.data.optional import import_optional

    arrow, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
    rows = 0
    with ExitStack() as stack:
        writer: Any = None
        for chunk in chunks:
            table = arrow.Table.from_pandas(_frame(chunk, classes), preserve_index=False)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)
            rows += len(chunk[0])
    return rows


def _write_npz(path: Path, chunks: Iterable[Chunk], classes: Sequence[Any]) -> int:
    """Write arrays by way of temporary files, as their headers say how many rows there are."""
    import numpy as np

    form: Any = np.lib.format
    rows, like = 0, {"predicted": np.empty(0)}
    with ExitStack() as stack:
        names = ("predicted", "probabilities")
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in names}
        for chunk in chunks:
            rows += len(chunk[0])
            for name, values in zip(names, chunk, strict=True):
                if values is not None:
                    like[name] = values[:0]
                    files[name].write(values.tobytes())
        with zipfile.ZipFile(path, "w") as archive:
            for name, empty in like.items():
                header = form.header_data_from_array_1_0(np.ascontiguousarray(empty))
                header["shape"] = (rows, *empty.shape[1:])
                files[name].seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    form.write_array_header_1_0(member, header)
                    shutil.copyfileobj(files[name], member)
            if "probabilities" in like:
                with archive.open("classes.npy", "w") as member:
                    labels = np.asarray(classes)  # files have text, not objects
                    form.write_array(
                        member, labels.astype(str) if labels.dtype == object else labels
                    )
    return rows
