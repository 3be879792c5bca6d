"""Learning rates that change during training.

A schedule keeps nothing: the learning rate is a function of how far a training is, so a
resumed training goes on with the one it would have had.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from typing import Any

from xpnn.functional.checked_numbers import store_factor, store_nonnegative, store_positive


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Parameters
    ----------
    step : int
        Steps taken so far.
    epoch : int
        Epochs finished so far.
    steps_per_epoch : int
        Steps that an epoch takes.
    epochs : int
        Epochs that were asked for.
    memory : object, optional
        What the schedule has made of the losses so far; see `Schedule.observe`.
    """

    step: int
    epoch: int
    steps_per_epoch: int
    epochs: int
    memory: Any = None


class Schedule(ABC):
    """A learning rate as a function of the training's progress.

    Subclasses are frozen dataclasses of plain values.
    """

    @abstractmethod
    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""

    def observe(self, memory: Any, loss: float) -> Any:
        """Take in the loss of an epoch, for schedules that depend on losses.

        Parameters
        ----------
        memory : object
            What this method returned after the epoch before; None at first.
        loss : float
            The monitored loss: that of the validation data, or of the training data where
            there is none.

        Returns
        -------
        object
            The memory of the progress from now on; a new object, as `memory` may be in use.
        """
        return None

    def observe_all(self, losses: Iterable[float]) -> Any:
        """Return the memory after several epochs, as a resumed training needs it."""
        return reduce(self.observe, losses, None)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate throughout.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    """

    learning_rate: float

    def __post_init__(self) -> None:
        store_positive(self, "learning_rate")

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        return self.learning_rate


@dataclass(frozen=True)
class StepDecay(Schedule):
    """``learning_rate * factor ** (epoch // every)``.

    Parameters
    ----------
    learning_rate : float
        Learning rate at first.
    every : int, default 10
        Epochs between two cuts.
    factor : float, default 0.1
        What a cut multiplies the learning rate by.
    """

    learning_rate: float
    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        store_positive(self, "learning_rate", "every", "factor")

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        return self.learning_rate * self.factor ** (progress.epoch // self.every)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """``learning_rate / (step + 1) ** power``, after Robbins & Monro (1951).

    Parameters
    ----------
    learning_rate : float
        Learning rate at first.
    power : float, default 0.5
        How fast it falls.
    """

    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        store_positive(self, "learning_rate")

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        return self.learning_rate / (progress.step + 1) ** self.power


@dataclass(frozen=True)
class CosineWarmup(Schedule):
    """A linear rise, then half a cosine down to `final` at the last step.

    Parameters
    ----------
    learning_rate : float
        Learning rate at the top.
    warmup : float, default 0
        Epochs that the rise takes.
    final : float, default 0
        Learning rate at the end.

    References
    ----------
    Loshchilov & Hutter (2017), equation 5, without restarts; the rise as in Goyal et al.
    (2017), section 2.2.
    """

    learning_rate: float
    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        store_positive(self, "learning_rate")
        store_nonnegative(self, "warmup", "final")

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        rise = self.warmup * progress.steps_per_epoch
        if progress.step < rise:
            return self.learning_rate * (progress.step + 1) / max(rise, 1.0)
        length = max(progress.epochs * progress.steps_per_epoch - rise, 1.0)
        share = min((progress.step - rise) / length, 1.0)
        height = 0.5 * (self.learning_rate - self.final)
        return self.final + height * (1.0 + math.cos(math.pi * share))


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Cut the learning rate when the monitored loss has not fallen for a while.

    Parameters
    ----------
    learning_rate : float
        Learning rate at first.
    factor : float, default 0.5
        What a cut multiplies the learning rate by, above 0 and below 1.
    patience : int, default 5
        Epochs without a fall before a cut.
    min_delta : float, default 1e-4
        A fall counts when it is larger than this.
    minimum : float, default 0
        The learning rate never goes below it.
    """

    learning_rate: float
    factor: float = 0.5
    patience: int = 5
    min_delta: float = 1e-4
    minimum: float = 0.0

    def __post_init__(self) -> None:
        store_positive(self, "learning_rate", "patience")
        store_factor(self, "factor")
        store_nonnegative(self, "min_delta", "minimum")

    def at(self, progress: Progress) -> float:
        """Learning rate of the step after `progress`."""
        return self.learning_rate if progress.memory is None else progress.memory[0]

    def observe(self, memory: Any, loss: float) -> tuple[float, float, int]:
        """Return the learning rate, the lowest loss, and the epochs since it or a cut."""
        rate, best, waited = memory or (self.learning_rate, math.inf, 0)
        if loss < best - self.min_delta:
            return rate, loss, 0
        if waited + 1 < self.patience:
            return rate, best, waited + 1
        return max(rate * self.factor, self.minimum), best, 0


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """Make a `Constant` of a number; pass a schedule on.

    Raises
    ------
    TypeError, ValueError
        `learning_rate` is not a schedule, nor a number above 0.
    """
    if isinstance(learning_rate, Schedule):
        return learning_rate
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, Real):
        raise TypeError(f"learning_rate is {learning_rate!r}; expected a number or a Schedule")
    return Constant(learning_rate)


def store_learning_rate(owner: Any) -> None:
    """Check the field `learning_rate` of a frozen dataclass; raises as `as_schedule` does."""
    checked: Any = as_schedule(owner.learning_rate)
    if checked is not owner.learning_rate:
        object.__setattr__(owner, "learning_rate", checked.learning_rate)
