"""Losses with scikit-learn's conventions, made of the library's own formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace, is_half
from xpnn.functional import (
    loss_rule,
    mean_squared_error,
    mean_squared_error_backward,
    poisson,
    poisson_backward,
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
class SquaredError:
    """Half the squared error.

    Its value is the mean over outputs and its slope the sum over them: so scikit-learn has
    it, which for several outputs is a step larger than the slope of the value.
    """

    averages = True
    kind = "values"

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
    """Half the Poisson deviance of ``exp(score)``, summed over outputs."""

    averages = True
    kind = "values"

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        value, saved = poisson(scores, targets, sample_weight, xp=xp)
        # A deviance is 0 for a perfect prediction, whose ``rate - t * log(rate)`` is taken off.
        t = xp.astype(targets, scores.dtype, copy=False)
        perfect = t - t * xp.log(xp.where(t > 0, t, xp.ones_like(t)))
        outputs = float(scores.shape[1])
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
    outputs = float(values.shape[1])
    if sample_weight is None:
        return xp.sum(values) / (float(values.shape[0]) * outputs)
    weight = xp.astype(sample_weight, values.dtype, copy=False)
    whole = xp.sum(weight) * outputs
    return xp.sum(values * weight[:, None]) / xp.where(whole == 0, whole + 1.0, whole)
