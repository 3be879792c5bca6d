"""The pure training step where a batch's rows are looked at in several places.

Each process, or each part of a batch, gives a vector of sums over its own rows: gradient,
loss, weights, rows. The vectors are added up, and only then become means: so it does not
matter how the rows were shared out, and one all-reduce is all that processes say to each
other in a step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from xpnn.backends import Array, Namespace, is_half, jit, library_name
from xpnn.engine import Exchange, across
from xpnn.engine.trees import map_tree
from xpnn.layers import Layer, Tree, flatten, size, unflatten, walk
from xpnn.optimizers import Optimizer
from xpnn.training.precision import Precision, WideLoss
from xpnn.training.step import Objective, penalised, widened

BESIDE = 3  # numbers behind the gradient: loss, weights and rows


def batch_sums(
    layer: Layer, tree: Tree, loss: Objective, parts: int = 1, *, xp: Namespace,
    precision: Precision | None = None,
) -> Callable[..., Array]:  # fmt: skip
    """Make the pure function ``(theta, x, t, weight, noise, present, scale) -> sums``.

    Parameters
    ----------
    layer, tree, loss, xp, precision
        As in `xpnn.training.loss_and_gradient`.
    parts : int, default 1
        Parts of the rows that go through the network one after the other.

    Returns
    -------
    callable
        `present`, of shape (1,), is 1, or 0 where the rows only stand in for none. `sums`
        has the gradient of the summed loss, that loss, the rows' weights summed up, and the
        number of rows; in float32 where the network is narrower.
    """
    mixed = precision if precision is not None and precision.mixed else None

    def one(
        theta: Array, x: Array, t: Array, weight: Array | None, noise: Tree, present: Array,
        scale: Any,
    ) -> Array:  # fmt: skip
        objective = loss
        if mixed is not None:
            theta, x, objective = mixed.enter(theta, xp), mixed.enter(x, xp), WideLoss(loss, scale)
        params = unflatten(tree, theta, xp=xp)
        scores, saved = layer.forward(params, x, noise, xp=xp)
        value, kept = objective.forward(scores, t, weight, xp=xp)
        rows = present * float(x.shape[0])
        weights = rows if weight is None else present * xp.sum(widened(weight, xp))
        # A mean over rows counts for as much as the rows weigh.
        mass = weights if loss.averages else present
        narrow = is_half(theta.dtype)
        dscores = objective.backward(kept, xp=xp)
        if not narrow:  # on the scores there is less to multiply than on the gradient
            dscores = dscores * mass
        _, gradients = layer.backward(params, saved, dscores, xp=xp, input_gradient=False)
        sums = flatten(map_tree(lambda g: widened(g, xp), gradients), xp=xp)
        if narrow:  # 16 bits would overflow
            sums = sums * mass
        beside = (widened(value, xp) * mass, weights, rows)
        return xp.concat([sums, *(xp.astype(n, sums.dtype, copy=False) for n in beside)])

    def function(
        theta: Array, x: Array, t: Array, weight: Array | None, noise: Tree, present: Array,
        scale: Any = None,
    ) -> Array:  # fmt: skip
        rows = int(x.shape[0])
        count = min(parts, rows)
        if count == 1:
            return one(theta, x, t, weight, noise, present, scale)
        bounds = [rows * i // count for i in range(count + 1)]
        total: Any = None
        for start, stop in pairwise(bounds):
            cut = slice(start, stop)
            own = None if weight is None else weight[cut]
            sums = one(theta, x[cut, ...], t[cut, ...], own, _cut(noise, cut), present, scale)
            total = sums if total is None else total + sums
        return total

    return function


def _cut(noise: Tree, rows: slice) -> Tree:
    if noise is None:
        return None
    if isinstance(noise, tuple):
        return tuple(_cut(part, rows) for part in noise)
    return noise[rows, ...]


def make_summed_step(
    layer: Layer,
    tree: Tree,
    loss: Objective,
    optimizer: Optimizer,
    l2: float = 0.0,
    *,
    xp: Namespace,
    exchange: Exchange,
    l2_by_rows: bool = False,
    parts: int = 1,
    precision: Precision | None = None,
) -> Callable[..., Any]:
    """Make the pure step of a training whose batches are shared out.

    Parameters
    ----------
    layer, tree, loss, optimizer, l2, xp, l2_by_rows, precision
        As in `xpnn.training.make_step`.
    exchange : Exchange
        Adds up the sums of all processes.
    parts : int, default 1
        As in `batch_sums`.

    Returns
    -------
    callable
        As that of `make_step`; `noise` is a pair ``(noise, present)``, and the weights and
        the rows of the whole batch, 0-d, are returned too.
    """
    end = size(tree)
    decays = l2 > 0 and any(p.decays for p in walk(tree))

    def finish(theta: Array, state: Any, sums: Array, rate: Array, count: Array) -> Any:
        value, weights, rows = (sums[end + i] for i in range(BESIDE))
        # Weights of no row at all leave a step of nothing, not 0 / 0.
        divisor = xp.where(weights == 0, weights + 1.0, weights)
        gradient, wide = sums[:end], widened(theta, xp)
        if loss.averages:
            gradient, value = gradient / divisor, value / divisor
        if decays:
            strength = l2 / divisor if l2_by_rows else l2
            scale = None if precision is None else precision.scale(state)
            params, slopes = (unflatten(tree, vector, xp=xp) for vector in (wide, gradient))
            value, slopes = penalised(tree, params, value, slopes, strength, scale, xp)
            gradient = flatten(slopes, xp=xp)
        new, state = optimizer.update(wide, gradient, state, rate, count, xp=xp)
        return xp.astype(new, theta.dtype, copy=False), state, value, weights, rows

    # Where the library compiles, the exchange stays outside: it is the host's.
    first = jit(batch_sums(layer, tree, loss, parts, xp=xp, precision=precision), library_name(xp))
    second = jit(finish, library_name(xp))

    def step(
        theta: Array, state: Any, x: Array, t: Array, weight: Array | None, noise: Tree,
        rate: Array, count: Array,
    ) -> Any:  # fmt: skip
        drawn, present = noise
        scale = None if precision is None else precision.scale(state)
        sums = across(exchange, first(theta, x, t, weight, drawn, present, scale))
        return second(theta, state, sums, rate, count)

    return step
