"""Losses with scikit-learn's conventions, made of the library's own formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from xpnn.backends import Array, InputError, Namespace, is_half
from xpnn.functional import (
    mean_squared_error,
    mean_squared_error_backward,
    poisson,
    poisson_backward,
    sigmoid,
    softmax,
)
from xpnn.training import Loss, as_loss

# What the estimators call a loss, and the library's name of it.
CLASSIFIER = {
    name: name for name in ("log_loss", "binary_cross_entropy", "softmax_cross_entropy", "hinge")
}
REGRESSOR = {
    "squared_error": "mean_squared_error",
    "absolute_error": "mean_absolute_error",
    "mean_squared_error": "mean_squared_error",
    "sum_squared_errors": "sum_squared_errors",
    "mean_absolute_error": "mean_absolute_error",
    "huber": "huber",
    "poisson": "poisson",
}


@dataclass(frozen=True)
class LogLoss(Loss):
    """A cross-entropy whose value takes no probability for smaller than the float's `eps`.

    So scikit-learn has it. The gradient is that of the whole cross-entropy. With `rounded` the
    value is computed from probabilities as they are rounded: what scikit-learn's L-BFGS sees.
    Near 0 and 1 their logarithms differ from the exact ones in the fifth digit, and a line
    search that sees other values goes another way.
    """

    rounded: bool = False

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        reduction = reduction or self.reduction
        dtype = xp.float32 if is_half(scores.dtype) else scores.dtype
        value, saved = self.rule.forward(
            scores,
            targets,
            sample_weight,
            label_smoothing=self.label_smoothing,
            largest=-math.log(float(xp.finfo(dtype).eps)),
            reduction=reduction,
            xp=xp,
        )
        if not self.rounded or self.kind == "multiclass":
            return value, saved
        eps = float(xp.finfo(scores.dtype).eps)
        p = xp.minimum(xp.maximum(sigmoid(scores, xp=xp), eps), 1.0 - eps)
        t = xp.astype(targets, p.dtype, copy=False)
        t = t * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        logs = t * xp.log(p) + (1.0 - t) * xp.log(1.0 - p)
        weights = _row_weights(logs, sample_weight, reduction, xp)
        return -xp.sum(logs * weights), saved


@dataclass(frozen=True)
class SquaredError:
    """Half the squared error.

    Its value is the mean over outputs and its gradient that of the sum over them: so
    scikit-learn has it, which for several outputs is a larger step than the value's gradient.
    """

    reduction: ClassVar[str] = "mean"
    kind: ClassVar[str] = "regression"

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        reduction = reduction or self.reduction
        value, saved = mean_squared_error(
            scores, targets, sample_weight, reduction=reduction, xp=xp
        )
        return 0.5 * value, (saved, scores)

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient with respect to the scores."""
        saved, scores = saved
        return (0.5 * float(scores.shape[1])) * mean_squared_error_backward(saved, xp=xp)


@dataclass(frozen=True)
class PoissonDeviance:
    """Half the Poisson deviance of ``exp(score)``, summed over outputs.

    With `overflows` the `exp` of a score may be infinite or 0 and the deviance infinite or NaN,
    as for scikit-learn's L-BFGS, which then takes a shorter step.
    """

    overflows: bool = False
    reduction: ClassVar[str] = "mean"
    kind: ClassVar[str] = "regression"

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        reduction = reduction or self.reduction
        t = xp.astype(targets, scores.dtype, copy=False)
        weights = _row_weights(scores, sample_weight, reduction, xp)
        if self.overflows:
            rate = xp.exp(scores)
            ratio = t / rate  # NaN where both are 0
            surprise = t * xp.log(xp.where(ratio == 0, xp.ones_like(t), ratio))
            return xp.sum((surprise - t + rate) * weights), ((rate - t) * weights,)
        value, saved = poisson(scores, targets, sample_weight, reduction=reduction, xp=xp)
        outputs = float(scores.shape[1])
        # A deviance is 0 for a perfect prediction, whose ``rate - t * log(rate)`` is taken off.
        perfect = t - t * xp.log(xp.where(t > 0, t, xp.ones_like(t)))
        value = outputs * value - xp.sum(perfect * weights)
        return value, (poisson_backward(saved, xp=xp) * outputs,)

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient with respect to the scores."""
        return saved[0]


def _row_weights(values: Array, sample_weight: Array | None, reduction: str, xp: Namespace) -> Any:
    """What each row counts for: its share in the mean, or its weight in the sum."""
    if sample_weight is None:
        return 1.0 / float(values.shape[0]) if reduction == "mean" else 1.0
    weight = xp.astype(sample_weight, values.dtype, copy=False)
    if reduction == "mean":
        whole = xp.sum(weight)
        weight = weight / xp.where(whole == 0, whole + 1.0, whole)
    return weight[:, None]


# Which loss a parameter stands for


def loss_name(loss: Any) -> str:
    """Name of a loss that was asked for."""
    return loss if isinstance(loss, str) else as_loss(loss).name


def has_probabilities(model: Any) -> bool:
    """Whether a classifier's loss gives probabilities."""
    loss = model.loss
    if isinstance(loss, str | tuple):
        return loss != "hinge"  # a pair gets a softmax's meaning, or a sigmoid's
    return as_loss(loss).rule.mean is not None


