"""The training loop: epochs, batches, validation, and ways to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpnn.backends import (
    Array,
    ArrayLike,
    HostGenerator,
    Namespace,
    device_of,
    generator,
    is_half,
    on_device,
    scalar,
    to_device,
    to_float,
    uniform_noise,
)
from xpnn.engine import NumpyRunner, Plan, make_runner
from xpnn.layers import Tree
from xpnn.optimizers import Adam, Constant, Optimizer, Progress, Schedule, as_schedule
from xpnn.training.callbacks import Callback, EarlyStopping, Run
from xpnn.training.history import History
from xpnn.training.step import make_step, make_update, widened

if TYPE_CHECKING:
    from xpnn.training.network import Network


@dataclass(frozen=True)
class Data:
    """Rows to learn from or to validate on, checked and in place."""

    x: Array
    t: Array
    weight: Array | None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    def take(self, index: Array, xp: Namespace) -> Data:
        """Pick the rows with these numbers."""
        weight = None if self.weight is None else xp.take(self.weight, index, axis=0)
        return Data(xp.take(self.x, index, axis=0), xp.take(self.t, index, axis=0), weight)


def _draw_noise(shapes: Tree, source: HostGenerator) -> Tree:
    if shapes is None:
        return None
    if all(isinstance(n, int) for n in shapes):
        return uniform_noise(source, shapes)
    return tuple(_draw_noise(s, source) for s in shapes)


def _split(data: Data, share: float, source: HostGenerator, xp: Namespace) -> tuple[Data, Data]:
    """Set a share of the rows, drawn at random, apart for validation."""
    held = round(data.rows * share)
    if not 0 < share < 1 or not 0 < held < data.rows:
        raise ValueError(
            f"validation is {share!r}; expected a share above 0 and below 1 that leaves rows on "
            f"both sides of {data.rows}, or a pair (x, t)"
        )
    numbers = to_device(source.permutation(data.rows), xp, device_of(data.x))
    return data.take(numbers[held:], xp), data.take(numbers[:held], xp)


def _check_count(name: str, value: Any, none_allowed: bool = False) -> None:
    if value is None and none_allowed:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer")


class _Trainer:
    """One call of `fit`: what stays the same over its epochs."""

    def __init__(
        self,
        network: Network,
        train: Data,
        held: Data | None,
        batch_size: int,
        optimizer: Optimizer,
        schedule: Schedule,
        l2: float,
        source: HostGenerator,
        shuffle: bool,
        engine: str,
        epochs: int,
        xp: Namespace,
    ) -> None:
        self.network, self.train, self.held, self.xp = network, train, held, xp
        self.batch_size = min(batch_size, train.rows)
        self.schedule, self.source = schedule, source
        self.shuffle = shuffle and train.rows > self.batch_size
        self.steps = -(-train.rows // self.batch_size)
        self.sums = 1 if train.weight is None or not network.loss.averages else 2
        self.taken = 0
        self.rate = math.nan
        theta, device = network.theta, device_of(train.x)
        # A 16-bit float could neither count past 2048 steps nor hold small rates.
        numbers = xp.float32 if is_half(theta.dtype) else theta.dtype
        state = optimizer.init(widened(theta, xp), xp=xp)

        def update(namespace: Namespace) -> Callable[..., Any]:
            step = make_step(
                network.layers, network.tree, network.loss, optimizer, l2, xp=namespace
            )
            return make_update(step, network.loss, xp=namespace)

        self.runner = make_runner(
            update,
            (theta, state, scalar(0.0, xp, device, numbers)),
            (train.x, train.t, train.weight),
            xp=xp,
            device=device,
            dtype=numbers,
            steps=epochs * self.steps,
            mode=engine,
            names=(("theta", "state", "count"), ("x", "t", "weight")),
        )

    def plan(self) -> Plan:
        """Plan of a step with a whole batch; NumPy only."""
        if not isinstance(self.runner, NumpyRunner):
            raise ValueError("only NumPy's steps have a plan; x is an array of another library")
        return self.runner.plan(self.batch_size, self._noise, self.sums)

    def _rates(self, number: int, epochs: int, watched: Sequence[float]) -> list[float]:
        """Return the learning rate of each step of an epoch."""
        if isinstance(self.schedule, Constant):
            return [self.schedule.rate] * self.steps
        return [
            self.schedule.at(Progress(self.taken + i, number, self.steps, epochs, watched))
            for i in range(self.steps)
        ]

    def _noise(self, rows: int) -> Tree:
        return _draw_noise(self.network.layers.noise(self.network.inputs, rows), self.source)

    def epoch(self, number: int, epochs: int, watched: Sequence[float]) -> float:
        """Run the steps of one epoch and return its mean loss: the one wait for the device."""
        rates = self._rates(number, epochs, watched)
        rows = self.train.rows
        order = self.source.permutation(rows) if self.shuffle else None
        sums = self.runner.run(rows, self.batch_size, order, rates, self._noise, self.sums)
        self.taken += self.steps
        self.rate = rates[-1]
        if not self.network.loss.averages:
            return to_float(sums[0])
        # Weights of no row at all leave a loss of 0, not 0 / 0.
        return to_float(sums[0]) / ((to_float(sums[1]) or 1.0) if len(sums) > 1 else rows)

    def finite(self, theta: Array) -> bool:
        """Whether no parameter is infinite or NaN: if not, the next loss would be so."""
        return bool(to_float(self.xp.all(self.xp.isfinite(theta))))

    def validate(self, history: History) -> None:
        """Note loss and accuracy on the validation data."""
        if self.held is None:
            return
        network, xp = self.network, self.xp
        scores = network.scores(self.held.x)
        loss, _ = network.loss.forward(scores, self.held.t, self.held.weight, xp=xp)
        history.validation_loss.append(to_float(loss))
        right = network.loss.accuracy(scores, self.held.t, xp=xp)
        if right is not None:
            history.validation_accuracy.append(to_float(right))


def fit(
    network: Network,
    x: ArrayLike,
    t: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    epochs: int = 10,
    batch_size: int | None = 32,
    optimizer: Optimizer | None = None,
    rate: float | Schedule | None = None,
    l2: float = 0.0,
    shuffle: bool = True,
    validation: tuple[ArrayLike, ArrayLike] | float | None = None,
    early_stopping: EarlyStopping | int | bool | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = False,
    seed: int | HostGenerator | None = None,
    engine: str = "auto",
) -> History:
    """Train a network.

    Parameters
    ----------
    network : Network
        Trained in place: its `theta` is replaced.
    x : array_like, shape (n, inputs)
        One row for each example; decides the library and device.
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
        Whether each epoch goes through the rows in a new order.
    validation : (x, t) or float, optional
        Data to look at after each epoch, or the share of the rows to set apart for it.
    early_stopping : EarlyStopping, int or bool, optional
        When to stop early; an integer is the patience, True takes the defaults.
    callbacks : iterable of Callback
        Called on the way.
    progress : bool, default False
        Whether to draw a progress bar on standard error.
    seed : int or generator, optional
        For row orders, dropout and the validation split; default, the network's own
        generator.
    engine : {'auto', 'plan', 'kernels', 'pure'}, default 'auto'
        How steps run; see `xpnn.engine.make_runner`. 'pure' runs every step as the plain
        pure function, for comparisons.

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
    FloatingPointError
        The loss became infinite or NaN; the network keeps the last good epoch's weights.
    """
    _check_count("epochs", epochs)
    _check_count("batch_size", batch_size, none_allowed=True)
    if network.size == 0:
        raise ValueError("the network has no parameters to learn; add a Dense layer")
    if l2 < 0:
        raise ValueError(f"l2 is {l2!r}; expected 0 or more")
    optimizer = Adam() if optimizer is None else optimizer
    schedule = as_schedule(optimizer.rate if rate is None else rate)
    source = network.generator if seed is None else generator(seed)
    x, xp, _ = network.prepare(x)
    train, held = Data(x, *network.prepare_targets(x, t, sample_weight)), None
    if isinstance(validation, int | float):
        train, held = _split(train, validation, source, xp)
    elif validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise ValueError(
                f"validation is a {type(validation).__name__}; expected a share or a pair (x, t)"
            )
        held_x, _, _ = network.prepare(validation[0])
        held = Data(held_x, *network.prepare_targets(held_x, validation[1], None))
    calls = list(callbacks)
    if isinstance(early_stopping, bool):
        early_stopping = EarlyStopping() if early_stopping else None
    elif isinstance(early_stopping, int):
        early_stopping = EarlyStopping(early_stopping)
    if early_stopping is not None:
        # First, so that every other callback's `on_end` sees the weights that were restored.
        calls.insert(0, early_stopping)
    if progress:
        from xpnn.training.progress import ProgressBar

        calls.append(ProgressBar())
    with on_device(device_of(x)):
        trainer = _Trainer(
            network, train, held, batch_size or train.rows, optimizer, schedule, l2, source,
            shuffle, engine, epochs, xp,
        )  # fmt: skip
        return _run(trainer, epochs, calls)


def plan_step(
    network: Network,
    x: ArrayLike,
    t: ArrayLike,
    *,
    batch_size: int = 32,
    optimizer: Optimizer | None = None,
    l2: float = 0.0,
    engine: str = "plan",
) -> Plan:
    """Show what a training step on NumPy is made of; trains nothing.

    Parameters
    ----------
    network, x, t, batch_size, optimizer, l2
        As in `fit`.
    engine : {'plan', 'kernels'}, default 'plan'
        NumPy calls alone, or compiled kernels where operations can share one.

    Returns
    -------
    Plan
        ``print(plan.describe())`` lists the operations, buffers and bytes.

    Raises
    ------
    ValueError
        `x` is an array of another library than NumPy.
    """
    _check_count("batch_size", batch_size)
    x, xp, _ = network.prepare(x)
    data = Data(x, *network.prepare_targets(x, t, None))
    optimizer = Adam() if optimizer is None else optimizer
    return _Trainer(
        network, data, None, batch_size, optimizer, as_schedule(optimizer.rate), l2,
        network.generator, True, engine, 1, xp,
    ).plan()  # fmt: skip


def _run(trainer: _Trainer, epochs: int, calls: Sequence[Callback]) -> History:
    network = trainer.network
    history = History(rows=trainer.train.rows)
    run = Run(network, history, epochs)
    for call in calls:
        call.on_start(run)
    try:
        for number in range(epochs):
            began = time.perf_counter()
            loss = trainer.epoch(number, epochs, history.watched)
            theta = trainer.runner.theta()
            if not math.isfinite(loss) or not trainer.finite(theta):
                loss = loss if not math.isfinite(loss) else math.nan
                raise FloatingPointError(
                    f"the loss became {loss} in epoch {number + 1}; the network keeps the "
                    f"weights of epoch {number}. Try a smaller rate, gradient clipping, or look "
                    "for NaN and very large values in x and t"
                )
            network.theta = theta
            history.loss.append(loss)
            history.rate.append(trainer.rate)
            trainer.validate(history)
            history.seconds.append(time.perf_counter() - began)
            # Every callback hears of every epoch, also of the one that another ends.
            ends = [end for call in calls if (end := call.on_epoch(run)) is not None]
            if ends:
                history.stopped = ends[0]
                break
        else:
            history.stopped = "finished"
    except KeyboardInterrupt:
        theta = trainer.runner.theta()
        if trainer.finite(theta):
            network.theta = theta
        history.stopped = "interrupted"
    finally:
        for call in calls:
            call.on_end(run)
    return history
