"""`xpnn evaluate`: how well a model reads a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import (
    DataArgument,
    DeviceOption,
    HeaderOption,
    JsonOption,
    LabelsOption,
    ModelArgument,
    QuietOption,
)
from xpnn.cli.output import Screen
from xpnn.cli.tables import Table, opened


def evaluate_table(
    path: Path, table: Table, target: str | None, backend: str, device: str | None
) -> dict[str, Any]:
    """Do the work of `xpnn evaluate`.

    Parameters
    ----------
    path : Path
        The model.
    table : Table
        Rows with their targets.
    target : str or None
        The target, where the model does not know it.
    backend, device : str
        Where to compute.

    Returns
    -------
    dict
        See `TableModel.evaluate`.
    """
    from xpnn import TableModel
    from xpnn.cli.models import for_tables, open_model
    from xpnn.cli.train import choose_target

    model = open_model(path, backend, device)
    if isinstance(model, TableModel):
        with table.naming():
            return dict(for_tables(model, target).evaluate(table.stream()))
    target = choose_target(table, target, Screen(quiet=True))
    frame = table.read()
    with table.naming():
        return dict(for_tables(model, target, frame).evaluate(frame))


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="For models of plain numbers, which know no names."),
    ] = None,
    backend: Annotated[str, typer.Option(help="Where to compute, as in train.")] = "numpy",
    device: DeviceOption = None,
    header: HeaderOption = True,
    labels: LabelsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on rows with a known target, beside a baseline.

    Accuracy, log-loss, ROC AUC and the confusion matrix; or R2, MAE and RMSE.
    The baseline is the training rows' majority class, or their mean.

    Example: xpnn evaluate pets.safetensors new-pets.csv
    """
    from xpnn.cli.scores import confusion_lines, score_lines

    screen = Screen(json, quiet)
    with screen.notes(), opened(data, header, labels) as table:
        found = evaluate_table(model, table, target, backend, device)
        lines = [f"{found['rows']:,} rows with a target", "", *score_lines(found)]
        if "confusion" in found:
            lines += ["", *confusion_lines(found["confusion"])]
        screen.say("\n".join(lines))
        screen.result({"model": str(model), **found})
