"""The training loop: epochs, batches, validation, and ways to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.backends import (
    ArrayLike,
    HostGenerator,
    deterministic_mode,
    device_errors,
    device_of,
    generator,
    library_name,
    on_device,
)
from xpnn.data.streams import Source
from xpnn.distributed import MPI, Group, as_group, check_alone
from xpnn.engine import CudaPlan, Plan
from xpnn.optimizers import Adam, LossScaler, Optimizer, Schedule, as_schedule
from xpnn.training.callbacks import Callback, EarlyStopping, Run
from xpnn.training.checkpoints import Checkpoint, describe, source_of
from xpnn.training.gather import gather
from xpnn.training.history import History
from xpnn.training.keeping import Keeper, Snapshot, snapshot
from xpnn.training.precision import Precision
from xpnn.training.trainer import Data, Trainer

if TYPE_CHECKING:
    from xpnn.training.network import Network


_KEPT = "the network keeps the weights of its last report"


def _check_count(name: str, value: Any, none_allowed: bool = False) -> None:
    if value is None and none_allowed:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")


def fit(
    network: Network,
    x: ArrayLike | Source,
    t: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    epochs: int = 10,
    batch_size: int | None = 32,
    optimizer: Optimizer | None = None,
    rate: float | Schedule | None = None,
    l2: float = 0.0,
    shuffle: bool = True,
    validation: tuple[ArrayLike, ArrayLike] | Source | float | None = None,
    early_stopping: EarlyStopping | int | bool | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = False,
    report_every: int = 1,
    seed: int | HostGenerator | None = None,
    compute_dtype: str | None = None,
    loss_scale: str | LossScaler | float | None = None,
    precision: str = "highest",
    engine: str = "auto",
    checkpoint: Checkpoint | str | Path | None = None,
    resume: bool | str | Path = False,
    accumulate: int = 1,
    distributed: str | MPI | None = None,
    deterministic: bool = False,
) -> History:
    """Train a network.

    Parameters
    ----------
    network : Network
        Trained in place: its `theta` is replaced.
    x : array_like, shape (n, inputs), or Source
        One row for each example; decides the library and device. It may be anything that
        shares its memory (DLPack); see `xpnn.backends.exchange`. A source, which
        `xpnn.data.stream` makes of data larger than memory, brings targets and weights;
        its rows go where the network is.
    t : array_like, shape (n,) or (n, outputs)
        Targets: integer labels or probabilities for softmax cross-entropy, 0 and 1 for
        binary cross-entropy and hinge, values for the others.
    sample_weight : array_like, shape (n,), optional
        Weight of each row; default 1.
    epochs : int, default 10
        Times that all rows are gone through.
    batch_size : int or None, default 32
        Rows in a step; the last batch takes what is left. None takes all rows.
    optimizer : Optimizer, optional
        Default: ``Adam()``.
    rate : float or Schedule, optional
        Learning rate in place of the optimizer's own.
    l2 : float, default 0
        Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases are left out.
    shuffle : bool, default True
        Whether each epoch goes through the rows in a new order; those of a source are
        mixed as its `BlockShuffle` says.
    validation : (x, t), Source or float, optional
        Data to look at after each epoch, or the share of the rows to set apart for it
        (not of a source).
    early_stopping : EarlyStopping, int or bool, optional
        When to stop early; an integer is the patience, True takes the defaults.
    callbacks : iterable of Callback
        Called on the way.
    progress : bool, default False
        Whether to draw a progress bar on standard error.
    report_every : int, default 1
        Epochs from one report to the next: after these, and after the last, the loss is
        read, validation data is looked at, callbacks are called and the history gets an
        entry. A tiny network spends more time on that than on an epoch.
    seed : int or generator, optional
        For row orders, dropout and the validation split; default, the network's own
        generator.
    compute_dtype : {'float16', 'bfloat16'}, optional
        Dtype of forward and backward, where it is not to be that of the parameters: these
        stay float32 (or float64), sums and the loss are float32. Predictions are computed in
        the parameters' dtype.
    loss_scale : 'dynamic', LossScaler or float, optional
        What the loss is multiplied by before the backward, so that small gradients are not
        lost; default 'dynamic' for float16, none for bfloat16. A step whose gradient
        overflows is skipped and halves a dynamic scale.
    precision : {'highest', 'high', 'medium'}, default 'highest'
        How exactly float32 matrices are multiplied while steps run: 'high' allows
        TensorFloat-32, 'medium' bfloat16, on devices and libraries that have them; NumPy
        always multiplies in float32. See `xpnn.backends.matmul_precision`.
    engine : {'auto', 'plan', 'kernels', 'pure'}, default 'auto'
        How steps run; see `xpnn.engine.make_runner`. 'pure' runs every step as the plain
        pure function, for comparisons.
    checkpoint : Checkpoint or path, optional
        Where to write down what the training needs to go on, and how often; a path means
        after every report. Ctrl-C writes one more.
    resume : bool or path, default False
        True goes on from the file of `checkpoint`, and begins anew where there is none; a
        path goes on from there. Everything else has to be as it was, but for `epochs`,
        which may be more: then a training that was killed ends, on NumPy, with the bytes
        of one that was not.
    accumulate : int, default 1
        Parts of a batch that go through the network one after the other, their gradients
        added up before the step: for batches whose hidden layers would not fit in memory.
    distributed : {'mpi'}, MPI or None, default None
        Share each batch out among the processes that `mpiexec` started, all of which make
        this call: `batch_size` is that of the whole batch. Every rank needs the same
        arguments (sources are read by share); the weights, seed and checkpoint are those of
        rank 0, which alone calls callbacks and draws the progress bar. All ranks end with
        the same network and history; to rounding those of one process.

    Returns
    -------
    History
        Ctrl-C ends the training early, keeps what was learned and is noted there.

    Raises
    ------
    ValueError
        An argument is out of range, or a shape does not fit.
    MixedArraysError
        Arrays live on different libraries or devices.
    CheckpointError
        The checkpoint cannot be read, or is one of another training; says what differs.
    FloatingPointError
        The loss became infinite or NaN; the network keeps the weights of the last report.
    DeviceMemoryError, DeviceLostError
        A device has no room, or can be used no more; the weights are those of the last
        report.
    RankError
        Another process failed; names it and its error.
    ImportError
        `distributed` is given, and mpi4py or MPI is not installed.
    """
    group = as_group(distributed)
    _check_count("accumulate", accumulate)
    check_alone(deterministic, group)
    if group is None or group.size == 1:
        group = Group(MPI()) if accumulate > 1 else None
    given = dict(locals())
    for name in ("distributed", "group"):
        del given[name]
    with nullcontext() if group is None else group.together(), device_errors(_KEPT):
        return _fit(group, **given)


def _fit(
    group: Group | None, network: Network, x: Any, t: Any, sample_weight: Any, epochs: int,
    batch_size: int | None, optimizer: Optimizer | None, rate: Any, l2: float, shuffle: bool,
    validation: Any, early_stopping: Any, callbacks: Iterable[Callback], progress: bool,
    report_every: int, seed: Any, engine: str, checkpoint: Any, resume: Any, accumulate: int,
    compute_dtype: Any, loss_scale: Any, precision: str, deterministic: bool,
) -> History:  # fmt: skip
    """Do the work of `fit`."""
    _check_count("epochs", epochs)
    _check_count("report_every", report_every)
    _check_count("batch_size", batch_size, none_allowed=True)
    if network.size == 0:
        raise ValueError("the network has no parameters to learn; add a Dense layer")
    if l2 < 0:
        raise ValueError(f"l2 is {l2!r}; expected 0 or more")
    optimizer = Adam() if optimizer is None else optimizer
    schedule = as_schedule(optimizer.learning_rate if rate is None else rate)
    numbers = Precision(compute_dtype, loss_scale, precision)
    source = network.generator if seed is None else generator(seed)
    if group is not None:
        group.same_generator(source)
        network._theta = group.same(network.theta)
    keeper = Keeper("network", checkpoint, resume, group)
    keeper.start(source)
    train, held, xp = gather(
        network, x, {"t": t, "sample_weight": sample_weight}, batch_size, epochs, schedule,
        validation, source, group,
    )  # fmt: skip
    first = group is None or group.first
    calls = list(callbacks) if first else []
    if isinstance(early_stopping, bool):
        early_stopping = EarlyStopping() if early_stopping else None
    elif isinstance(early_stopping, int):
        early_stopping = EarlyStopping(early_stopping)
    if early_stopping is not None and first:
        # First, so that every other callback's `on_end` sees the weights that were restored.
        calls.insert(0, early_stopping)
    if progress and first:
        from xpnn.training.progress import ProgressBar

        calls.append(ProgressBar())
    bits = deterministic_mode(xp, device_of(train.x)) if deterministic else nullcontext()
    with on_device(device_of(train.x)), bits:
        if keeper.active or group is not None:
            options = (batch_size, optimizer, schedule, l2, shuffle, report_every, engine, seed)
            made_for = _made_for(network, train, held, early_stopping, *options)
            made_for |= numbers.made_for()
            if group is not None:
                group.check_given({**made_for, "seed": "rank 0's", "epochs": str(epochs)})
            keeper.check(made_for, source, epochs)
        trainer = Trainer(
            network, train, held, batch_size or train.rows, optimizer, schedule, l2, source,
            shuffle, keeper.engine(engine, xp), epochs, xp, keeper.found, numbers, group,
            accumulate,
        )  # fmt: skip
        history = _run(trainer, epochs, report_every, calls, keeper, group)
    if group is not None:  # a callback may have put other weights in, or noted something
        network._theta = group.same(network.theta)
        vars(history).update(group.from_first(vars(history)))
    return history


def _made_for(
    network: Network, train: Any, held: Any, early_stopping: Any, batch_size: Any,
    optimizer: Any, rate: Any, l2: float, shuffle: bool, report_every: int, engine: str, seed: Any,
) -> dict[str, str]:  # fmt: skip
    """Describe what a checkpoint has to be of."""
    given = dict(locals())
    network, train, held = (given.pop(name) for name in ("network", "train", "held"))
    given |= {"inputs": network.inputs, "layers": network.layers, "loss": network.loss}
    given |= {"dtype": network.dtype, "x": train.x, "t": train.t, "sample_weight": train.weight}
    given |= {"rows": train.rows, "source": source_of(train)}
    if held is not None:
        given |= {"x of validation": held.x, "t of validation": held.t}
    return {name: describe(value) for name, value in given.items()}


def plan_step(
    network: Network,
    x: ArrayLike,
    t: ArrayLike,
    *,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    l2: float = 0.0,
    compute_dtype: str | None = None,
    loss_scale: str | LossScaler | float | None = None,
    precision: str = "highest",
    engine: str = "plan",
) -> Plan | CudaPlan:
    """Show what a training step on NumPy or CuPy is made of; trains nothing.

    Parameters
    ----------
    network, x, t, batch_size, optimizer, l2, compute_dtype, loss_scale, precision
        As in `fit`.
    engine : {'plan', 'kernels'}, default 'plan'
        NumPy calls alone, or compiled kernels where operations can share one. On CuPy both
        are CUDA kernels.

    Returns
    -------
    Plan or CudaPlan
        ``print(plan.describe())`` lists the operations, buffers and bytes; on CuPy also the
        kernels' source, and whether a step is one CUDA graph.

    Raises
    ------
    ValueError
        `x` is an array of another library, an argument is not one of these, or the engine
        has no rule for something that a step does.
    """
    _check_count("batch_size", batch_size)
    numbers = Precision(compute_dtype, loss_scale, precision)
    x, xp, _ = network.prepare(x)
    data = Data(x, *network.prepare_targets(x, t, None))
    optimizer = Adam() if optimizer is None else optimizer
    if library_name(xp) == "cupy":
        engine = "kernels"
    with on_device(device_of(x)):
        return Trainer(
            network, data, None, batch_size, optimizer, as_schedule(optimizer.learning_rate), l2,
            network.generator, True, engine, 1, xp, precision=numbers,
        ).plan()  # fmt: skip


def _run(
    trainer: Trainer, epochs: int, report_every: int, calls: Sequence[Callback], keeper: Keeper,
    group: Group | None = None,
) -> History:  # fmt: skip
    network = trainer.network
    history = History(rows=trainer.train.rows)
    run = Run(network, history, epochs)
    for call in calls:
        call.on_start(run)

    def take() -> Snapshot:
        own = {"steps": trainer.taken}
        return snapshot(trainer.runner, trainer.xp, history, trainer.source, calls, own, {})

    try:
        keeper.restore(run, history, trainer.source, calls)
        while history.epochs < epochs and not history.stopped:
            began, before = time.perf_counter(), history.epochs
            number = min(before + report_every, epochs)
            trainer.pass_over(before, number - 1, epochs, history.watched)
            loss = trainer.epoch(number - 1, epochs, history.watched)
            theta = trainer.runner.theta()
            if not math.isfinite(loss) or not trainer.finite(theta):
                loss = loss if not math.isfinite(loss) else math.nan
                raise FloatingPointError(
                    f"the loss became {loss} in epoch {number}; the network keeps the "
                    f"weights of epoch {before}. Try a smaller rate, gradient clipping, or look "
                    "for NaN and very large values in x and t"
                )
            network.theta = theta
            history.rows = trainer.train.rows
            history.epoch.append(number)
            history.loss.append(loss)
            history.rate.append(trainer.rate)
            trainer.skipped.note(history)
            trainer.validate(history)
            history.seconds.append(time.perf_counter() - began)
            # Every callback hears of every report, also of the one that another ends.
            ends = [end for call in calls if (end := call.on_epoch(run)) is not None]
            if ends:
                history.stopped = ends[0]
            last = bool(ends) or number == epochs
            if failed := keeper.after_epoch(number, take, last):
                history.stopped = history.stopped or failed
            if group is not None:
                group.check_same(theta, "parameters")
                history.stopped = group.from_first(history.stopped)
        history.stopped = history.stopped or "finished"
    except KeyboardInterrupt:
        if group is not None and group.size > 1:
            raise  # the others do not know; the checkpoint is what remains
        theta = trainer.runner.theta()
        if trainer.finite(theta):
            network.theta = theta
        history.stopped = "interrupted"
        keeper.interrupted()
    finally:
        for call in calls:
            call.on_end(run)
    return history
