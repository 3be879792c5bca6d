"""Losses with scikit-learn's conventions, made of the library's own formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from xpnn.backends import Array, Namespace, is_half
from xpnn.functional import (
    loss_rule,
    mean_squared_error,
    mean_squared_error_backward,
    poisson,
    poisson_backward,
    sigmoid,
)
from xpnn.training import Loss


@dataclass(frozen=True)
class LogLoss(Loss):
    """A cross-entropy whose value takes no probability for smaller than the float's `eps`.

    So scikit-learn has it. The slope is that of the whole cross-entropy.
    """

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        dtype = xp.float32 if is_half(scores.dtype) else scores.dtype
        return loss_rule(self.name).forward(
            scores, targets, sample_weight, label_smoothing=self.label_smoothing,
            largest=-math.log(float(xp.finfo(dtype).eps)), xp=xp,
        )  # fmt: skip


@dataclass(frozen=True)
class RoundedLogLoss(LogLoss):
    """The same, from probabilities as they are rounded: what scikit-learn's L-BFGS sees.

    Near 0 and 1 their logarithms differ from the exact ones in the fifth digit, and a line
    search that sees other values goes another way.
    """

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        value, saved = super().forward(scores, targets, sample_weight, xp=xp)
        if self.kind == "multiclass":
            return value, saved
        eps = float(xp.finfo(scores.dtype).eps)
        p = xp.minimum(xp.maximum(sigmoid(scores, xp=xp), eps), 1.0 - eps)
        t = xp.astype(targets, p.dtype, copy=False)
        t = t * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        logs = t * xp.log(p) + (1.0 - t) * xp.log(1.0 - p)
        return -float(p.shape[1]) * _weighted_mean(logs, sample_weight, xp), saved


@dataclass(frozen=True)
class SquaredError:
    """Half the squared error.

    Its value is the mean over outputs and its slope the sum over them: so scikit-learn has
    it, which for several outputs is a step larger than the slope of the value.
    """

    averages = True
    kind = "regression"

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        value, saved = mean_squared_error(scores, targets, sample_weight, xp=xp)
        return 0.5 * value, saved

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient in the scores."""
        outputs = float(saved[0].shape[1])
        return (0.5 * outputs) * mean_squared_error_backward(saved, xp=xp)

    def mean(self, scores: Array, *, xp: Namespace) -> Array:
        """Scores are the expected values."""
        return scores


@dataclass(frozen=True)
class PoissonDeviance:
    """Half the Poisson deviance of ``exp(score)``, summed over outputs.

    Parameters
    ----------
    overflows : bool, default False
        Whether the `exp` of a score may be infinite or 0 and the deviance infinite or NaN,
        as for scikit-learn's L-BFGS, which then takes a shorter step.
    """

    overflows: bool = False
    averages: ClassVar[bool] = True
    kind: ClassVar[str] = "regression"

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        t = xp.astype(targets, scores.dtype, copy=False)
        outputs = float(scores.shape[1])
        if self.overflows:
            rate = xp.exp(scores)
            ratio = t / rate  # NaN where both are 0
            surprise = t * xp.log(xp.where(ratio == 0, xp.ones_like(t), ratio))
            value = _weighted_mean(surprise - t + rate, sample_weight, xp)
            return outputs * value, ((rate - t) * _shares(scores, sample_weight, xp),)
        value, saved = poisson(scores, targets, sample_weight, xp=xp)
        # A deviance is 0 for a perfect prediction, whose ``rate - t * log(rate)`` is taken off.
        perfect = t - t * xp.log(xp.where(t > 0, t, xp.ones_like(t)))
        return outputs * (value - _weighted_mean(perfect, sample_weight, xp)), saved

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient in the scores."""
        outputs = float(saved[0].shape[1])
        return outputs * poisson_backward(saved, xp=xp)

    def mean(self, scores: Array, *, xp: Namespace) -> Array:
        """Rates that the scores stand for."""
        return Loss("poisson").mean(scores, xp=xp)


def _weighted_mean(values: Array, sample_weight: Array | None, xp: Namespace) -> Array:
    """Mean over rows and outputs."""
    return xp.sum(values * _shares(values, sample_weight, xp))


def _shares(values: Array, sample_weight: Array | None, xp: Namespace) -> Any:
    """What a row's values count for in the mean over rows and outputs."""
    outputs = float(values.shape[1])
    if sample_weight is None:
        return 1.0 / (float(values.shape[0]) * outputs)
    weight = xp.astype(sample_weight, values.dtype, copy=False)
    whole = xp.sum(weight) * outputs
    return weight[:, None] / xp.where(whole == 0, whole + 1.0, whole)
