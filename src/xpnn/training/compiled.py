"""A training step bound to an engine: what goes from step to step, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnn.backends import (
    Array,
    Backend,
    InputError,
    is_half,
    library_name,
    on_device,
    scalar,
    to_float,
)
from xpnn.distributed import ProcessGroup, Shard
from xpnn.engine import (
    NumpyRunner,
    UnknownOperationError,
    live_state,
    make_runner,
    mode_of,
    set_data,
    whole_theta,
)
from xpnn.layers import Tree
from xpnn.training.dataset import Columns, Segment
from xpnn.training.step import Step, upcast

NAMES = (("theta", "state", "count"), ("x", "t", "weight"))


def initial_carry(step: Step, theta: Array, backend: Backend) -> Any:
    """What goes from step to step, before the first: parameters, optimizer state and count.

    Parameters
    ----------
    step : Step
        Its optimizer makes the state.
    theta : array, shape (parameters,)
        Parameters.
    backend : Backend
        Where they are.

    Returns
    -------
    tuple
        ``(theta, state, count)``.
    """
    xp = backend.xp
    with on_device(backend.device):
        # A 16-bit float could neither count past 2048 steps nor hold small rates.
        dtype = xp.float32 if is_half(theta.dtype) else theta.dtype
        state = step.optimizer.init(upcast(theta, xp), xp=xp)
        return theta, state, scalar(0.0, xp, backend.device, dtype)


class CompiledStep:
    """Takes steps: a `Step` on the engine, with the carry that it starts from.

    Parameters
    ----------
    step : Step
        What a step is made of.
    carry : tuple
        From `initial_carry`, or the `carry` of another one.
    columns : tuple of array
        Data to learn from; only its kinds count.
    backend : Backend
        Where parameters and data are.
    engine : str, default 'auto'
        See `xpnn.engine.make_runner`.
    steps : int, default 0
        Steps that may come, as far as is known.
    group : ProcessGroup, optional
        Processes that share each batch.
    """

    def __init__(
        self,
        step: Step,
        carry: Any,
        columns: Columns,
        backend: Backend,
        *,
        engine: str = "auto",
        steps: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        step.precision.check(carry[0], backend.xp)
        self.step, self.backend, self.group = step, backend, group
        self.asked, self.kinds = engine, kinds_of(columns)
        self._shard = None if group is None else Shard(group.rank, group.size)
        mode = step.precision.engine(engine, backend.xp)
        if group is not None and library_name(backend.xp) == "jax":
            mode = "pure"  # the host's exchange is between two compiled functions
        with on_device(backend.device):
            self._runner = make_runner(
                lambda xp: step.update(xp, group),
                carry,
                columns,
                xp=backend.xp,
                device=backend.device,
                dtype=carry[2].dtype,
                steps=steps,
                mode=mode,
                names=NAMES,
            )

    def fits(self, step: Step, columns: Columns, backend: Backend, engine: str, group: Any) -> bool:
        """Whether this can go on with other data and options."""
        same = (self.step, self.backend, self.asked, self.group) == (step, backend, engine, group)
        return same and self.kinds == kinds_of(columns)

    @property
    def mode(self) -> str:
        """The engine that makes such steps again, whatever their number."""
        return mode_of(self._runner)

    # Steps

    def run(
        self,
        segment: Segment,
        batch_size: int,
        learning_rates: Sequence[float],
        noise: Callable[[int], Tree],
        totals: tuple[Array, ...] | int,
        sharded: bool = False,
    ) -> tuple[Array, ...]:
        """Take a step for each batch of some rows.

        Parameters
        ----------
        segment : Segment
            The rows.
        batch_size : int
            Rows in a batch.
        learning_rates : sequence of float
            That of each step.
        noise : callable
            ``noise(rows)`` draws a batch's noise on the host.
        totals : int or tuple of array
            How many totals to begin (see `Step.update`), or those of an earlier call, which
            go on.
        sharded : bool, default False
            Whether the rows are only this process's.

        Returns
        -------
        tuple of array, 0-d
            On the device.
        """
        count, before = (totals, None) if isinstance(totals, int) else (len(totals), totals)
        with on_device(self.backend.device), self.step.precision.scope(self.backend.xp):
            set_data(self._runner, segment.columns)
            arguments = (segment.rows, batch_size, segment.indices, learning_rates, noise, count)
            if self._shard is None:
                return self._runner.run(*arguments, before)
            return self._shard.run(self._runner, *arguments, before, sharded=sharded)

    def repeat(self, columns: Columns, rows: int, learning_rate: float, times: int) -> bool:
        """Take the same step many times, on all rows as they are; False where that is no gain."""
        if not isinstance(self._runner, NumpyRunner) or self._shard is not None:
            return False
        with self.step.precision.scope(self.backend.xp):
            set_data(self._runner, columns)
            self._runner.repeat(rows, learning_rate, times)
        return True

    def release(self) -> None:
        """Let go of the data that was shown, to be shown other data later."""
        set_data(self._runner, (None, None, None))

    # What goes from step to step

    def theta(self) -> Array:
        """Copy the parameters."""
        with on_device(self.backend.device):
            return self._runner.theta()

    def whole_theta(self) -> Array | None:
        """Copy the parameters after an interrupt; None where it came in the middle of a step."""
        with on_device(self.backend.device):
            return whole_theta(self._runner)

    @property
    def carry(self) -> Any:
        """Copy everything that goes from step to step."""
        with on_device(self.backend.device):
            return self._runner.state()

    def is_finite(self, theta: Array) -> bool:
        """Whether no parameter is infinite or NaN: if not, the next loss would be so."""
        xp = self.backend.xp
        with on_device(self.backend.device):
            return bool(to_float(xp.all(xp.isfinite(theta))))

    def skipped(self) -> int | None:
        """Steps that a dynamic loss scale has skipped so far; None where none ever is."""
        with on_device(self.backend.device):
            scaler = getattr(self.step.optimizer, "loss_scaler", None)
            if scaler is None or not scaler.adapts:
                return None
            return int(to_float(scaler.skipped(live_state(self._runner)[0])))

    def mean_loss(self, totals: tuple[Array, ...], rows: int) -> float:
        """Mean loss of the steps that added up to `totals`: the one wait for the device."""
        with on_device(self.backend.device):
            loss = to_float(totals[0])
            if self.step.loss.reduction == "sum" and not self.step.count_rows:
                return loss
            # Weights of no row at all leave a loss of 0, not 0 / 0.
            return loss / ((to_float(totals[1]) or 1.0) if len(totals) > 1 else rows)

    def plan(self, columns: Columns, rows: int, noise: Callable[[int], Tree]) -> Any:
        """Plan a step on a batch of so many rows, and run nothing.

        Raises
        ------
        ValueError
            Steps on arrays of this library are not planned, or the engine does not know an
            operation.
        """
        if not hasattr(self._runner, "plan"):
            raise InputError(
                "only steps on arrays of NumPy and CuPy, and on float32 and float64 tensors of "
                "PyTorch on the CPU, have a plan; X is another array, or engine is 'pure'"
            )
        count = self.step.count_totals(columns[2] is not None)
        try:
            with on_device(self.backend.device), self.step.precision.scope(self.backend.xp):
                return self._runner.plan(rows, noise, count)
        except UnknownOperationError as error:
            raise InputError(f"the step has no plan: the engine has no rule for {error}") from None


def kinds_of(columns: Columns) -> list[Any]:
    """What a plan takes for granted of its data."""
    return [None if c is None else (type(c), str(c.dtype), tuple(c.shape[1:])) for c in columns]
