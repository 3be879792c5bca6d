"""The engine as the estimators use it: epochs in scikit-learn's order of things."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    HostGenerator,
    Namespace,
    is_half,
    on_device,
    scalar,
    to_float,
    uniform_noise,
)
from xpnn.engine import make_runner
from xpnn.estimators.structure import Structure
from xpnn.optimizers import Optimizer
from xpnn.training.step import loss_and_gradient, make_step, make_update, widened


def _noise(shapes: Any, source: HostGenerator) -> Any:
    if shapes is None:
        return None
    if all(isinstance(n, int) for n in shapes):
        return uniform_noise(source, shapes)
    return tuple(_noise(s, source) for s in shapes)


class Learner:
    """Takes the steps of a stochastic solver.

    Parameters
    ----------
    structure : Structure
        The network.
    objective : object
        The loss; see `xpnn.training.step.Objective`.
    optimizer : Optimizer
        Turns gradients into steps.
    carry : array or tuple
        Parameters to begin with, or the `state` of an earlier learner to go on with.
    x, t, weight : array or None
        Data; `x` may be `SparseRows`.
    alpha : float
        Strength of the L2 penalty, divided by each batch's rows.
    xp, device
        Where the parameters live.
    engine : str
        See `xpnn.engine.make_runner`.
    steps : int
        Steps that the training may take.
    """

    def __init__(
        self, structure: Structure, objective: Any, optimizer: Optimizer, carry: Any, x: Any,
        t: Any, weight: Any, alpha: float, *, xp: Namespace, device: Device, engine: str,
        steps: int,
    ) -> None:  # fmt: skip
        self.structure, self.xp, self.device = structure, xp, device
        layers, tree = structure.layers, structure.tree

        def update(namespace: Namespace) -> Callable[..., Any]:
            step = make_step(
                layers, tree, objective, optimizer, alpha, xp=namespace, l2_by_rows=True
            )
            return make_update(step, objective, xp=namespace, by_rows=True)

        with on_device(device):
            if not isinstance(carry, tuple):
                numbers = xp.float32 if is_half(carry.dtype) else carry.dtype
                state = optimizer.init(widened(carry, xp), xp=xp)
                carry = (carry, state, scalar(0.0, xp, device, numbers))
            self.runner = make_runner(
                update, carry, (x, t, weight), xp=xp, device=device, dtype=carry[2].dtype,
                steps=steps, mode=engine, names=(("theta", "state", "count"), ("x", "t", "weight")),
            )  # fmt: skip

    def epoch(self, order: Any, batch: int, rates: Sequence[float], source: HostGenerator) -> float:
        """Take an epoch's steps and return the mean loss: the one wait for the device.

        Parameters
        ----------
        order : numpy.ndarray
            Numbers of the rows, in order.
        batch : int
            Rows in a step.
        rates : sequence of float
            Learning rate of each step.
        source : generator
            For dropout.
        """

        def noise(rows: int) -> Any:
            return _noise(self.structure.layers.noise(self.structure.widths[0], rows), source)

        with on_device(self.device):
            sums = self.runner.run(len(order), batch, order, rates, noise, 1)
            return to_float(sums[0]) / len(order)

    def theta(self) -> Array:
        """Copy the parameters."""
        with on_device(self.device):
            return self.runner.theta()

    def finite(self, theta: Array) -> bool:
        """Whether no parameter is infinite or NaN."""
        with on_device(self.device):
            return bool(to_float(self.xp.all(self.xp.isfinite(theta))))

    def state(self) -> Any:
        """Copy what a later learner needs to go on."""
        with on_device(self.device):
            return self.runner.state()


def slope(
    structure: Structure, objective: Any, alpha: float, xp: Namespace
) -> Callable[..., tuple[Array, Array]]:
    """Make ``(theta, x, t, weight) -> (loss, gradient)`` on all rows, for L-BFGS."""
    function = loss_and_gradient(
        structure.layers, structure.tree, objective, alpha, xp=xp, l2_by_rows=True
    )
    return lambda theta, x, t, weight: function(theta, x, t, weight, None)


def steps_in(rows: int, batch: int) -> int:
    """Number of batches, the last smaller one included."""
    return math.ceil(rows / batch)
