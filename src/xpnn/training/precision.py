"""What a training computes in, apart from what its parameters are kept in.

The parameters stay float32, as master weights: a step of ``rate * gradient`` is often below
what 16 bits can tell from a weight. Each step rounds them and its rows to the compute dtype
for forward and backward; matrix products add up in float32, the loss is float32, and
gradients come back as float32. In float16 small gradients would vanish, so the loss is
multiplied by a scale before the backward; see `xpnn.optimizers.LossScaler`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xpnn.backends import (
    Array,
    InputError,
    Namespace,
    check_precision,
    dtype_name,
    host,
    is_half,
    library_name,
    matmul_precision,
    named_dtype,
)
from xpnn.optimizers import LossScaler, Optimizer, chain
from xpnn.training.loss import Objective

COMPUTE_DTYPES = ("float16", "bfloat16")


@dataclass(frozen=True)
class Precision:
    """What a training computes in.

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
    def mixed(self) -> bool:
        """Whether steps compute in another dtype than that of the parameters."""
        return self.compute_dtype is not None

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

    def changed(self) -> dict[str, Any]:
        """The options that are not the default: what a checkpoint is known by."""
        return {k: v for k, v in vars(self).items() if v != getattr(DEFAULT_PRECISION, k)}

    def check(self, theta: Array, xp: Namespace) -> None:
        """Refuse parameters that are no master weights, and a dtype that a library lacks.

        Raises
        ------
        ValueError
            Says what was expected.
        BackendUnavailableError
            The dtype needs a package that is not installed.
        """
        if self.compute_dtype is None:
            return
        if is_half(theta.dtype):
            raise InputError(
                f"compute_dtype is {self.compute_dtype!r} and the parameters are "
                f"{dtype_name(theta.dtype)}; expected float32 parameters, which are kept exactly "
                "while a step computes in 16 bits"
            )
        named_dtype(self.compute_dtype, xp)

    def engine(self, asked: str, xp: Namespace) -> str:
        """Choose how steps run: 16 bits stay with PyTorch, whose CPU tensors NumPy could see."""
        return "pure" if self.mixed and library_name(xp) == "torch" else asked

    @contextmanager
    def scope(self, xp: Namespace) -> Generator[None]:
        """Hold while steps run: how products are computed, and that NumPy does not warn.

        An infinite number is expected in 16 bits, and reported after the epoch elsewhere.
        """
        with matmul_precision(self.precision, xp), host.errstate(all="ignore"):
            yield

    # What a step is made of

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Make an optimizer that takes scaled gradients, where they are scaled."""
        return optimizer if self.scaling is None else chain(self.scaling, optimizer)

    def cast(self, array: Array, xp: Namespace) -> Array:
        """Round parameters or rows to the compute dtype."""
        if self.compute_dtype is None:
            return array
        return xp.astype(array, named_dtype(self.compute_dtype, xp), copy=False)


DEFAULT_PRECISION = Precision()


@dataclass(frozen=True)
class UpcastLoss:
    """A loss of 16-bit scores, computed in float32.

    Parameters
    ----------
    loss : Objective
        The loss.
    scale : array, 0-d, or float or None
        What its gradient is multiplied by before it is rounded; None leaves that out.
    """

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
