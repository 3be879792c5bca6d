"""scikit-learn's rules of training: fitted attributes, learning-rate modes, when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnn.backends import InputError, to_device
from xpnn.optimizers import Optimizer, Progress, Schedule
from xpnn.training import Callback, Run
from xpnn.training.options import DEFAULT_PRECISION, Precision
from xpnn.training.trainer import OptimizerState
from xpnn.training.warn import print_line

# Fitted attributes that a training updates, and what they may be in a checkpoint or file.


def is_number(value: Any) -> bool:
    """Whether a value is a plain number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether a value is an integer, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_numbers(value: Any) -> bool:
    """Whether a value is a list of plain numbers."""
    return isinstance(value, list) and all(map(is_number, value))


ATTRIBUTES: dict[str, Any] = {
    "n_iter_": is_count,
    "t_": is_count,
    "loss_": is_number,
    "loss_curve_": is_numbers,
    "validation_loss_curve_": is_numbers,
    "validation_scores_": lambda v: v is None or is_numbers(v),
    "best_validation_score_": lambda v: v is None or is_number(v),
    "best_loss_": lambda v: v is None or is_number(v),
    "_no_improvement_count": is_count,
    "stopped_": lambda v: isinstance(v, bool),
}


@dataclass
class AdjustedRate(Schedule):
    """A learning rate that scikit-learn's modes change between epochs."""

    learning_rate: float
    mode: str = "constant"
    power: float = 0.5
    initial: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in (modes := ("constant", "invscaling", "adaptive")):
            raise InputError(f"mode is {self.mode!r}; expected one of {', '.join(modes)}")
        if self.initial is None:
            self.initial = self.learning_rate

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        return self.learning_rate

    def epoch_ended(self, rows_seen: int) -> None:
        """``initial / (rows seen + 1)**power`` where the rate scales inversely."""
        if self.mode == "invscaling":
            assert self.initial is not None
            self.learning_rate = self.initial / (rows_seen + 1) ** self.power

    def reduce_on_plateau(self) -> tuple[bool, str]:
        """Shrink an adaptive rate that can still shrink; whether it did, and what to say."""
        if self.mode != "adaptive":
            return False, " Stopping."
        if self.learning_rate <= 1e-6:
            return False, " Learning rate too small. Stopping."
        self.learning_rate /= 5.0
        return True, f" Setting learning rate to {self.learning_rate:f}"


@dataclass
class SolverState:
    """What `partial_fit` goes on with: how steps are taken, and what the training before left."""

    optimizer: Optimizer
    schedule: Schedule
    precision: Precision = DEFAULT_PRECISION
    training: OptimizerState | None = None


class ScikitLearnRules(Callback):
    """Keeps a model's fitted attributes up to date, and stops as scikit-learn does."""

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        validator: Any,
        incremental: bool,
        verbose: bool,
    ) -> None:
        self.model, self.schedule, self.validator = model, schedule, validator
        self.incremental, self.verbose = incremental, verbose

    on_every_rank = True  # each has a model with attributes

    def on_train_begin(self, run: Run) -> None:
        """Begin to count epochs."""
        self.model.n_iter_ = 0
        self.model.stopped_ = self.model.stopped_ and self.incremental

    def on_epoch_end(self, run: Run) -> None:
        """Update the fitted attributes, and stop where nothing improves any more."""
        model, history = self.model, run.history
        model.n_iter_ += 1
        model.loss_ = history.loss[-1]
        model.t_ += run.rows_seen
        model.loss_curve_.append(model.loss_)
        self._print(f"Iteration {model.n_iter_}, loss = {model.loss_:.8f}")
        if self.validator is not None:
            model.validation_loss_curve_.append(history.validation_loss[-1])
        if model.early_stopping and self.validator is not None:
            self._watch_score(run, self.validator.score)
        else:
            no_better = model.loss_ > model.best_loss_ - model.tol
            model._no_improvement_count = model._no_improvement_count + 1 if no_better else 0
            model.best_loss_ = min(model.loss_, model.best_loss_)
        if isinstance(self.schedule, AdjustedRate):
            self.schedule.epoch_ended(model.t_)
        self._stop_if_no_better(run)

    def _watch_score(self, run: Run, score: float) -> None:
        model = self.model
        model.validation_scores_.append(score)
        self._print(f"Validation score: {score:f}")
        no_better = score < model.best_validation_score_ + model.tol
        model._no_improvement_count = model._no_improvement_count + 1 if no_better else 0
        if score > model.best_validation_score_:
            model.best_validation_score_ = score
            model._best_theta = run.network.theta
            run.history.best_epoch = run.history.epochs

    def _stop_if_no_better(self, run: Run) -> None:
        model = self.model
        if not model._no_improvement_count > model.n_iter_no_change:
            return
        what = "Validation score" if model.early_stopping else "Training loss"
        text = (
            f"{what} did not improve more than tol={model.tol:f} for "
            f"{model.n_iter_no_change:.0f} consecutive epochs."
        )
        goes_on, action = False, " Stopping."
        if isinstance(self.schedule, AdjustedRate):
            goes_on, action = self.schedule.reduce_on_plateau()
        self._print(text + action)
        if goes_on:
            model._no_improvement_count = 0
            return
        model.stopped_ = True
        run.stop("early stopping" if model.early_stopping else "converged")

    def _print(self, text: str) -> None:
        if self.verbose:
            print_line(text)

    def on_train_end(self, run: Run) -> None:
        """Restore the best weights, where early stopping has kept any."""
        model = self.model
        over = not self.incremental or model.stopped_
        if over and model.early_stopping and model._best_theta is not None:
            run.network.theta = model._best_theta
            run.weights_epoch = run.history.best_epoch or run.weights_epoch
            if not self.incremental:
                # As in scikit-learn, a warm start keeps its last weights if none are better.
                model._best_theta = None

    def save_state(self) -> dict[str, Any]:
        """The fitted attributes, the learning rate, and the best weights so far."""
        state = {
            name: getattr(self.model, name) for name in ATTRIBUTES if hasattr(self.model, name)
        }
        if isinstance(self.schedule, AdjustedRate):
            state["learning_rate"] = self.schedule.learning_rate
        best = self.model._best_theta
        return state if best is None else {**state, "best_theta": best}

    def load_state(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from what `save_state` gave."""
        model = self.model
        wrong = [k for k, fits in ATTRIBUTES.items() if k not in state or not fits(state[k])]
        if wrong:
            raise InputError(f"it has no {', '.join(wrong)}")
        if state["n_iter_"] != run.history.epochs:
            raise InputError("its n_iter_ is not the number of its epochs")
        for name in ATTRIBUTES:
            setattr(model, name, state[name])
        if isinstance(self.schedule, AdjustedRate):
            if not is_number(state.get("learning_rate")):
                raise InputError(f"its learning_rate is {state.get('learning_rate')!r}")
            self.schedule.learning_rate = float(state["learning_rate"])
        model._best_theta = None
        best, theta = state.get("best_theta"), run.network.theta
        if best is not None:
            if not isinstance(best, np.ndarray) or best.shape != tuple(theta.shape):
                raise InputError(f"best_theta is {best!r}; expected shape {tuple(theta.shape)}")
            where = run.network.backend
            model._best_theta = to_device(best, where.xp, where.device, theta.dtype)
