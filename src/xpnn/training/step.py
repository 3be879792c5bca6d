"""The training step as two pure functions: sums over rows, and what is done with them.

``sums(theta, batch) -> (gradient, loss, weight, rows)`` adds up over the rows of a batch;
``apply(carry, sums, learning_rate) -> (carry, loss)`` turns the sums into means and takes the
optimizer's step. A step is one after the other. Where several processes share a batch, an
all-reduce stands between the two; where a batch is cut into parts, `accumulated` is a loop
over the first. So it does not matter how the rows of a batch were shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

from xpnn.backends import Array, Namespace, is_half, jit, library_name
from xpnn.engine import Exchange, across
from xpnn.engine.trees import map_tree
from xpnn.functional import l2_penalty, l2_penalty_backward
from xpnn.layers import Layer, Tree, flatten, unflatten, walk
from xpnn.optimizers import Optimizer
from xpnn.training.loss import Objective
from xpnn.training.precision import DEFAULT_PRECISION, Precision, UpcastLoss


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
        network is narrower.
    loss : array, 0-d
        That sum.
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


def make_sums(
    layers: Layer,
    tree: Tree,
    loss: Objective,
    *,
    xp: Namespace,
    precision: Precision = DEFAULT_PRECISION,
) -> SumsFunction:
    """Make the first part of a step: forward, loss and backward of a batch.

    Parameters
    ----------
    layers : Layer
        The network's structure.
    tree : nested tuples of Parameter
        Where its parameters lie in `theta`.
    loss : Objective
        What is minimized.
    xp : module
        Namespace that it will run on.
    precision : Precision, optional
        What is computed in; default, the dtype of `theta`.

    Returns
    -------
    callable
        ``sums(theta, batch, scale=None) -> Sums``. The gradient is multiplied by `scale`
        (a 0-d array or a number), which goes with a compute dtype of 16 bits.
    """

    def sums(theta: Array, batch: Batch, scale: Any = None) -> Sums:
        x, t, weight, noise, present = batch
        objective = loss
        if precision.mixed:
            theta, x = precision.cast(theta, xp), precision.cast(x, xp)
            objective = UpcastLoss(loss, scale)
        params = unflatten(tree, theta, xp=xp)
        scores, saved = layers.forward(params, x, noise, xp=xp)
        # In 16 bits gradients of a sum over many rows would overflow on their way back.
        narrow = is_half(theta.dtype)
        reduction = loss.reduction if narrow else "sum"
        value, kept = objective.forward(scores, t, weight, reduction=reduction, xp=xp)
        dscores = objective.backward(kept, xp=xp)
        if scale is not None and not precision.mixed:
            dscores = dscores * scale
        rows: Any = float(x.shape[0])
        weights: Any = rows if weight is None else xp.sum(upcast(weight, xp))
        mass = weights if reduction == "mean" else None
        if present is not None:
            rows, weights = present * rows, present * weights
            mass = weights if reduction == "mean" else present
            if not narrow:  # scores are fewer numbers than gradients
                dscores = dscores * present
        _, gradients = layers.backward(params, saved, dscores, xp=xp, input_gradient=False)
        gradient = flatten(map_tree(lambda g: upcast(g, xp), gradients), xp=xp)
        if mass is not None:
            value = upcast(value, xp) * mass
            gradient = gradient * mass if narrow else gradient
        return Sums(gradient, value, weights, rows)

    return sums


def accumulated(sums: SumsFunction, parts: int) -> SumsFunction:
    """Let a batch go through a network in parts, one after the other, and add up their sums.

    Parameters
    ----------
    sums : callable
        From `make_sums`.
    parts : int
        How many; fewer where a batch has fewer rows.

    Returns
    -------
    callable
        Like `sums`: activations of one part at a time are in memory.
    """
    if parts == 1:
        return sums

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


def make_means(
    tree: Tree,
    loss: Objective,
    l2: float = 0.0,
    *,
    xp: Namespace,
    l2_per_row: bool = False,
) -> Callable[..., tuple[Array, Array]]:
    """Make what turns sums into means and adds the L2 penalty.

    Parameters
    ----------
    tree, loss, xp
        As in `make_sums`.
    l2 : float, default 0
        Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases are left out.
    l2_per_row : bool, default False
        Whether the penalty is divided by the batch's rows (or their weights' sum), as
        scikit-learn does.

    Returns
    -------
    callable
        ``means(theta, sums, scale=None) -> (gradient, loss)``; a loss with
        ``reduction="sum"`` stays a sum. `scale` is what the sums' gradient was multiplied by.
    """
    decaying = [p for p in walk(tree) if p.decays] if l2 > 0 else []

    def means(theta: Array, sums: Sums, scale: Any = None) -> tuple[Array, Array]:
        gradient, value, weight, _ = sums
        gradient = xp.astype(gradient, theta.dtype, copy=False)
        if type(weight) is not float:  # weights of no row at all leave no step, not 0 / 0
            weight = xp.where(weight == 0, weight + 1.0, weight)
        if loss.reduction == "mean":
            gradient, value = gradient / weight, value / weight
        if decaying:
            strength = l2 / weight if l2_per_row else l2
            value = value + _penalty(decaying, theta, strength, xp)
            strength = strength if scale is None else strength * scale
            gradient = _penalized(tree, theta, gradient, strength, xp)
        return gradient, value

    return means


def _penalty(decaying: list[Any], theta: Array, strength: Any, xp: Namespace) -> Array:
    values = [l2_penalty(theta[p.offset : p.offset + p.size], strength, xp=xp)[0] for p in decaying]
    return sum(values[1:], start=values[0])


def _penalized(tree: Tree, theta: Array, gradient: Array, strength: Any, xp: Namespace) -> Array:
    """Add the penalty's gradient to that of the parameters that decay."""
    parts = []
    for p in walk(tree):
        own = slice(p.offset, p.offset + p.size)
        part = gradient[own]
        if p.decays:
            part = part + l2_penalty_backward((theta[own],), strength, xp=xp)
        parts.append(part)
    return parts[0] if len(parts) == 1 else xp.concat(parts)


