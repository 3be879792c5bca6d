"""Optimizers that give each parameter a step size of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.optimizers.base import Optimizer, State, check_range
from xpnn.optimizers.schedules import Schedule, as_schedule, check_positive


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """``v = rho * v + (1 - rho) * grad**2; theta = theta - rate * grad / (sqrt(v) + eps)``.

    Parameters
    ----------
    rate : float or Schedule, default 0.001
        Learning rate.
    rho : float, default 0.9
        How much of the mean of squares is kept.
    eps : float, default 1e-7
        Keeps the divisor away from 0.

    References
    ----------
    Tieleman & Hinton (2012), lecture 6e; Goodfellow, Bengio & Courville (2016),
    algorithm 8.5.
    """

    rate: float | Schedule = 0.001
    rho: float = 0.9
    eps: float = 1e-7

    def __post_init__(self) -> None:
        as_schedule(self.rate)
        check_range("rho", self.rho, 0.0, 1.0)
        check_positive("eps", self.eps)

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the mean of squares, 0 at first."""
        return (xp.zeros_like(theta),)

    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step; see `Optimizer.update`."""
        (squares,) = state
        squares = self.rho * squares + (1.0 - self.rho) * (grad * grad)
        return theta - rate * grad / (xp.sqrt(squares) + self.eps), (squares,)


def _bias(beta: float, count: Array, xp: Namespace) -> Array:
    """``1 - beta**count``, through expm1: the difference itself would lose float32's digits."""
    return -xp.expm1(count * math.log(beta)) if beta else xp.ones_like(count)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moments.

    ``m = beta1 * m + (1 - beta1) * grad``, ``v = beta2 * v + (1 - beta2) * grad**2``,
    ``theta = theta - rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps)``.

    This is the paper's efficient form, in which `eps` is added before the second moment
    is corrected; scikit-learn uses it too, PyTorch the other one.

    Parameters
    ----------
    rate : float or Schedule, default 0.001
        Learning rate.
    beta1, beta2 : float, default 0.9 and 0.999
        How much of the moments is kept.
    eps : float, default 1e-8
        Keeps the divisor away from 0.

    References
    ----------
    Kingma & Ba (2015), algorithm 1 and the end of its section 2.
    """

    rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        as_schedule(self.rate)
        check_range("beta1", self.beta1, 0.0, 1.0)
        check_range("beta2", self.beta2, 0.0, 1.0)
        check_positive("eps", self.eps)

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the first and second moments, 0 at first."""
        return xp.zeros_like(theta), xp.zeros_like(theta)

    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step; see `Optimizer.update`."""
        m, v = state
        m = self.beta1 * m + (1.0 - self.beta1) * grad
        v = self.beta2 * v + (1.0 - self.beta2) * (grad * grad)
        rate = rate * xp.sqrt(_bias(self.beta2, count, xp)) / _bias(self.beta1, count, xp)
        return theta - rate * m / (xp.sqrt(v) + self.eps), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: ``theta`` shrinks by ``rate * weight_decay`` first.

    Parameters
    ----------
    rate, beta1, beta2, eps
        As in `Adam`.
    weight_decay : float, default 0.01
        Strength, 0 or more; it applies to all parameters.

    References
    ----------
    Loshchilov & Hutter (2019), algorithm 2.
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay!r}; expected 0 or more")

    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step; see `Optimizer.update`."""
        theta = theta * (1.0 - rate * self.weight_decay)
        return super().update(theta, grad, state, rate, count, xp=xp)
