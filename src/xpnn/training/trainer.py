"""The training loop: epochs, batches, validation, callbacks, and ways to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

from xpnn.backends import Array, InputError, deterministic_mode, host, on_device, to_float, to_host
from xpnn.distributed import ProcessGroup
from xpnn.engine.trees import map_tree
from xpnn.layers import Tree
from xpnn.optimizers import Constant, Progress
from xpnn.training.callbacks import Callback, Run
from xpnn.training.checkpoint import CheckpointManager
from xpnn.training.dataset import ArrayDataset, Dataset, Segment
from xpnn.training.history import History
from xpnn.training.options import TrainOptions
from xpnn.training.sampler import Sampler
from xpnn.training.step import CompiledStep, Step

Hooks = list[Callable[[Run], None]]
"""What is called after each batch."""


class DivergenceError(FloatingPointError):
    """The loss or the parameters became infinite or NaN.

    Parameters
    ----------
    message : str
        What happened, and which weights stand.
    loss : float
        The loss of the epoch.
    epoch : int
        Its number, from 1.
    """

    def __init__(self, message: str, loss: float, epoch: int) -> None:
        super().__init__(message)
        self.loss, self.epoch = loss, epoch


@dataclass
class OptimizerState:
    """What a training leaves for one that goes on, as `partial_fit` does.

    `saved` is what goes from step to step: parameters, optimizer state and count. In its place
    there may be the step itself: going on with it saves planning it anew. `memory` is what the
    schedule has made of the losses; see `Schedule.observe`.
    """

    saved: Any = None
    compiled: CompiledStep | None = None
    steps_taken: int = 0
    epochs: int = 0
    memory: Any = None

    def carry(self) -> Any:
        """Parameters, optimizer state and count; None where no step was taken."""
        return self.saved if self.compiled is None else self.compiled.carry

    def detached(self, move: Callable[[Any], Any] | None = None) -> OptimizerState:
        """The same without the step, each array passed through `move`: to be kept or sent."""
        saved = self.carry()
        if saved is not None and move is not None:
            saved = map_tree(move, saved)
        return replace(self, saved=saved, compiled=None)

    def __getstate__(self) -> dict[str, Any]:
        # A step is bound to memory; what goes through it is enough to make another, anywhere.
        return vars(self.detached(to_host))


class Validator(Protocol):
    """Looks at validation rows after an epoch."""

    def __call__(self) -> tuple[float, float | None]:
        """Return their loss and their accuracy; None where there is no accuracy."""


class Trainer:
    """One training of a network: the only loop there is.

    Parameters
    ----------
    network : Any
        Trained in place: its `theta` is replaced after every report.
    dataset : Dataset
        Rows to learn from.
    sampler : Sampler
        Draws the order of the rows, and noise.
    options : TrainOptions
        How to train.
    loss : Objective, optional
        What is minimized; default, the network's loss.
    validator : callable, optional
        Looks at validation rows after each report; see `Validator`.
    callbacks : sequence of Callback
        Called on the way, in this order.
    checkpoints : CheckpointManager, optional
        Writes checkpoints, and has the one to go on from.
    group : ProcessGroup, optional
        Processes that share each batch.
    model : object, optional
        What `fit` was called on; see `Run`.
    state : OptimizerState, optional
        What an earlier training left, to go on from.
    """

    def __init__(
        self,
        network: Any,
        dataset: Dataset,
        sampler: Sampler,
        options: TrainOptions,
        *,
        loss: Any = None,
        validator: Validator | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: CheckpointManager | None = None,
        group: ProcessGroup | None = None,
        model: Any = None,
        state: OptimizerState | None = None,
    ) -> None:
        self.network, self.dataset, self.sampler, self.options = network, dataset, sampler, options
        self.validator, self.group = validator, group
        self.checkpoints = checkpoints
        main = group is None or group.is_main
        self.callbacks = [call for call in callbacks if main or call.on_every_rank]
        self.schedule = options.schedule
        self.batch_size = min(options.batch_size or dataset.rows, dataset.rows or 2**63)
        self.steps_per_epoch = max(-(-dataset.rows // self.batch_size), 1)
        self.steps_taken, self._epochs_before, self._memory = 0, 0, None
        if state is not None:
            self.steps_taken, self._epochs_before = state.steps_taken, state.epochs
            self._memory = state.memory
        self.learning_rate = math.nan
        self.history = History(rows=dataset.rows)
        own = network if model is None else model
        self.run_state = Run(network, self.history, options.epochs, own)
        self.compiled = self._compile(loss or network.loss, state)
        self._skipped = self.compiled.skipped()

    def _compile(self, loss: Any, earlier: OptimizerState | None) -> CompiledStep:
        """Make the step that this training takes, or go on with the one that is given."""
        options, network = self.options, self.network
        backend = network.backend
        step = Step(
            network.layers,
            network.tree,
            loss,
            options.precision.optimizer(options.optimizer),
            options.l2,
            options.l2_per_row,
            options.precision,
            options.gradient_accumulation_steps,
            options.count_rows,
        )
        columns, engine = self.dataset.columns, options.engine
        found = None if self.checkpoints is None else self.checkpoints.found
        if found is not None:
            engine = found.engine(engine, backend.xp)
        old = None if earlier is None else earlier.compiled
        fits = old is not None and old.fits(step, columns, backend, engine, self.group)
        if old is not None and fits and self._same_theta(old):
            return old
        rest = None if earlier is None else earlier.carry()
        carry = step.initial_carry(network.copy_theta(), backend)
        if found is not None:
            carry = found.carry(carry, backend.xp, backend.device)
            self.steps_taken = found.steps
        elif rest is not None:
            carry = (carry[0], *rest[1:])
        return CompiledStep(
            step,
            carry,
            columns,
            backend,
            engine=engine,
            steps=options.epochs * self.steps_per_epoch,
            group=self.group,
        )

    def _same_theta(self, compiled: CompiledStep) -> bool:
        """Whether nobody has given the network other weights since the step was used."""
        xp = self.network.backend.xp
        with on_device(self.network.backend.device):
            return bool(xp.all(compiled.theta() == self.network.theta))

    # The loop

    def run(self) -> History:
        """Train until the epochs are over, or somebody says stop.

        Returns
        -------
        History

        Raises
        ------
        DivergenceError
            The loss or the parameters became infinite or NaN; the network has the weights
            that the message names.
        """
        run, options = self.run_state, self.options
        xp, device = self.network.backend.xp, self.network.backend.device
        bits = deterministic_mode(xp, device) if options.deterministic else nullcontext()
        diverged = None
        begun: list[Callback] = []
        with on_device(device), bits:
            try:
                for call in self.callbacks:
                    call.on_train_begin(run)
                    begun.append(call)
                if self.checkpoints is not None and self.checkpoints.found is not None:
                    self._restore(self.checkpoints)
                while diverged is None and not self._over():
                    diverged = self._report()
            except KeyboardInterrupt:
                if self.group is not None:
                    raise  # the others do not know; the checkpoint is what remains
                self._interrupted()
            finally:
                with ExitStack() as ends:  # each hears of the end, also if another fails
                    for call in reversed(begun):
                        ends.callback(call.on_train_end, run)
        if diverged is not None:
            raise self._divergence(*diverged)
        self.history.stopped = self.history.stopped or "finished"
        return self.history

    def _over(self) -> bool:
        return self.history.epochs >= self.options.epochs or bool(self.history.stopped)

    def _report(self) -> tuple[float, int] | None:
        """Run the epochs to the next report, and report; loss and epoch if it diverged."""
        history, run, options = self.history, self.run_state, self.options
        began, before = time.perf_counter(), history.epochs
        epoch = min(before + options.report_every, options.epochs)
        epoch, loss = self._epochs(before, epoch)
        theta = self.compiled.theta()
        wrong = math.isnan(loss) or (math.isinf(loss) and not options.allow_infinite_loss)
        if wrong or not self.compiled.is_finite(theta):
            history.stopped = "diverged"
            return (loss if not math.isfinite(loss) else math.nan), epoch
        self.network.theta = theta
        run.weights_epoch = epoch
        history.rows = self.dataset.rows or run.rows_seen
        history.epoch.append(epoch)
        history.loss.append(loss)
        history.learning_rate.append(self.learning_rate)
        history.engine = self.compiled.engine
        if self._skipped is not None:
            self._note_skipped(self._skipped)
        if self.validator is not None:
            value, accuracy = self.validator()
            history.validation_loss.append(value)
            if accuracy is not None:
                history.validation_accuracy.append(accuracy)
        self._memory = self.schedule.observe(self._memory, history.monitored[-1])
        history.seconds.append(time.perf_counter() - began)
        # Every callback hears of every report, also of the one that another ends.
        for call in self.callbacks:
            call.on_epoch_end(run)
        if self.checkpoints is not None:
            failed = self.checkpoints.after_epoch(self, last=self._over())
            history.stopped = history.stopped or failed or ""
        if self.group is not None:
            self.group.check_same_array(theta, "parameters")
            history.stopped = self.group.broadcast(history.stopped)
        return None

    def _interrupted(self) -> None:
        """Keep what was learned: of whole steps only."""
        theta = self.compiled.whole_theta()
        if theta is not None and self.compiled.is_finite(theta):
            self.network.theta = theta
        self.history.stopped = "interrupted"
        if self.checkpoints is not None:
            self.checkpoints.interrupted()

    def _divergence(self, loss: float, epoch: int) -> DivergenceError:
        weights = self.run_state.weights_epoch
        kept = f"of epoch {weights}" if weights else "from before the training"
        return DivergenceError(
            f"the loss became {loss} in epoch {epoch}; the network keeps the weights {kept}. "
            "Try a smaller learning rate, gradient clipping, or look for NaN and very large values "
            "in the data",
            loss,
            epoch,
        )

    def _note_skipped(self, before: int) -> None:
        """Write down how many steps were skipped since the report before."""
        self._skipped = now = self.compiled.skipped() or 0
        # A checkpoint of a training without a report of them does not say how many there were.
        unknown = len(self.history.loss) - 1 - len(self.history.skipped)
        self.history.skipped += [0] * unknown + [now - before]

    # An epoch

    def noise(self, rows: int) -> Tree:
        """Draw the noise of a batch of so many rows."""
        return self.sampler.noise(self.network.layers.noise(self.network.inputs, rows))

    def _learning_rates(self, epoch: int, steps: int) -> list[float]:
        """Learning rate of each of the next steps of an epoch."""
        if isinstance(self.schedule, Constant):
            return [self.schedule.learning_rate] * steps
        epoch, taken = epoch + self._epochs_before, self.steps_taken
        each, epochs = self.steps_per_epoch, self.options.epochs
        return [
            self.schedule.at(Progress(taken + i, epoch, each, epochs, self._memory))
            for i in range(steps)
        ]

    def _epochs(self, first: int, last: int) -> tuple[int, float]:
        """Run the epochs from `first` to before `last`; how many are done, and the last's loss."""
        hooks, totals = self._batch_callbacks(), ()
        if hooks is None and last - 1 > first and self._is_one_batch():
            self._run(next(self._segments(first)), first, 0, last - 1 - first)
            first = last - 1
        count = self.compiled.step.count_totals(self.dataset.columns[2] is not None)
        for epoch in range(first, last):
            # The loss of an epoch that is not reported costs a wait for the device.
            reported = hooks is not None or epoch == last - 1
            totals = self._steps(epoch, count if reported else 0, hooks)
            if self.history.stopped:  # by a callback, after a batch
                last = epoch + 1
                break
        return last, self.compiled.mean_loss(totals, self.run_state.rows_seen)

    def _is_one_batch(self) -> bool:
        """Whether each epoch is the same step on the same rows, so that many can be one run."""
        return (
            self.steps_per_epoch == 1
            and isinstance(self.dataset, ArrayDataset)
            and isinstance(self.schedule, Constant)
            and self.group is None
            and self.noise(0) is None
        )

    def _segments(self, epoch: int) -> Generator[Segment]:
        return self.dataset.passes(self.sampler, epoch, self.batch_size)

    def _steps(self, epoch: int, count: int, hooks: Hooks | None) -> tuple[Any, ...]:
        """Take the steps of one epoch; return its totals."""
        totals: Any = count
        self.run_state.rows_seen, self.run_state.batch = 0, -1
        # Closed here and now, so that a thread that reads ends with whatever ends the epoch.
        with closing(self._segments(epoch)) as segments:
            for segment in segments:
                if hooks is None:
                    totals = self._run(segment, epoch, totals)
                    continue
                totals = self._batch_by_batch(segment, epoch, totals, hooks)
                if self.history.stopped:
                    break
        return totals

    def _batch_by_batch(
        self, segment: Segment, epoch: int, totals: Any, hooks: Hooks
    ) -> tuple[float, ...]:
        """Take steps one by one, and tell the callbacks of each; return the totals so far."""
        run = self.run_state
        sums: list[float] = [0.0] * totals if isinstance(totals, int) else totals
        indices = host.arange(segment.rows) if segment.indices is None else segment.indices
        for start in range(0, segment.rows, self.batch_size):
            part = indices[start : start + self.batch_size]
            found = self._run(Segment(segment.columns, len(part), part), epoch, len(sums))
            sums = [a + to_float(b) for a, b in zip(sums, found, strict=True)]
            run.batch += 1
            run.batch_loss = self.compiled.mean_loss(found, len(part)) if sums else math.nan
            for hook in hooks:
                hook(run)
            if self.group is not None:
                self.history.stopped = self.group.broadcast(self.history.stopped)
            if self.history.stopped:
                break
        return tuple(sums)

    def _run(self, segment: Segment, epoch: int, totals: Any, times: int = 1) -> tuple[Array, ...]:
        """Take the steps of a segment; where that is one batch, as many times as that."""
        rates = self._learning_rates(epoch, -(-segment.rows // self.batch_size)) * times
        totals = self.compiled.run(
            segment, self.batch_size, rates, self.noise, totals, self.dataset.sharded
        )
        self.steps_taken += len(rates)
        self.run_state.rows_seen += segment.rows
        self.learning_rate = rates[-1]
        return totals

    def _batch_callbacks(self) -> Hooks | None:
        """What is called after each batch; None where nothing is, on no process."""
        hooks: Hooks = [call.on_batch_end for call in self.callbacks if call.wants_batches]
        wanted = bool(hooks) if self.group is None else self.group.broadcast(bool(hooks))
        if wanted and self.dataset.sharded:
            raise InputError(
                "callbacks with on_batch_end do not go with a source on several processes; use "
                "on_epoch_end"
            )
        return hooks if wanted else None

    # What another training, or another process, goes on from

    def state(self, live: bool = False) -> OptimizerState:
        """What a training that goes on needs.

        Parameters
        ----------
        live : bool, default False
            Whether to hand out the step itself, without the data that it saw, and not only
            what goes through it.
        """
        epochs = self._epochs_before + self.history.epochs
        if not live:
            saved = self.compiled.carry
            return OptimizerState(saved, None, self.steps_taken, epochs, self._memory)
        self.compiled.release()
        return OptimizerState(None, self.compiled, self.steps_taken, epochs, self._memory)

    def _restore(self, checkpoints: CheckpointManager) -> None:
        """Bring history, sampler and callbacks to where the checkpoint has them."""
        checkpoints.restore(self.run_state, self.sampler, self.callbacks)
        self.network.theta = self.compiled.theta()
        self.run_state.weights_epoch = self.history.epochs
        if self.history.epochs:
            self._memory = self.schedule.observe_all(self.history.monitored)
