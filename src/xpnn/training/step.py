"""The pure training step: what the engine compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from xpnn.backends import Array, Namespace, is_half
from xpnn.engine.trees import map_tree
from xpnn.functional import l2_penalty, l2_penalty_backward
from xpnn.layers import Layer, Parameter, Tree, flatten, unflatten, walk
from xpnn.optimizers import Optimizer, State
from xpnn.training.precision import Precision, WideLoss


class Objective(Protocol):
    """What a step makes small: `xpnn.training.Loss`, or whatever has its methods."""

    @property
    def averages(self) -> bool:
        """Whether the loss is a mean over rows (else a sum)."""

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient in the scores."""


LossAndGradient = Callable[..., tuple[Array, Array]]
Step = Callable[..., tuple[Array, State, Array]]


def _penalty(tree: Tree, params: Tree, l2: Any, xp: Namespace) -> Array:
    parts = [
        l2_penalty(w, l2, xp=xp)[0]
        for p, w in zip(walk(tree), walk(params), strict=True)
        if p.decays
    ]
    return sum(parts[1:], start=parts[0])


def _with_decay(tree: Tree, params: Tree, gradients: Tree, l2: Any, xp: Namespace) -> Tree:
    if isinstance(tree, Parameter):
        if not tree.decays:
            return gradients
        return gradients + l2_penalty_backward((params,), l2, xp=xp)
    return tuple(
        _with_decay(p, w, g, l2, xp) for p, w, g in zip(tree, params, gradients, strict=True)
    )


def penalised(
    tree: Tree, params: Tree, value: Array, gradients: Tree, strength: Any, scale: Any,
    xp: Namespace,
) -> tuple[Array, Tree]:  # fmt: skip
    """Add the L2 penalty of the weights to a loss, and its gradient to one that is scaled."""
    value = value + _penalty(tree, params, strength, xp)
    strength = strength if scale is None else strength * scale
    return value, _with_decay(tree, params, gradients, strength, xp)


def _strength(l2: float, x: Array, weight: Array | None, xp: Namespace) -> Any:
    """Strength of a penalty that is shared out among the batch's rows."""
    if weight is None:
        return l2 / float(x.shape[0])
    whole = xp.sum(widened(weight, xp))
    return l2 / xp.where(whole == 0, whole + 1.0, whole)


def loss_and_gradient(
    layer: Layer,
    tree: Tree,
    loss: Objective,
    l2: float = 0.0,
    *,
    xp: Namespace,
    l2_by_rows: bool = False,
    precision: Precision | None = None,
) -> LossAndGradient:
    """Make the pure function ``(theta, x, t, weight, noise, scale) -> (loss, gradient)``.

    Parameters
    ----------
    layer : Layer
        The network's structure.
    tree : nested tuples of Parameter
        Where its parameters lie in `theta`.
    loss : Objective
        What is made small.
    l2 : float, default 0
        Strength of the L2 penalty ``l2 / 2 * sum(weights**2)``, biases left out.
    xp : module
        Namespace that it will run on.
    l2_by_rows : bool, default False
        Whether the penalty is divided by the batch's rows (or their weights' sum), as
        scikit-learn does.
    precision : Precision, optional
        What is computed in; default, the dtype of `theta`.

    Returns
    -------
    callable
        Loss as a 0-d array, gradient as a vector like `theta`, but float32 where that is
        half precision. The gradient is multiplied by `scale`, default 1, which goes with a
        compute dtype.
    """
    mixed = precision if precision is not None and precision.mixed else None
    decays = l2 > 0 and any(p.decays for p in walk(tree))

    def function(
        theta: Array, x: Array, t: Array, weight: Array | None, noise: Tree, scale: Any = None
    ) -> tuple[Array, Array]:
        params = inside = unflatten(tree, theta, xp=xp)
        objective = loss
        if mixed is not None:
            inside = unflatten(tree, mixed.enter(theta, xp), xp=xp)
            x, objective = mixed.enter(x, xp), WideLoss(loss, scale)
        scores, saved = layer.forward(inside, x, noise, xp=xp)
        value, kept = objective.forward(scores, t, weight, xp=xp)
        dscores = objective.backward(kept, xp=xp)
        _, gradients = layer.backward(inside, saved, dscores, xp=xp, input_gradient=False)
        gradients = map_tree(lambda g: widened(g, xp), gradients)
        if decays:
            strength = _strength(l2, x, weight, xp) if l2_by_rows else l2
            value, gradients = penalised(tree, params, value, gradients, strength, scale, xp)
        gradient = flatten(gradients, xp=xp)
        return value, gradient if mixed is None else xp.astype(gradient, theta.dtype, copy=False)

    return function


