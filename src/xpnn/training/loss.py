"""What a network is trained for: a loss with its options, and the meaning of its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from xpnn.backends import (
    Array,
    InputError,
    Namespace,
    dtype_name,
    is_floating,
    is_storage_only,
    to_float,
)
from xpnn.functional import CustomLoss, LossRule, accuracy, loss_rule


class Objective(Protocol):
    """What a training minimizes: `xpnn.training.Loss`, or whatever has its methods."""

    @property
    def reduction(self) -> str:
        """'mean' where the loss is a mean over rows, 'sum' where it is their sum."""

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs; by default with its own reduction."""

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient of the loss with respect to the scores."""


@dataclass(frozen=True)
class Loss:
    """A loss with its options.

    Parameters
    ----------
    name : str
        A name in `xpnn.functional.LOSSES`, or any other name for a loss of your own.
    label_smoothing : float, default 0
        For the cross-entropies: share of each target that is spread evenly,
        0 <= label_smoothing < 1.
    delta : float, default 1
        For 'huber': where the square turns into a line, above 0.
    custom : CustomLoss, optional
        A loss of your own: two pure functions and what the scores mean.

    Raises
    ------
    ValueError
        The name is not known, or an option is out of range or belongs to another loss.

    Examples
    --------
    >>> from xpnn import Loss
    >>> Loss("huber", delta=0.5).kind
    'regression'
    """

    name: str
    label_smoothing: float = 0.0
    delta: float = 1.0
    custom: CustomLoss | None = None

    def __post_init__(self) -> None:
        if self.custom is None:
            loss_rule(self.name)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(
                f"label_smoothing is {self.label_smoothing!r}; expected 0 <= label_smoothing < 1"
            )
        if not self.delta > 0:
            raise InputError(f"delta is {self.delta!r}; expected a number above 0")
        known = self.custom is None
        if self.label_smoothing and not (known and self.name.endswith("cross_entropy")):
            raise InputError(f"label_smoothing goes with a cross-entropy, not with {self.name!r}")
        if self.delta != 1.0 and not (known and self.name == "huber"):
            raise InputError(f"delta goes with 'huber', not with {self.name!r}")

    @property
    def rule(self) -> LossRule:
        """The two functions, and what the scores mean."""
        return loss_rule(self.name if self.custom is None else self.custom)

    @property
    def kind(self) -> str:
        """'multiclass', 'binary' or 'regression': see `xpnn.functional.LossRule`."""
        return self.rule.kind

    @property
    def reduction(self) -> str:
        """'mean' where the loss is a mean over rows, 'sum' where it is their sum."""
        return self.rule.reduction

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs; by default with its own reduction."""
        options: dict[str, Any] = {}
        if self.label_smoothing:
            options["label_smoothing"] = self.label_smoothing
        if self.delta != 1.0:
            options["delta"] = self.delta
        if reduction not in (None, self.reduction):
            options["reduction"] = reduction
        return self.rule.forward(scores, targets, sample_weight, **options, xp=xp)

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient of the loss with respect to the scores."""
        return self.rule.backward(saved, xp=xp)

    def mean(self, scores: Array, *, xp: Namespace) -> Array:
        """Turn scores into probabilities (of classes) or expected values (of a regression).

        Raises
        ------
        ValueError
            The loss gives its scores no such meaning.
        """
        mean = self.rule.mean
        if mean is None:
            raise InputError(f"scores of the loss {self.name!r} do not stand for probabilities")
        return mean(scores, xp=xp)

    def predict(self, scores: Array, *, xp: Namespace) -> Array:
        """Turn scores into labels (n,), binary labels 0 and 1, or values."""
        if self.kind == "multiclass":
            return xp.argmax(scores, axis=1)
        if self.kind == "binary":
            decided = xp.astype(scores > 0, xp.int32)
        else:
            decided = scores if self.rule.mean is None else self.mean(scores, xp=xp)
        return decided[:, 0] if decided.shape[1] == 1 else decided

    def accuracy(self, scores: Array, targets: Array, *, xp: Namespace) -> Array | None:
        """Fraction of rows predicted right, 0-d; None for a regression."""
        if self.kind == "regression":
            return None
        if self.kind == "multiclass":
            labels = targets if targets.ndim == 1 else xp.argmax(targets, axis=1)
            found = xp.argmax(scores, axis=1)  # of a dtype that is wide enough for all labels
            return accuracy(found, xp.astype(labels, found.dtype, copy=False), xp=xp)
        return accuracy(scores > 0, targets > 0.5, xp=xp)

    def check_targets(self, t: Array, rows: int, outputs: int, *, xp: Namespace) -> Array:
        """Bring targets into the shape that the loss works with."""
        if t.ndim == 0 or t.shape[0] != rows:
            raise InputError(f"y has shape {tuple(t.shape)}; expected {rows} rows, as many as X")
        if self.kind != "multiclass" or t.ndim == 2:
            if t.ndim == 1 and outputs == 1:
                t = xp.reshape(t, (rows, 1))
            if tuple(t.shape) != (rows, outputs):
                also = f", or integer labels ({rows},)" if self.kind == "multiclass" else ""
                raise InputError(
                    f"y has shape {tuple(t.shape)}; expected ({rows}, {outputs}){also}"
                )
            self._check_range(t, xp)
            return t
        if t.ndim != 1 or is_floating(t, xp):
            raise InputError(
                f"y has shape {tuple(t.shape)} and dtype {t.dtype}; expected integer labels "
                f"({rows},) or probabilities ({rows}, {outputs})"
            )
        if dtype_name(t.dtype) == "bool":
            t = xp.astype(t, xp.int32)
        elif is_storage_only(t.dtype, xp):
            t = xp.astype(t, xp.int64)
        low, high = to_float(xp.min(t)), to_float(xp.max(t))
        if low < 0 or high >= outputs:
            wrong = low if low < 0 else high
            raise InputError(
                f"y holds the label {wrong:.0f}; expected labels 0 to {outputs - 1}, as the "
                f"network has {outputs} outputs"
            )
        return t

    def _check_range(self, t: Array, xp: Namespace) -> None:
        """Refuse targets that the loss would take, and learn nonsense from."""
        if self.custom is not None:
            return
        if self.kind != "regression":
            low, high = to_float(xp.min(t)), to_float(xp.max(t))
            if not (low >= 0 and high <= 1):
                wrong = high if low >= 0 else low
                hinge = self.name == "hinge"
                also = " (not -1 and +1)" if hinge else ", or probabilities between them"
                raise InputError(
                    f"y holds {wrong:g}; the loss {self.name!r} expects labels 0 and 1{also}"
                )
            between = self.name == "hinge" and is_floating(t, xp)
            if between and not bool(to_float(xp.all((t == 0) | (t == 1)))):
                raise InputError("y holds numbers between 0 and 1; 'hinge' expects 0 and 1")
        elif self.name == "poisson" and not to_float(xp.min(t)) >= 0:
            raise InputError(
                f"y holds {to_float(xp.min(t)):g}; the loss 'poisson' expects counts, 0 or more"
            )


@dataclass(frozen=True)
class UpcastLoss:
    """A loss of 16-bit scores, computed in float32, its gradient scaled before it is rounded."""

    loss: Objective
    scale: Array | float | None = None

    @property
    def reduction(self) -> str:
        """That of the loss."""
        return self.loss.reduction

    def forward(
        self,
        scores: Array,
        targets: Array,
        sample_weight: Array | None,
        *,
        reduction: str | None = None,
        xp: Namespace,
    ) -> tuple[Array, Any]:
        """Return the loss, not scaled; see `Objective.forward`."""
        wide = xp.astype(scores, xp.float32)
        value, saved = self.loss.forward(wide, targets, sample_weight, reduction=reduction, xp=xp)
        return value, (scores, saved)

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Return the scaled gradient in the dtype of the scores: infinite where too large."""
        scores, kept = saved
        dscores = self.loss.backward(kept, xp=xp)
        if self.scale is not None:
            dscores = dscores * self.scale
        return xp.astype(dscores, scores.dtype)


