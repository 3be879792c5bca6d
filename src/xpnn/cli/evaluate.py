"""`xpnn evaluate`: how well a model predicts a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnn.cli import options
from xpnn.cli.output import Screen
from xpnn.cli.tables import choose_target, opened

if TYPE_CHECKING:
    pass


@options.reads_tables
def evaluate(
    model: options.Model,
    data: options.Data,
    target: options.Target = None,
    backend: options.Compute = "numpy",
    device: options.Device = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    reading: options.Reading,
) -> None:
    """Measure a model on rows with a known target, beside a baseline.

    Accuracy, log-loss, ROC AUC and the confusion matrix; or R2, MAE and RMSE.
    The baseline is the training rows' majority class, or their mean; of a model
    of plain numbers, that of these rows.

    Example: xpnn evaluate pets.safetensors new-pets.csv
    """
    from xpnn.cli.models import for_tables, open_model, parts_of
    from xpnn.cli.scores import evaluation_lines
    from xpnn.tabular.scores import evaluate as measure

    screen = Screen(json, quiet)
    with screen.notes(), opened(data, reading, screen) as table:
        read = for_tables(open_model(model, backend, device), target)
        if getattr(read, "target_name_", None) is None:
            read.target_name_ = choose_target(table, target, Screen(quiet=True))
        baseline = getattr(read, "class_prior_", getattr(read, "target_mean_", None))
        found = measure(read, parts_of(read, table, need_target=True), baseline=baseline)
        screen.say(f"{found['rows']:,} rows with a label\n")
        screen.say("\n".join(evaluation_lines(found)))
        screen.result({"model": str(model), **found})
