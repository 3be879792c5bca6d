"""`xpnn train`: from a user's own table to a model file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import Screen, UsageError
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
class _Files:
    """What a training writes."""

    model: Path
    plot: bool
    overwrite: bool
    resume: bool

    def _beside(self, ending: str) -> Path:
        """A file beside the model, whose name no other model's file has."""
        stem = self.model.stem if self.model.suffix == _ENDING else self.model.name
        return self.model.with_name(f"{stem}{ending}")

    @property
    def checkpoint(self) -> Path:
        """Where the training is written down on its way."""
        return self._beside(f".checkpoint{_ENDING}")

    @property
    def figure(self) -> Path | None:
        """Where the curves are drawn; None where they are not."""
        return self._beside(".png") if self.plot else None

    def check(self, sources: Sequence[Path]) -> None:
        """Refuse places that nothing can be written to, or that something else is kept in."""
        from xpnn.training.checkpoint import read_checkpoint

        options.check_out(self.model, "--out", sources)  # before a name is made of it
        for path in filter(None, (self.checkpoint, self.figure)):
            options.check_out(path, "--out", sources)
        resumes = self.resume and self.checkpoint.exists()
        for path in filter(None, (self.model, self.figure)):
            if path.exists() and not (self.overwrite or resumes):
                why = f"there is no {self.checkpoint} to resume from, and " if self.resume else ""
                raise UsageError(
                    f"{why}'{path}' exists; --overwrite replaces it, and --out names another file"
                )
        if self.checkpoint.exists():
            read_checkpoint(self.checkpoint)  # anything else of that name is an error


def _numbers(learning_rate: float, alpha: float) -> dict[str, float]:
    """Check numbers for what typer does not see: nan, infinite, and 0 for a rate."""
    if not 0 < learning_rate < math.inf:
        raise UsageError(f"--learning-rate is {learning_rate:g}; expected a positive number")
    if not 0 <= alpha < math.inf:
        raise UsageError(f"--alpha is {alpha:g}; expected a number from 0 on")
    return {"learning_rate_init": learning_rate, "alpha": alpha}


def _names(activation: str, compute_dtype: str | None, precision: str) -> dict[str, str]:
    """Check names; what is the estimator's default is not handed on."""
    from xpnn.backends import PRECISIONS
    from xpnn.functional import ACTIVATIONS
    from xpnn.training.options import COMPUTE_DTYPES

    for option, value, known in (
        ("--activation", activation, [*ACTIVATIONS, "logistic"]),
        ("--compute-dtype", compute_dtype, COMPUTE_DTYPES),
        ("--precision", precision, PRECISIONS),
    ):
        if value is not None and value not in known:
            raise UsageError(f"{option} is {value!r}; expected one of {', '.join(known)}")
    found = {"activation": activation}
    found |= {} if compute_dtype is None else {"compute_dtype": compute_dtype}
    return found | ({} if precision == "highest" else {"precision": precision})


def _placement(backend: str, device: str | None) -> dict[str, Any]:
    """The estimator's parameters for a library and a device; NumPy is its default."""
    from xpnn import select
    from xpnn.backends import device_name

    chosen = select(backend, device)
    if chosen.name == "numpy":
        return {}
    own = None if device is None else device_name(chosen.device)
    return {"backend": chosen.name, "device": own}


def _read_kinds(words: Sequence[str]) -> dict[str, str]:
    """Read what columns are, such as ``zip=category``."""
    kinds = {}
    for word in words:
        name, mark, kind = word.rpartition("=")
        if not mark or not name:
            raise UsageError(f"--as is {word!r}; expected COLUMN=KIND, such as zip=category")
        kinds[name] = kind
    return kinds


def _read_validation(text: str, like: Table) -> float | Table | None:
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


@contextmanager
def _ranks() -> Iterator[ProcessGroup | None]:
    """Session of all ranks, of which only rank 0 reports errors; None for a single process."""
    from xpnn.distributed import process_group, started_by_mpi

    group = process_group("mpi") if started_by_mpi() > 1 else None
    if group is None:
        yield None
        return
    try:
        with group.session():
            yield group
    except Exception:
        if group.is_main:
            raise
        raise SystemExit(2) from None


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
        from xpnn.estimators.table_model import layer_widths

        assert self.model.target is not None
        widths = " - ".join(f"{width:,}" for width in layer_widths(run.model))
        self.screen.say(self.model.preprocessing.describe(joined=True))
        self.screen.say(self.model.target.describe())
        self.screen.say(f"network: {widths}\n")


def _callbacks(model: TableModel, screen: Screen) -> list[Any]:
    from xpnn.training.progress import ProgressBar

    return [_Describe(model, screen), *([ProgressBar()] if screen.progress else [])]


