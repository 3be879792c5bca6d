"""What an optimizer is: arithmetic on one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.optimizers.schedules import Schedule

State = tuple[Array, ...]


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high).

    Raises
    ------
    ValueError
        Names the argument, what came and what was expected.
    """
    if not low <= value < high:
        raise ValueError(f"{name} is {value!r}; expected {low:g} <= {name} < {high:g}")


class Optimizer(ABC):
    """An optimizer; subclasses are frozen dataclasses of plain values.

    `rate`, a number or a `Schedule`, is the learning rate. The training loop works it out
    before each step and hands it to `update` as a 0-d array: a Python number would be
    frozen into a compiled step.
    """

    rate: float | Schedule

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the state before the first step: arrays like `theta`, all zero."""
        return ()

    @abstractmethod
    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step.

        Parameters
        ----------
        theta : array, shape (parameters,)
            All parameters of the network.
        grad : array, shape (parameters,)
            Gradient of the loss.
        state : tuple of array
            From `init` or the step before.
        rate : array, 0-d
            Learning rate of this step.
        count : array, 0-d
            Number of this step, 1 for the first.
        xp : module
            Namespace of the arrays.

        Returns
        -------
        theta : array, shape (parameters,)
        state : tuple of array
        """
