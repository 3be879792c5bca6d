"""The stochastic solvers: epochs, rates, and scikit-learn's rules for stopping."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import shuffle

from xpnn.backends import Array, Device, InputError, Namespace, device_of, on_device, to_device
from xpnn.engine import HostRows
from xpnn.estimators import resuming
from xpnn.estimators.learner import Kept, steps_in
from xpnn.estimators.rates import Rates
from xpnn.estimators.watching import validation_loss, validation_score
from xpnn.optimizers import SGD, Adam, Clipped, Decayed, Optimizer
from xpnn.training import Callback, History, Run
from xpnn.training.keeping import Keeper
from xpnn.training.precision import Precision, SkippedSteps

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP


@dataclass
class Data:
    """Rows with their targets and weights.

    Parameters
    ----------
    x : array or SparseRows, shape (n, features)
        Rows.
    t : array
        Targets as the loss wants them, beside `x`.
    y : numpy.ndarray
        Targets as the user gave them, on the host, for scores.
    weight : numpy.ndarray or None
        Weights of the rows, on the host.
    host : numpy.ndarray or sparse matrix, optional
        The rows on the host, once somebody wants them there.
    """

    x: Any
    t: Any
    y: Any
    weight: Any
    host: Any = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    def take(self, numbers: Any, xp: Namespace) -> Data:
        """Pick rows by their numbers."""
        weight = None if self.weight is None else self.weight[numbers]
        return Data(_rows(self.x, numbers, xp), _rows(self.t, numbers, xp), self.y[numbers], weight)


def _rows(column: Any, numbers: Any, xp: Namespace) -> Any:
    if isinstance(column, np.ndarray):
        return column[numbers]
    if isinstance(column, HostRows):
        return column.pick(numbers)
    with on_device(device_of(column)):
        return xp.take(column, to_device(numbers, xp, device_of(column)), axis=0)


@dataclass(frozen=True)
class _Momentum(SGD):
    """SGD that takes a momentum of 1 too, as scikit-learn does."""

    def __post_init__(self) -> None:
        """Everything was checked by the estimator."""


def make_optimizer(model: BaseMLP) -> Optimizer:
    """Make the optimizer that a model's parameters ask for."""
    rate = float(model.learning_rate_init)
    optimizer: Optimizer
    if model.optimizer is not None:
        optimizer = model.optimizer
    elif model.solver == "sgd":
        momentum = float(model.momentum)
        optimizer = _Momentum(rate, momentum, bool(model.nesterovs_momentum and momentum))
    else:
        optimizer = Adam(rate, float(model.beta_1), float(model.beta_2), float(model.epsilon))
    if model.weight_decay:
        optimizer = Decayed(optimizer, float(model.weight_decay))
    return Clipped(optimizer, model.clip_norm) if model.clip_norm is not None else optimizer


def split(model: BaseMLP, data: Data, stratify: Any, xp: Namespace) -> tuple[Data, Data]:
    """Set validation rows apart, the same as scikit-learn does.

    Raises
    ------
    ValueError
        Fewer than two rows would be set apart.
    """
    # The parameters are checked; else the share is refused by another name.
    with config_context(skip_parameter_validation=True):
        train, held = train_test_split(
            np.arange(data.rows), random_state=model._random_state,
            test_size=model.validation_fraction, stratify=stratify,
        )  # fmt: skip
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset."
        )
    return data.take(train, xp), data.take(held, xp)


def batch_size(model: BaseMLP, rows: int) -> int:
    """Rows in a step; `rows` is 0 where nobody knows how many there are."""
    rows = rows or sys.maxsize
    if model.batch_size == "auto":
        return min(200, rows)
    if model.batch_size > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=6,
        )
    return int(min(model.batch_size, rows))


