"""`xpnn train`: from a user's own table to a model file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import Screen, UsageError
from xpnn.cli.tables import choose_target, opened, stem_of

if TYPE_CHECKING:
    from xpnn.distributed import ProcessGroup
    from xpnn.tabular import TableFile

_MINUTES = 1.0  # between checkpoints
_ENDING = ".safetensors"
_TASKS = ("auto", "classification", "regression")


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
            if not (self.overwrite or self.resume):
                raise UsageError(
                    f"'{self.checkpoint}' is of a training that was cut short; --resume goes on "
                    "with it, and --overwrite begins anew"
                )


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


def _read_validation(text: str, like: TableFile) -> float | TableFile | None:
    """Read a share of the rows, or open a file of other rows."""
    from xpnn.tabular import open_table

    try:
        return float(text) or None
    except ValueError:
        pass
    if not Path(text).exists():
        raise UsageError(
            f"--validation is {text!r}; expected a share such as 0.1, 0 for none, or a file"
        )
    return open_table(text, like.options)


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


class _Watch:
    """Says what each column was taken for, once that is learned, and keeps the history."""

    def __init__(self, model: Any, screen: Screen, target: str, why: str) -> None:
        self.model, self.screen, self.target, self.why = model, screen, target, why
        self.history: Any = None  # of several processes, the main one has it

    def on_train_begin(self, run: Any) -> None:
        """Before the first epoch."""
        from xpnn.tabular.columns import describe
        from xpnn.tabular.target import describe_classes

        self.history = run.history
        self.screen.say(describe(self.model.preprocessor_.columns_))
        what = "numbers"
        if hasattr(self.model, "classes_"):
            classes = self.model.classes_
            what = f"{len(classes)} classes: {describe_classes(classes)}"
        self.screen.say(f"{self.target}: target, {what} ({self.why})")
        widths = [run.model.n_features_in_, *(b.shape[0] for b in run.model.intercepts_)]
        self.screen.say(f"network: {' - '.join(f'{width:,}' for width in widths)}\n")


def _fit(
    model: Any, table: TableFile, target: str, validation: TableFile | None, watch: _Watch,
    files: _Files, every: int | None, screen: Screen,
) -> None:  # fmt: skip
    """Train a model, or go on; KeyboardInterrupt after Ctrl-C, once a note says how to go on."""
    from xpnn.training import Checkpoint
    from xpnn.training.checkpoint import read_checkpoint
    from xpnn.training.progress import ProgressBar

    def epochs() -> int:
        return read_checkpoint(files.checkpoint).history().epochs

    if files.resume and files.checkpoint.exists():
        screen.say(f"going on after epoch {epochs()}")
    elif files.resume:
        screen.note(
            f"there is no {files.checkpoint} to resume from; beginning with the first epoch"
        )
    model.fit(
        table,
        target,
        X_val=validation,
        callbacks=[watch, *([ProgressBar()] if screen.progress else [])],
        resume=files.resume,
        checkpoint=Checkpoint(files.checkpoint, every, None if every else _MINUTES),
    )
    if watch.history is not None and watch.history.stopped == "interrupted":
        # What the file has, not what was run: Ctrl-C may come before an epoch is written down.
        screen.note(
            f"interrupted; the same command with --resume goes on after epoch {epochs()}"
            if files.checkpoint.exists()
            else "interrupted before the first epoch ended"
        )
        raise KeyboardInterrupt


def _ending_of(network: Any, record: dict[str, Any]) -> str:
    """Say in a sentence why a training ended."""
    epochs, reason = network.n_iter_, record["history"]["stopped"]
    if network.stopped_:
        monitored = "validation loss" if network.early_stopping else "training loss"
        return f"{epochs} epochs: the {monitored} stopped improving"
    if reason and reason != "finished":
        return f"{epochs} epochs: {reason}"
    return f"{epochs} epochs, the most that were allowed; the loss may still fall with more"


def _say_result(model: Any, record: dict[str, Any], screen: Screen) -> None:
    from xpnn.cli.scores import evaluation_lines

    scores, network = record["validation"], model.estimator_
    screen.say(f"trained: {_ending_of(network, record)} ({record['seconds']:.1f} s)")
    if skipped := sum(record["history"].get("skipped", ())):
        screen.say(
            f"skipped: {skipped:,} steps whose gradients overflowed; the scale was made smaller"
        )
    ignored = record["rows_without_label"]
    without = f", {ignored:,} without a label left out" if ignored else ""
    count = f"{record['validation_rows']:,}" if scores else "none"
    screen.say(f"rows: {record['rows']:,} for training, {count} for validation{without}\n")
    if scores:
        note = "These rows also chose the epoch: new rows may score a little worse."
        lines = evaluation_lines(scores, note if network.early_stopping else "")
        screen.say("\n".join(["on the validation rows:", *lines, ""]))


def _record(model: Any, watch: _Watch, seconds: float, given: dict[str, Any]) -> dict[str, Any]:
    """What is remembered of a training."""
    scores = model.validation_metrics_
    return {
        "rows": model.n_rows_,
        "validation_rows": scores["rows"] if scores else 0,
        "rows_without_label": model.n_unlabelled_rows_,
        "seconds": seconds,
        "options": given,
        "history": watch.history.to_dict(),
        "validation": scores,
    }


def _as_values(model: Any, files: _Files, target: str, record: dict[str, Any]) -> dict[str, Any]:
    from xpnn.cli.inspect import columns_of, layers_of
    from xpnn.cli.models import task_of

    return {
        "model": str(files.model),
        "target": target,
        "task": task_of(model),
        "columns": columns_of(model),
        "layers": layers_of(model.estimator_),
        "epochs": model.estimator_.n_iter_,
        "converged": bool(model.estimator_.stopped_),
        "record": record,
        "plot": None if files.figure is None else str(files.figure),
    }


def _find_task(task: str, table: TableFile, target: str) -> tuple[str, str]:
    """What is to be learned, and why."""
    from pandas import concat

    from xpnn.tabular.target import task_of

    if task not in _TASKS:
        raise UsageError(f"--task is {task!r}; expected one of {', '.join(_TASKS)}")
    if task != "auto":
        return task, "as --task says"
    return task_of(concat([frame[target] for frame in table.chunks()]))


@options.reads_tables
def train(
    data: options.Data,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The column to learn.")
    ] = None,
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    column_type: options.ColumnTypes = None,
    model: Annotated[
        str, typer.Option("--model", help="What is trained: mlp, a multi-layer perceptron.")
    ] = "mlp",
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
    early_stopping: Annotated[
        bool,
        typer.Option(
            "--early-stopping",
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
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    reading: options.Reading,
) -> None:
    """Train a network on a table of your own.

    Finds out what each column is and keeps the preprocessing in the model file:
    predict takes raw rows. Prints what it took each column for, why one is
    ignored, and the score on validation rows beside a baseline.

    Example: xpnn train pets.csv --target adopted --hidden 64,32 --early-stopping

    On several processes, each of which reads DATA:
    mpiexec -n 4 xpnn train pets.csv --target adopted
    """
    with _ranks() as group:
        main = group is None or group.is_main
        screen = Screen(json and main, quiet or not main)
        if model != "mlp":
            raise UsageError(f"--model is {model!r}; expected mlp")
        parameters = {
            "hidden_layer_sizes": options.widths_of(hidden),
            **_names(activation, compute_dtype, precision),
            "max_iter": epochs,
            "batch_size": "auto" if batch_size is None else batch_size,
            **_numbers(learning_rate, alpha),
            "early_stopping": early_stopping,
            # Of a few rows the score moves in steps; their loss says sooner what happens.
            "monitor": "loss" if early_stopping else "score",
        }
        with screen.notes(main), opened(data, reading, screen) as table:
            files = _Files(out or Path(f"{stem_of(data)}{_ENDING}"), plot, overwrite, resume)
            if main:
                files.check([table.path, Path(validation)])
            if group is not None:
                group.barrier("the model file is looked for")
                parameters["distributed"] = "mpi"
                screen.say(f"training on {group.size} processes")
            target = choose_target(table, target, screen)
            task, why = _find_task(task, table, target)
            rows = _read_validation(validation, table)
            if rows is None and early_stopping:
                raise UsageError(
                    "--early-stopping needs validation rows; --validation 0 leaves none"
                )
            parameters |= _placement(backend, device)
            share = rows if isinstance(rows, float) else None
            made = _make_model(task, parameters, options.pairs_of("--column-type", column_type),
                               share, seed)  # fmt: skip
            watch, began = _Watch(made, screen, target, why), time.perf_counter()
            other = None if isinstance(rows, float) else rows
            _fit(made, table, target, other, watch, files, checkpoint_every, screen)
            if not main:
                return
            record = _record(made, watch, time.perf_counter() - began, {"seed": seed, **parameters})
            _finish(made, record, files, target, checkpoint_every is None, screen)


def _make_model(
    task: str, parameters: dict[str, Any], column_types: dict[str, str], share: Any, seed: int
) -> Any:
    from xpnn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

    kind, network = TabularRegressor, MLPRegressor
    if task == "classification":
        kind, network = TabularClassifier, MLPClassifier
    inner = network(random_state=seed, **parameters)
    return kind(inner, column_types=column_types, validation_fraction=share, random_state=seed)


def _finish(
    model: Any, record: dict[str, Any], files: _Files, target: str, done: bool, screen: Screen
) -> None:
    """Write the model file and the curves, and say how it went."""
    from xpnn import save

    save(model, files.model, record)
    if done:
        files.checkpoint.unlink(missing_ok=True)
    _say_result(model, record, screen)
    screen.say(f"model: {files.model}")
    if files.figure is not None:
        from xpnn.plots import draw_history, save_figure

        save_figure(draw_history(record["history"]), files.figure)
        screen.say(f"curves: {files.figure}")
    screen.result(_as_values(model, files, target, record))
