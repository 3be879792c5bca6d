"""Learning rates that change while a network learns.

A schedule keeps nothing: the rate is a function of how far training is, so a resumed
training goes on with the rate it would have had.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real


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
    losses : sequence of float
        The watched loss after each epoch: that of the validation data, or of the training
        data where there is none.
    """

    step: int
    epoch: int
    steps_per_epoch: int
    epochs: int
    losses: Sequence[float] = field(default_factory=tuple)


class Schedule(ABC):
    """A learning rate as a function of the training's progress."""

    @abstractmethod
    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""


def check_positive(name: str, value: float) -> None:
    """Refuse what is not a finite number above 0.

    Raises
    ------
    ValueError
        Names the argument and what came.
    """
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout.

    Parameters
    ----------
    rate : float
        Learning rate, above 0.
    """

    rate: float

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)

    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""
        return self.rate


@dataclass(frozen=True)
class StepDecay(Schedule):
    """``rate * factor ** (epoch // every)``.

    Parameters
    ----------
    rate : float
        Learning rate at first.
    every : int, default 10
        Epochs between two cuts.
    factor : float, default 0.1
        What a cut multiplies the rate by.
    """

    rate: float
    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_positive("every", self.every)
        check_positive("factor", self.factor)

    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""
        return self.rate * self.factor ** (progress.epoch // self.every)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """``rate / (step + 1) ** power``, after Robbins & Monro (1951).

    Parameters
    ----------
    rate : float
        Learning rate at first.
    power : float, default 0.5
        How fast it falls.
    """

    rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)

    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""
        return self.rate / (progress.step + 1) ** self.power


@dataclass(frozen=True)
class CosineWarmup(Schedule):
    """A linear rise, then half a cosine down to `final` at the last step.

    Parameters
    ----------
    rate : float
        Learning rate at the top.
    warmup : float, default 0
        Epochs that the rise takes.
    final : float, default 0
        Rate at the end.

    References
    ----------
    Loshchilov & Hutter (2017), equation 5, without restarts; the rise as in Goyal et al.
    (2017), section 2.2.
    """

    rate: float
    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        if self.warmup < 0 or self.final < 0:
            raise ValueError(
                f"warmup is {self.warmup!r} and final {self.final!r}; expected 0 or more"
            )

    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""
        rise = self.warmup * progress.steps_per_epoch
        if progress.step < rise:
            return self.rate * (progress.step + 1) / max(rise, 1.0)
        length = max(progress.epochs * progress.steps_per_epoch - rise, 1.0)
        share = min((progress.step - rise) / length, 1.0)
        return self.final + 0.5 * (self.rate - self.final) * (1.0 + math.cos(math.pi * share))


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Cut the rate when the watched loss has not fallen for a while.

    Parameters
    ----------
    rate : float
        Learning rate at first.
    factor : float, default 0.5
        What a cut multiplies the rate by.
    patience : int, default 5
        Epochs without a fall before a cut.
    min_delta : float, default 1e-4
        A fall counts when it is larger than this.
    minimum : float, default 0
        The rate never goes below it.
    """

    rate: float
    factor: float = 0.5
    patience: int = 5
    min_delta: float = 1e-4
    minimum: float = 0.0

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        check_positive("patience", self.patience)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor!r}; expected 0 < factor < 1")

    def at(self, progress: Progress) -> float:
        """Rate of the step after `progress`."""
        rate, best, waited = self.rate, math.inf, 0
        for loss in progress.losses:
            if loss < best - self.min_delta:
                best, waited = loss, 0
                continue
            waited += 1
            if waited == self.patience:
                rate, waited = max(rate * self.factor, self.minimum), 0
        return rate


def as_schedule(rate: float | Schedule) -> Schedule:
    """Make a `Constant` of a number; pass a schedule on.

    Raises
    ------
    TypeError
        `rate` is neither.
    """
    if isinstance(rate, Schedule):
        return rate
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise TypeError(f"rate is {rate!r}; expected a number or a Schedule")
    return Constant(float(rate))
