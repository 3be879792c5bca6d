"""Optimizers: what one is, and those that descend along the gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.functional.checked_numbers import store_nonnegative, store_positive, store_share
from xpnn.optimizers.schedules import Schedule, store_learning_rate

State = tuple[Any, ...]
"""Arrays in nested tuples."""


class Optimizer(ABC):
    """An optimizer; subclasses are frozen dataclasses of plain values.

    `learning_rate` is a number or a `Schedule`. The training works it out before each step
    and hands it to `update` as an array: a Python number would be frozen into a compiled
    step.
    """

    learning_rate: float | Schedule

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the state before the first step: arrays in nested tuples; here none."""
        return ()

    def loss_scale(self, state: State) -> Array | float | None:
        """Return what the loss is multiplied by before the backward pass; None for not at all."""
        return None

    @abstractmethod
    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step.

        Parameters
        ----------
        theta : array, shape (parameters,)
            All parameters of the network.
        gradient : array, shape (parameters,)
            Gradient of the loss.
        state : tuple
            From `init` or the step before.
        learning_rate : array, 0-d
            Learning rate of this step.
        count : array, 0-d
            Number of this step, 1 for the first.
        xp : module
            Namespace of the arrays.

        Returns
        -------
        theta : array, shape (parameters,)
        state : tuple
        """


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
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step; see `Optimizer.update`."""
        if not self.momentum:
            return theta - learning_rate * gradient, ()
        (velocity,) = state
        pull = learning_rate * gradient
        velocity = self.momentum * velocity - pull
        if self.nesterov:
            return theta + (self.momentum * velocity - pull), (velocity,)
        return theta + velocity, (velocity,)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """``v = rho * v + (1 - rho) * g**2; theta = theta - learning_rate * g / (sqrt(v) + eps)``.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.001
        Size of the steps.
    rho : float, default 0.9
        Exponential decay rate of the mean of squared gradients, 0 <= rho < 1.
    eps : float, default 1e-7
        Added to the denominator for numerical stability.

    References
    ----------
    Tieleman & Hinton (2012), lecture 6e; Goodfellow, Bengio & Courville (2016),
    algorithm 8.5.
    """

    learning_rate: float | Schedule = 0.001
    rho: float = 0.9
    eps: float = 1e-7

    def __post_init__(self) -> None:
        store_learning_rate(self)
        store_share(self, "rho")
        store_positive(self, "eps")

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the mean of squares, 0 at first."""
        return (xp.zeros_like(theta),)

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step; see `Optimizer.update`."""
        (squares,) = state
        squares = self.rho * squares + (1.0 - self.rho) * (gradient * gradient)
        return theta - learning_rate * gradient / (xp.sqrt(squares) + self.eps), (squares,)


def _bias_correction(beta: float, count: Array, xp: Namespace) -> Array:
    """``1 - beta**count``, through expm1: the difference itself would lose float32's digits."""
    return -xp.expm1(count * math.log(beta)) if beta else xp.ones_like(count)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moment estimation.

    With the gradient g of step t: ``m = beta1 * m + (1 - beta1) * g``,
    ``v = beta2 * v + (1 - beta2) * g**2`` and
    ``theta = theta - learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps)``.

    This is the paper's efficient form, in which `eps` is added before the second moment
    is corrected; scikit-learn uses it too, PyTorch the other one.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.001
        Size of the steps.
    beta1, beta2 : float, default 0.9 and 0.999
        Exponential decay rates of the moment estimates, 0 <= beta < 1.
    eps : float, default 1e-8
        Added to the denominator for numerical stability.

    References
    ----------
    Kingma & Ba (2015), algorithm 1 and the end of its section 2.
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        store_learning_rate(self)
        store_share(self, "beta1", "beta2")
        store_positive(self, "eps")

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the first and second moments, 0 at first."""
        return xp.zeros_like(theta), xp.zeros_like(theta)

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step; see `Optimizer.update`."""
        m, v = state
        m = self.beta1 * m + (1.0 - self.beta1) * gradient
        v = self.beta2 * v + (1.0 - self.beta2) * (gradient * gradient)
        corrected = learning_rate * xp.sqrt(_bias_correction(self.beta2, count, xp))
        corrected = corrected / _bias_correction(self.beta1, count, xp)
        return theta - corrected * m / (xp.sqrt(v) + self.eps), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.

    The parameters shrink by ``learning_rate * weight_decay`` before each step of `Adam`.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.001
        Size of the steps.
    beta1, beta2 : float, default 0.9 and 0.999
        Exponential decay rates of the moment estimates, 0 <= beta < 1.
    eps : float, default 1e-8
        Added to the denominator for numerical stability.
    weight_decay : float, default 0.01
        Strength, 0 or more; it applies to all parameters.

    References
    ----------
    Loshchilov & Hutter (2019), algorithm 2.
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        store_nonnegative(self, "weight_decay")

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step; see `Optimizer.update`."""
        theta = theta * (1.0 - learning_rate * self.weight_decay)
        return super().update(theta, gradient, state, learning_rate, count, xp=xp)
