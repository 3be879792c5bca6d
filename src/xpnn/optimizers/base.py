"""What an optimizer is: arithmetic on one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.optimizers.schedules import Schedule

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
        self,
        theta: Array,
        gradient: Array,
        state: State,
        learning_rate: Array,
        count: Array,
        *,
        xp: Namespace,
    ) -> tuple[Array, State]:
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
