"""Losses, each with its backward, from scores (logits) and with a weight for each row.

``name(scores, targets, sample_weight) -> (loss, saved)`` and
``name_backward(saved) -> dscores``. `scores` has shape (n, outputs); `targets` the same
(for softmax cross-entropy also integer labels of shape (n,)); `sample_weight` shape (n,)
or None, which means 1 for each row. The loss is a 0-d array of the scores' dtype, float32
where they are half precision. But for `sum_squared_errors`, a loss is the mean over the
rows, ``sum(weight * row loss) / sum(weight)``, and 0 where all weights are 0. In each,
`xp` is the namespace of the arrays (default: looked up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace
from xpnn.functional.activations import sigmoid, softmax, softplus
from xpnn.functional.encoding import one_hot
from xpnn.functional.formula import exp_limit, formula, loss_formula, total

LossResult = tuple[Array, Any]


def _row_shares(scores: Array, sample_weight: Array | None, xp: Namespace) -> Array | float:
    """Share of each row in the mean, as a column: ``weight / sum(weight)``."""
    if sample_weight is None:
        return 1.0 / scores.shape[0]
    weight = xp.astype(sample_weight, scores.dtype, copy=False)
    whole = total(weight, xp)
    return (weight / xp.where(whole == 0, whole + 1.0, whole))[:, None]


@loss_formula
def sum_squared_errors(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """``sum(weight * (scores - targets)**2)`` over rows and outputs.

    Rumelhart, Hinton & Williams (1986), equation 3, without its factor 1/2.
    """
    error = scores - xp.astype(targets, scores.dtype, copy=False)
    weighted = error
    if sample_weight is not None:
        weighted = error * xp.astype(sample_weight, scores.dtype, copy=False)[:, None]
    return total(weighted * error, xp), (weighted,)


@formula
def sum_squared_errors_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``2 * weight * (scores - targets)``."""
    (weighted,) = saved
    return 2.0 * weighted


