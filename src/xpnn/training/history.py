"""What happened in a training, report by report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """Record of a training; every list has one entry for each report.

    A report comes after each epoch, unless `fit` was told another `report_every`.

    Parameters
    ----------
    loss : list of float
        Mean training loss while the reported epoch ran (the sum for a loss that is a sum).
    validation_loss : list of float
        Loss on the validation data after the epoch; empty without validation data.
    validation_accuracy : list of float
        Fraction of validation rows predicted right; empty where the loss is a regression's.
    learning_rate : list of float
        That of the epoch's last step.
    seconds : list of float
        Time since the report before, validation included.
    rows : int
        Training rows in an epoch.
    stopped : str
        Why it ended: 'finished', 'early stopping', 'interrupted', or what a callback said.
    best_epoch : int or None
        Epoch (from 1) whose weights early stopping restored.
    epoch : list of int
        Number of the epoch (from 1) that the report came after.
    skipped : list of int
        Steps since the report before that a loss scale skipped, since their gradients
        overflowed; empty where no scale adapts itself (`compute_dtype="float16"`).
    engine : str
        How steps ran when the latest report came: 'pure', 'planned', 'native', 'scan' (JAX) or
        'CUDA', and why not faster where something was in the way. It changes no result on NumPy,
        and counts neither in comparisons nor in `to_dict`.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows: int = 0
    stopped: str = ""
    best_epoch: int | None = None
    epoch: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    engine: str = field(default="", compare=False, repr=False)

    @property
    def epochs(self) -> int:
        """Number of epochs that were finished."""
        return self.epoch[-1] if self.epoch else len(self.loss)

    @property
    def numbers(self) -> list[int]:
        """`epoch`; counted from 1 where a record does not hold it."""
        return self.epoch or list(range(1, len(self.loss) + 1))

    @property
    def rows_per_second(self) -> float:
        """Training rows per second over all epochs."""
        spent = sum(self.seconds)
        return self.rows * self.epochs / spent if spent else 0.0

    @property
    def monitored(self) -> list[float]:
        """The validation loss, or the training loss where there is none."""
        return self.validation_loss or self.loss

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `skipped` where steps could be skipped."""
        return {k: v for k, v in vars(self).items() if k != "engine" and (k != "skipped" or v)}

    def _repr_html_(self) -> str:
        """A curve and the last reports, for a notebook."""
        from xpnn.training.history_html import history_html

        return history_html(self)

    def __repr__(self) -> str:
        parts = [f"{self.epochs} epochs"]
        if self.loss:
            parts.append(f"loss {self.loss[-1]:.4g}")
        if self.validation_loss:
            parts.append(f"validation loss {self.validation_loss[-1]:.4g}")
        if self.validation_accuracy:
            parts.append(f"validation accuracy {self.validation_accuracy[-1]:.4f}")
        if any(self.skipped):
            parts.append(f"{sum(self.skipped)} steps skipped")
        if self.stopped:
            parts.append(self.stopped)
        return f"History({', '.join(parts)})"
