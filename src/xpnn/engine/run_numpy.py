"""Running an update on NumPy's arrays: as it is at first, then replayed from a plan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xpnn.backends import HOST_NAMESPACE, Array, DType, Namespace, threads_for
from xpnn.engine.run_pure import Names, Noise, PureRunner, Update, first_drawn
from xpnn.engine.trace import NAMESPACE, UnknownOperationError
from xpnn.engine.trees import map_tree

if TYPE_CHECKING:
    from xpnn.engine.plan import Plan
    from xpnn.engine.replay import Replay

log = logging.getLogger("xpnn.engine")


class NumpyRunner(PureRunner):
    """Runs an update as it is until a plan pays, then replays the plan.

    With `kernels` elementwise operations become compiled kernels, which needs Numba. `names` are
    for `Plan.describe`. So many `pure_steps` run as they are before one is planned, which on
    NumPy changes no bit. `hand_out` makes an array of the caller's library of NumPy's, where
    that is another one. For the rest see `PureRunner`.
    """

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, dtype: DType,
        kernels: bool = False, names: Names | None = None, pure_steps: int = 0,
        hand_out: Callable[[Any], Array] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            make_update(HOST_NAMESPACE), carry, columns, HOST_NAMESPACE, "cpu", dtype
        )  # fmt: skip
        self.make_update, self.names, self.hand_out = make_update, names, hand_out
        self.kernels, self.mode = kernels, "kernels" if kernels else "plan"
        self.pure_steps: int | None = pure_steps  # still to come; None where there is no plan
        self.reason = ""
        if pure_steps:
            self.reason = "the pure step runs as it is: few steps do not pay for a plan"
        self.replay: Replay | None = None

    def _planned(self, steps: int) -> Replay | None:
        """What replays so many steps; None where they run as they are."""
        if self.replay is None and self.pure_steps is not None:
            if steps <= self.pure_steps:
                self.pure_steps -= steps
            else:
                from xpnn.engine.replay import Replay

                update = self.make_update(NAMESPACE)
                self.replay = Replay(update, self.carry, self.dtype, self.kernels, self.names)
                self.carry, self.reason = self.replay.carry, ""
        return self.replay

    def _bound(self, rows: int, size: int, in_order: bool, drawn: Any, sums: int) -> Replay | None:
        """What replays batches of this size; None where a rule is missing, and from then on."""
        assert self.replay is not None
        try:
            self.replay.bind(self.columns, rows, size, in_order, drawn, sums)
        except UnknownOperationError as error:
            self._fall_back(error)
        return self.replay

    def _fall_back(self, error: UnknownOperationError) -> None:
        """Run the update as it is from now on."""
        assert self.replay is not None
        self.carry, self.replay, self.pure_steps = self.replay.state(), None, None
        self.reason = f"the pure step runs as it is: the engine has no rule for {error}"
        log.debug(self.reason)

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        if self._planned(len(rates)):
            drawn = noise(min(size, rows))
            noise = first_drawn(drawn, noise)
            replay = self._bound(rows, size, order is None, drawn, sums)
            if replay is not None:
                with threads_for(size, len(rates)):
                    return replay.run(self.columns, rows, size, order, rates, noise, sums, before)
        return super().run(rows, size, order, rates, noise, sums, before)

    def repeat(self, rows: int, rate: float, times: int) -> None:
        """Take the same step many times: on all rows as they are, without noise or sums."""
        replay = self._bound(rows, rows, True, None, 0) if self._planned(times) else None
        if replay is not None:
            replay.repeat(rows, rate, times)
            return
        for _ in range(times):
            super().run(rows, rows, None, [rate], lambda rows: None, 0)

    def plan(self, rows: int, noise: Noise, sums: int) -> Plan:
        """Plan a batch of that many rows, and run nothing.

        Raises UnknownOperationError where the engine has no rule for something in the update.
        """
        replay = self._planned((self.pure_steps or 0) + 1)
        assert replay is not None
        replay.bind(self.columns, rows, rows, False, noise(rows), sums)
        return replay.bound[rows, sums, False].plan

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether no step has written only some of the parameters."""
        return self.replay is None or self.replay.whole

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        theta = super().theta() if self.replay is None else self.replay.theta()
        return theta if self.hand_out is None else self.hand_out(theta)

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        carry = self.carry if self.replay is None else self.replay.state()
        return carry if self.hand_out is None else map_tree(self.hand_out, carry)