@dataclass(frozen=True)
class Step:
    """What a training step is made of, whatever library it will run on.

    Parameters
    ----------
    layers, tree, loss, l2, l2_per_row, precision
        As in `make_sums` and `make_means`.
    optimizer : Optimizer
        Turns gradients into steps; where they are scaled, one that `Precision.optimizer`
        made.
    gradient_accumulation_steps : int, default 1
        Parts that a batch goes through the network in; see `accumulated`.
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

    def count_totals(self, weighted: bool) -> int:
        """How many numbers `update` adds up over an epoch: losses and, maybe, weights."""
        return 2 if weighted and self.loss.reduction == "mean" and not self.count_rows else 1

    def sums(self, xp: Namespace) -> SumsFunction:
        """Make the first part of a step for a library; see `make_sums`."""
        made = make_sums(self.layers, self.tree, self.loss, xp=xp, precision=self.precision)
        return accumulated(made, self.gradient_accumulation_steps)

    def _means(self, xp: Namespace) -> Callable[..., tuple[Array, Array]]:
        return make_means(self.tree, self.loss, self.l2, xp=xp, l2_per_row=self.l2_per_row)

    def apply(self, xp: Namespace) -> Callable[..., tuple[Any, Array]]:
        """Make the second part: means, the L2 penalty, and the optimizer's step.

        Returns
        -------
        callable
            ``apply((theta, state, count), sums, learning_rate) -> (carry, loss)`` with the
            loss as a 0-d array, penalty included.
        """
        means = self._means(xp)

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
        sums, apply = self.sums(xp), self.apply(xp)
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
            return carry, self._added(totals, value, found, weight is not None)

        return update

    def _added(self, totals: Any, value: Array, sums: Sums, weighted: bool) -> Any:
        if not totals:
            return totals
        if self.loss.reduction == "sum":
            return (totals[0] + value,)
        if not weighted or self.count_rows:
            return (totals[0] + value * sums.rows,)
        return (totals[0] + value * sums.weight, totals[1] + sums.weight)

    def gradient(self, xp: Namespace) -> Callable[[Array, Batch], tuple[Array, Array]]:
        """Make ``(theta, batch) -> (loss, gradient)``, the L2 penalty included, without a step.

        The gradient is float32 where the network is narrower.
        """
        sums, means = self.sums(xp), self._means(xp)

        def function(theta: Array, batch: Batch) -> tuple[Array, Array]:
            gradient, value = means(upcast(theta, xp), sums(theta, batch))
            return value, gradient

        return function


def _all_reduced(sums: Sums, exchange: Exchange, xp: Namespace) -> Sums:
    """Add up the sums of all processes, as one vector."""
    gradient, *numbers = sums
    parts = [xp.reshape(xp.astype(n, gradient.dtype, copy=False), (1,)) for n in numbers]
    whole = across(exchange, xp.concat([gradient, *parts]))
    end = gradient.shape[0]
    return Sums(whole[:end], whole[end], whole[end + 1], whole[end + 2])
