"""Loss scaling: small gradients stay above what float16 can hold."""

from __future__ import annotations

from dataclasses import dataclass

from xpnn.backends import Array, Namespace, device_of, scalar
from xpnn.functional.checked_numbers import store_factor, store_positive, store_positive_integer
from xpnn.optimizers.base import State

# Scales between which a float32 and its inverse are normal numbers.
_SMALLEST, _LARGEST = 2.0**-64, 2.0**64
_LARGEST_FLOAT32 = float.fromhex("0x1.fffffep127")


@dataclass(frozen=True)
class LossScaler:
    """How the scale of a loss follows its gradients; the first link of a `chain`.

    The scale grows after `growth_interval` good steps in a row. A step whose gradient is not
    finite makes it smaller, and is skipped: parameters and optimizer state stay as they were,
    and the optimizer does not count it. All of this happens on the device; no step waits for
    the host to look.

    Parameters
    ----------
    init_scale : float, default 2**15
        Scale of the first step. Powers of 2 round nothing; that of an error of 1 is still
        finite in float16.
    growth_factor : float, default 2
        What the scale grows by, 1 or more.
    backoff_factor : float, default 0.5
        What a skipped step multiplies the scale by, above 0 and below 1.
    growth_interval : int or None, default 2000
        Good steps in a row until the scale grows. With None the scale never changes, and no
        step is skipped.

    Raises
    ------
    TypeError, ValueError
        An argument is not a number, or out of range.

    References
    ----------
    Micikevicius et al., "Mixed precision training" (2018), section 3.2. The names are
    those of PyTorch's ``torch.amp.GradScaler``, and so are the numbers but the first scale,
    which is that of Keras' ``LossScaleOptimizer``.
    """

    init_scale: float = 2.0**15
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int | None = 2000

    def __post_init__(self) -> None:
        store_positive(self, "init_scale", "growth_factor")
        store_factor(self, "backoff_factor")
        if self.adapts and not _SMALLEST <= self.init_scale <= _LARGEST:
            raise ValueError(f"init_scale is {self.init_scale!r}; expected 2**-64 to 2**64")
        if not 1.0 <= self.growth_factor <= _LARGEST:
            raise ValueError(f"growth_factor is {self.growth_factor!r}; expected 1 or more")
        if self.adapts:
            store_positive_integer(self, "growth_interval")

    @property
    def adapts(self) -> bool:
        """Whether the scale changes, and steps may be skipped."""
        return self.growth_interval is not None

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the scale, the good steps since it changed, and the skipped steps.

        A scale that stays has no state.
        """
        if not self.adapts:
            return ()
        numbers = (self.init_scale, 0.0, 0.0)
        return tuple(scalar(n, xp, device_of(theta), theta.dtype) for n in numbers)

    def scale(self, state: State) -> Array | float:
        """Return what the loss is multiplied by before the backward pass."""
        return state[0] if self.adapts else self.init_scale

    def skipped(self, state: State) -> Array | float:
        """Return how many steps have been skipped so far."""
        return state[2] if self.adapts else 0.0

    def is_finite(self, gradient: Array, *, xp: Namespace) -> Array:
        """Whether no entry is infinite or NaN, as a 0-d array."""
        return xp.max(xp.abs(gradient)) <= _LARGEST_FLOAT32  # a NaN is not

    def update(self, state: State, finite: Array, *, xp: Namespace) -> State:
        """Return the state after a step whose gradient was finite, or was not."""
        assert self.growth_interval is not None
        scale, good, skipped = state
        one = xp.astype(finite, scale.dtype)
        good = (good + 1.0) * one
        grows = good >= float(self.growth_interval)
        larger = xp.where(grows, scale * self.growth_factor, scale)
        scale = xp.where(finite, larger, scale * self.backoff_factor)
        scale = xp.minimum(xp.maximum(scale, _SMALLEST), _LARGEST)
        return scale, good * (1.0 - xp.astype(grows, scale.dtype)), skipped + (1.0 - one)