def has_only_scores(model: Any) -> bool:
    """Whether it does not."""
    return not has_probabilities(model)


def _own(loss: Loss, names: dict[str, str], option: str, value: Any, default: Any) -> Loss:
    """Check a `Loss` that the user made, which has its own options."""
    if loss.custom is None and loss.name not in names.values():
        raise InputError(f"loss is {loss!r}; expected one of {', '.join(sorted(names))}")
    if value != default:
        raise InputError(f"{option} is {value!r} beside {loss!r}; give it to the Loss")
    return loss


def classifier_loss(loss: Any, kind: str, label_smoothing: float, line_search: bool) -> Loss:
    """Make the loss of a classifier; `kind` is what scikit-learn calls the targets.

    A pair of functions gets a softmax's scores where that is 'multiclass', else a sigmoid's. With
    `line_search` values are rounded as scikit-learn's: else L-BFGS's steps are of other length.
    """
    if isinstance(loss, tuple):
        multiclass = kind == "multiclass"
        own = "multiclass" if multiclass else "binary"
        pair: Any = as_loss(loss).custom  # a pair of functions, or refused
        loss = replace(pair, kind=own, mean=softmax if multiclass else sigmoid)
    if loss == "log_loss":
        name = "softmax" if kind == "multiclass" else "binary"
        smoothing = float(label_smoothing)
        chosen: Loss = LogLoss(f"{name}_cross_entropy", smoothing, rounded=line_search)
    elif isinstance(loss, str):
        chosen = Loss(loss, label_smoothing=float(label_smoothing))
    else:
        chosen = _own(as_loss(loss), CLASSIFIER, "label_smoothing", label_smoothing, 0)
    if chosen.kind == "regression":
        raise InputError(f"loss is {chosen.name!r}, a regression's; expected one of classes")
    if chosen.kind == "multiclass" and kind.startswith("multilabel"):
        raise InputError(
            f"loss {chosen.name!r} tells which one of several classes a row has; y has several "
            "labels for a row. Take 'log_loss' or 'hinge'"
        )
    return chosen


def regressor_loss(loss: Any, delta: float, line_search: bool) -> Any:
    """Make the loss of a regressor: scikit-learn's two with its conventions.

    `line_search` says whether L-BFGS looks at its values.
    """
    if not isinstance(loss, str):
        own = _own(as_loss(loss), REGRESSOR, "delta", delta, 1)
        if own.kind != "regression":
            raise InputError(f"loss is {own.name!r}, one of classes; expected a regression's")
        return own
    chosen = Loss(REGRESSOR[loss], delta=float(delta))
    if loss == "squared_error":
        return SquaredError()
    return PoissonDeviance(overflows=line_search) if loss == "poisson" else chosen


def network_loss(loss: Any) -> Loss:
    """The library's own loss that stands behind one of scikit-learn's: what scores mean."""
    if isinstance(loss, SquaredError):
        return Loss("mean_squared_error")
    if isinstance(loss, PoissonDeviance):
        return Loss("poisson")
    if isinstance(loss, LogLoss):
        return Loss(loss.name, loss.label_smoothing)
    return replace(loss)
