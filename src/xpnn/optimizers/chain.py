"""What can be put before an optimizer: clipping, weight decay, loss scaling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace, device_of, scalar
from xpnn.functional import clip_by_norm
from xpnn.functional.checked_numbers import (
    store_factor,
    store_nonnegative,
    store_positive,
    store_positive_integer,
)
from xpnn.optimizers.descent import Optimizer, State
from xpnn.optimizers.schedules import Schedule

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


class Transformation(ABC):
    """What a chain does to gradient or parameters before its optimizer takes the step.

    Subclasses are frozen dataclasses of plain values.
    """

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the state before the first step: arrays in nested tuples; here none."""
        return ()

    @abstractmethod
    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, *, xp: Namespace
    ) -> tuple[Array, Array, State]:
        """Return parameters and gradient for the next link, and the new state.

        The arguments are those of `Optimizer.update`.
        """


@dataclass(frozen=True)
class clip_by_global_norm(Transformation):
    """Shorten gradients whose Euclidean norm, over all parameters, passes a limit.

    Parameters
    ----------
    max_norm : float
        The limit, above 0.

    References
    ----------
    Pascanu, Mikolov & Bengio (2013), algorithm 1.

    Examples
    --------
    >>> from xpnn.optimizers import AdamW, chain, clip_by_global_norm
    >>> chain(clip_by_global_norm(1.0), AdamW(0.003)).learning_rate
    0.003
    """

    max_norm: float

    def __post_init__(self) -> None:
        store_positive(self, "max_norm")

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, *, xp: Namespace
    ) -> tuple[Array, Array, State]:
        """Clip; see `Transformation.update`."""
        return theta, clip_by_norm(gradient, self.max_norm, xp=xp), ()


@dataclass(frozen=True)
class add_decayed_weights(Transformation):
    """Decoupled weight decay: parameters shrink by ``learning_rate * weight_decay`` first.

    The optimizer's own step follows, from the gradient at the old parameters; the decay does
    not go through its moments or its momentum.

    Parameters
    ----------
    weight_decay : float
        Strength, 0 or more; it applies to all parameters, as in `AdamW`.

    References
    ----------
    Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithms 1 and 2.

    Examples
    --------
    >>> from xpnn.optimizers import SGD, add_decayed_weights, chain
    >>> chain(add_decayed_weights(0.05), SGD(0.1)).learning_rate
    0.1
    """

    weight_decay: float

    def __post_init__(self) -> None:
        store_nonnegative(self, "weight_decay")

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, *, xp: Namespace
    ) -> tuple[Array, Array, State]:
        """Shrink the parameters; see `Transformation.update`."""
        return theta * (1.0 - learning_rate * self.weight_decay), gradient, ()


@dataclass(frozen=True)
class OptimizerChain(Optimizer):
    """An optimizer with what comes before it; made by `chain`.

    Its state is that of the loss scaler (empty where there is none), a tuple with those of
    the transformations, and that of the optimizer.

    Parameters
    ----------
    transformations : tuple of Transformation
        Applied in this order.
    optimizer : Optimizer
        Takes the step.
    loss_scaler : LossScaler, optional
        Where the gradients are those of a scaled loss, how its scale changes.
    """

    transformations: tuple[Transformation, ...]
    optimizer: Optimizer
    loss_scaler: LossScaler | None = None

    @property
    def learning_rate(self) -> float | Schedule:  # type: ignore[override]
        """Learning rate of the optimizer."""
        return self.optimizer.learning_rate

    def init(self, theta: Array, *, xp: Namespace) -> State:
        """Return the states of all links; see the class."""
        scaling = () if self.loss_scaler is None else self.loss_scaler.init(theta, xp=xp)
        before = tuple(link.init(theta, xp=xp) for link in self.transformations)
        return scaling, before, self.optimizer.init(theta, xp=xp)

    def loss_scale(self, state: State) -> Array | float | None:
        """Return the scale that the gradients of the next step are expected with."""
        return None if self.loss_scaler is None else self.loss_scaler.scale(state[0])

    def update(
        self, theta: Array, gradient: Array, state: State, learning_rate: Array, count: Array, *,
        xp: Namespace,
    ) -> tuple[Array, State]:  # fmt: skip
        """Take one step, or skip it where a scaled gradient overflowed.

        See `Optimizer.update`.
        """
        scaler, (scaling, *links) = self.loss_scaler, state
        if scaler is not None:
            gradient = gradient * (1.0 / scaler.scale(scaling))
        if scaler is None or not scaler.adapts:
            theta, after = self._step(theta, gradient, links, learning_rate, count, xp)
            return theta, (scaling, *after)
        finite = scaler.is_finite(gradient, xp=xp)
        count = count - scaler.skipped(scaling)
        new, after = self._step(theta, gradient, links, learning_rate, count, xp)
        theta = xp.where(finite, new, theta)
        return theta, (scaler.update(scaling, finite, xp=xp), *_where(finite, after, links, xp))

    def _step(
        self, theta: Array, gradient: Array, links: Any, learning_rate: Array, count: Array, xp: Any
    ) -> tuple[Array, State]:
        before, last = links
        after = []
        for link, state in zip(self.transformations, before, strict=True):
            theta, gradient, state = link.update(theta, gradient, state, learning_rate, xp=xp)
            after.append(state)
        theta, last = self.optimizer.update(theta, gradient, last, learning_rate, count, xp=xp)
        return theta, (tuple(after), last)


def _where(condition: Array, yes: Any, no: Any, xp: Namespace) -> Any:
    """Choose between the arrays of two nested tuples."""
    if isinstance(yes, tuple):
        return tuple(_where(condition, y, n, xp) for y, n in zip(yes, no, strict=True))
    return xp.where(condition, yes, no)


def chain(*links: LossScaler | Transformation | Optimizer) -> OptimizerChain:
    """Put transformations of the gradient before an optimizer.

    Parameters
    ----------
    *links : LossScaler, Transformation or Optimizer
        In the order in which they are applied: at most one `LossScaler`, which comes first,
        any number of transformations, and an optimizer, which comes last and may be a chain
        itself.

    Returns
    -------
    OptimizerChain

    Raises
    ------
    TypeError
        A link is none of these, or stands in the wrong place.

    Examples
    --------
    >>> from xpnn.optimizers import SGD, add_decayed_weights, chain, clip_by_global_norm
    >>> optimizer = chain(clip_by_global_norm(1.0), add_decayed_weights(0.01), SGD(0.1))
    >>> optimizer.learning_rate
    0.1
    """
    if links and isinstance(links[-1], OptimizerChain):
        inner = links[-1]
        own = () if inner.loss_scaler is None else (inner.loss_scaler,)
        links = (*links[:-1], *own, *inner.transformations, inner.optimizer)
    if not links or not isinstance(links[-1], Optimizer):
        last = repr(links[-1]) if links else "missing"
        raise TypeError(f"the last link of the chain is {last}; expected an Optimizer")
    before = links[:-1]
    scaler = before[0] if before and isinstance(before[0], LossScaler) else None
    if scaler is not None:
        before = before[1:]
    transformations = [link for link in before if isinstance(link, Transformation)]
    if len(transformations) < len(before):
        wrong = next(link for link in before if not isinstance(link, Transformation))
        raise TypeError(
            f"{wrong!r} stands before the end of the chain; expected a transformation such as "
            "clip_by_global_norm(1.0), after at most one LossScaler"
        )
    return OptimizerChain(tuple(transformations), links[-1], scaler)
