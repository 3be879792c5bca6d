"""Taking an update's steps on NumPy's arrays, in memory that is planned once for a batch size."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from xpnn.backends import HOST_NAMESPACE, DType, host
from xpnn.engine.calls import NativeCalls, NumpyCalls
from xpnn.engine.memory import aligned
from xpnn.engine.native import domain
from xpnn.engine.plan import Plan, make_plan, owned_copy
from xpnn.engine.run_pure import Names, Noise, Update, labels_of
from xpnn.engine.trace import NAMESPACE, exchanges_answered, exchanges_noted
from xpnn.engine.trees import leaves, map_tree, plain, same_bytes

_KEPT = 8  # plans that are kept, the latest ones
# Steps at once that the pure update takes too: the first ones of the first plan, and of a later
# one, as for a last batch.
FIRST_CHECKED, LATER_CHECKED = (1, 2), (1,)
LONGEST = 0.1  # seconds of a native call: Ctrl-C and other threads wait so long at most


class WrongStepError(Exception):
    """A planned step gave other numbers than the pure update, which are in its place now.

    `taken` are the steps of this call, that one included.
    """

    def __init__(self, taken: int) -> None:
        super().__init__(taken)
        self.taken = taken


class _Bound:
    """A plan of the update for one batch size, its buffers, and what takes its steps."""

    def __init__(self, replay: Replay, columns: Any, rows: int, noise: Any, sums: int) -> None:
        def buffer(column: Any) -> Any:
            place = aligned((rows, *column.shape[1:]), column.dtype)
            place[...] = 0
            return place

        self.rows, self.sums = rows, replay.totals(sums)
        self.batch = map_tree(buffer, columns)
        self.columns = leaves(self.batch)
        self.noise = map_tree(owned_copy, noise)
        self.rate = owned_copy(host.asarray(0.0, replay.dtype))
        batch = (*self.batch, self.noise, self.rate)
        self.plan = make_plan(
            replay.make_update(NAMESPACE),
            (replay.carry, self.sums, batch),
            labels_of(replay.names, replay.carry, self.sums, batch),
            {i: i for i in range(len(leaves((replay.carry, self.sums))))},
            domain if replay.native else None,
            replay.buffers(),
        )
        self.calls: NativeCalls | NumpyCalls = (
            NativeCalls(self.plan, self.columns, self.rate)
            if replay.native
            else NumpyCalls(self.plan)
        )
        self.shown = self.columns
        self.checks = list(LATER_CHECKED if replay.planned else FIRST_CHECKED)
        self.seconds = 0.0  # that a native step takes

    def show(self, columns: Sequence[Any]) -> None:
        """Read a batch where these arrays are."""
        if any(new is not old for new, old in zip(columns, self.shown, strict=True)):
            self.calls.show(list(zip(self.columns, columns, strict=True)))
            self.shown = list(columns)


class Replay:
    """Takes steps of an update on memory of its own; the carry is copied, data only read.

    Parameters
    ----------
    make_update : callable
        See `xpnn.engine.make_runner`.
    carry : nested tuples of array
        What goes from step to step.
    dtype : dtype
        Dtype of rates and sums.
    native : bool
        Whether steps are native code, or calls of NumPy.
    names : pair of sequences of str, optional
        For `Plan.describe`.
    """

    def __init__(
        self, make_update: Any, carry: Any, dtype: DType, native: bool, names: Names | None = None
    ) -> None:
        self.make_update, self.dtype, self.native, self.names = make_update, dtype, native, names
        self.pure: Update = make_update(HOST_NAMESPACE)
        self.carry = map_tree(owned_copy, carry)
        self._bound: OrderedDict[tuple[int, int], _Bound] = OrderedDict()
        self._totals: dict[int, tuple[Any, ...]] = {}
        self.planned = False  # whether there was a plan
        self.whole = True  # False while a step may have written some of the parameters

    def totals(self, count: int) -> tuple[Any, ...]:
        """Where so many sums are added up."""
        if count not in self._totals:
            zero = host.asarray(0.0, self.dtype)
            self._totals[count] = tuple(owned_copy(zero) for _ in range(count))
        return self._totals[count]

    def add_to(self, values: tuple[Any, ...]) -> None:
        """Let what steps add up go on from these values."""
        for total, value in zip(self.totals(len(values)), values, strict=True):
            if total is not value:
                total[...] = value

    def put(self, carry: Any) -> None:
        """Go on from another carry."""
        for place, value in zip(leaves(self.carry), leaves(carry), strict=True):
            if place is not value:
                host.copyto(place, value)

    def bind(self, columns: Any, rows: int, drawn: Any, sums: int) -> Plan:
        """Plan batches of so many rows, unless they are; the latest plans are kept.

        Raises UnknownOperationError where the engine has no rule for something in the update.
        """
        key = rows, sums
        if key not in self._bound:
            self._bound[key] = _Bound(self, columns, rows, drawn, sums)
            self.planned = True
            if len(self._bound) > _KEPT:
                self._bound.popitem(last=False)
        self._bound.move_to_end(key)
        return self._bound[key].plan

    def buffers(self) -> list[Any]:
        """Buffers of all plans, which take turns with them."""
        made = [raw for bound in self._bound.values() for raw in bound.plan.made]
        return list({id(raw): raw for raw in made}.values())

    def knows(self, rows: int, sums: int) -> bool:
        """Whether batches of so many rows are planned."""
        return (rows, sums) in self._bound

    @property
    def slow(self) -> list[str]:
        """Operations of native steps that stay calls of NumPy."""
        bound = (b.calls for b in self._bound.values())
        return sorted({text for calls in bound for text in getattr(calls, "slow", ())})

    def forget_data(self) -> None:
        """Let go of data that was read where it is."""
        for bound in self._bound.values():
            bound.show(bound.columns)

    # Running

    def run(
        self, columns: Any, rows: int, numbers: Any, rates: Sequence[float], noise: Noise,
        sums: int,
    ) -> None:  # fmt: skip
        """Take a step for each rate, on batches of so many rows, which are bound.

        Batches have the rows with these `numbers`, one after the other; None means that all rows,
        as they are, are each of them. What they add up goes on in `totals`.
        """
        bound, data = self._bound[rows, sums], leaves(columns)
        if numbers is None:
            bound.show([plain(c) for c in data])
        else:
            bound.show(bound.columns)
            numbers = host.ascontiguousarray(numbers, host.int64)
        native = bound.calls if isinstance(bound.calls, NativeCalls) else None
        if native is not None and (
            native.slow or not all(isinstance(c, host.ndarray) for c in data)
        ):
            native = None  # something stands between the steps, or before them
        values, done = host.asarray(rates, self.dtype), 0
        while done < len(rates):
            most = bound.checks[0] if bound.checks else self._at_once(bound)
            count = min(len(rates) - done, most) if native and bound.noise is None else 1
            own = None if numbers is None else numbers[done * rows : (done + count) * rows]
            part, drawn = values[done : done + count], noise(rows)
            for value, place in zip(leaves(drawn), leaves(bound.noise), strict=True):
                host.copyto(place, value)
            if native is not None:
                take = partial(native.steps, data, own, part)
            else:
                take = partial(self._step, bound, data, own, part)
            began = time.perf_counter()
            right = self._checked(bound, take, data, own, part, drawn)
            bound.seconds = (time.perf_counter() - began) / count
            done += count
            if not right:
                raise WrongStepError(done)

    def _step(self, bound: _Bound, data: list[Any], numbers: Any, rates: Any) -> None:
        """Take a step on the rows with these numbers."""
        if numbers is not None:
            for column, place in zip(data, bound.columns, strict=True):
                column.take(numbers, 0, place, "clip")
        bound.rate[...] = rates[0]
        self.whole = False
        bound.calls.step()
        self.whole = True

    def _at_once(self, bound: _Bound) -> int:
        """How many steps a native call may take."""
        return max(int(LONGEST / bound.seconds), 1) if bound.seconds else 1

    def _checked(
        self, bound: _Bound, take: Any, data: list[Any], numbers: Any, rates: Any, drawn: Any
    ) -> bool:
        """Take steps; the first ones are taken by the pure update too: False if they differ."""
        if not bound.checks:
            take()
            return True
        bound.checks.pop(0)
        carry, sums = map_tree(host.array, (self.carry, bound.sums))
        with exchanges_noted() as noted:
            take()
        with exchanges_answered(noted):
            for i, rate in enumerate(rates):
                own = None if numbers is None else numbers[i * bound.rows : (i + 1) * bound.rows]
                rows = bound.shown if own is None else [column.take(own, 0) for column in data]
                batch = map_tree(host.array, (*_like(bound.batch, rows), drawn, rate))
                carry, sums = self.pure(carry, sums, batch)
        mine = leaves((self.carry, bound.sums))
        if all(map(same_bytes, mine, leaves((carry, sums)))):
            return True
        for place, value in zip(mine, leaves((carry, sums)), strict=True):
            host.copyto(place, value)
        return False

    def state(self) -> Any:
        """Copy all of the carry."""
        return map_tree(owned_copy, self.carry)


def _like(tree: Any, values: Sequence[Any]) -> Any:
    """Put values in the place of a tree's leaves."""
    remaining = iter(values)
    return map_tree(lambda _: next(remaining), tree)
