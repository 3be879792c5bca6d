"""`xpnn train`: from a user's own table to a model file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpnn.cli.options import (
    BackendOption,
    DataArgument,
    DeviceOption,
    HeaderOption,
    JsonOption,
    LabelsOption,
    QuietOption,
    SeedOption,
)
from xpnn.cli.order import Order, read_kinds
from xpnn.cli.output import Screen
from xpnn.cli.places import check_place
from xpnn.cli.ranks import ranks
from xpnn.cli.tables import Table, opened, stem_of

if TYPE_CHECKING:
    from xpnn import TableModel
    from xpnn.distributed import ProcessGroup

_MINUTES = 1.0  # between checkpoints
# What errors of the estimator call options, and what the command does.
_WORDS = {
    "hidden_layer_sizes": "--hidden", "learning_rate_init": "--rate", "max_iter": "--epochs",
    "^(task|validation) is": r"--\1 is", "^kinds names": "--as names",
    r"^kinds\['(.*)'\] is '(.*?)'": r"--as is '\1=\2'",
}  # fmt: skip


def choose_target(table: Table, target: str | None, screen: Screen) -> str:
    """Take the column that is asked for, or the one that such files have."""
    if target is not None:
        return target
    from xpnn.data.columns import listed

    found = table.own_target()
    if found is None:
        raise ValueError(
            f"{table.path}: which column shall be learned? Say --target COLUMN; the table has "
            f"{listed(table.columns())}"
        )
    screen.say(f"target: {found}, as such files have it")
    return found


def read_validation(text: str, like: Table) -> float | Table | None:
    """Read a share of the rows, or find a file of other rows."""
    try:
        return float(text) or None
    except ValueError:
        pass
    if not Path(text).is_file():
        raise ValueError(
            f"--validation is {text!r}; expected a share such as 0.1, 0 for none, or a file"
        )
    return Table(Path(text), like.header)


def train_table(
    table: Table, order: Order, screen: Screen, group: ProcessGroup | None = None
) -> dict[str, Any] | None:
    """Do the work of `xpnn train`.

    Parameters
    ----------
    table : Table
        What to learn from.
    order : Order
        How.
    screen : Screen
        Where to say what is found.
    group : ProcessGroup, optional
        Processes that train together.

    Returns
    -------
    dict or None
        What was found, for machines; None where Ctrl-C ended the training.
    """
    from xpnn import TableModel, save
    from xpnn.training import Checkpoint
    from xpnn.training.progress import ProgressBar

    check_place(order.out, "--out")
    target = choose_target(table, order.target, screen)
    options, kinds = order.options(), read_kinds(order.kinds)
    if group is not None:
        options["distributed"] = "mpi"
        screen.say(f"training on {group.size} processes")
    held = read_validation(order.validation, table)
    if held is None and order.early_stop:
        raise ValueError("--early-stop looks at held-out rows; --validation 0 leaves none")
    _say_resume(order, screen)
    every = order.checkpoint_every
    model = TableModel(order.task, kinds)
    calls: list[Any] = [_Describe(model, screen)]
    calls += [ProgressBar()] if screen.watched else []
    try:
        with (held if isinstance(held, Table) else table).naming():
            model.fit(
                table.read(), target, held.read() if isinstance(held, Table) else held,
                seed=order.seed, callbacks=calls, resume=order.resume, **options,
                checkpoint=Checkpoint(order.checkpoint, every, None if every else _MINUTES),
            )  # fmt: skip
    except ValueError as error:
        raise _in_words(error) from error
    if model.record["history"]["stopped"] == "interrupted":
        _say_interrupted(order, screen)
        return None
    save(model, order.out)
    if every is None:
        order.checkpoint.unlink(missing_ok=True)
    _say_result(model, order, screen)
    if order.picture is not None:
        from xpnn.plots import draw, save_figure

        save_figure(draw("loss", model.record), order.picture)
        screen.say(f"curves: {order.picture}")
    return _as_values(model, order)


def _say_resume(order: Order, screen: Screen) -> None:
    if not order.resume:
        return
    if not order.checkpoint.exists():
        screen.note(f"there is no {order.checkpoint} to go on from; beginning with the first epoch")
        return
    screen.say(f"going on after epoch {_epochs_in(order.checkpoint)}")


def _say_interrupted(order: Order, screen: Screen) -> None:
    # What the file has, not what was run: Ctrl-C may come before an epoch is written down.
    screen.note(
        f"interrupted; the same command with --resume goes on after epoch "
        f"{_epochs_in(order.checkpoint)}"
        if order.checkpoint.exists()
        else "interrupted before the first epoch ended"
    )


def _epochs_in(checkpoint: Path) -> int:
    from xpnn.training.checkpoints import read_checkpoint

    return read_checkpoint(checkpoint).history().epochs


def _in_words(error: ValueError) -> ValueError:
    """An error of the estimator in the words of the command's options."""
    text = str(error)
    _, runaway, rest = text.partition("The loss became")
    if runaway:
        return ValueError(f"the loss became{rest.partition(';')[0]}; a smaller --rate helps")
    for pattern, option in _WORDS.items():
        text = re.sub(pattern, option, text)
    return ValueError(text)