def _fit(
    model: TableModel, table: Table, target: str, validation: float | Table | None,
    files: _Files, every: int | None, screen: Screen, parameters: dict[str, Any],
) -> None:  # fmt: skip
    """Train a model, or go on; KeyboardInterrupt after Ctrl-C, once a note says how to go on."""
    from xpnn.training import Checkpoint
    from xpnn.training.checkpoint import read_checkpoint

    def epochs() -> int:
        return read_checkpoint(files.checkpoint).history().epochs

    if files.resume and files.checkpoint.exists():
        screen.say(f"going on after epoch {epochs()}")
    elif files.resume:
        screen.note(
            f"there is no {files.checkpoint} to resume from; beginning with the first epoch"
        )
    rows = validation if isinstance(validation, Table) else None
    with (rows or table).naming(), _in_words_of_options():
        model.fit(
            table.read(),
            target,
            validation if rows is None else rows.read(),
            callbacks=_callbacks(model, screen),
            resume=files.resume,
            checkpoint=Checkpoint(files.checkpoint, every, None if every else _MINUTES),
            **parameters,
        )
    if model.record["history"]["stopped"] == "interrupted":
        # What the file has, not what was run: Ctrl-C may come before an epoch is written down.
        screen.note(
            f"interrupted; the same command with --resume goes on after epoch {epochs()}"
            if files.checkpoint.exists()
            else "interrupted before the first epoch ended"
        )
        raise KeyboardInterrupt


def _ending_of(model: TableModel) -> str:
    """Say in a sentence why a training ended."""
    epochs, reason = model.estimator.n_iter_, model.record["history"]["stopped"]
    if model.estimator.stopped_:
        monitored = "validation loss" if model.estimator.early_stopping else "training loss"
        return f"{epochs} epochs: the {monitored} stopped improving"
    if reason and reason != "finished":
        return f"{epochs} epochs: {reason}"
    return f"{epochs} epochs, the most that were allowed; the loss may still fall with more"


def _say_result(model: TableModel, screen: Screen) -> None:
    from xpnn.cli.scores import evaluation_lines

    record, scores = model.record, model.record["validation"]
    screen.say(f"trained: {_ending_of(model)} ({record['seconds']:.1f} s)")
    if skipped := sum(record["history"].get("skipped", ())):
        screen.say(
            f"skipped: {skipped:,} steps whose gradients overflowed; the scale was made smaller"
        )
    ignored = record["rows_without_target"]
    without = f", {ignored:,} without a target ignored" if ignored else ""
    count = f"{record['validation_rows']:,}" if scores else "none"
    screen.say(f"rows: {record['rows']:,} for training, {count} for validation{without}\n")
    if scores:
        note = "These rows also chose the epoch: new rows may score a little worse."
        lines = evaluation_lines(scores, note if model.estimator.early_stopping else "")
        screen.say("\n".join(["on the validation rows:", *lines, ""]))


def _as_values(model: TableModel, files: _Files) -> dict[str, Any]:
    from xpnn.cli.inspect import columns_of, layers_of

    assert model.target is not None
    return {
        "model": str(files.model),
        "target": model.target.name,
        "task": model.target.task,
        "columns": columns_of(model),
        "layers": layers_of(model.estimator),
        "epochs": model.estimator.n_iter_,
        "converged": bool(model.estimator.stopped_),
        "record": model.record,
        "plot": None if files.figure is None else str(files.figure),
    }


def train(
    data: options.Data,
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
    backend: options.Backend = "auto",
    device: options.Device = None,
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
    seed: options.Seed = 0,
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
            help="Go on from the checkpoint of a training cut short; then replaces its model file.",
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
    header: options.Header = True,
    labels: options.Labels = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network on a table of your own.

    Finds out what each column is, learns the preprocessing on the training rows
    only, and keeps it in the model file: predict takes raw rows. Prints what it
    took each column for, and the score on validation rows beside a baseline.

    Example: xpnn train pets.csv --target adopted --hidden 64,32 --early-stop

    On several processes: mpiexec -n 4 xpnn train pets.csv --target adopted
    """
    screen = Screen(json, quiet)
    with _ranks() as group:
        from xpnn import TableModel, save

        if group is not None and not group.is_main:
            with Screen(quiet=True).notes():
                TableModel().fit(None, "", distributed="mpi")
            return
        with screen.notes(), opened(data, header, labels) as table:
            model = TableModel(task, _read_kinds(kind or []))
            parameters = {
                "seed": seed,
                "hidden_layer_sizes": options.widths_of(hidden),
                **_names(activation, compute_dtype, precision),
                "max_iter": epochs,
                "batch_size": "auto" if batch_size is None else batch_size,
                **_numbers(learning_rate, alpha),
                "early_stopping": early_stop,
                # Of a few rows the score moves in steps; their loss says sooner what happens.
                "monitor": "loss" if early_stop else "score",
                **_placement(backend, device),
            }
            files = _Files(out or Path(f"{stem_of(data)}{_ENDING}"), plot, overwrite, resume)
            files.check([table.path, Path(validation)])
            target = choose_target(table, target, screen)
            if group is not None:
                parameters["distributed"] = "mpi"
                screen.say(f"training on {group.size} processes")
            rows = _read_validation(validation, table)
            if rows is None and early_stop:
                raise UsageError("--early-stop needs validation rows; --validation 0 leaves none")
            _fit(model, table, target, rows, files, checkpoint_every, screen, parameters)
            save(model, files.model)
            if checkpoint_every is None:
                files.checkpoint.unlink(missing_ok=True)
            _say_result(model, screen)
            screen.say(f"model: {files.model}")
            if files.figure is not None:
                from xpnn.plots import draw_history, save_figure

                save_figure(draw_history(model.record), files.figure)
                screen.say(f"curves: {files.figure}")
            screen.result(_as_values(model, files))
