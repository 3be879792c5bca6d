"""How a training runs, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from xpnn.backends import InputError
from xpnn.optimizers import Adam, Optimizer, Schedule, as_schedule
from xpnn.training.precision import Precision


def check_count(name: str, value: Any) -> int:
    """Read a positive integer; NumPy's count too.

    Raises
    ------
    ValueError
        It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a positive integer")
    return int(value)


@dataclass(frozen=True)
class TrainOptions:
    """Options of one training.

    Parameters
    ----------
    epochs : int, default 10
        Times that all rows are gone through.
    batch_size : int or None, default 32
        Rows in a step; the last batch takes what is left. None takes all rows.
    optimizer : Optimizer, optional
        Default: ``Adam()``.
    learning_rate : float or Schedule, optional
        In place of the optimizer's own.
    l2 : float, default 0
        Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases are left out.
    l2_per_row : bool, default False
        Whether the penalty is divided by a batch's rows, as scikit-learn's `alpha`.
    count_rows : bool, default False
        Whether an epoch's mean loss counts rows, not their weights, as in scikit-learn.
    allow_infinite_loss : bool, default False
        Whether a training goes on where the loss is infinite but no parameter is, as
        scikit-learn's does.
    report_every : int, default 1
        Epochs from one report to the next.
    precision : Precision
        What steps compute in.
    engine : {'auto', 'plan', 'kernels', 'pure'}, default 'auto'
        How steps run; see `xpnn.engine.make_runner`.
    gradient_accumulation_steps : int, default 1
        Parts that a batch goes through the network in.
    deterministic : bool, default False
        Whether the same bits are promised on the same machine, whatever the library.

    Raises
    ------
    ValueError
        A number is out of range; names the argument.
    """

    epochs: int = 10
    batch_size: int | None = 32
    optimizer: Optimizer = field(default_factory=Adam)
    learning_rate: float | Schedule | None = None
    l2: float = 0.0
    l2_per_row: bool = False
    count_rows: bool = False
    allow_infinite_loss: bool = False
    report_every: int = 1
    precision: Precision = field(default_factory=Precision)
    engine: str = "auto"
    gradient_accumulation_steps: int = 1
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "report_every", "gradient_accumulation_steps"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", check_count("batch_size", self.batch_size))
        if isinstance(self.l2, bool) or not isinstance(self.l2, Real) or not self.l2 >= 0:
            raise InputError(f"l2 is {self.l2!r}; expected 0 or more")
        object.__setattr__(self, "l2", float(self.l2))
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(f"optimizer is {self.optimizer!r}; expected an Optimizer")

    @property
    def schedule(self) -> Schedule:
        """The learning rate, whoever gave it."""
        given = self.optimizer.learning_rate if self.learning_rate is None else self.learning_rate
        return as_schedule(given)

    def identity(self) -> dict[str, Any]:
        """What of these changes the numbers of a training: what a checkpoint is known by."""
        return {
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.schedule,
            "l2": self.l2,
            "report_every": self.report_every,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            **self.precision.changed(),
        }
