"""The training step: two pure functions, and the two bound to an engine.

``sums(theta, batch) -> Sums`` adds up over the rows of a batch; ``apply(carry, sums,
learning_rate) -> (carry, loss)`` makes means of the sums and takes the optimizer's step. A step is
one after the other. Where several processes share a batch, an all-reduce stands between the
two; where a batch is cut into parts, the first runs in a loop. So it does not matter how the
rows of a batch were shared out. Where nothing stands between, the loss divides by the number of
rows itself: scores are fewer numbers than gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

from xpnn.backends import (
    Array,
    Backend,
    InputError,
    Namespace,
    is_half,
    jit,
    library_name,
    on_device,
    scalar,
    to_float,
)
from xpnn.distributed import ProcessGroup, Shard
from xpnn.engine import (
    Exchange,
    UnknownOperationError,
    across,
    make_runner,
    set_data,
)
from xpnn.engine.trees import map_tree
from xpnn.functional import l2_penalty, l2_penalty_backward
from xpnn.layers import Layer, Tree, flatten, unflatten, walk
from xpnn.optimizers import Optimizer
from xpnn.training.dataset import Columns, Segment
from xpnn.training.loss import UpcastLoss
from xpnn.training.options import DEFAULT_PRECISION, Precision
from xpnn.training.warn import warn_caller

NAMES = (("theta", "state", "count"), ("x", "t", "weight"))


class Batch(NamedTuple):
    """The rows of one step.

    Parameters
    ----------
    x : array, shape (n, inputs)
        Rows.
    t : array, shape (n,) or (n, outputs)
        Targets.
    weight : array, shape (n,), or None
        Sample weights; None counts every row once.
    noise : nested tuples of array
        Uniform noise for dropout; None where no layer asks for any.
    present : array, shape (1,), or None
        1, or 0 where the rows only stand in for a process that has none in this batch.
    """

    x: Array
    t: Array
    weight: Array | None = None
    noise: Tree = None
    present: Array | None = None


class Sums(NamedTuple):
    """What a batch adds up to.

    Parameters
    ----------
    gradient : array, shape (parameters,)
        Gradient of the loss summed over the rows, each times its weight; float32 where the
        network is narrower. In a step that stands by itself, its mean.
    loss : array, 0-d
        That sum, or mean.
    weight, rows : array, 0-d, or float
        The rows' weights added up, and how many rows there are.
    """

    gradient: Array
    loss: Array
    weight: Any
    rows: Any


SumsFunction = Callable[..., Sums]


def upcast(x: Array, xp: Namespace) -> Array:
    """Pass an array on, 16-bit floats as float32: what an optimizer computes in.

    Squared gradients and Adam's `epsilon` are below the smallest float16.
    """
    return xp.astype(x, xp.float32) if is_half(x.dtype) else x


@dataclass(frozen=True)
class Step:
    """What a training step is made of, whatever library it will run on.

    Parameters
    ----------
    layers : Layer
        The network's structure.
    tree : nested tuples of Parameter
        Where its parameters lie in `theta`.
    loss : Objective
        What is minimized.
    optimizer : Optimizer
        Turns gradients into steps; where the loss is scaled, a chain that begins with a
        `LossScaler`.
    l2 : float, default 0
        Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases do not count.
    l2_per_row : bool, default False
        Whether the penalty is divided by the batch's rows (or their weights' sum), as
        scikit-learn does.
    precision : Precision, optional
        What is computed in; default, the dtype of `theta`.
    gradient_accumulation_steps : int, default 1
        Parts that a batch goes through the network in; fewer where it has fewer rows.
    count_rows : bool, default False
        Whether a batch's loss counts by its rows in the mean loss of an epoch even where
        rows have weights, as in scikit-learn.
    """

    layers: Layer
    tree: Tree
    loss: Any
    optimizer: Optimizer
    l2: float = 0.0
    l2_per_row: bool = False
    precision: Precision = DEFAULT_PRECISION
    gradient_accumulation_steps: int = 1
    count_rows: bool = False

    def sums(self, xp: Namespace, mean: bool = False) -> SumsFunction:
        """Make the first part of a step: forward, loss and backward of a batch.

        Parameters
        ----------
        xp : module
            Namespace that it will run on.
        mean : bool, default False
            Whether gradient and loss are means already, where the loss is one.

        Returns
        -------
        callable
            ``sums(theta, batch, scale=None) -> Sums``. The gradient is multiplied by `scale`
            (a 0-d array or a number), which goes with a compute dtype of 16 bits.
        """
        layers, tree, precision = self.layers, self.tree, self.precision
        mixed = precision.compute_dtype is not None

        def sums(theta: Array, batch: Batch, scale: Any = None) -> Sums:
            x, t, weight, noise, present = batch
            loss = self.loss
            if mixed:
                theta, x = precision.cast(theta, xp), precision.cast(x, xp)
                loss = UpcastLoss(loss, scale)
            params = unflatten(tree, theta, xp=xp)
            scores, saved = layers.forward(params, x, noise, xp=xp)
            # In 16 bits gradients of a sum over many rows would overflow on their way back.
            narrow = is_half(theta.dtype)
            reduction = loss.reduction if narrow or mean else "sum"
            value, kept = loss.forward(scores, t, weight, reduction=reduction, xp=xp)
            dscores = loss.backward(kept, xp=xp)
            if scale is not None and not mixed:
                dscores = dscores * scale
            rows: Any = float(x.shape[0])
            weights: Any = rows if weight is None else xp.sum(upcast(weight, xp))
            factor = weights if reduction == "mean" and not mean else None
            if present is not None:
                rows, weights = present * rows, present * weights
                factor = present if factor is None else weights
                if not narrow:  # scores are fewer numbers than gradients
                    dscores = dscores * present
            _, gradients = layers.backward(params, saved, dscores, xp=xp, input_gradient=False)
            gradient = flatten(map_tree(lambda g: upcast(g, xp), gradients), xp=xp)
            if factor is not None:
                value = upcast(value, xp) * factor
                gradient = gradient * factor if narrow else gradient
            return Sums(gradient, value, weights, rows)

        parts = self.gradient_accumulation_steps
        return sums if parts == 1 else accumulated(sums, parts)

    def _means(self, xp: Namespace, mean: bool = False) -> Callable[..., tuple[Array, Array]]:
        """Make ``means(theta, sums, scale=None) -> (gradient, loss)``, the L2 penalty included.

        A loss with ``reduction="sum"`` stays a sum. `scale` is what the sums' gradient was
        multiplied by.
        """
        divides = self.loss.reduction == "mean" and not mean
        decays = self.l2 > 0 and any(p.decays for p in walk(self.tree))

        def means(theta: Array, sums: Sums, scale: Any = None) -> tuple[Array, Array]:
            gradient, value, weight, _ = sums
            gradient = xp.astype(gradient, theta.dtype, copy=False)
            if type(weight) is not float:  # weights of no row at all leave no step, not 0 / 0
                weight = xp.where(weight == 0, weight + 1.0, weight)
            if divides:
                gradient, value = gradient / weight, value / weight
            if decays:
                strength = self.l2 / weight if self.l2_per_row else self.l2
                return self._penalized(theta, gradient, value, strength, scale, xp)
            return gradient, value

        return means

    def _penalized(
        self, theta: Array, gradient: Array, value: Array, l2: Any, scale: Any, xp: Namespace
    ) -> tuple[Array, Array]:
        """Add the L2 penalty of the parameters that decay, and its gradient."""
        scaled = l2 if scale is None else l2 * scale
        parts, penalties = [], []
        for p in walk(self.tree):
            own = slice(p.offset, p.offset + p.size)
            part = gradient[own]
            if p.decays:
                penalty, saved = l2_penalty(theta[own], l2, xp=xp)
                penalties.append(penalty)
                part = part + l2_penalty_backward(saved, scaled, xp=xp)
            parts.append(part)
        whole = parts[0] if len(parts) == 1 else xp.concat(parts)
        return whole, value + sum(penalties[1:], start=penalties[0])

    def apply(self, xp: Namespace, mean: bool = False) -> Callable[..., tuple[Any, Array]]:
        """Make the second part: means, the L2 penalty, and the optimizer's step.

        Parameters
        ----------
        xp, mean
            As in `sums`.

        Returns
        -------
        callable
            ``apply((theta, state, count), sums, learning_rate) -> (carry, loss)`` with the
            loss as a 0-d array, penalty included.
        """
        means = self._means(xp, mean)

        def apply(carry: Any, sums: Sums, learning_rate: Array) -> tuple[Any, Array]:
            theta, state, count = carry
            wide, count = upcast(theta, xp), count + 1.0
            gradient, value = means(wide, sums, self.optimizer.loss_scale(state))
            new, state = self.optimizer.update(wide, gradient, state, learning_rate, count, xp=xp)
            return (xp.astype(new, theta.dtype, copy=False), state, count), value

        return apply

    def update(self, xp: Namespace, exchange: Exchange | None = None) -> Callable[..., Any]:
        """Make what the engine runs for each batch: the two parts and what stands between.

        Parameters
        ----------
        xp : module
            Namespace that it will run on.
        exchange : Exchange, optional
            Adds up the sums of all processes.

        Returns
        -------
        callable
            ``update(carry, totals, (x, t, weight, noise, learning_rate)) -> (carry, totals)``.
            With an exchange `noise` is a pair of noise and `Batch.present`. `totals` are the
            losses of all steps so far, each times what its batch counts for, and what the
            batches count for where `count_totals` says 2; where it is empty nobody wants to
            know.
        """
        mean = exchange is None and self.gradient_accumulation_steps == 1
        sums, apply = self.sums(xp, mean), self.apply(xp, mean)
        if exchange is not None:
            # Where a library compiles, the exchange stays outside: it is the host's.
            sums, apply = (jit(part, library_name(xp)) for part in (sums, apply))

        def update(carry: Any, totals: Any, batch: Any) -> Any:
            x, t, weight, noise, learning_rate = batch
            present = None
            if exchange is not None:
                noise, present = noise
            scale = self.optimizer.loss_scale(carry[1])
            found = sums(carry[0], Batch(x, t, weight, noise, present), scale)
            if exchange is not None:
                found = _all_reduced(found, exchange, xp)
            carry, value = apply(carry, found, learning_rate)
            if not totals:
                return carry, totals
            if self.loss.reduction == "sum":
                return carry, (totals[0] + value,)
            if weight is None or self.count_rows:
                return carry, (totals[0] + value * found.rows,)
            return carry, (totals[0] + value * found.weight, totals[1] + found.weight)

        return update

    def count_totals(self, weighted: bool) -> int:
        """How many numbers `update` adds up over an epoch: losses and, maybe, weights."""
        return 2 if weighted and self.loss.reduction == "mean" and not self.count_rows else 1

    def gradient(self, xp: Namespace) -> Callable[[Array, Batch], tuple[Array, Array]]:
        """Make ``(theta, batch) -> (loss, gradient)``, the L2 penalty included, without a step.

        The gradient is float32 where the network is narrower.
        """
        sums, means = self.sums(xp, mean=True), self._means(xp, mean=True)

        def function(theta: Array, batch: Batch) -> tuple[Array, Array]:
            gradient, value = means(upcast(theta, xp), sums(theta, batch))
            return value, gradient

        return function

    def initial_carry(self, theta: Array, backend: Backend) -> Any:
        """What goes from step to step, before the first: ``(theta, optimizer state, count)``."""
        xp = backend.xp
        with on_device(backend.device):
            # A 16-bit float could neither count past 2048 steps nor hold small rates.
            dtype = xp.float32 if is_half(theta.dtype) else theta.dtype
            state = self.optimizer.init(upcast(theta, xp), xp=xp)
            return theta, state, scalar(0.0, xp, backend.device, dtype)


def accumulated(sums: SumsFunction, parts: int) -> SumsFunction:
    """Let a batch go through a network in parts, one after the other, and add up their sums.

    Activations of one part at a time are in memory.
    """

    def function(theta: Array, batch: Batch, scale: Any = None) -> Sums:
        rows = int(batch.x.shape[0])
        count = min(parts, rows)
        bounds = [rows * i // count for i in range(count + 1)]
        found = [
            sums(theta, _rows_of(batch, slice(start, stop)), scale)
            for start, stop in pairwise(bounds)
        ]
        return reduce(lambda a, b: Sums(*(m + n for m, n in zip(a, b, strict=True))), found)

    return function


def _rows_of(batch: Batch, rows: slice) -> Batch:
    """Cut rows out of every array of a batch."""
    x, t, weight, noise = map_tree(lambda a: a[rows, ...], tuple(batch[:4]))
    return Batch(x, t, weight, noise, batch.present)


def _all_reduced(sums: Sums, exchange: Exchange, xp: Namespace) -> Sums:
    """Add up the sums of all processes, as one vector."""
    gradient, *numbers = sums
    parts = [xp.reshape(xp.astype(n, gradient.dtype, copy=False), (1,)) for n in numbers]
    whole = across(exchange, xp.concat([gradient, *parts]))
    end = gradient.shape[0]
    return Sums(whole[:end], whole[end], whole[end + 1], whole[end + 2])


class CompiledStep:
    """Takes steps: a `Step` on the engine, with the carry that it starts from.

    Parameters
    ----------
    step : Step
        What a step is made of.
    carry : tuple
        From `Step.initial_carry`, or the `carry` of another one.
    columns : tuple of array
        Data to learn from; only its kinds count.
    backend : Backend
        Where parameters and data are.
    engine : str, default 'auto'
        See `xpnn.engine.make_runner`.
    steps : int, default 0
        Steps that may come, as far as is known.
    group : ProcessGroup, optional
        Processes that share each batch.
    """

    def __init__(
        self,
        step: Step,
        carry: Any,
        columns: Columns,
        backend: Backend,
        *,
        engine: str = "auto",
        steps: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        self.step, self.backend, self.group = step, backend, group
        self.asked, self.columns_like = engine, _kinds(columns)
        self._shard = None if group is None else Shard(group.rank, group.size)
        library, mode = library_name(backend.xp), engine
        if step.precision.compute_dtype is not None:
            step.precision.check(carry[0], backend.xp)
            # NumPy, which could see PyTorch's tensors, computes 16 bits number by number.
            mode = "pure" if library == "torch" else mode
        if group is not None and library == "jax":
            mode = "pure"  # the host's exchange is between two compiled functions
        with on_device(backend.device):
            self._runner = make_runner(
                lambda xp: step.update(xp, group),
                carry,
                columns,
                xp=backend.xp,
                device=backend.device,
                dtype=carry[2].dtype,
                steps=steps,
                mode=mode,
                names=NAMES,
            )
        if engine != self._runner.mode == "pure" and engine != "auto":
            warn_caller(f"engine={engine!r}: these steps run as they are, on {library}")

    def fits(self, step: Step, columns: Columns, backend: Backend, engine: str, group: Any) -> bool:
        """Whether this can go on with other data and options."""
        same = (self.step, self.backend, self.asked, self.group) == (step, backend, engine, group)
        return same and self.columns_like == _kinds(columns)

    @property
    def engine(self) -> str:
        """How the latest steps ran, and why not faster."""
        return str(self._runner.engine)

    @property
    def mode(self) -> str:
        """The engine that makes such steps again, whatever their number."""
        return str(self._runner.mode)

    def run(
        self,
        segment: Segment,
        batch_size: int,
        learning_rates: Sequence[float],
        noise: Callable[[int], Tree],
        totals: tuple[Array, ...] | int,
        sharded: bool = False,
    ) -> tuple[Array, ...]:
        """Take a step for each batch of some rows.

        Parameters
        ----------
        segment : Segment
            The rows.
        batch_size : int
            Rows in a batch.
        learning_rates : sequence of float
            That of each step.
        noise : callable
            ``noise(rows)`` draws a batch's noise on the host.
        totals : int or tuple of array
            How many totals to begin (see `Step.update`), or those of an earlier call, which
            go on.
        sharded : bool, default False
            Whether the rows are only this process's.

        Returns
        -------
        tuple of array, 0-d
            On the device.
        """
        count, before = (totals, None) if isinstance(totals, int) else (len(totals), totals)
        with on_device(self.backend.device), self.step.precision.scope(self.backend.xp):
            set_data(self._runner, segment.columns)
            arguments = (segment.rows, batch_size, segment.indices, learning_rates, noise, count)
            if self._shard is None:
                return self._runner.run(*arguments, before)
            return self._shard.run(self._runner, *arguments, before, sharded=sharded)

    def release(self) -> None:
        """Let go of the data that was shown, to be shown other data later."""
        set_data(self._runner, (None, None, None))

    def theta(self) -> Array:
        """Copy the parameters."""
        with on_device(self.backend.device):
            return self._runner.theta()

    def whole_theta(self) -> Array | None:
        """Copy the parameters after an interrupt; None where it came in the middle of a step."""
        with on_device(self.backend.device):
            return self._runner.theta() if self._runner.whole else None

    @property
    def carry(self) -> Any:
        """Copy everything that goes from step to step."""
        with on_device(self.backend.device):
            return self._runner.state()

    def is_finite(self, theta: Array) -> bool:
        """Whether no parameter is infinite or NaN: if not, the next loss would be so."""
        xp = self.backend.xp
        with on_device(self.backend.device):
            return bool(to_float(xp.all(xp.isfinite(theta))))

    def skipped(self) -> int | None:
        """Steps that a dynamic loss scale has skipped so far; None where none ever is."""
        scaler = getattr(self.step.optimizer, "loss_scaler", None)
        if scaler is None or not scaler.adapts:
            return None
        with on_device(self.backend.device):
            return int(to_float(scaler.skipped(self._runner.carry[1][0])))

    def mean_loss(self, totals: tuple[Array, ...], rows: int) -> float:
        """Mean loss of the steps that added up to `totals`: the one wait for the device."""
        with on_device(self.backend.device):
            loss = to_float(totals[0])
            if self.step.loss.reduction == "sum" and not self.step.count_rows:
                return loss
            # Weights of no row at all leave a loss of 0, not 0 / 0.
            return loss / ((to_float(totals[1]) or 1.0) if len(totals) > 1 else rows)

    def plan(self, columns: Columns, rows: int, noise: Callable[[int], Tree]) -> Any:
        """Plan a step on a batch of so many rows, and run nothing."""
        if not hasattr(self._runner, "plan"):
            raise InputError(
                "only steps on arrays of NumPy and CuPy, and on float32 and float64 tensors of "
                "PyTorch on the CPU, have a plan; X is another array, or engine is 'pure'"
            )
        count = self.step.count_totals(columns[2] is not None)
        try:
            with on_device(self.backend.device), self.step.precision.scope(self.backend.xp):
                return self._runner.plan(rows, noise, count)
        except UnknownOperationError as error:
            raise InputError(f"the step has no plan: the engine has no rule for {error}") from None


def _kinds(columns: Columns) -> list[Any]:
    """What a plan takes for granted of its data."""
    return [None if c is None else (type(c), str(c.dtype), tuple(c.shape[1:])) for c in columns]
