"""`xpnn predict`: a model's answers for every row of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import (
    ComputeOption,
    DataArgument,
    DeviceOption,
    HeaderOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    QuietOption,
    TargetOption,
    check_out,
)
from xpnn.cli.output import Screen
from xpnn.cli.tables import STDIN, Table, opened


def predictions(model: Any, table: Table, proba: bool) -> Iterator[tuple[Any, Any]]:
    """Yield what is predicted, and the probabilities or None, chunk by chunk."""
    for frame in table.stream():
        with table.naming():
            found = model.predict(frame), model.predict_proba(frame) if proba else None
        yield found


def predict_table(
    model: Any, table: Table, out: Path | None, proba: bool, screen: Screen
) -> dict[str, Any]:
    """Predict and write; say what was done, with what was written nowhere else."""
    from xpnn.cli.writers import write_predictions

    classes = model.classes.tolist() if proba else []
    chunks = predictions(model, table, proba)
    found: dict[str, Any] = {"target": model.target.name, "task": model.target.task}
    if proba:
        found["classes"] = classes
    if out is None and screen.json:
        parts = list(chunks)
        found["rows"] = sum(len(part) for part, _ in parts)
        found["predicted"] = [value for part, _ in parts for value in part.tolist()]
        if proba:
            found["probabilities"] = [row for _, part in parts for row in part.tolist()]
        return found
    rows = write_predictions(out, chunks, classes)
    return {**found, "rows": rows, "out": None if out is None else str(out)}


def predict(
    model: ModelArgument,
    data: DataArgument,
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
    target: TargetOption = None,
    backend: ComputeOption = "numpy",
    device: DeviceOption = None,
    header: HeaderOption = True,
    labels: LabelsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict a label or a number for each row of a table.

    Rows come out in their order. The table is read and written chunk by chunk,
    however large it is (all at once with --json and no --out).

    Example: cat new-pets.csv | xpnn predict pets.safetensors - --proba
    """
    from xpnn import TableModel
    from xpnn.cli.models import for_tables, open_model
    from xpnn.cli.writers import ENDINGS

    screen = Screen(json, quiet)
    if out is not None and str(out) == STDIN:
        out = None
    if out is not None:
        check_out(out, "--out", [model, data], ENDINGS)
    with screen.notes(), opened(data, header, labels) as table:
        read = open_model(model, backend, device)
        if target is None and not isinstance(read, TableModel):
            target = table.own_target()
        found = predict_table(for_tables(read, target), table, out, proba, screen)
        if out is not None:
            screen.say(f"{found['rows']:,} rows: {out}")
        screen.result({"model": str(model), **found})
