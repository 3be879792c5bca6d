"""The learning rate, as scikit-learn's modes and xpnn's schedules have it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from xpnn.optimizers import Optimizer, Progress, Schedule

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP


class Rates:
    """The learning rate, epoch by epoch.

    Parameters
    ----------
    model : BaseMLP
        Its `learning_rate` ('constant', 'invscaling', 'adaptive' or a schedule).
    optimizer : Optimizer
        Its rate counts where the user handed one in.
    """

    def __init__(self, model: BaseMLP, optimizer: Optimizer) -> None:
        own = model.optimizer is not None
        first = optimizer.learning_rate if own else model.learning_rate_init
        chosen = model.learning_rate
        if isinstance(chosen, Schedule):
            first = chosen
        self.schedule = first if isinstance(first, Schedule) else None
        self.first = self.now = math.nan if isinstance(first, Schedule) else float(first)
        # scikit-learn's modes belong to its 'sgd'.
        self.mode = chosen if isinstance(chosen, str) and model.solver == "sgd" else "constant"
        self.power = model.power_t
        self.taken = 0
        self.losses: list[float] = []

    def of_epoch(self, steps: int, epochs: int) -> list[float]:
        """Rate of each step."""
        if self.schedule is None:
            return [self.now] * steps
        done = len(self.losses)
        memory = self.schedule.observe_all(self.losses)
        rates = [
            self.schedule.at(Progress(self.taken + i, done, steps, epochs, memory))
            for i in range(steps)
        ]
        self.taken += steps
        self.now = rates[-1]
        return rates

    def epoch_ended(self, seen: int, loss: float) -> None:
        """``first / (rows seen + 1)**power`` where the rate scales inversely."""
        self.losses.append(loss)
        if self.mode == "invscaling" and self.schedule is None:
            self.now = self.first / (seen + 1) ** self.power

    def goes_on(self) -> tuple[bool, str]:
        """Shrink an adaptive rate that can still shrink; whether it did, and what to say."""
        if self.mode != "adaptive" or self.schedule is not None:
            return False, " Stopping."
        if self.now <= 1e-6:
            return False, " Learning rate too small. Stopping."
        self.now /= 5.0
        return True, f" Setting learning rate to {self.now:f}"
