"""What a network is trained for: a loss with its options, and the meaning of its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace, dtype_name, is_floating, to_float
from xpnn.functional import accuracy, loss_rule


@dataclass(frozen=True)
class Loss:
    """A loss with its options.

    Parameters
    ----------
    name : str
        A name in `xpnn.functional.LOSSES`.
    label_smoothing : float, default 0
        For the cross-entropies: share of each target that is spread evenly,
        0 <= label_smoothing < 1.
    delta : float, default 1
        For 'huber': where the square turns into a line, above 0.

    Raises
    ------
    ValueError
        The name is not known, or an option is out of range or belongs to another loss.
    """

    name: str
    label_smoothing: float = 0.0
    delta: float = 1.0

    def __post_init__(self) -> None:
        loss_rule(self.name)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing!r}; expected 0 <= label_smoothing < 1"
            )
        if not self.delta > 0:
            raise ValueError(f"delta is {self.delta!r}; expected a number above 0")
        if self.label_smoothing and not self.name.endswith("cross_entropy"):
            raise ValueError(f"label_smoothing goes with a cross-entropy, not with {self.name!r}")
        if self.delta != 1.0 and self.name != "huber":
            raise ValueError(f"delta goes with 'huber', not with {self.name!r}")

    @property
    def kind(self) -> str:
        """'multiclass', 'binary' or 'regression': see `xpnn.functional.LossRule`."""
        return loss_rule(self.name).kind

    @property
    def averages(self) -> bool:
        """Whether the loss is a mean over rows (else a sum)."""
        return loss_rule(self.name).reduction == "mean"

    def forward(
        self, scores: Array, targets: Array, sample_weight: Array | None, *, xp: Namespace
    ) -> tuple[Array, Any]:
        """Loss as a 0-d array, and what `backward` needs."""
        options = {}
        if self.label_smoothing:
            options["label_smoothing"] = self.label_smoothing
        if self.delta != 1.0:
            options["delta"] = self.delta
        return loss_rule(self.name).forward(scores, targets, sample_weight, **options, xp=xp)

    def backward(self, saved: Any, *, xp: Namespace) -> Array:
        """Gradient in the scores."""
        return loss_rule(self.name).backward(saved, xp=xp)

    def mean(self, scores: Array, *, xp: Namespace) -> Array:
        """Turn scores into probabilities (classes, yes-or-no) or expected values.

        Raises
        ------
        ValueError
            The loss gives its scores no such meaning.
        """
        mean = loss_rule(self.name).mean
        if mean is None:
            raise ValueError(f"scores of the loss {self.name!r} do not stand for probabilities")
        return mean(scores, xp=xp)

    def predict(self, scores: Array, *, xp: Namespace) -> Array:
        """Turn scores into labels (n,), yes-or-no answers 0 and 1, or values."""
        if self.kind == "multiclass":
            return xp.argmax(scores, axis=1)
        if self.kind == "binary":
            decided = xp.astype(scores > 0, xp.int32)
        else:
            decided = scores if loss_rule(self.name).mean is None else self.mean(scores, xp=xp)
        return decided[:, 0] if decided.shape[1] == 1 else decided

    def accuracy(self, scores: Array, targets: Array, *, xp: Namespace) -> Array | None:
        """Share of rows read right, 0-d; None for losses of values."""
        if self.kind == "regression":
            return None
        if self.kind == "multiclass":
            labels = targets if targets.ndim == 1 else xp.argmax(targets, axis=1)
            found = xp.astype(xp.argmax(scores, axis=1), labels.dtype, copy=False)
            return accuracy(found, labels, xp=xp)
        return accuracy(scores > 0, targets > 0.5, xp=xp)

    def check_targets(self, t: Array, rows: int, outputs: int, *, xp: Namespace) -> Array:
        """Bring targets into the shape that the loss works with.

        Parameters
        ----------
        t : array, shape (n,) or (n, outputs)
            Integer labels, probabilities, answers 0 and 1, or values.
        rows : int
            Rows of the data that they belong to.
        outputs : int
            Width of the network's output.
        xp : module
            Namespace of `t`.

        Returns
        -------
        array
            Labels of shape (n,), or targets of shape (n, outputs).

        Raises
        ------
        ValueError
            The shape does not fit, or a label is not in ``0 .. outputs - 1``.
        """
        if t.ndim == 0 or t.shape[0] != rows:
            raise ValueError(f"t has shape {tuple(t.shape)}; expected {rows} rows, as many as x")
        if self.kind != "multiclass" or t.ndim == 2:
            if t.ndim == 1 and outputs == 1:
                t = xp.reshape(t, (rows, 1))
            if tuple(t.shape) != (rows, outputs):
                also = f", or integer labels ({rows},)" if self.kind == "multiclass" else ""
                raise ValueError(
                    f"t has shape {tuple(t.shape)}; expected ({rows}, {outputs}){also}"
                )
            return t
        if t.ndim != 1 or is_floating(t, xp):
            raise ValueError(
                f"t has shape {tuple(t.shape)} and dtype {t.dtype}; expected integer labels "
                f"({rows},) or probabilities ({rows}, {outputs})"
            )
        if dtype_name(t.dtype) == "bool":
            t = xp.astype(t, xp.int32)
        low, high = to_float(xp.min(t)), to_float(xp.max(t))
        if low < 0 or high >= outputs:
            wrong = low if low < 0 else high
            raise ValueError(
                f"t holds the label {wrong:.0f}; expected labels 0 to {outputs - 1}, as the "
                f"network has {outputs} outputs"
            )
        return t


def as_loss(loss: str | Loss) -> Loss:
    """Make a `Loss` of a name; pass a `Loss` on."""
    return loss if isinstance(loss, Loss) else Loss(loss)