def widened(x: Array, xp: Namespace) -> Array:
    """Pass an array on, 16-bit floats as float32: what an optimizer computes in.

    Squared gradients and Adam's `eps` are below the smallest float16.
    """
    return xp.astype(x, xp.float32) if is_half(x.dtype) else x


def make_step(
    layer: Layer,
    tree: Tree,
    loss: Objective,
    optimizer: Optimizer,
    l2: float = 0.0,
    *,
    xp: Namespace,
    l2_by_rows: bool = False,
    precision: Precision | None = None,
) -> Step:
    """Make the pure step of a training.

    Parameters
    ----------
    layer, tree, loss, l2, xp, l2_by_rows, precision
        As in `loss_and_gradient`.
    optimizer : Optimizer
        Turns gradients into steps; where they are scaled, one that `Precision.optimizer`
        made.

    Returns
    -------
    callable
        ``(theta, state, x, t, weight, noise, rate, count) -> (theta, state, loss)``.
    """
    gradient_of = loss_and_gradient(
        layer, tree, loss, l2, xp=xp, l2_by_rows=l2_by_rows, precision=precision
    )

    def step(
        theta: Array,
        state: Any,
        x: Array,
        t: Array,
        weight: Array | None,
        noise: Tree,
        rate: Array,
        count: Array,
    ) -> tuple[Array, State, Array]:
        scale = None if precision is None else precision.scale(state)
        value, gradient = gradient_of(theta, x, t, weight, noise, scale)
        new, state = optimizer.update(
            widened(theta, xp), widened(gradient, xp), state, rate, count, xp=xp
        )
        return xp.astype(new, theta.dtype, copy=False), state, value

    return step


def make_update(
    step: Step, loss: Objective, *, xp: Namespace, by_rows: bool = False
) -> Callable[..., Any]:
    """Make of a step what the engine runs: it counts the steps and adds up the loss.

    Parameters
    ----------
    step : callable
        From `make_step`.
    loss : Objective
        Tells whether the step's loss is a mean over rows.
    xp : module
        Namespace that it will run on.
    by_rows : bool, default False
        Whether batches count by their rows though the rows have weights, as in
        scikit-learn.

    Returns
    -------
    callable
        ``((theta, state, count), sums, (x, t, weight, noise, rate)) -> (carry, sums)``.
        `sums` is the loss summed over rows and, where there are weights, their sum; where
        it is empty nobody wants to know.
    """

    def update(carry: Any, sums: Any, batch: Any) -> Any:
        theta, state, count = carry
        x, t, weight, noise, rate = batch
        count = count + 1.0
        # A step whose batch is shared out says what all of the batch weighs.
        whole: list[Array]
        theta, state, value, *whole = step(theta, state, x, t, weight, noise, rate, count)
        if not sums:
            pass
        elif not loss.averages:
            sums = (sums[0] + value,)
        elif weight is None or by_rows:
            sums = (sums[0] + value * (whole[1] if whole else float(x.shape[0])),)
        else:
            share = whole[0] if whole else xp.sum(widened(weight, xp), dtype=value.dtype)
            sums = (sums[0] + value * share, sums[1] + share)
        return (theta, state, count), sums

    return update
