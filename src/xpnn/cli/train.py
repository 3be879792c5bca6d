"""`xpnn train`: from a user's own table to a model file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    check_out,
)
from xpnn.cli.output import Screen, UsageError
from xpnn.cli.ranks import ranks
from xpnn.cli.tables import Table, choose_target, opened, stem_of

if TYPE_CHECKING:
    from xpnn import TableModel
    from xpnn.distributed import ProcessGroup

_MINUTES = 1.0  # between checkpoints
_ENDING = ".safetensors"
# What errors of the estimator call options, and what the command does.
_WORDS = {
    "hidden_layer_sizes": "--hidden",
    "learning_rate_init": "--learning-rate",
    "max_iter": "--epochs",
    "^(task|validation|labels) is": r"--\1 is",
    "^kinds names": "--as names",
    r"^kinds\['(.*)'\] is '(.*?)'": r"--as is '\1=\2'",
}


@dataclass(frozen=True)
class Job:
    """What a training is asked for, beside the table and the estimator's parameters."""

    out: Path
    target: str | None
    task: str
    kinds: dict[str, str]
    validation: str
    seed: int
    resume: bool
    plot: bool
    overwrite: bool
    every: int | None
    options: dict[str, Any]

    def _beside(self, ending: str) -> Path:
        """A file beside the model, whose name no other model's file has."""
        stem = self.out.stem if self.out.suffix == _ENDING else self.out.name
        return self.out.with_name(f"{stem}{ending}")

    @property
    def checkpoint(self) -> Path:
        """Where the training is written down on its way."""
        return self._beside(f".checkpoint{_ENDING}")

    @property
    def figure(self) -> Path | None:
        """Where the curves are drawn; None where they are not."""
        return self._beside(".png") if self.plot else None

    def check_files(self, table: Table) -> None:
        """Refuse places that nothing can be written to, or that something else is kept in."""
        sources = [table.path, *([Path(self.validation)] if self.validation else [])]
        check_out(self.out, "--out", sources)
        for path in filter(None, (self.checkpoint, self.figure)):
            check_out(path, "--out", sources)
        for path in filter(None, (self.out, self.figure)):
            if path.exists() and not (self.overwrite or self.resume):
                raise UsageError(
                    f"'{path}' exists; --overwrite replaces it, and --out names another file"
                )
        if self.checkpoint.exists():
            from xpnn.training.checkpoint import read_checkpoint

            read_checkpoint(self.checkpoint)  # anything else of that name is an error


