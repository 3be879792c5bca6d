"""Loss scaling round any optimizer: small gradients stay above what float16 can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import Array, Namespace, device_of, scalar
from xpnn.optimizers.base import Optimizer, State
from xpnn.optimizers.schedules import Schedule

# Scales between which a float32 and its inverse are normal numbers.
_SMALLEST, _LARGEST = 2.0**-64, 2.0**64
_FINITE = float.fromhex("0x1.fffffep127")  # the largest float32


@dataclass(frozen=True)
class LossScale:
    """How the scale of a loss follows its gradients.

    It grows after `growth_interval` good steps on end. A step whose gradient is not finite
    makes it smaller, and is skipped: parameters and optimizer state stay as they were.

    Parameters
    ----------
    init_scale : float, default 2**15
        Scale of the first step. Powers of 2 round nothing; that of an error of 1 is still
        finite in float16.
    growth_factor : float, default 2
        What the scale grows by, 1 or more.
    backoff_factor : float, default 0.5
        What a skipped step makes of the scale, above 0 and below 1.
    growth_interval : int, default 2000
        Good steps until the scale grows.

    Raises
    ------
    ValueError
        A number is out of range.

    References
    ----------
    Micikevicius et al., "Mixed precision training" (2018), section 3.2. The names are
    those of PyTorch's ``torch.amp.GradScaler``, and so are the numbers but the first scale,
    which is that of Keras' ``LossScaleOptimizer``.
    """

    init_scale: float = 2.0**15
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        if not _SMALLEST <= self.init_scale <= _LARGEST:
            raise ValueError(f"init_scale is {self.init_scale!r}; expected a number above 0")
        if not 1.0 <= self.growth_factor <= _LARGEST:
            raise ValueError(f"growth_factor is {self.growth_factor!r}; expected 1 or more")
        if not 0.0 < self.backoff_factor < 1.0:
            raise ValueError(
                f"backoff_factor is {self.backoff_factor!r}; expected 0 < backoff_factor < 1"
            )
        interval = self.growth_interval
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f"growth_interval is {interval!r}; expected a positive integer")


@dataclass(frozen=True)
class Scaled(Optimizer):
    """Another optimizer, handed gradients of a loss that was multiplied by a scale.

    A training makes it; see `xpnn.training.precision`.

    Its state is that of the optimizer inside, the scale, the good steps since it last
    changed, and the steps that were skipped: all of it stays on the device, and no step
    waits for the host to look.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer that takes the step. Its count leaves out the skipped ones.
    loss_scale : LossScale or float, optional
        How the scale changes. A number is a scale that stays: the state is then that of the
        optimizer inside, and no step is skipped.

    Examples
    --------
    >>> from xpnn.optimizers import SGD
    >>> from xpnn.optimizers.scaled import Scaled
    >>> Scaled(SGD(0.1)).rate
    0.1
    """

    optimizer: Optimizer
    loss_scale: LossScale | float = field(default_factory=LossScale)

    @property
    def rate(self) -> float | Schedule:  # type: ignore[override]
        """Learning rate of the optimizer inside."""
        return self.optimizer.rate

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the state of the optimizer inside, the first scale, and no steps."""
        inside = self.optimizer.init(theta, xp=xp)
        if not isinstance(self.loss_scale, LossScale):
            return inside
        numbers = (self.loss_scale.init_scale, 0.0, 0.0)
        return inside, *(scalar(n, xp, device_of(theta), theta.dtype) for n in numbers)

    def update(
        self, theta: Array, grad: Array, state: Any, rate: Array, count: Array, *, xp: Namespace
    ) -> tuple[Array, State]:
        """Take one step, or skip it where the gradient overflowed; see `Optimizer.update`."""
        rule = self.loss_scale
        if not isinstance(rule, LossScale):
            return self.optimizer.update(theta, grad * (1.0 / rule), state, rate, count, xp=xp)
        inside, scale, good, skipped = state
        grad = grad * (1.0 / scale)
        fine = xp.max(xp.abs(grad)) <= _FINITE  # a NaN is not
        new, after = self.optimizer.update(theta, grad, inside, rate, count - skipped, xp=xp)
        one = xp.astype(fine, scale.dtype)
        good = (good + 1.0) * one
        grown = good >= float(rule.growth_interval)
        larger = xp.where(grown, scale * rule.growth_factor, scale)
        scale = xp.where(fine, larger, scale * rule.backoff_factor)
        scale = xp.minimum(xp.maximum(scale, _SMALLEST), _LARGEST)
        good = good * (1.0 - xp.astype(grown, scale.dtype))
        state = _chosen(fine, after, inside, xp), scale, good, skipped + (1.0 - one)
        return xp.where(fine, new, theta), state


def _chosen(condition: Array, yes: Any, no: Any, xp: Namespace) -> Any:
    """Choose between the arrays of two nested tuples."""
    if isinstance(yes, tuple):
        return tuple(_chosen(condition, y, n, xp) for y, n in zip(yes, no, strict=True))
    return xp.where(condition, yes, no)
