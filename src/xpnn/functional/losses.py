"""Losses, each with its backward, from scores (logits) and with a weight for each row.

``name(scores, targets, sample_weight) -> (loss, saved)`` and
``name_backward(saved) -> dscores``. `scores` has shape (n, outputs); `targets` the same
(for softmax cross-entropy also integer labels of shape (n,)); `sample_weight` shape (n,)
or None, which means 1 for each row. The loss is a 0-d array of the scores' dtype, float32
where they are half precision. With ``reduction="mean"``, the default, it is the mean over the
rows, ``sum(weight * row loss) / sum(weight)``, and 0 where all weights are 0; with
``reduction="sum"`` it is ``sum(weight * row loss)``, and dscores is the gradient of that.
`sum_squared_errors` is always a sum. In each, `xp` is the namespace of the arrays (default:
looked up), and shapes that do not fit are a ValueError: nothing is broadcast.

With them what labels need: one-hot encoding, and `accuracy`. For everything else (confusion
matrix, ROC, ...) copy predictions to the host and use `sklearn.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpnn.backends import Array, DType, Namespace, default_float, device_of, namespace, on_device
from xpnn.functional.activations import sigmoid, softmax, softplus
from xpnn.functional.half_precision import (
    exp_limit,
    find_namespace,
    total,
    upcast_half,
    upcast_half_loss,
)

LossResult = tuple[Array, Any]
KINDS = ("multiclass", "binary", "regression")
REDUCTIONS = ("mean", "sum")


def one_hot(labels: Array, classes: int, *, dtype: DType = None, xp: Namespace = None) -> Array:
    """Rows of zeros with a 1 in the label's place.

    Parameters
    ----------
    labels : array of integers, shape (n,)
        Values in ``0 .. classes - 1``; others give a row of zeros.
    classes : int
        Number of columns.
    dtype : dtype, optional
        Default: the library's default float.
    xp : module, optional
        Namespace of `labels`; default, looked up.

    Returns
    -------
    array, shape (n, classes)
    """
    xp = xp or namespace(labels=labels)
    device = device_of(labels)
    # Not in the labels' dtype: int8 cannot hold 200 classes.
    with on_device(device):
        columns = xp.arange(classes, device=device)
        hits = columns[None, :] == xp.astype(labels, columns.dtype, copy=False)[:, None]
        return xp.astype(hits, default_float(xp, device) if dtype is None else dtype)


def _as_targets(scores: Array, targets: Array, sample_weight: Array | None, xp: Namespace) -> Array:
    """Return the targets in the dtype of the scores.

    Refuse what NumPy would broadcast: (n, 1) against (n,) is an n x n table.
    """
    shape = tuple(scores.shape)
    if len(shape) != 2:
        raise ValueError(f"scores has shape {shape}; expected (rows, outputs)")
    if tuple(targets.shape) != shape:
        raise ValueError(
            f"targets has shape {tuple(targets.shape)}; expected {shape}, the shape of scores"
        )
    if sample_weight is not None and tuple(sample_weight.shape) != shape[:1]:
        raise ValueError(
            f"sample_weight has shape {tuple(sample_weight.shape)}; expected {shape[:1]}, one "
            "weight for each row of scores"
        )
    return xp.astype(targets, scores.dtype, copy=False)


def _as_distributions(
    scores: Array, targets: Array, sample_weight: Array | None, xp: Namespace
) -> Array:
    """Do the same for classes, where integer labels become rows of 0 and 1."""
    if targets.ndim == 1:
        if tuple(targets.shape) != tuple(scores.shape[:1]):
            raise ValueError(
                f"targets has shape {tuple(targets.shape)}; expected {tuple(scores.shape[:1])}, "
                "one label for each row of scores"
            )
        targets = one_hot(targets, scores.shape[1], dtype=scores.dtype, xp=xp)
    return _as_targets(scores, targets, sample_weight, xp)


def _row_weights(
    scores: Array, sample_weight: Array | None, reduction: str, xp: Namespace, factor: float = 1.0
) -> Array | float | None:
    """What each row counts for, times a factor: as a column, a number, or None for 1."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    if sample_weight is None:
        if reduction == "mean":
            factor = 1.0 / scores.shape[0] * factor
        return None if factor == 1.0 else factor
    weight = xp.astype(sample_weight, scores.dtype, copy=False)
    if reduction == "mean":
        whole = total(weight, xp)
        weight = weight / xp.where(whole == 0, whole + 1.0, whole)
    return weight[:, None] if factor == 1.0 else weight[:, None] * factor


