"""How a training runs, as data: options, and what is computed in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from xpnn.backends import (
    Array,
    InputError,
    Namespace,
    check_precision,
    dtype_name,
    host,
    is_half,
    matmul_precision,
    named_dtype,
)
from xpnn.optimizers import Adam, LossScaler, Optimizer, Schedule, as_schedule, chain

COMPUTE_DTYPES = ("float16", "bfloat16")


def refuse_given(why: str, **given: Any) -> None:
    """Refuse arguments that go with something else: all that are not None."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} is given {why}")


def check_count(name: str, value: Any) -> int:
    """Read a positive integer, NumPy's too."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a positive integer")
    return int(value)


@dataclass(frozen=True)
class Precision:
    """What a training computes in, apart from what its parameters are kept in.

    The parameters stay float32, as master weights: a step of ``rate * gradient`` is often below
    what 16 bits can tell from a weight. Each step rounds them and its rows to the compute dtype
    for forward and backward; matrix products add up in float32, the loss is float32, and
    gradients come back as float32. In float16 small gradients would vanish, so the loss is
    multiplied by a scale before the backward; see `xpnn.optimizers.LossScaler`.

    Parameters
    ----------
    compute_dtype : {'float16', 'bfloat16'}, optional
        Dtype of forward and backward; default, that of the parameters.
    loss_scale : 'dynamic', LossScaler or float, optional
        What the loss is multiplied by before the backward. 'dynamic', the default for
        float16, is ``LossScaler()``. A number stays what it is, and skips no step: a gradient
        that overflows ends the training as any does. bfloat16 has float32's range, and
        needs none.
    precision : {'highest', 'high', 'medium'}, default 'highest'
        How exactly float32 matrices are multiplied; see `xpnn.backends.matmul_precision`.

    Raises
    ------
    ValueError
        An argument is not one of these.
    """

    compute_dtype: str | None = None
    loss_scale: str | LossScaler | float | None = None
    precision: str = "highest"

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.compute_dtype is not None and self.compute_dtype not in COMPUTE_DTYPES:
            raise InputError(
                f"compute_dtype is {self.compute_dtype!r}; expected None or one of "
                f"{', '.join(COMPUTE_DTYPES)}"
            )
        given = self.loss_scale
        if given is None:
            return
        if self.compute_dtype is None:
            raise InputError(f"loss_scale is {given!r}; it needs compute_dtype='float16'")
        if isinstance(given, int | float) and not isinstance(given, bool):
            fits = given > 0
        else:
            fits = given == "dynamic" or isinstance(given, LossScaler)
        if not fits:
            raise InputError(
                f"loss_scale is {given!r}; expected 'dynamic', a LossScaler or a number above 0"
            )

    @property
    def scaling(self) -> LossScaler | None:
        """How the loss is scaled; None where it is not."""
        given = self.loss_scale
        if given == "dynamic" or (given is None and self.compute_dtype == "float16"):
            return LossScaler()
        if given is None or isinstance(given, LossScaler):
            return given
        assert not isinstance(given, str)
        return LossScaler(float(given), growth_interval=None)

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Make an optimizer that takes scaled gradients, where they are scaled."""
        scaler = self.scaling
        return optimizer if scaler is None else chain(scaler, optimizer)

    def check(self, theta: Array, xp: Namespace) -> None:
        """Refuse parameters that are no master weights, and a dtype that a library lacks."""
        if is_half(theta.dtype):
            raise InputError(
                f"compute_dtype is {self.compute_dtype!r} and the parameters are "
                f"{dtype_name(theta.dtype)}; expected float32 parameters, which are kept exactly "
                "while a step computes in 16 bits"
            )
        assert self.compute_dtype is not None
        named_dtype(self.compute_dtype, xp)

    def cast(self, array: Array, xp: Namespace) -> Array:
        """Round parameters or rows to the compute dtype."""
        assert self.compute_dtype is not None
        return xp.astype(array, named_dtype(self.compute_dtype, xp), copy=False)

    @contextmanager
    def scope(self, xp: Namespace) -> Generator[None]:
        """Hold while steps run: how products are computed, and that NumPy does not warn.

        An infinite number is expected in 16 bits, and reported after the epoch elsewhere.
        """
        with matmul_precision(self.precision, xp), host.errstate(all="ignore"):
            yield


DEFAULT_PRECISION = Precision()


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
        Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases do not count.
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
    engine : {'auto', 'planned', 'native', 'pure'}, default 'auto'
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
    precision: Precision = DEFAULT_PRECISION
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
            **{k: v for k, v in vars(self.precision).items() if v != getattr(Precision, k)},
        }