class Training:
    """One `fit` or `partial_fit` of a stochastic solver.

    Parameters
    ----------
    model : BaseMLP
        What learns; its fitted attributes are kept up to date.
    data, held : Data
        Rows to learn from; rows to look at after each epoch, or None.
    theta : array
        Parameters to begin with.
    xp, device
        Where they live.
    callbacks : sequence of Callback
        Called on the way.
    incremental : bool
        Whether this is `partial_fit`: one epoch, going on with what was kept.
    keeper : Keeper
        Writes checkpoints, and knows the one to go on from, and the processes that share
        out each batch.
    """

    def __init__(
        self, model: BaseMLP, data: Data, held: Data | None, theta: Array, xp: Namespace,
        device: Device, callbacks: Sequence[Callback], incremental: bool, keeper: Keeper,
    ) -> None:  # fmt: skip
        self.model, self.data, self.held, self.keeper = model, data, held, keeper
        self.group = keeper.group
        self.incremental, self.callbacks = incremental, callbacks if keeper.first else ()
        self.talks = bool(model.verbose) and keeper.first
        self.batch = batch_size(model, data.rows)
        self.steps = steps_in(data.rows, self.batch)
        kept: Kept | None = vars(model).get("_kept") if incremental else None
        if kept is None:
            precision = Precision(model.compute_dtype, model.loss_scale, model.precision)
            optimizer = precision.optimizer(make_optimizer(model))
            kept = Kept(optimizer, Rates(model, optimizer), precision=precision)
        self.kept = kept
        theta = resuming.carry(keeper, self, theta, xp, device)
        weight = data.weight
        if weight is not None:
            weight = to_device(weight, xp, device, model._numbers(xp))
        self.learner = kept.learner_for(
            model._structure, model._objective, theta, (data.x, data.t, weight),
            float(model.alpha), xp=xp, device=device, engine=keeper.engine(model.engine, xp),
            steps=self.steps * (1 if incremental else model.max_iter), group=self.group,
            parts=model.accumulate,
        )  # fmt: skip
        with on_device(device):
            self.skipped = SkippedSteps(kept.precision, self.learner.runner)
        self.diverged = False
        self.history = History(rows=data.rows)
        self.run = Run(model, self.history, 1 if incremental else model.max_iter)

    def go(self) -> None:
        """Run epochs until one of the rules says stop."""
        model = self.model
        order = self._in_order()
        for call in self.callbacks:
            call.on_start(self.run)
        model.n_iter_ = 0
        model.stopped_ = model.stopped_ and self.incremental
        epochs = 1 if self.incremental else model.max_iter
        try:
            order = resuming.restore(self.keeper, self, order)
            ended = bool(self.history.stopped)
            while not ended and model.n_iter_ < epochs:
                if model.shuffle:
                    order = self._shuffled(order)
                ended = self._epoch(order)
                ended = resuming.keep(self, order, ended or model.n_iter_ == epochs) or ended
                ended = self._agreed(ended)
            if not ended and not self.incremental and self.keeper.first:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({model.max_iter}) reached "
                    "and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=5,
                )
        except KeyboardInterrupt:
            if self.group is not None:
                raise  # the others do not know; the checkpoint is what remains
            self.keeper.interrupted()
            warnings.warn("Training interrupted by user.", stacklevel=5)
            theta = self.learner.theta()
            if self.learner.finite(theta):
                model._set_theta(theta)
            self.history.stopped = "interrupted"
        finally:
            self.kept.keep(None if self.diverged else self.learner, self.incremental)
            model._kept = self.kept
            over = not self.incremental or model.stopped_
            if over and model.early_stopping and model._best_theta is not None:
                model._set_theta(model._best_theta)
                if not self.incremental:
                    # As in scikit-learn, a warm start keeps its last weights if none are better.
                    model._best_theta = None
            for call in self.callbacks:
                call.on_end(self.run)

    def _agreed(self, ended: bool) -> bool:
        """Let all processes end when rank 0 does, whose callbacks may have said so."""
        if self.group is None:
            return ended
        if self.history.stopped != "diverged":
            self.group.check_same(self.model._theta(), "parameters")
        found = (ended, self.history.stopped, self.model.stopped_)
        ended, self.history.stopped, self.model.stopped_ = self.group.from_first(found)
        return ended

    def _in_order(self) -> Any:
        """Order of the rows as they are."""
        return np.arange(self.data.rows)

    def _shuffled(self, order: Any) -> Any:
        """Order of the next epoch's rows."""
        return shuffle(order, random_state=self.model._random_state)

    def _epoch(self, order: Any) -> bool:
        """Run an epoch and everything that comes after it; True ends the training."""
        model, began = self.model, time.perf_counter()
        rates = self.kept.rates.of_epoch(self.steps, model.max_iter)
        loss, stopped = self._steps(order, rates)
        theta = self.learner.theta()
        if math.isnan(loss) or not self.learner.finite(theta):
            self.diverged = True
            loss = loss if not math.isfinite(loss) else math.nan  # it was the last steps'
            kept = model.early_stopping and model._best_theta is not None
            if not self.incremental and kept:
                if self.keeper.first:
                    warnings.warn(
                        f"The loss became {loss} in epoch {model.n_iter_ + 1}; training ends with "
                        "the best weights so far. A smaller learning_rate_init or clip_norm helps.",
                        ConvergenceWarning,
                        stacklevel=6,
                    )
                self.history.stopped = "diverged"
                return True
            raise InputError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                f"values and need to be preprocessed. The loss became {loss} in epoch "
                f"{model.n_iter_ + 1}; the model keeps the weights of the epoch before. A smaller "
                "learning_rate_init, clip_norm, or a StandardScaler before the model helps"
            )
        model._set_theta(theta)
        model.n_iter_ += 1
        model.loss_ = loss
        model.t_ += self.data.rows
        model.loss_curve_.append(loss)
        if self.talks:
            print(f"Iteration {model.n_iter_}, loss = {loss:.8f}")
        self.history.epoch.append(model.n_iter_)
        self.history.loss.append(loss)
        self.history.rate.append(rates[-1])
        with on_device(self.learner.device):
            self.skipped.note(self.history)
        self._watch()
        watched = self.history.validation_loss or self.history.loss
        self.kept.rates.epoch_ended(model.t_, watched[-1])
        self.history.seconds.append(time.perf_counter() - began)
        for call in self.callbacks:
            stopped = call.on_epoch(self.run) or stopped
        if stopped:
            self.history.stopped = stopped if isinstance(stopped, str) else "a callback"
            return True
        return self._stalled()

    def _steps(self, order: Any, rates: Sequence[float]) -> tuple[float, str | None]:
        source = self.model._random_state
        hooks = self._hooks()
        if hooks is None:
            return self.learner.epoch(order, self.batch, rates, source), None
        return self._batches(order, rates, hooks)

    def _hooks(self) -> list[Callable[..., Any]] | None:
        """What is called after each batch; None where nothing is, on no process."""
        hooks = [f for call in self.callbacks if (f := getattr(call, "on_batch", None))]
        any_there = bool(hooks) if self.group is None else self.group.from_first(bool(hooks))
        return hooks if any_there else None

    def _batches(
        self, order: Any, rates: Sequence[float], hooks: Sequence[Callable[..., Any]]
    ) -> tuple[float, str | None]:
        total, seen = 0.0, 0
        for number, rate in enumerate(rates):
            part = order[number * self.batch : (number + 1) * self.batch]
            loss = self.learner.epoch(part, self.batch, [rate], self.model._random_state)
            total, seen = total + loss * len(part), seen + len(part)
            ends = [end for hook in hooks if (end := hook(self.run, number, loss))]
            if self.group is not None:
                ends = self.group.from_first(ends)
            if ends:
                return total / seen, ends[0]
        return total / seen, None

    def _watch(self) -> None:
        """Look at the validation rows, and count epochs without an improvement."""
        model = self.model
        if self.held is not None:
            value = validation_loss(model, self.held, self.group)
            model.validation_loss_curve_.append(value)
            self.history.validation_loss.append(value)
        if not model.early_stopping or self.held is None:
            loss = model.loss_curve_[-1]
            stalled = loss > model.best_loss_ - model.tol
            model._no_improvement_count = model._no_improvement_count + 1 if stalled else 0
            model.best_loss_ = min(loss, model.best_loss_)
            return
        score = validation_score(model, self.held, self.group)
        model.validation_scores_.append(score)
        if model.monitor == "score" and hasattr(model, "classes_"):
            self.history.validation_accuracy.append(score)
        if self.talks:
            print(f"Validation score: {score:f}")
        stalled = score < model.best_validation_score_ + model.tol
        model._no_improvement_count = model._no_improvement_count + 1 if stalled else 0
        if score > model.best_validation_score_:
            model.best_validation_score_ = score
            model._best_theta = model._theta()

    def _stalled(self) -> bool:
        model = self.model
        if not model._no_improvement_count > model.n_iter_no_change:
            return False
        what = "Validation score" if model.early_stopping else "Training loss"
        text = (
            f"{what} did not improve more than tol={model.tol:f} for "
            f"{model.n_iter_no_change:.0f} consecutive epochs."
        )
        goes_on, what = self.kept.rates.goes_on()
        if self.talks:
            print(text + what)
        if goes_on:
            model._no_improvement_count = 0
            return False
        self.history.stopped = "early stopping" if model.early_stopping else "converged"
        model.stopped_ = True
        return True