def estimator_options(
    *,
    hidden: str,
    activation: str,
    epochs: int,
    batch_size: int | None,
    learning_rate: float,
    alpha: float,
    early_stop: bool,
    backend: str,
    device: str | None,
    compute_dtype: str | None,
    precision: str,
) -> dict[str, Any]:
    """Check the command's options, and name them as the estimator does."""
    from xpnn import select
    from xpnn.backends import PRECISIONS, device_name
    from xpnn.functional import ACTIVATIONS
    from xpnn.training.precision import COMPUTE_DTYPES

    for option, value, known in (
        ("--activation", activation, [*ACTIVATIONS, "logistic"]),
        ("--compute-dtype", compute_dtype, [None, *COMPUTE_DTYPES]),
        ("--precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise UsageError(
                f"{option} is {value!r}; expected one of {', '.join(filter(None, known))}"
            )
    if not 0 < learning_rate < math.inf:
        raise UsageError(f"--learning-rate is {learning_rate:g}; expected a positive number")
    if not 0 <= alpha < math.inf:
        raise UsageError(f"--alpha is {alpha:g}; expected a number from 0 on")
    options: dict[str, Any] = {
        "hidden_layer_sizes": _widths(hidden),
        "activation": activation,
        "max_iter": epochs,
        "batch_size": "auto" if batch_size is None else batch_size,
        "learning_rate_init": learning_rate,
        "alpha": alpha,
        "early_stopping": early_stop,
        # Of a few rows the score moves in steps; their loss says sooner what happens.
        "monitor": "loss" if early_stop else "score",
    }
    chosen = select(backend, device)
    if chosen.name != "numpy":
        own = None if device is None else device_name(chosen.device)
        options |= {"backend": chosen.name, "device": own}
    if compute_dtype is not None:
        options["compute_dtype"] = compute_dtype
    if precision != "highest":
        options["precision"] = precision
    return options


def _widths(text: str) -> tuple[int, ...]:
    """Read widths of hidden layers, such as ``100,50``; ``none`` is a network without any."""
    if text.strip().lower() in ("none", "0", ""):
        return ()
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise UsageError(f"--hidden is {text!r}; expected widths such as 100 or 100,50, or none")
    return widths


def read_kinds(words: list[str]) -> dict[str, str]:
    """Read what columns are, such as ``zip=category``."""
    kinds = {}
    for word in words:
        name, mark, kind = word.rpartition("=")
        if not mark or not name:
            raise UsageError(f"--as is {word!r}; expected COLUMN=KIND, such as zip=category")
        kinds[name] = kind
    return kinds


def read_validation(text: str, like: Table) -> float | Table | None:
    """Read a share of the rows, or find a file of other rows."""
    try:
        return float(text) or None
    except ValueError:
        pass
    if not Path(text).is_file():
        raise UsageError(
            f"--validation is {text!r}; expected a share such as 0.1, 0 for none, or a file"
        )
    return Table(Path(text), like.header)


def train_table(
    table: Table, job: Job, screen: Screen, group: ProcessGroup | None = None
) -> dict[str, Any] | None:
    """Train a model and write it; None where Ctrl-C ended the training."""
    from xpnn import TableModel, save
    from xpnn.training import Checkpoint

    target = choose_target(table, job.target, screen)
    options = dict(job.options)
    if group is not None:
        options["distributed"] = "mpi"
        screen.say(f"training on {group.size} processes")
    rows = read_validation(job.validation, table)
    if rows is None and options["early_stopping"]:
        raise UsageError("--early-stop needs validation rows; --validation 0 leaves none")
    _say_resume(job, screen)
    model = TableModel(job.task, job.kinds)
    checkpoint = Checkpoint(job.checkpoint, job.every, None if job.every else _MINUTES)
    with (rows if isinstance(rows, Table) else table).naming(), _in_words_of_options():
        model.fit(
            table.read(),
            target,
            rows.read() if isinstance(rows, Table) else rows,
            seed=job.seed,
            callbacks=_callbacks(model, screen),
            resume=job.resume,
            checkpoint=checkpoint,
            **options,
        )
    if model.record["history"]["stopped"] == "interrupted":
        _say_interrupted(job, screen)
        return None
    save(model, job.out)
    if job.every is None:
        job.checkpoint.unlink(missing_ok=True)
    _say_result(model, job, screen)
    if job.figure is not None:
        from xpnn.plots import draw, save_figure

        save_figure(draw("loss", model.record), job.figure)
        screen.say(f"curves: {job.figure}")
    return _as_values(model, job)


def _callbacks(model: TableModel, screen: Screen) -> list[Any]:
    calls: list[Any] = [_Describe(model, screen)]
    if screen.progress:
        from xpnn.training.progress import ProgressBar

        calls.append(ProgressBar())
    return calls


def _say_resume(job: Job, screen: Screen) -> None:
    if not job.resume:
        return
    if not job.checkpoint.exists():
        screen.note(f"there is no {job.checkpoint} to go on from; beginning with the first epoch")
        return
    screen.say(f"going on after epoch {_epochs_in(job.checkpoint)}")


def _say_interrupted(job: Job, screen: Screen) -> None:
    # What the file has, not what was run: Ctrl-C may come before an epoch is written down.
    screen.note(
        f"interrupted; the same command with --resume goes on after epoch "
        f"{_epochs_in(job.checkpoint)}"
        if job.checkpoint.exists()
        else "interrupted before the first epoch ended"
    )


def _epochs_in(checkpoint: Path) -> int:
    from xpnn.training.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint).history().epochs


@contextmanager
def _in_words_of_options() -> Iterator[None]:
    """Let errors of the estimator speak of the command's options."""
    from xpnn.backends import InputError
    from xpnn.data.cells import CellError

    try:
        yield
    except CellError:
        raise
    except InputError as error:
        text = str(error)
        _, runaway, rest = text.partition("The loss became")
        if runaway:
            text = f"the loss became{rest.partition(';')[0]}; a smaller --learning-rate helps"
        for pattern, option in _WORDS.items():
            text = re.sub(pattern, option, text)
        raise UsageError(text) from error


