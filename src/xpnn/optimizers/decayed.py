"""Decoupled weight decay round any optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.optimizers.base import Optimizer, State
from xpnn.optimizers.schedules import Schedule


@dataclass(frozen=True)
class Decayed(Optimizer):
    """Another optimizer; the parameters shrink by ``rate * weight_decay`` before its step.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer that takes the step.
    weight_decay : float, default 0.01
        Strength; it applies to all parameters, as in `AdamW`.

    References
    ----------
    Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithms 1 and 2.

    Examples
    --------
    >>> from xpnn.optimizers import SGD, Decayed
    >>> Decayed(SGD(0.1), weight_decay=0.05).rate
    0.1
    """

    optimizer: Optimizer
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay!r}; expected 0 or more")

    @property
    def rate(self) -> float | Schedule:  # type: ignore[override]
        """Learning rate of the optimizer inside."""
        return self.optimizer.rate

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the state of the optimizer inside."""
        return self.optimizer.init(theta, xp=xp)

    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step; see `Optimizer.update`."""
        theta = theta * (1.0 - rate * self.weight_decay)
        return self.optimizer.update(theta, grad, state, rate, count, xp=xp)
