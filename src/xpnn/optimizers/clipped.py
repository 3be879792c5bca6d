"""Gradient clipping round any optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.functional import clip_by_norm
from xpnn.optimizers.base import Optimizer, State
from xpnn.optimizers.schedules import Schedule


@dataclass(frozen=True)
class Clipped(Optimizer):
    """Another optimizer, handed gradients no longer than `norm`.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer that takes the step.
    norm : float, default 1
        Largest Euclidean norm of the whole gradient.

    Examples
    --------
    >>> from xpnn.optimizers import SGD, Clipped
    >>> Clipped(SGD(0.1), norm=5.0).rate
    0.1
    """

    optimizer: Optimizer
    norm: float = 1.0

    def __post_init__(self) -> None:
        if not self.norm > 0:
            raise ValueError(f"norm is {self.norm!r}; expected a number above 0")

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
        """Clip, then take one step; see `Optimizer.update`."""
        grad = clip_by_norm(grad, self.norm, xp=xp)
        return self.optimizer.update(theta, grad, state, rate, count, xp=xp)
