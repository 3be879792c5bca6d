"""What stays the same over the epochs of one training: data, engine, rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from xpnn.backends import (
    Array,
    HostGenerator,
    Namespace,
    device_of,
    is_half,
    library_name,
    on_device,
    scalar,
    to_float,
    uniform_noise,
)
from xpnn.distributed import Group, Share
from xpnn.engine import (
    CudaPlan,
    CudaRunner,
    NumpyRunner,
    Plan,
    UnknownOperationError,
    make_runner,
    show,
)
from xpnn.layers import Tree
from xpnn.optimizers import Constant, Optimizer, Progress, Schedule
from xpnn.training.checkpoints import Saved
from xpnn.training.history import History
from xpnn.training.precision import PLAIN, Precision, SkippedSteps
from xpnn.training.step import make_step, make_update, widened
from xpnn.training.streaming import Stream
from xpnn.training.summed import make_summed_step

if TYPE_CHECKING:
    from xpnn.training.network import Network


@dataclass(frozen=True)
class Data:
    """Rows to learn from or to validate on, checked and in place."""

    x: Array
    t: Array
    weight: Array | None

    dealt: ClassVar[bool] = False  # every process has all rows

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    def take(self, index: Array, xp: Namespace) -> Data:
        """Pick the rows with these numbers."""
        with on_device(device_of(self.x)):
            x, t = (xp.take(column, index, axis=0) for column in (self.x, self.t))
            return Data(x, t, None if self.weight is None else xp.take(self.weight, index, axis=0))

    def passes(
        self, random: HostGenerator | None, number: int
    ) -> Generator[tuple[tuple[Any, ...] | None, int, Any]]:
        """Go through the rows once: other columns, of which there are none, rows and order."""
        yield None, self.rows, None if random is None else random.permutation(self.rows)


def _draw_noise(shapes: Tree, source: HostGenerator) -> Tree:
    if shapes is None:
        return None
    if all(isinstance(n, int) for n in shapes):
        return uniform_noise(source, shapes)
    return tuple(_draw_noise(s, source) for s in shapes)


class Trainer:
    """One call of `fit`: what stays the same over its epochs.

    Parameters
    ----------
    network, batch_size, optimizer, schedule, l2, shuffle, engine, epochs
        As in `xpnn.training.fit`, `schedule` being its rate.
    precision : Precision, optional
        What steps compute in.
    train : Data or Stream
        Rows to learn from.
    held : Data, Stream or None
        Rows to validate on.
    source : generator
        For row orders and noise.
    xp : module
        Namespace of the data.
    found : Saved, optional
        The checkpoint to go on from.
    group : Group, optional
        Processes that share out each batch.
    parts : int, default 1
        Parts of a batch that go through the network one after the other.
    """

    def __init__(
        self,
        network: Network,
        train: Data | Stream,
        held: Data | Stream | None,
        batch_size: int,
        optimizer: Optimizer,
        schedule: Schedule,
        l2: float,
        source: HostGenerator,
        shuffle: bool,
        engine: str,
        epochs: int,
        xp: Namespace,
        found: Saved | None = None,
        precision: Precision = PLAIN,
        group: Group | None = None,
        parts: int = 1,
    ) -> None:
        self.precision, self.share = precision, None if group is None else Share(group)
        self.network, self.train, self.held, self.xp = network, train, held, xp
        self.batch_size = min(batch_size, train.rows or batch_size)
        self.schedule, self.source = schedule, source
        self.shuffle = shuffle and not 0 < train.rows <= self.batch_size
        self.steps = -(-train.rows // self.batch_size)
        self.sums = 1 if train.weight is None or not network.loss.averages else 2
        self.taken = 0
        self.rate = math.nan
        theta, device = network.theta, device_of(train.x)
        precision.check(theta, xp)
        optimizer = precision.optimizer(optimizer)
        # A 16-bit float could neither count past 2048 steps nor hold small rates.
        numbers = xp.float32 if is_half(theta.dtype) else theta.dtype
        state = optimizer.init(widened(theta, xp), xp=xp)
        carry: Any = (theta, state, scalar(0.0, xp, device, numbers))
        if found is not None:
            carry = found.carry(carry, xp, device)
            self.taken = found.steps
            network.theta = carry[0]

        def update(namespace: Namespace) -> Callable[..., Any]:
            made = (network.layers, network.tree, network.loss, optimizer, l2)
            if group is None:
                step = make_step(*made, xp=namespace, precision=precision)
            else:
                step = make_summed_step(
                    *made, xp=namespace, exchange=group, parts=parts, precision=precision
                )
            return make_update(step, network.loss, xp=namespace)

        if group is not None and library_name(xp) == "jax":
            engine = "pure"  # the host's exchange is between two compiled functions

        self.runner = make_runner(
            update,
            carry,
            (train.x, train.t, train.weight),
            xp=xp,
            device=device,
            dtype=numbers,
            steps=epochs * self.steps,
            mode=precision.engine(engine, xp),
            names=(("theta", "state", "count"), ("x", "t", "weight")),
        )
        self.skipped = SkippedSteps(precision, self.runner)

    def plan(self) -> Plan | CudaPlan:
        """Plan of a step with a whole batch; arrays on the CPU that NumPy can look at only."""
        if not isinstance(self.runner, NumpyRunner | CudaRunner):
            raise ValueError(
                "only steps on arrays of NumPy and CuPy, and on float32 and float64 tensors of "
                "PyTorch on the CPU, have a plan; x is another array, or engine is 'pure'"
            )
        try:
            with self.precision.scope(self.xp):
                return self.runner.plan(self.batch_size, self._noise, self.sums)
        except UnknownOperationError as error:
            raise ValueError(f"the step has no plan: the engine has no rule for {error}") from None

    def _rates(self, number: int, epochs: int, watched: Sequence[float], steps: int) -> list[float]:
        """Return the learning rate of each of the next steps of an epoch."""
        if isinstance(self.schedule, Constant):
            return [self.schedule.learning_rate] * steps
        memory = self.schedule.observe_all(watched)
        return [
            self.schedule.at(Progress(self.taken + i, number, self.steps, epochs, memory))
            for i in range(steps)
        ]

    def _noise(self, rows: int) -> Tree:
        return _draw_noise(self.network.layers.noise(self.network.inputs, rows), self.source)

    def _run(
        self, number: int, epochs: int, watched: Sequence[float], sums: int
    ) -> tuple[Array, ...]:
        totals: tuple[Array, ...] | None = None
        # Closed here and now, so that a thread that reads ends with whatever ends the epoch.
        passes = self.train.passes(self.source if self.shuffle else None, number)
        with closing(passes) as parts, self.precision.scope(self.xp):
            for columns, rows, order in parts:
                if columns is not None:
                    show(self.runner, columns)
                rates = self._rates(number, epochs, watched, -(-rows // self.batch_size))
                totals = self._steps(rows, order, rates, sums, totals)
                self.taken += len(rates)
                self.rate = rates[-1]
        assert totals is not None  # there is at least one row
        return totals

    def _steps(
        self, rows: int, order: Any, rates: list[float], sums: int, before: Any
    ) -> tuple[Array, ...]:
        arguments = (rows, self.batch_size, order, rates, self._noise, sums, before)
        if self.share is None:
            return self.runner.run(*arguments)
        return self.share.run(self.runner, *arguments, dealt=self.train.dealt)

    def pass_over(self, first: int, last: int, epochs: int, watched: Sequence[float]) -> None:
        """Run the epochs from `first` to before `last`, and look at no loss."""
        if (
            self.steps == 1
            and self.share is None
            and isinstance(self.schedule, Constant)
            and isinstance(self.runner, NumpyRunner)
            and isinstance(self.train, Data)
            and self._noise(0) is None
        ):
            with self.precision.scope(self.xp):
                self.runner.repeat(self.train.rows, self.schedule.learning_rate, last - first)
            self.taken += last - first
            return
        for number in range(first, last):
            self._run(number, epochs, watched, 0)

    def epoch(self, number: int, epochs: int, watched: Sequence[float]) -> float:
        """Run the steps of one epoch and return its mean loss: the one wait for the device."""
        sums = self._run(number, epochs, watched, self.sums)
        rows = self.train.rows  # of a source that may be known only now
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
        if isinstance(self.held, Stream):
            value, share = self.held.evaluate()
            history.validation_loss.append(value)
            if share is not None:
                history.validation_accuracy.append(share)
            return
        if self.share is None:
            scores = network.scores(self.held.x)
        else:
            scores = self.share.group.rows(network.scores, self.held.x)
        loss, _ = network.loss.forward(scores, self.held.t, self.held.weight, xp=xp)
        history.validation_loss.append(to_float(loss))
        right = network.loss.accuracy(scores, self.held.t, xp=xp)
        if right is not None:
            history.validation_accuracy.append(to_float(right))