class _Describe:
    """Says what each column was taken for, once that is learned."""

    def __init__(self, model: TableModel, screen: Screen) -> None:
        self.model, self.screen = model, screen

    def on_start(self, run: Any) -> None:
        """Before the first epoch."""
        model = self.model
        assert model.target is not None
        self.screen.say(model.preprocessing.describe(joined=True))
        self.screen.say(model.target.describe())
        shape = [run.network.n_features_in_, *run.network._hidden, run.network.n_outputs_]
        self.screen.say(f"network: {' - '.join(f'{width:,}' for width in shape)}")
        self.screen.say()

    def on_epoch(self, run: Any) -> None:
        """After each epoch."""

    def on_end(self, run: Any) -> None:
        """After the last one."""


def ending_of(model: TableModel) -> str:
    """Say in a sentence why a training ended."""
    done, history = model.estimator.n_iter_, model.record.get("history") or {}
    reason = history.get("stopped")
    if model.estimator.stopped_:
        watched = "loss on the held-out rows" if model.estimator.early_stopping else "loss"
        return f"{done} epochs: the {watched} got no better any more"
    if reason and reason != "finished":
        return f"{done} epochs: {reason}"
    return f"{done} epochs, all that were asked for; the loss may still fall with more"


def _say_result(model: TableModel, order: Order, screen: Screen) -> None:
    from xpnn.cli.scores import confusion_lines, score_lines

    record, scores = model.record, model.record["validation"]
    screen.say(f"trained: {ending_of(model)} ({record['seconds']:.1f} s)")
    if skipped := sum((record["history"] or {}).get("skipped", ())):
        screen.say(
            f"skipped: {skipped:,} steps whose gradients overflowed; the scale was made smaller"
        )
    left = record["rows_without_target"]
    without = f", {left:,} without a target left out" if left else ""
    if scores is None:
        screen.say(f"rows: {record['rows']:,}, none held out to measure on{without}\n")
    else:
        held = record["validation_rows"]
        screen.say(f"rows: {record['rows']:,} to learn from, {held:,} held out{without}\n")
        lines = ["on the held-out rows:", *score_lines(scores)]
        if order.early_stop:
            lines.append("These rows also chose the epoch: new rows may be read a little worse.")
        if "confusion" in scores:
            lines += ["", *confusion_lines(scores["confusion"])]
        screen.say("\n".join(lines) + "\n")
    screen.say(f"model: {order.out}")


def _as_values(model: TableModel, order: Order) -> dict[str, Any]:
    from xpnn.cli.inspect import columns_of, layers_of

    assert model.target is not None
    return {
        "model": str(order.out),
        "target": model.target.name,
        "task": model.target.task,
        "columns": columns_of(model),
        "layers": layers_of(model.estimator),
        "epochs": model.estimator.n_iter_,
        "converged": bool(model.estimator.stopped_),
        "record": model.record,
        "plot": None if order.picture is None else str(order.picture),
    }


def train(
    data: DataArgument,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The column to learn.")
    ] = None,
    task: Annotated[str, typer.Option(help="auto, classify or regress.")] = "auto",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="COLUMN=KIND",
            help="What a column is, where the rules are wrong: number, category, date, yes/no, "
            "pixel or 'left out'. May be given several times.",
        ),
    ] = None,
    hidden: Annotated[
        str, typer.Option(help="Widths of the hidden layers, such as 100,50; none for none.")
    ] = "100",
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "relu",
    epochs: Annotated[int, typer.Option(min=1, help="Times through the rows, at most.")] = 200,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows in a step; default: 200, or all of fewer.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 0.001,
    alpha: Annotated[float, typer.Option(help="Strength of the L2 penalty.")] = 0.0001,
    validation: Annotated[
        str,
        typer.Option(
            metavar="SHARE|FILE", help="Rows held out to measure on: a share, or another table."
        ),
    ] = "0.1",
    early_stop: Annotated[
        bool,
        typer.Option(
            "--early-stop",
            help="End when the held-out loss gets no better, and take the best epoch.",
        ),
    ] = False,
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    compute_dtype: Annotated[
        str | None,
        typer.Option(
            help="float16 or bfloat16: what steps compute in, while parameters stay as they are. "
            "For GPUs."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="highest, high (allows TensorFloat-32) or medium (bfloat16): of float32 matrix "
            "products while steps run, on devices that have them."
        ),
    ] = "highest",
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Model file; default: DATA's name with .safetensors."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of a training cut short.")
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs between checkpoints, and keep the last one, so that a later --resume "
            "with more --epochs goes on. Default: one a minute, removed at the end.",
        ),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the training's curves beside the model: MODEL.png.")
    ] = False,
    header: HeaderOption = True,
    labels: LabelsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a network on a table of your own.

    Finds out what each column is, learns the preprocessing on the training rows
    only, and keeps it in the model file: predict takes raw rows. Prints what it
    took each column for, and the score on held-out rows beside a baseline.

    Example: xpnn train pets.csv --target adopted --hidden 64,32 --early-stop

    On several processes: mpiexec -n 4 xpnn train pets.csv --target adopted
    """
    # What is learned is worth more than what is printed.
    screen = Screen(json, quiet, must_go_on=True)
    order = Order(
        out or Path(f"{stem_of(data)}.safetensors"), target, task, tuple(kind or ()), hidden,
        activation, epochs, batch_size, rate, alpha, validation, early_stop, backend, device,
        seed, resume, checkpoint_every, plot, compute_dtype, precision,
    )  # fmt: skip
    with ranks() as group:
        if group is not None and not group.is_main:
            from xpnn import TableModel

            with Screen(quiet=True).notes():
                TableModel().fit(None, "", distributed="mpi")
            return
        with screen.notes(), opened(data, header, labels) as table:
            found = train_table(table, order, screen, group)
            if found is None:
                raise KeyboardInterrupt
            screen.result(found)