class _Describe:
    """Says what each column was taken for, once that is learned."""

    def __init__(self, model: TableModel, screen: Screen) -> None:
        self.model, self.screen = model, screen

    def on_train_begin(self, run: Any) -> None:
        """Before the first epoch."""
        model = self.model
        assert model.target is not None
        self.screen.say(model.preprocessing.describe(joined=True))
        self.screen.say(model.target.describe())
        from xpnn.estimators.table_record import layer_widths

        shape = layer_widths(run.model)
        self.screen.say(f"network: {' - '.join(f'{width:,}' for width in shape)}")
        self.screen.say()


def ending_of(model: TableModel) -> str:
    """Say in a sentence why a training ended."""
    epochs, history = model.estimator.n_iter_, model.record.get("history") or {}
    reason = history.get("stopped")
    if model.estimator.stopped_:
        monitored = "validation loss" if model.estimator.early_stopping else "training loss"
        return f"{epochs} epochs: the {monitored} stopped improving"
    if reason and reason != "finished":
        return f"{epochs} epochs: {reason}"
    return f"{epochs} epochs, the most that were allowed; the loss may still fall with more"


def _say_result(model: TableModel, job: Job, screen: Screen) -> None:
    from xpnn.cli.scores import evaluation_lines

    record, scores = model.record, model.record["validation"]
    screen.say(f"trained: {ending_of(model)} ({record['seconds']:.1f} s)")
    if skipped := sum((record["history"] or {}).get("skipped", ())):
        screen.say(
            f"skipped: {skipped:,} steps whose gradients overflowed; the scale was made smaller"
        )
    ignored = record["rows_without_target"]
    without = f", {ignored:,} without a target ignored" if ignored else ""
    if scores is None:
        screen.say(f"rows: {record['rows']:,} for training, none for validation{without}\n")
    else:
        count = record["validation_rows"]
        screen.say(f"rows: {record['rows']:,} for training, {count:,} for validation{without}\n")
        screen.say("on the validation rows:")
        note = "These rows also chose the epoch: new rows may score a little worse."
        screen.say(
            "\n".join(evaluation_lines(scores, note if job.options["early_stopping"] else ""))
        )
        screen.say()
    screen.say(f"model: {job.out}")


def _as_values(model: TableModel, job: Job) -> dict[str, Any]:
    from xpnn.cli.inspect import columns_of, layers_of

    assert model.target is not None
    return {
        "model": str(job.out),
        "target": model.target.name,
        "task": model.target.task,
        "columns": columns_of(model),
        "layers": layers_of(model.estimator),
        "epochs": model.estimator.n_iter_,
        "converged": bool(model.estimator.stopped_),
        "record": model.record,
        "plot": None if job.figure is None else str(job.figure),
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
            help="What a column is, where the rules are wrong: numeric, category, date, boolean, "
            "image or ignored. May be given several times.",
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
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 0.001,
    alpha: Annotated[float, typer.Option(help="Strength of the L2 penalty.")] = 0.0001,
    validation: Annotated[
        str,
        typer.Option(metavar="SHARE|FILE", help="Rows to measure on: a share, or another table."),
    ] = "0.1",
    early_stop: Annotated[
        bool,
        typer.Option(
            "--early-stop",
            help="End when the validation loss stops improving, and take the best epoch.",
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model file that exists.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoint of a training cut short; replaces its model file.",
        ),
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
    took each column for, and the score on validation rows beside a baseline.

    Example: xpnn train pets.csv --target adopted --hidden 64,32 --early-stop

    On several processes: mpiexec -n 4 xpnn train pets.csv --target adopted
    """
    screen = Screen(json, quiet)
    with ranks() as group:
        if group is not None and not group.is_main:
            from xpnn import TableModel

            with Screen(quiet=True).notes():
                TableModel().fit(None, "", distributed="mpi")
            return
        with screen.notes(), opened(data, header, labels) as table:
            job = Job(
                out=out or Path(f"{stem_of(data)}{_ENDING}"),
                target=target,
                task=task,
                kinds=read_kinds(kind or []),
                validation=validation,
                seed=seed,
                resume=resume,
                plot=plot,
                overwrite=overwrite,
                every=checkpoint_every,
                options=estimator_options(
                    hidden=hidden,
                    activation=activation,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    alpha=alpha,
                    early_stop=early_stop,
                    backend=backend,
                    device=device,
                    compute_dtype=compute_dtype,
                    precision=precision,
                ),
            )
            job.check_files(table)
            found = train_table(table, job, screen, group)
            if found is None:
                raise KeyboardInterrupt
            screen.result(found)