def _weighted(values: Array, weights: Array | float | None) -> Array:
    return values if weights is None else values * weights


@upcast_half_loss
def sum_squared_errors(
    scores: Array, targets: Array, sample_weight: Array | None = None, *, xp: Namespace = None
) -> LossResult:
    """``sum(weight * (scores - targets)**2)`` over rows and outputs.

    Rumelhart, Hinton & Williams (1986), equation 3, without its factor 1/2.
    """
    error = scores - _as_targets(scores, targets, sample_weight, xp)
    weighted = _weighted(error, _row_weights(scores, sample_weight, "sum", xp))
    return total(weighted * error, xp), (weighted,)


@upcast_half
def sum_squared_errors_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``2 * weight * (scores - targets)``."""
    return 2.0 * saved[0]


@upcast_half_loss
def mean_squared_error(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    reduction: str = "mean", xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """Mean over rows and outputs of ``(scores - targets)**2``."""
    error = scores - _as_targets(scores, targets, sample_weight, xp)
    weights = _row_weights(scores, sample_weight, reduction, xp, 1.0 / scores.shape[1])
    weighted = _weighted(error, weights)
    return total(weighted * error, xp), (weighted,)


@upcast_half
def mean_squared_error_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``2 * w * (scores - targets) / outputs`` with the row's share or weight w."""
    return 2.0 * saved[0]


