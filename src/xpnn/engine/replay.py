"""Replaying an update on NumPy: planned once for each batch size, on buffers taken in turn.

Where BLAS uses several cores, each core keeps a copy of what it read. One that writes there
later waits for the others to let go, cache line by cache line; where the cores share no
cache, that cost 0.2 to 0.8 ms a step for the weights of MNIST's 784-100-10 alone, as much
as half of all matrix products. So each step writes its batch and its new parameters into
the next of a few buffers, where nobody has read for long. Measured on two cores: 1.19 ms a
step with 8 buffers in turn against 1.7 to 2.0 ms with one; no difference on one core.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from xpnn.backends import Array, DType, host
from xpnn.engine.kernels import DTYPES, GATHER, compile_kernel
from xpnn.engine.memory import aligned
from xpnn.engine.plan import Plan, make_plan, moved, owned_copy
from xpnn.engine.run_pure import Names, Noise, Update, batches
from xpnn.engine.trees import leaves, map_tree

MOST = 16  # buffers in turn
FEWEST = 4  # two or three gain nothing: the copies are still there
SMALL = 2**16  # bytes of a batch below which BLAS hardly uses a second core
TOTAL = 2**24  # bytes of all turns together

_WIDE = 64  # numbers in a row from which on a kernel gathers faster than NumPy
_KEPT = 8  # plans that are kept, the latest ones


def turns(batch: int, parameters: int) -> tuple[int, bool]:
    """Choose how many buffers are taken in turn, and whether the parameters take part.

    `batch` and `parameters` are in bytes.
    """
    if batch < SMALL:
        return 1, False
    both = min(MOST, TOTAL // (batch + parameters))
    if both >= FEWEST:
        return both, True
    alone = min(MOST, TOTAL // batch)
    return (alone, False) if alone >= FEWEST else (1, False)


def labels_of(names: Names | None, carry: Any, sums: Any, batch: Any) -> list[str]:
    """Name each array that a step reads after its part, numbered where that has several."""
    if names is None:
        data = len(batch) - 2
        names = [f"carry {i}" for i in range(len(carry))], [f"column {i}" for i in range(data)]
    labels = []
    parts = (*carry, sums, *batch)
    for name, part in zip((*names[0], "sum", *names[1], "noise", "rate"), parts, strict=True):
        count = len(leaves(part))
        labels += [name] if count == 1 else [f"{name} {i}" for i in range(count)]
    return labels


def _take(column: Any, numbers: Any, place: Any) -> None:
    column.take(numbers, 0, place, "clip")


@dataclass
class _Bound:
    """A plan of the update for one batch size; a batch's buffers and a replay for each turn."""

    plan: Plan
    columns: list[list[Any]]
    replays: list[Callable[[], None]]
    noise: list[Any]
    rate: Any
    rate_value: float


