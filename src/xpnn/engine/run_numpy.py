"""Running an update on NumPy: traced once for each batch size, then replayed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from xpnn.backends import Array, DType, Namespace, host, threads_for
from xpnn.engine.buffers import aligned
from xpnn.engine.kernels import DTYPES, GATHER, compile_kernel
from xpnn.engine.make import Plan, make_plan, owned_copy
from xpnn.engine.replay import unmoved
from xpnn.engine.run_pure import Noise, PureRunner, Update, batches
from xpnn.engine.trace import NAMESPACE, UnknownOperationError
from xpnn.engine.trees import leaves, map_tree
from xpnn.engine.turns import moved, turns

Names = tuple[Sequence[str], Sequence[str]]

_WIDE = 64  # numbers in a row from which on a kernel gathers faster than NumPy

log = logging.getLogger("xpnn.engine")

_KEPT = 8  # plans that are kept, the latest ones


def _take(column: Any, numbers: Any, place: Any) -> None:
    column.take(numbers, 0, place, "clip")


@dataclass
class _Bound:
    """A plan of the update for one batch size, and its input buffers.

    There is a set of the batch's buffers, and a replay, for each turn.
    """

    plan: Plan
    columns: list[list[Any]]
    replays: list[Callable[[], None]]
    noise: list[Any]
    rate: Any
    rate_value: float


def labels_of(names: Sequence[str], parts: tuple[Any, ...]) -> list[str]:
    """Give each array of nested tuples the name of its part, numbered where there are more."""
    labels = []
    for name, part in zip(names, parts, strict=True):
        count = len(leaves(part))
        labels += [name] if count == 1 else [f"{name} {i}" for i in range(count)]
    return labels


def first_drawn(drawn: Any, noise: Noise) -> Noise:
    """Hand out noise that is drawn already, then go on drawing."""
    waiting = [drawn]
    return lambda rows: waiting.pop() if waiting else noise(rows)


class NumpyRunner:
    """Replays an update on buffers that it owns.

    Parameters
    ----------
    make_update : callable
        ``make_update(xp) -> update``; see `PureRunner`.
    carry, columns : nested tuples of array
        As in `PureRunner`; the carry is copied, the data only read.
    xp : module
        NumPy's namespace, for the case that the engine lacks a rule.
    dtype : dtype
        Dtype of rates and sums.
    kernels : bool, default False
        Whether elementwise operations become compiled kernels (needs Numba).
    names : pair of sequences of str, optional
        What the parts of the carry and the columns are called in `Plan.describe`.
    pure_steps : int, default 0
        Steps that run as they are before one is planned; on NumPy that changes no bit.

    Attributes
    ----------
    hand_out : callable
        Makes of the parameters an array of the caller's library.
    """

    hand_out: Callable[[Any], Array] = staticmethod(unmoved)

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, xp: Namespace,
        dtype: DType, kernels: bool = False, names: Names | None = None, pure_steps: int = 0,
    ) -> None:  # fmt: skip
        self.kernels = kernels
        self.names = names or (
            [f"carry {i}" for i in range(len(carry))], [f"column {i}" for i in range(len(columns))],
        )  # fmt: skip
        self.make_update, self.columns, self.xp, self.dtype = make_update, columns, xp, dtype
        # By rows, number of sums, and whether the rows are read where they are.
        self.bound: OrderedDict[Any, _Bound] = OrderedDict()
        self.turns, self.turn = 0, 0  # not chosen yet
        self.totals: dict[int, tuple[Any, ...]] = {}
        self.reason = ""
        self.whole = True  # False while a step may have written some of the parameters
        self._pure: PureRunner | None = None
        # Steps that are still to come before a plan pays; None where none is waited for.
        self._pure_steps = pure_steps or None
        if pure_steps:
            self._run_pure(carry, "a training of few steps does not pay for a plan")
        else:
            self._own(carry)

    def _own(self, carry: Any) -> None:
        """Go on from a carry, in memory of the runner's own."""
        self.carry = map_tree(owned_copy, carry)
        self.thetas = [self.carry[0]]

    def _run_pure(self, carry: Any, reason: str) -> None:
        """Run the update as it is from now on."""
        self.reason = f"the pure step runs as it is: {reason}"
        self._pure = PureRunner(
            self.make_update(self.xp), carry, self.columns, self.xp, "cpu", self.dtype
        )

    def _pays(self, steps: int) -> bool:
        """Count steps, and say whether they are planned: the first ones do not pay for it."""
        if self._pure is None or self._pure_steps is None:
            return self._pure is None
        if steps <= self._pure_steps:
            self._pure_steps -= steps
            return False
        self._pure_steps, self.reason = None, ""
        pure, self._pure = self._pure, None
        self._own(pure.carry)
        return True

    def _choose_turns(self, rows: int, direct: bool) -> None:
        """Say how many buffers are taken in turn, and make those of the parameters."""
        theta = self.carry[0]
        batch = 0 if direct else sum(c[:rows].nbytes for c in leaves(self.columns))
        self.turns, with_theta = turns(batch, theta.nbytes)
        if with_theta:
            self.thetas += [aligned(theta.shape, theta.dtype) for _ in range(self.turns - 1)]

    def _bind(self, rows: int, direct: bool, noise: Any, sums: tuple[Any, ...]) -> _Bound:
        """Plan the update for a batch size; `direct` batches are the data itself."""

        def buffer(column: Array) -> Any:
            return column if direct else aligned((rows, *column.shape[1:]), column.dtype)

        sets = [map_tree(buffer, self.columns) for _ in range(self.turns)]
        columns = sets[0]
        if not direct:
            for place, column in zip(leaves(columns), leaves(self.columns), strict=True):
                host.copyto(place, column[:rows])
        noises = map_tree(owned_copy, noise)
        rate = owned_copy(host.asarray(1.0, self.dtype))
        batch = (*columns, noises, rate)
        arguments = (self.carry, sums, batch)
        carried = len(leaves((self.carry, sums)))
        labels = [
            *labels_of(self.names[0], self.carry),
            *labels_of(["sum"], (sums,)),
            *labels_of([*self.names[1], "noise", "rate"], batch),
        ]
        several = len(self.thetas) > 1
        plan = make_plan(
            self.make_update(NAMESPACE), arguments, labels, {i: i for i in range(carried)},
            self.kernels, {0: self.thetas[1]} if several else None,
            [len(leaves(self.carry)) - 1],
        )  # fmt: skip
        plan.turns = self.turns
        replays = []
        for turn, others in enumerate(sets):
            pairs = list(zip(leaves(columns), leaves(others), strict=True))
            if several:
                pairs += [(self.thetas[i], self.thetas[(turn + i) % self.turns]) for i in (0, 1)]
            replays.append(plan.bind(moved(pairs)))
        return _Bound(plan, [leaves(c) for c in sets], replays, leaves(noises), rate, 1.0)

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        if not self._pays(len(rates)):
            assert self._pure is not None
            return self._pure.run(rows, size, order, rates, noise, sums, before)
        totals = self._sums(sums)
        for i, total in enumerate(totals):
            total[...] = 0.0 if before is None else before[i]
        drawn = noise(min(size, rows))
        try:
            self._bind_all(rows, size, order is None, drawn, totals)
        except UnknownOperationError as error:
            self._fall_back(str(error))
            return self.run(rows, size, order, rates, first_drawn(drawn, noise), sums, before)
        with threads_for(size, len(rates)):
            self._steps(rows, size, order, rates, noise, drawn, sums)
        return totals

    def _steps(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, drawn: Any,
        sums: int,
    ) -> None:  # fmt: skip
        """Replay the steps of an epoch."""
        data = leaves(self.columns)
        gathers = [self._gather(column) for column in data]
        direct = order is None and size >= rows
        several = len(self.thetas) > 1  # the parameters that a step reads are not written to
        for (start, stop), rate in zip(batches(rows, size), rates, strict=True):
            bound, turn = self.bound[stop - start, sums, direct], self.turn
            if order is not None:
                numbers = order[start:stop]
                for column, gather, place in zip(data, gathers, bound.columns[turn], strict=True):
                    gather(column, numbers, place)
            elif not direct:
                for column, place in zip(data, bound.columns[turn], strict=True):
                    host.copyto(place, column[start:stop])
            if bound.noise:
                if start > 0:
                    drawn = noise(stop - start)
                for values, place in zip(leaves(drawn), bound.noise, strict=True):
                    host.copyto(place, values)
            if rate != bound.rate_value:
                bound.rate[...] = bound.rate_value = rate
            self.whole = several
            bound.replays[turn]()
            self.whole, self.turn = True, (turn + 1) % self.turns

    def _gather(self, column: Any) -> Callable[[Any, Any, Any], Any]:
        """Choose how rows are copied by their numbers."""
        if not isinstance(column, host.ndarray):
            return _take
        wide = column.ndim == 2 and column.shape[1] >= _WIDE and str(column.dtype) in DTYPES
        return compile_kernel(GATHER) if self.kernels and wide else _take

    def plan(self, rows: int, noise: Noise, sums: int) -> Plan:
        """Plan a batch of that many rows, and run nothing.

        Raises
        ------
        UnknownOperationError
            The engine has no rule for something that the update does.
        """
        self._pays((self._pure_steps or 0) + 1)
        self._bind_all(rows, rows, False, noise(rows), self._sums(sums))
        return self.bound[rows, sums, False].plan

    def repeat(self, rows: int, rate: float, times: int) -> None:
        """Take the same step many times: on all rows as they are, without noise or sums."""
        if self._pays(times):
            try:
                self._bind_all(rows, rows, True, None, ())
            except UnknownOperationError as error:
                self._fall_back(str(error))
        if self._pure is not None:
            for _ in range(times):
                self._pure.run(rows, rows, None, [rate], lambda rows: None, 0)
            return
        bound = self.bound[rows, 0, True]
        bound.rate[...] = bound.rate_value = rate
        if self.turns == 1:
            replay = bound.replays[0]
            for _ in range(times):
                self.whole = False
                replay()
                self.whole = True
            return
        for _ in range(times):
            bound.replays[self.turn]()
            self.turn = (self.turn + 1) % self.turns

    def _sums(self, count: int) -> tuple[Any, ...]:
        if count not in self.totals:
            zero = host.asarray(0.0, self.dtype)
            self.totals[count] = tuple(owned_copy(zero) for _ in range(count))
        return self.totals[count]

    def _bind_all(
        self, rows: int, size: int, in_order: bool, drawn: Any, sums: tuple[Any, ...]
    ) -> None:
        """Plan every batch size before the first step, so that a missing rule costs no step."""
        if not self.turns:
            self._choose_turns(min(size, rows), in_order and size >= rows)
        direct = in_order and size >= rows
        for count in {stop - start for start, stop in batches(rows, size)}:
            key = (count, len(sums), direct)
            bound = self.bound.get(key)
            if bound is None or (direct and not self._is_on(bound)):
                part = map_tree(itemgetter(slice(count)), drawn)
                self.bound[key] = self._bind(count, direct, part, sums)
            self.bound.move_to_end(key)
        while len(self.bound) > _KEPT:
            self.bound.popitem(last=False)

    def _is_on(self, bound: _Bound) -> bool:
        """Whether a plan reads the data that there is now, where that is."""
        pairs = zip(bound.columns[0], leaves(self.columns), strict=True)
        return all(old is new for old, new in pairs)

    def forget_data(self) -> None:
        """Let go of data that was read where it is."""
        for key in [key for key in self.bound if key[2]]:
            del self.bound[key]

    def _fall_back(self, reason: str) -> None:
        self._run_pure((self._theta(), *self.carry[1:]), f"the engine has no rule for {reason}")
        log.debug(self.reason)

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return self.hand_out(self._theta())

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        if self._pure is not None:
            return map_tree(self.hand_out, self._pure.state())
        carry = (self._theta(), *map_tree(owned_copy, self.carry[1:]))
        return map_tree(self.hand_out, carry)

    def _theta(self) -> Any:
        if self._pure is not None:
            return self._pure.theta()
        return self.thetas[self.turn % len(self.thetas)].copy()
