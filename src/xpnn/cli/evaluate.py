"""`xpnn evaluate`: how well a model predicts a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
)
from xpnn.cli.output import Screen
from xpnn.cli.tables import Table, choose_target, opened


def evaluate_table(
    path: Path, table: Table, target: str | None, backend: str, device: str | None
) -> dict[str, Any]:
    """Measure a model on rows with targets; see `TableModel.evaluate`."""
    from xpnn import TableModel
    from xpnn.cli.models import for_tables, open_model

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
    target: TargetOption = None,
    backend: ComputeOption = "numpy",
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
    from xpnn.cli.scores import evaluation_lines

    screen = Screen(json, quiet)
    with screen.notes(), opened(data, header, labels) as table:
        found = evaluate_table(model, table, target, backend, device)
        lines = [f"{found['rows']:,} rows with a target", "", *evaluation_lines(found)]
        screen.say("\n".join(lines))
        screen.result({"model": str(model), **found})
