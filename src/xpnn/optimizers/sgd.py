"""Stochastic gradient descent, with momentum and Nesterov's look-ahead."""

from __future__ import annotations

from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.functional.checked_numbers import store_share
from xpnn.optimizers.base import Optimizer, State
from xpnn.optimizers.schedules import Schedule, store_learning_rate


@dataclass(frozen=True)
class SGD(Optimizer):
    """``v = momentum * v - learning_rate * gradient; theta = theta + v``.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.01
        Size of the steps.
    momentum : float, default 0
        Share of the last step that is kept, 0 <= momentum < 1.
    nesterov : bool, default False
        Look ahead: the step is ``momentum * v - learning_rate * gradient`` with the new `v`.

    References
    ----------
    Polyak (1964); Nesterov (1983), in the form of Sutskever et al. (2013), section 2, and
    Bengio, Boulanger-Lewandowski & Pascanu (2013), equation 7.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        store_learning_rate(self)
        store_share(self, "momentum")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs momentum above 0; got momentum=0")

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the velocity, 0 at first; nothing without momentum."""
        return (xp.zeros_like(theta),) if self.momentum else ()

    def update(
        self,
        theta: Array,
        gradient: Array,
        state: State,
        learning_rate: Array,
        count: Array,
        *,
        xp: Namespace,
    ) -> tuple[Array, State]:
        """Take one step; see `Optimizer.update`."""
        if not self.momentum:
            return theta - learning_rate * gradient, ()
        (velocity,) = state
        pull = learning_rate * gradient
        velocity = self.momentum * velocity - pull
        if self.nesterov:
            return theta + (self.momentum * velocity - pull), (velocity,)
        return theta + velocity, (velocity,)
