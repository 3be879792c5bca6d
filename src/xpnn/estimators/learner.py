"""The engine as the estimators use it: epochs in scikit-learn's order of things."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    HostGenerator,
    Namespace,
    is_half,
    library_name,
    on_device,
    scalar,
    to_float,
    to_host,
    uniform_noise,
)
from xpnn.distributed import MPIOptions, ProcessGroup, Shard
from xpnn.engine import make_runner, show
from xpnn.engine.trees import map_tree
from xpnn.estimators.structure import Structure
from xpnn.optimizers import Optimizer
from xpnn.training.precision import PLAIN, Precision
from xpnn.training.step import loss_and_gradient, make_step, make_update, widened
from xpnn.training.summed import make_summed_step


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
    precision : Precision
        What steps compute in; it made the optimizer.
    xp, device
        Where the parameters live.
    engine : str
        See `xpnn.engine.make_runner`.
    steps : int
        Steps that the training may take.
    group : ProcessGroup, optional
        Processes that share out each batch.
    parts : int, default 1
        Parts of a batch that go through the network one after the other.
    """

    def __init__(
        self, structure: Structure, objective: Any, optimizer: Optimizer, carry: Any, x: Any,
        t: Any, weight: Any, alpha: float, precision: Precision, *, xp: Namespace,
        device: Device, engine: str, steps: int, group: ProcessGroup | None = None, parts: int = 1,
    ) -> None:  # fmt: skip
        self.structure, self.xp, self.device = structure, xp, device
        choice = (optimizer, alpha, precision, engine, xp, device, group, parts)
        self.made_for = (structure, objective, *choice)
        if group is None and parts > 1:
            group = ProcessGroup(MPIOptions())
        self.precision, self.share = precision, None if group is None else Shard(group)
        self.kinds = _kinds((x, t, weight))
        layers, tree = structure.layers, structure.tree

        def update(namespace: Namespace) -> Callable[..., Any]:
            made = (layers, tree, objective, optimizer, alpha)
            if group is None:
                step = make_step(*made, xp=namespace, l2_by_rows=True, precision=precision)
            else:
                step = make_summed_step(
                    *made, xp=namespace, exchange=group, l2_by_rows=True, parts=parts,
                    precision=precision,
                )  # fmt: skip
            return make_update(step, objective, xp=namespace, by_rows=True)

        if group is not None and library_name(xp) == "jax":
            engine = "pure"  # the host's exchange is between two compiled functions

        with on_device(device):
            if not isinstance(carry, tuple):
                numbers = xp.float32 if is_half(carry.dtype) else carry.dtype
                state = optimizer.init(widened(carry, xp), xp=xp)
                carry = (carry, state, scalar(0.0, xp, device, numbers))
            precision.check(carry[0], xp)
            self.runner = make_runner(
                update, carry, (x, t, weight), xp=xp, device=device, dtype=carry[2].dtype,
                steps=steps, mode=precision.engine(engine, xp),
                names=(("theta", "state", "count"), ("x", "t", "weight")),
            )  # fmt: skip

    def epoch(self, order: Any, batch: int, rates: Sequence[float], source: HostGenerator) -> float:
        """Take an epoch's steps and return the mean loss: the one wait for the device.

        Parameters
        ----------
        order, batch, rates, source
            As in `run`.
        """
        sums = self.run(order, batch, rates, source)
        with on_device(self.device):
            return to_float(sums[0]) / len(order)

    def run(
        self, order: Any, batch: int, rates: Sequence[float], source: HostGenerator,
        before: tuple[Array, ...] | None = None, whole: int | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Take steps and return the loss summed over the rows, on the device.

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
        before : tuple of array, optional
            What the call before returned: the sum goes on.
        whole : int, optional
            Rows of all processes, where this one was dealt its own.
        """

        def noise(rows: int) -> Any:
            return _noise(self.structure.layers.noise(self.structure.widths[0], rows), source)

        with on_device(self.device), self.precision.scope(self.xp):
            rows = len(order) if whole is None else whole
            arguments = (rows, batch, order, rates, noise, 1, before)
            if self.share is None:
                return self.runner.run(*arguments)
            return self.share.run(self.runner, *arguments, sharded=whole is not None)

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


@dataclass
class Kept:
    """What `partial_fit` goes on with.

    Parameters
    ----------
    optimizer : Optimizer
        How steps are taken.
    rates : object
        How large they are.
    state : tuple, optional
        The state of the learner that was.
    learner : Learner, optional
        The learner itself, after `partial_fit`: the next call saves planning the step anew.
    precision : Precision
        What steps compute in.
    """

    optimizer: Optimizer
    rates: Any
    state: Any = None
    learner: Learner | None = None
    precision: Precision = PLAIN

    def __getstate__(self) -> dict[str, Any]:
        # A learner is bound to memory; its state is enough to make another, anywhere.
        return {**vars(self), "state": map_tree(to_host, self.carry()), "learner": None}

    def carry(self) -> Any:
        """Optimizer state and all, None at first."""
        return self.state if self.learner is None else self.learner.state()

    def keep(self, learner: Learner | None, live: bool) -> None:
        """Keep a learner alive, without the data it saw, or its state only.

        None forgets both: a state that ran away would spoil whatever is learned later.
        """
        if learner is None:
            self.learner, self.state = None, None
            return
        if live:
            show(learner.runner, ())
        self.learner, self.state = (learner, None) if live else (None, learner.state())

    def learner_for(
        self, structure: Structure, objective: Any, theta: Array, columns: tuple[Any, ...],
        alpha: float, *, xp: Namespace, device: Device, engine: str, steps: int,
        group: ProcessGroup | None = None, parts: int = 1,
    ) -> Learner:  # fmt: skip
        """Go on with the learner that there is where it fits, or make one; see `Learner`."""
        choice = (self.optimizer, alpha, self.precision, engine, xp, device, group, parts)
        made_for = (structure, objective, *choice)
        old = self.learner
        if old is not None and old.made_for == made_for and old.kinds == _kinds(columns):
            # A user may have assigned other weights meanwhile.
            with on_device(device):
                same = bool(to_float(xp.all(old.runner.theta() == theta)))
            if same:
                show(old.runner, columns)
                return old
        state = self.carry()
        carry = theta if state is None else (theta, *state[1:])
        return Learner(
            structure, objective, self.optimizer, carry, columns[0], columns[1], columns[2], alpha,
            self.precision, xp=xp, device=device, engine=engine, steps=steps, group=group,
            parts=parts,
        )  # fmt: skip


def _kinds(columns: tuple[Any, ...]) -> list[Any]:
    """What a plan takes for granted of its data."""
    return [None if c is None else (type(c), str(c.dtype), tuple(c.shape[1:])) for c in columns]


def slope(
    structure: Structure, objective: Any, alpha: float, xp: Namespace
) -> Callable[..., tuple[Array, Array]]:
    """Make ``(theta, x, t, weight) -> (loss, gradient)`` on all rows, for L-BFGS."""
    function = loss_and_gradient(
        structure.layers, structure.tree, objective, alpha, xp=xp, l2_by_rows=True
    )
    return lambda theta, x, t, weight: function(theta, x, t, weight, None)


def steps_in(rows: int, batch: int) -> int:
    """Number of batches, the last smaller one included; 1 where no rows are known."""
    return max(math.ceil(rows / batch), 1)