def as_loss(loss: Any) -> Loss:
    """Make a `Loss` of a name, a pair of functions or a `CustomLoss`; pass a `Loss` on.

    Parameters
    ----------
    loss : str, Loss, CustomLoss, or pair of callables
        A pair is ``(forward, backward)`` of a regression: ``forward(scores, targets, xp=xp)``
        gives the loss of each row, ``backward(scores, targets, xp=xp)`` its gradient with
        respect to the scores; see `xpnn.functional.CustomLoss`.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError
        It is something else.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return Loss(loss)
    if isinstance(loss, tuple) and len(loss) == 2 and all(map(callable, loss)):
        loss = CustomLoss(*loss)
    if isinstance(loss, CustomLoss):
        return Loss(getattr(loss.forward, "__name__", "custom"), custom=loss)
    raise TypeError(
        f"loss is {loss!r}; expected a name, a Loss, a CustomLoss, or a pair of functions "
        "(forward, backward)"
    )


def check_weights(weight: Array, xp: Namespace) -> None:
    """Refuse sample weights that are negative, NaN or infinite."""
    if not bool(to_float(xp.all((weight >= 0) & xp.isfinite(weight)))):
        raise InputError(
            "sample_weight holds a negative, infinite or NaN weight; expected 0 or more"
        )
