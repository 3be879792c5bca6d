"""`xpnn evaluate`: how well a model predicts a table."""

from __future__ import annotations

from xpnn.cli import options
from xpnn.cli.output import Screen
from xpnn.cli.tables import choose_target, opened


def evaluate(
    model: options.Model,
    data: options.Data,
    target: options.Target = None,
    backend: options.Compute = "numpy",
    device: options.Device = None,
    header: options.Header = True,
    labels: options.Labels = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model on rows with a known target, beside a baseline.

    Accuracy, log-loss, ROC AUC and the confusion matrix; or R2, MAE and RMSE.
    The baseline is the training rows' majority class, or their mean.

    Example: xpnn evaluate pets.safetensors new-pets.csv
    """
    from xpnn import TableModel
    from xpnn.cli.models import for_tables, open_model
    from xpnn.cli.scores import evaluation_lines

    screen = Screen(json, quiet)
    with screen.notes(), opened(data, header, labels) as table:
        read = open_model(model, backend, device)
        if isinstance(read, TableModel):
            rows = table.stream()
        else:  # its baseline is learned from all rows
            target = choose_target(table, target, Screen(quiet=True))
            rows = table.read()
        with table.naming():
            known = for_tables(read, target, None if isinstance(read, TableModel) else rows)
            found = known.evaluate(rows)
        screen.say(f"{found['rows']:,} rows with a target\n")
        screen.say("\n".join(evaluation_lines(found)))
        screen.result({"model": str(model), **found})