@upcast_half_loss
def mean_absolute_error(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    reduction: str = "mean", xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """Mean over rows and outputs of ``|scores - targets|``."""
    error = scores - _as_targets(scores, targets, sample_weight, xp)
    weights = _row_weights(scores, sample_weight, reduction, xp, 1.0 / scores.shape[1])
    dscores = _weighted(xp.sign(error), weights)
    return total(_weighted(xp.abs(error), weights), xp), (dscores,)


@upcast_half
def mean_absolute_error_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``w * sign(scores - targets) / outputs``; 0 where they are equal."""
    return saved[0]


@upcast_half_loss
def huber(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    delta: float = 1.0, reduction: str = "mean", xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """Mean of ``e**2 / 2`` where ``|e| <= delta``, else ``delta * (|e| - delta / 2)``.

    Huber (1964), equation 2.12, with ``e = scores - targets``.
    """
    error = scores - _as_targets(scores, targets, sample_weight, xp)
    weights = _row_weights(scores, sample_weight, reduction, xp, 1.0 / scores.shape[1])
    inside = xp.minimum(xp.maximum(error, -delta), delta)
    # With c the clipped error both branches are c * (e - c / 2).
    loss = total(_weighted(inside * (error - 0.5 * inside), weights), xp)
    return loss, (_weighted(inside, weights),)


@upcast_half
def huber_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``w * clip(scores - targets, -delta, delta) / outputs``."""
    return saved[0]


@upcast_half_loss
def binary_cross_entropy(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    label_smoothing: float = 0.0, largest: float | None = None, reduction: str = "mean",
    xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """``-t * log(p) - (1 - t) * log(1 - p)`` with ``p = sigmoid(score)``, summed over outputs.

    Several outputs are independent binary targets (multi-label). Computed as
    ``softplus(score) - t * score``, which needs no `p` near 0 or 1. Label smoothing moves
    every target the given share of the way to 1/2. Bishop (2006), equation 4.90. With
    `largest`, no term counts for more than that in the loss; the gradient stays as it is.
    """
    t = _as_targets(scores, targets, sample_weight, xp)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + 0.5 * label_smoothing
    weights = _row_weights(scores, sample_weight, reduction, xp)
    loss = softplus(scores, xp=xp) - t * scores
    if largest is not None:
        loss = xp.minimum(loss, largest)
    dscores = _weighted(sigmoid(scores, xp=xp) - t, weights)
    return total(_weighted(loss, weights), xp), (dscores,)


@upcast_half
def binary_cross_entropy_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``w * (sigmoid(score) - t)``."""
    return saved[0]


@upcast_half_loss
def softmax_cross_entropy(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    label_smoothing: float = 0.0, largest: float | None = None, reduction: str = "mean",
    xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """``-sum_k t_k * log(softmax(scores)_k)``.

    `targets` are integer labels of shape (n,) or probabilities of shape (n, classes).
    Label smoothing mixes in the given share of the uniform distribution (Szegedy et al.
    2016, section 7). Bishop (2006), equation 4.108. With `largest`, no ``-log`` counts for
    more than that in the loss; the gradient stays as it is.
    """
    t = _as_distributions(scores, targets, sample_weight, xp)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + label_smoothing / scores.shape[1]
    weights = _row_weights(scores, sample_weight, reduction, xp)
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    sums = xp.sum(exponentials, axis=1, keepdims=True, dtype=scores.dtype)
    weighted = _weighted(t, weights)
    surprise = xp.log(sums) - shifted
    if largest is not None:
        surprise = xp.minimum(surprise, largest)
    loss = total(weighted * surprise, xp)
    # Softmax times the targets' total, which is 1 unless a user's probabilities are not.
    mass = xp.sum(weighted, axis=1, keepdims=True, dtype=scores.dtype)
    return loss, (exponentials * (mass / sums) - weighted,)


@upcast_half
def softmax_cross_entropy_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``w * (softmax(scores) - t)``."""
    return saved[0]


@upcast_half_loss
def hinge(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    reduction: str = "mean", xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """``max(0, 1 - s * score)`` summed over outputs, with ``s = +1`` for target 1, -1 for 0.

    Several outputs mean one class against the rest. Hastie, Tibshirani & Friedman (2009),
    equation 12.25.
    """
    sign = 2.0 * _as_targets(scores, targets, sample_weight, xp) - 1.0
    weights = _row_weights(scores, sample_weight, reduction, xp)
    margin = 1.0 - sign * scores
    broken = xp.astype(margin > 0, scores.dtype)
    loss = total(_weighted(xp.maximum(margin, 0.0), weights), xp)
    return loss, (_weighted(-sign * broken, weights),)


@upcast_half
def hinge_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``-w * s`` where the margin is broken, else 0."""
    return saved[0]


@upcast_half_loss
def poisson(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    reduction: str = "mean", xp: Namespace = None,
) -> LossResult:  # fmt: skip
    """``exp(score) - t * score``, the mean over rows and outputs, for counts `t`.

    The negative log-likelihood of ``Poisson(exp(score))`` up to ``log(t!)``
    (McCullagh & Nelder 1989, section 6.2). Where `exp` of the score passes the square root
    of the largest float the curve goes on as its tangent, so that neither the loss nor a
    sum of many overflows and the gradient keeps its sign.
    """
    t = _as_targets(scores, targets, sample_weight, xp)
    weights = _row_weights(scores, sample_weight, reduction, xp, 1.0 / scores.shape[1])
    limit = 0.5 * exp_limit(scores.dtype, xp)
    near = xp.minimum(scores, limit)
    rate = xp.exp(near)
    loss = total(_weighted(rate * (1.0 + (scores - near)) - t * scores, weights), xp)
    return loss, (_weighted(rate - t, weights),)


@upcast_half
def poisson_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """``w * (exp(score) - t) / outputs``."""
    return saved[0]


@upcast_half
def exponential(scores: Array, *, xp: Namespace = None) -> Array:
    """``exp(score)``, the rate that Poisson scores stand for, capped at the largest float."""
    return xp.exp(xp.minimum(scores, exp_limit(scores.dtype, xp)))


@dataclass(frozen=True)
class LossRule:
    """A loss, its backward, and what its scores mean to a user.

    Parameters
    ----------
    forward : callable
        ``forward(scores, targets, sample_weight, xp=xp) -> (loss, saved)``; where
        `reduction` is 'mean', it also takes ``reduction="sum"``.
    backward : callable
        ``backward(saved, xp=xp) -> dscores``.
    kind : {'multiclass', 'binary', 'regression'}
        Whether the scores tell one of several classes, are binary decisions (one an
        output), or are values.
    mean : callable or None
        Turns scores into probabilities or expected values; None where there are none.
    reduction : {'mean', 'sum'}
        What the loss does with the losses of the rows by default.
    """

    forward: Callable[..., LossResult]
    backward: Callable[..., Array]
    kind: str
    mean: Callable[..., Array] | None = None
    reduction: str = "mean"


@dataclass(frozen=True)
class CustomLoss:
    """A loss of the user's own: a pair of pure functions.

    Weights of rows and the reduction to a number are the library's part.

    Parameters
    ----------
    forward : callable
        ``forward(scores, targets, xp=xp) -> losses``: the loss of each row, shape (n,), from
        scores of shape (n, outputs). Targets have the shape and dtype of the scores; integer
        labels, where `kind` is 'multiclass', arrive as rows of 0 and 1.
    backward : callable
        ``backward(scores, targets, xp=xp) -> dscores``: the gradient of each row's loss in its
        scores, shape (n, outputs).
    kind : {'regression', 'binary', 'multiclass'}, default 'regression'
        Whether the scores are values, binary decisions (one an output, positive where the
        score is above 0), or tell one of several classes (the one with the largest score).
    mean : callable, optional
        ``mean(scores, xp=xp)`` turns scores into probabilities or expected values.
    reduction : {'mean', 'sum'}, default 'mean'
        Whether the loss is the weighted mean over the rows or their weighted sum.

    Raises
    ------
    TypeError
        A function is not callable.
    ValueError
        `kind` or `reduction` is not one of these.

    Notes
    -----
    All functions have to be pure and to use nothing but `xp`, so that they run on every
    library and under the engine's tracing arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.functional import CustomLoss, loss_rule
    >>> def forward(scores, targets, xp):
    ...     return xp.sum(xp.log(xp.cosh(scores - targets)), axis=1)
    >>> def backward(scores, targets, xp):
    ...     return xp.tanh(scores - targets)
    >>> rule = loss_rule(CustomLoss(forward, backward))
    >>> loss, saved = rule.forward(np.zeros((2, 1)), np.ones((2, 1)))
    >>> round(float(loss), 4)
    0.4338
    """

    forward: Callable[..., Array]
    backward: Callable[..., Array]
    kind: str = "regression"
    mean: Callable[..., Array] | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        for name in ("forward", "backward", "mean"):
            given = getattr(self, name)
            if not callable(given) and (name != "mean" or given is not None):
                raise TypeError(f"{name} is {given!r}; expected a function")
        for name, known in (("kind", KINDS), ("reduction", REDUCTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )

    @property
    def rule(self) -> LossRule:
        """The loss in the form that the library's own have."""
        forward = partial(_custom_loss, custom=self, reduction=self.reduction)
        return LossRule(forward, custom_loss_backward, self.kind, self.mean, self.reduction)


@upcast_half_loss
def _custom_loss(
    scores: Array, targets: Array, sample_weight: Array | None = None, *,
    custom: CustomLoss, reduction: str, xp: Namespace = None,
) -> LossResult:  # fmt: skip
    as_targets = _as_distributions if custom.kind == "multiclass" else _as_targets
    targets = as_targets(scores, targets, sample_weight, xp)
    losses = custom.forward(scores, targets, xp=xp)
    dscores = custom.backward(scores, targets, xp=xp)
    for name, found, shape in (
        ("forward", losses, tuple(scores.shape[:1])),
        ("backward", dscores, tuple(scores.shape)),
    ):
        if tuple(found.shape) != shape:
            raise ValueError(
                f"{name} of the custom loss returned the shape {tuple(found.shape)}; expected "
                f"{shape}"
            )
    weights = _row_weights(scores, sample_weight, reduction, xp)
    return total(_weighted(losses[:, None], weights), xp), (_weighted(dscores, weights),)


@upcast_half
def custom_loss_backward(saved: Any, *, xp: Namespace = None) -> Array:
    """The gradients that a custom loss gave, times the weights of the rows."""
    return saved[0]


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


def loss_rule(loss: str | CustomLoss) -> LossRule:
    """Look a loss up by name; a custom loss brings its own rule.

    Raises
    ------
    ValueError
        There is none of that name; the message lists them.
    """
    if isinstance(loss, CustomLoss):
        return loss.rule
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is not known; expected one of {', '.join(LOSSES)}")
    return LOSSES[loss]


@find_namespace
def accuracy(
    predicted: Array, labels: Array, *, dtype: DType = None, xp: Namespace = None
) -> Array:
    """Share of equal entries.

    Parameters
    ----------
    predicted, labels : array, shape (n,) or (n, outputs)
        Integers or booleans. With several outputs a row counts where all are right.
    dtype : dtype, optional
        Dtype of the result; default, float32.
    xp : module, optional
        Namespace of the arrays; default, looked up.

    Returns
    -------
    array, 0-d
    """
    right = predicted == labels
    if right.ndim > 1:
        right = xp.all(right, axis=1)
    return xp.mean(xp.astype(right, dtype if dtype is not None else xp.float32))