class Replay:
    """Replays an update, made for `xpnn.engine.trace.NAMESPACE`, on memory of its own.

    The carry is copied, data only read.
    """

    def __init__(
        self, update: Update, carry: Any, dtype: DType, kernels: bool = False,
        names: Names | None = None,
    ) -> None:  # fmt: skip
        self.update, self.dtype, self.kernels, self.names = update, dtype, kernels, names
        self.carry = map_tree(owned_copy, carry)
        self.thetas = [self.carry[0]]  # places of the parameters, one for each turn
        # By rows, number of sums, and whether the rows are read where they are.
        self.bound: OrderedDict[tuple[int, int, bool], _Bound] = OrderedDict()
        self.turns, self.turn = 0, 0  # not chosen yet
        self.totals: dict[int, tuple[Any, ...]] = {}
        self.whole = True  # False while a step may have written some of the parameters

    def _sums(self, count: int) -> tuple[Any, ...]:
        if count not in self.totals:
            zero = host.asarray(0.0, self.dtype)
            self.totals[count] = tuple(owned_copy(zero) for _ in range(count))
        return self.totals[count]

    # Planning

    def bind(
        self, columns: Any, rows: int, size: int, in_order: bool, drawn: Any, sums: int
    ) -> None:
        """Plan every batch size before the first step, so that a missing rule costs no step."""
        direct = in_order and size >= rows
        if not self.turns:
            self._choose_turns(columns, min(size, rows), direct)
        for count in {stop - start for start, stop in batches(rows, size)}:
            key = (count, sums, direct)
            bound = self.bound.get(key)
            if bound is None or (direct and not _is_on(bound, columns)):
                part = map_tree(itemgetter(slice(count)), drawn)
                self.bound[key] = self._plan(columns, count, direct, part, self._sums(sums))
            self.bound.move_to_end(key)
        while len(self.bound) > _KEPT:
            self.bound.popitem(last=False)

    def _choose_turns(self, columns: Any, rows: int, direct: bool) -> None:
        """Say how many buffers are taken in turn, and make those of the parameters."""
        theta = self.carry[0]
        batch = 0 if direct else sum(c[:rows].nbytes for c in leaves(columns))
        self.turns, with_theta = turns(batch, theta.nbytes)
        if with_theta:
            self.thetas += [aligned(theta.shape, theta.dtype) for _ in range(self.turns - 1)]

    def _plan(
        self, columns: Any, rows: int, direct: bool, noise: Any, sums: tuple[Any, ...]
    ) -> _Bound:
        """Plan the update for a batch size; `direct` batches are the data itself."""

        def buffer(column: Array) -> Any:
            return column if direct else aligned((rows, *column.shape[1:]), column.dtype)

        sets = [map_tree(buffer, columns) for _ in range(self.turns)]
        if not direct:
            for place, column in zip(leaves(sets[0]), leaves(columns), strict=True):
                host.copyto(place, column[:rows])
        noises = map_tree(owned_copy, noise)
        rate = owned_copy(host.asarray(1.0, self.dtype))
        batch = (*sets[0], noises, rate)
        several = len(self.thetas) > 1
        plan = make_plan(
            self.update,
            (self.carry, sums, batch),
            labels_of(self.names, self.carry, sums, batch),
            {i: i for i in range(len(leaves((self.carry, sums))))},
            self.kernels,
            {0: self.thetas[1]} if several else None,
            [len(leaves(self.carry)) - 1],
        )
        plan.turns = self.turns
        replays = []
        for turn, others in enumerate(sets):
            pairs = list(zip(leaves(sets[0]), leaves(others), strict=True))
            if several:
                pairs += [(self.thetas[i], self.thetas[(turn + i) % self.turns]) for i in (0, 1)]
            replays.append(plan.bind(moved(pairs)))
        return _Bound(plan, [leaves(c) for c in sets], replays, leaves(noises), rate, 1.0)

    def forget_data(self) -> None:
        """Let go of data that was read where it is."""
        for key in [key for key in self.bound if key[2]]:
            del self.bound[key]

    # Running

    def run(
        self, columns: Any, rows: int, size: int, order: Any, rates: Sequence[float],
        noise: Noise, sums: int, before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once, all batch sizes being bound; see `PureRunner.run`."""
        totals = self._sums(sums)
        for i, total in enumerate(totals):
            total[...] = 0.0 if before is None else before[i]
        data = leaves(columns)
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
                for values, place in zip(leaves(noise(stop - start)), bound.noise, strict=True):
                    host.copyto(place, values)
            if rate != bound.rate_value:
                bound.rate[...] = bound.rate_value = rate
            self.whole = several
            bound.replays[turn]()
            self.whole, self.turn = True, (turn + 1) % self.turns
        return totals

    def _gather(self, column: Any) -> Callable[[Any, Any, Any], Any]:
        """Choose how rows are copied by their numbers."""
        if not isinstance(column, host.ndarray):
            return _take
        wide = column.ndim == 2 and column.shape[1] >= _WIDE and str(column.dtype) in DTYPES
        return compile_kernel(GATHER) if self.kernels and wide else _take

    def repeat(self, rows: int, rate: float, times: int) -> None:
        """Take the same step many times: on all rows as they are, without noise or sums."""
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

    def theta(self) -> Any:
        """Copy the parameters."""
        return self.thetas[self.turn % len(self.thetas)].copy()

    def state(self) -> Any:
        """Copy all of the carry."""
        return (self.theta(), *map_tree(owned_copy, self.carry[1:]))


def _is_on(bound: _Bound, columns: Any) -> bool:
    """Whether a plan reads this data, where it is."""
    pairs = zip(bound.columns[0], leaves(columns), strict=True)
    return all(old is new for old, new in pairs)