@loss_formula
def mean_squared_error(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """Mean over rows and outputs of ``(scores - targets)**2``."""
    error = scores - xp.astype(targets, scores.dtype, copy=False)
    share = _row_shares(scores, sample_weight, xp)
    weighted = error * (share * (1.0 / scores.shape[1]))
    return total(weighted * error, xp), (weighted,)


@formula
def mean_squared_error_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``2 * share * (scores - targets) / outputs``."""
    (weighted,) = saved
    return 2.0 * weighted


@loss_formula
def mean_absolute_error(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """Mean over rows and outputs of ``|scores - targets|``."""
    error = scores - xp.astype(targets, scores.dtype, copy=False)
    share = _row_shares(scores, sample_weight, xp) * (1.0 / scores.shape[1])
    dscores = xp.sign(error) * share
    return total(xp.abs(error) * share, xp), (dscores,)


@formula
def mean_absolute_error_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``share * sign(scores - targets) / outputs``; 0 where they are equal."""
    (dscores,) = saved
    return dscores


@loss_formula
def huber(
    scores: Array,
    targets: Array,
    sample_weight: Array | None = None,
    *,
    delta: float = 1.0,
    xp: Namespace = None,
) -> LossResult:
    """Mean of ``e**2 / 2`` where ``|e| <= delta``, else ``delta * (|e| - delta / 2)``.

    Huber (1964), equation 2.12, with ``e = scores - targets``.
    """
    error = scores - xp.astype(targets, scores.dtype, copy=False)
    share = _row_shares(scores, sample_weight, xp) * (1.0 / scores.shape[1])
    inside = xp.minimum(xp.maximum(error, -delta), delta)
    # With c the clipped error both branches are c * (e - c / 2).
    return total(inside * (error - 0.5 * inside) * share, xp), (inside * share,)


@formula
def huber_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``share * clip(scores - targets, -delta, delta) / outputs``."""
    (dscores,) = saved
    return dscores


@loss_formula
def binary_cross_entropy(
    scores: Array,
    targets: Array,
    sample_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    largest: float | None = None,
    xp: Namespace = None,
) -> LossResult:
    """``-t * log(p) - (1 - t) * log(1 - p)`` with ``p = sigmoid(score)``, summed over outputs.

    Several outputs are independent yes-or-no questions (multi-label). Computed as
    ``softplus(score) - t * score``, which needs no `p` near 0 or 1. Label smoothing moves
    every target the given share of the way to 1/2. Bishop (2006), equation 4.90. With
    `largest`, no term counts for more than that in the loss; the gradient stays as it is.
    """
    t = xp.astype(targets, scores.dtype, copy=False)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + 0.5 * label_smoothing
    share = _row_shares(scores, sample_weight, xp)
    loss = softplus(scores, xp=xp) - t * scores
    if largest is not None:
        loss = xp.minimum(loss, largest)
    return total(loss * share, xp), ((sigmoid(scores, xp=xp) - t) * share,)


@formula
def binary_cross_entropy_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``share * (sigmoid(score) - t)``."""
    (dscores,) = saved
    return dscores


@loss_formula
def softmax_cross_entropy(
    scores: Array,
    targets: Array,
    sample_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    largest: float | None = None,
    xp: Namespace = None,
) -> LossResult:
    """``-sum_k t_k * log(softmax(scores)_k)``.

    `targets` are integer labels of shape (n,) or probabilities of shape (n, classes).
    Label smoothing mixes in the given share of the uniform distribution (Szegedy et al.
    2016, section 7). Bishop (2006), equation 4.108. With `largest`, no ``-log`` counts for
    more than that in the loss; the gradient stays as it is.
    """
    classes = scores.shape[1]
    if targets.ndim == 1:
        t = one_hot(targets, classes, dtype=scores.dtype, xp=xp)
    else:
        t = xp.astype(targets, scores.dtype, copy=False)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + label_smoothing / classes
    share = _row_shares(scores, sample_weight, xp)
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    sums = xp.sum(exponentials, axis=1, keepdims=True, dtype=scores.dtype)
    weighted = t * share
    surprise = xp.log(sums) - shifted
    if largest is not None:
        surprise = xp.minimum(surprise, largest)
    loss = total(weighted * surprise, xp)
    # Softmax times the targets' total, which is 1 unless a user's probabilities are not.
    mass = xp.sum(weighted, axis=1, keepdims=True, dtype=scores.dtype)
    return loss, (exponentials * (mass / sums) - weighted,)


@formula
def softmax_cross_entropy_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``share * (softmax(scores) - t)``."""
    (dscores,) = saved
    return dscores


@loss_formula
def hinge(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """``max(0, 1 - s * score)`` summed over outputs, with ``s = +1`` for target 1, -1 for 0.

    Several outputs mean one class against the rest. Hastie, Tibshirani & Friedman (2009),
    equation 12.25.
    """
    sign = 2.0 * xp.astype(targets, scores.dtype, copy=False) - 1.0
    share = _row_shares(scores, sample_weight, xp)
    margin = 1.0 - sign * scores
    broken = xp.astype(margin > 0, scores.dtype)
    return total(xp.maximum(margin, 0.0) * share, xp), (-sign * broken * share,)


@formula
def hinge_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``-share * s`` where the margin is broken, else 0."""
    (dscores,) = saved
    return dscores


@loss_formula
def poisson(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """``exp(score) - t * score``, the mean over rows and outputs, for counts `t`.

    The negative log-likelihood of ``Poisson(exp(score))`` up to ``log(t!)``
    (McCullagh & Nelder 1989, section 6.2). Where `exp` of the score passes the square root
    of the largest float the curve goes on as its tangent, so that neither the loss nor a
    sum of many overflows and the gradient keeps its sign.
    """
    t = xp.astype(targets, scores.dtype, copy=False)
    share = _row_shares(scores, sample_weight, xp) * (1.0 / scores.shape[1])
    limit = 0.5 * exp_limit(scores.dtype, xp)
    near = xp.minimum(scores, limit)
    rate = xp.exp(near)
    loss = total((rate * (1.0 + (scores - near)) - t * scores) * share, xp)
    return loss, ((rate - t) * share,)


@formula
def poisson_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``share * (exp(score) - t) / outputs``."""
    (dscores,) = saved
    return dscores


@formula
def exponential(scores: Array, *, xp: Namespace = None) -> Array:
    """``exp(score)``, the rate that Poisson scores stand for, capped at the largest float."""
    return xp.exp(xp.minimum(scores, exp_limit(scores.dtype, xp)))


@dataclass(frozen=True)
class LossRule:
    """A loss, its backward, and what its scores mean to a user.

    Parameters
    ----------
    forward : callable
        ``forward(scores, targets, sample_weight, xp=xp) -> (loss, saved)``.
    backward : callable
        ``backward(saved, xp=xp) -> dscores``.
    kind : {'labels', 'yes_no', 'values'}
        Whether the scores tell one of several classes, answer yes-or-no questions (one an
        output), or are values.
    mean : callable or None
        Turns scores into probabilities or expected values; None where there are none.
    averages : bool
        Whether the loss is a mean over rows (else a sum).
    """

    forward: Callable[..., LossResult]
    backward: Callable[..., Array]
    kind: str
    mean: Callable[..., Array] | None = None
    reduction: str = "mean"


LOSSES: dict[str, LossRule] = {
    "sum_squared_errors": LossRule(
        sum_squared_errors, sum_squared_errors_backward, "regression", reduction="sum"
    ),
    "mean_squared_error": LossRule(mean_squared_error, mean_squared_error_backward, "regression"),
    "mean_absolute_error": LossRule(
        mean_absolute_error, mean_absolute_error_backward, "regression"
    ),
    "huber": LossRule(huber, huber_backward, "regression"),
    "binary_cross_entropy": LossRule(
        binary_cross_entropy, binary_cross_entropy_backward, "binary", sigmoid
    ),
    "softmax_cross_entropy": LossRule(
        softmax_cross_entropy, softmax_cross_entropy_backward, "multiclass", softmax
    ),
    "hinge": LossRule(hinge, hinge_backward, "binary"),
    "poisson": LossRule(poisson, poisson_backward, "regression", exponential),
}


def loss_rule(name: str) -> LossRule:
    """Look a loss up by name.

    Raises
    ------
    ValueError
        There is none of that name; the message lists them.
    """
    if name not in LOSSES:
        raise ValueError(f"loss={name!r} is not known; expected one of {', '.join(LOSSES)}")
    return LOSSES[name]
