"""Running an update on NumPy's arrays: as it is at first, then from a plan, once that pays."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpnn.backends import HOST_NAMESPACE, Array, DType, Namespace, host, host_view, threads_for
from xpnn.engine.llvm import NativeCodeError, llvm_is_there
from xpnn.engine.run_pure import Names, Noise, PureRunner, Update, first_drawn, on_host
from xpnn.engine.trace import UnknownOperationError
from xpnn.engine.trees import map_tree

if TYPE_CHECKING:
    from xpnn.engine.plan import Plan
    from xpnn.engine.replay import Replay

# Seconds that it takes to plan and check a batch size, to have LLVM write what is new of its loops,
# and to have it write all of them, as measured on two cores. A step of a plan saves about half the
# time of a pure one.
PLANNED, NATIVE, FIRST = 0.012, 0.04, 0.15
_WRITTEN: set[str] = set()  # dtypes of which there is native code in this process
TRIED = 2  # pure steps of a batch size, at least, whose time is measured


@dataclass
class _Size:
    """What is known of batches of one size."""

    taken: int = 0  # steps
    seconds: float = 0.0  # the shortest time that a pure one took


class NumpyRunner(PureRunner):
    """Runs an update as it is until a plan pays, then from the plan.

    Parameters
    ----------
    make_update, carry, columns, dtype, names
        See `xpnn.engine.make_runner`.
    mode : {'auto', 'planned', 'native'}
        How steps run: by calls of NumPy or native code from the first one on, or, for 'auto', by
        what the steps still to come are worth. On NumPy that changes no bit.
    steps : int, default 0
        Steps that will come, as far as is known. Where nobody knows, as many are expected as there
        were.
    hand_out : callable, optional
        Makes an array of the caller's library of NumPy's, where that is another one.
    """

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, dtype: DType,
        mode: str = "auto", steps: int = 0, names: Names | None = None,
        hand_out: Callable[[Any], Array] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            make_update(HOST_NAMESPACE), carry, columns, HOST_NAMESPACE, "cpu", dtype
        )  # fmt: skip
        self.make_update, self.names, self.hand_out = make_update, names, hand_out
        self.mode, self.expected, self.taken = mode, steps, 0
        self.sizes: dict[int, _Size] = {}
        self.replay: Replay | None = None
        self.reason = ""  # why there can be no plan
        self.no_native = "" if llvm_is_there() else "llvmlite is not installed"
        self._latest = "pure"  # how the latest step was run

    # Which way

    def _way(self, size: int, share: float) -> str:
        """How to take steps on batches of a size, so many of the steps to come: what pays."""
        if self.reason:
            return "pure"
        if self.mode != "auto":
            return "planned" if self.no_native else self.mode
        known = self.sizes.setdefault(size, _Size())
        if known.taken < TRIED:
            return "pure"
        gain = 0.5 * known.seconds * max((self.expected - self.taken) * share, known.taken)
        if not self.no_native and gain > (NATIVE if str(self.dtype) in _WRITTEN else FIRST):
            return "native"
        return "planned" if gain > PLANNED else "pure"

    def _replay(self, way: str) -> Replay:
        """What takes steps from a plan."""
        from xpnn.engine.replay import Replay

        native = way == "native"
        if self.replay is None or (native and not self.replay.native):
            self.replay = Replay(self.make_update, self.carry, self.dtype, native, self.names)
            _WRITTEN.update([str(self.dtype)] if native else ())
            self.carry = self.replay.carry
        return self.replay

    def _fall_back(self, why: str) -> None:
        """Run the update as it is from now on."""
        self.carry, self.replay = self.state(), None
        self.reason = why

    # Running

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        totals = before or (self.number(0.0),) * sums
        if order is None and (size < rows or on_host(self.columns)):
            order = host.arange(rows)
        size = min(size, rows)
        whole = len(rates) if order is None else rows // size
        with threads_for(size, len(rates)):
            for count, first, last in ((size, 0, whole), (rows % size, whole, len(rates))):
                own = None if order is None else order[first * size :][: (last - first) * count]
                share, done = (last - first) / len(rates), 0
                while done < last - first:
                    way = self._way(count, share)
                    take = self._pure if way == "pure" else self._planned
                    left = None if own is None else own[done * count :]
                    rest = rates[first + done : last]
                    taken, totals, noise = take(way, count, left, rest, noise, totals)
                    done += taken
        return totals

    def _pure(
        self, way: str, size: int, order: Any, rates: Sequence[float], noise: Noise, totals: Any
    ) -> tuple[int, Any, Noise]:
        """Take some steps as they are; how many, and what they added up."""
        known = self.sizes.setdefault(size, _Size())
        count = len(rates) if self.reason else min(len(rates), TRIED + known.taken // 2)
        own = None if order is None else order[: count * size]
        began = time.perf_counter()
        rows = size if own is None else len(own)
        totals = super().run(rows, size, own, rates[:count], noise, len(totals), totals)
        seconds = (time.perf_counter() - began) / count
        known.seconds = min(known.seconds or seconds, seconds)
        self._count(size, count, way)
        if self.replay is not None:
            self.replay.put(self.carry)
            self.carry = self.replay.carry
        return count, totals, noise

    def _planned(
        self, way: str, size: int, order: Any, rates: Sequence[float], noise: Noise, totals: Any
    ) -> tuple[int, Any, Noise]:
        """Take steps from a plan; how many, and what they added up."""
        from xpnn.engine.replay import WrongStepError

        sums, replay = len(totals), self._replay(way)
        if not replay.knows(size, sums):
            drawn = noise(size)
            noise = first_drawn(drawn, noise)
            try:
                replay.bind(self.columns, size, drawn, sums)
            except UnknownOperationError as error:
                self._fall_back(f"the engine has no rule for {error}")
                self._warn_if_asked_for(f"the pure step runs in its place: {self.reason}")
                return 0, totals, noise
            except NativeCodeError as error:
                self.no_native, self.carry, self.replay = str(error), replay.state(), None
                self._warn_if_asked_for(f"calls of NumPy run in its place: {error}")
                return 0, totals, noise
        replay.add_to(totals)
        count = len(rates)
        try:
            replay.run(self.columns, size, order, rates, noise, sums)
        except WrongStepError as error:
            count = error.taken
            self._fall_back("a step from a plan gave other numbers")
            warnings.warn(
                "a planned step gave other numbers than the pure step, which runs in its place "
                "from now on: slower, but right. This is a bug of xpnn, please report it",
                RuntimeWarning,
                stacklevel=2,
            )
        self._count(size, count, way if self.replay else "pure")
        return count, replay.totals(sums), noise

    def _warn_if_asked_for(self, what: str) -> None:
        if self.mode != "auto":
            text = f"engine={self.mode!r}: {what}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _count(self, size: int, steps: int, way: str) -> None:
        self.sizes.setdefault(size, _Size()).taken += steps
        self.taken += steps
        self._latest = way

    @property
    def engine(self) -> str:
        """How the latest steps ran: 'pure', 'planned' or 'native', and why not faster."""
        slow = [] if self.replay is None else self.replay.slow
        if self._latest == "native" and slow:
            return f"native, but for calls of NumPy: {', '.join(slow)}"
        if self._latest == "planned" and self.mode != "planned" and self.no_native:
            return f"planned: {self.no_native}"
        return f"pure: {self.reason}" if self.reason else self._latest

    def plan(self, rows: int, noise: Noise, sums: int) -> Plan:
        """Plan a batch of that many rows, and run nothing.

        Raises UnknownOperationError where the engine has no rule for something in the update.
        """
        way = "planned" if self.no_native or self.mode == "planned" else "native"
        return self._replay(way).bind(self.columns, rows, noise(rows), sums)

    def forget_data(self) -> None:
        """Let go of data that was read where it is."""
        if self.replay is not None:
            self.replay.forget_data()

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether no step has written only some of the parameters."""
        return self.replay is None or self.replay.whole

    def set_theta(self, theta: Array) -> None:
        """Go on from other parameters, which are only read."""
        super().set_theta(theta if self.hand_out is None else host_view(theta))
        if self.replay is not None:
            self.replay.put(self.carry)
            self.carry = self.replay.carry

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        theta = self.carry[0].copy()
        return theta if self.hand_out is None else self.hand_out(theta)

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        carry = self.carry if self.replay is None else self.replay.state()
        return carry if self.hand_out is None else map_tree(self.hand_out, carry)
