"""Running an update on a GPU: traced once for each batch size, then started step by step."""

from __future__ import annotations

import logging
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    DType,
    Feeder,
    Namespace,
    dtype_name,
    host,
    is_refusal,
    to_device,
    to_float,
)
from xpnn.engine.cuda.plan import EPS, CudaPlan, Segment
from xpnn.engine.cuda.source import fetch, tick
from xpnn.engine.run_pure import HostRows, Names, Noise, PureRunner, Update, batches, labels_of
from xpnn.engine.trace import NAMESPACE, UnknownOperationError, exchanges_answered, exchanges_noted
from xpnn.engine.trees import leaves, map_tree

CHECKED = 3  # steps of each plan that the pure update takes too
_KEPT = 8  # plans that are kept, the latest ones

log = logging.getLogger("xpnn.engine")


@dataclass(eq=False)
class _Bound:
    """A plan for one batch size, on the GPU."""

    segments: list[Segment]
    sent: list[Any]  # where the columns go that the host sends
    noise: list[Any]
    memory: list[tuple[Any, Any]]  # buffers here, and those that they stand for
    dtype: str  # that results are as exact as
    recorded: bool = False
    checks: int = CHECKED  # that are still to come


class CudaRunner(PureRunner):
    """Starts an update's kernels on buffers that it owns.

    The order of the rows, the rates, the number of the step and the addresses of the data are
    on the GPU, so that every step is the same launches: one CUDA graph. Nothing waits for the
    GPU, but for the first steps of each batch size, which the pure update takes too.

    `cuda` is the device as the engine uses it. Where CUDA refuses to compile or to start the
    update it runs as it is: a runner that was `asked_for` warns of that. For the rest see
    `PureRunner` and `NumpyRunner`.
    """

    mode = "auto"

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, xp: Namespace,
        device: Device, dtype: DType, cuda: Any, names: Names | None = None,
        asked_for: bool = False, feeder: Feeder | None = None,
    ) -> None:  # fmt: skip
        super().__init__(make_update(xp), carry, columns, xp, device, host.dtype(dtype), feeder)
        self.make_update, self.names, self.cuda = make_update, names, cuda
        self.asked_for = asked_for
        self.carry = map_tree(self._copy, carry)
        self.bound: OrderedDict[Any, _Bound] = OrderedDict()
        self.totals: dict[int, tuple[Any, ...]] = {}
        self.shown: Any = ()  # order and rates on the GPU
        self.table = cuda.empty((5 + len(leaves(columns)),), host.dtype("int64"))  # see `fetch`
        self.reason = ""  # why the update runs as it is
        self.no_graph = ""  # why a graph does not hold all of a step

    def _copy(self, array: Array) -> Array:
        place = self.cuda.empty(tuple(array.shape), array.dtype)
        self.cuda.copy(array, place)
        return place

    # Planning

    def plan(self, rows: int, noise: Noise, sums: int, free: Sequence[Any] = ()) -> CudaPlan:
        """Plan a batch of that many rows, and run nothing.

        `free` are buffers of other plans, which take turns. Raises UnknownOperationError where
        the engine has no rule for something in the update.
        """

        def stand(array: Any) -> Any:
            return host.empty(tuple(array.shape), array.dtype)

        columns = map_tree(lambda c: host.empty((rows, *c.shape[1:]), c.dtype), self.columns)
        batch = (*columns, map_tree(stand, noise(rows)), host.empty((), self.dtype))
        totals = self._totals(sums)
        arguments = (map_tree(stand, self.carry), map_tree(stand, totals), batch)
        labels = labels_of(self.names, self.carry, totals, batch)
        donated = {i: i for i in range(len(leaves(arguments[:2])))}
        update, no_graph = self.make_update(NAMESPACE), self.cuda.blas.no_graph
        return CudaPlan(update, arguments, labels, donated, free, no_graph)

    def _bind(self, rows: int, drawn: Any, sums: int) -> _Bound:
        """Plan a batch size, and give everything its place on the GPU."""
        known = {id(raw): (raw, place) for b in self.bound.values() for raw, place in b.memory}
        plan = self.plan(rows, lambda rows: drawn, sums, [raw for raw, _ in known.values()])

        def make(like: Any) -> Array:
            return self.cuda.empty(like.shape, like.dtype)

        memory = [known.get(id(raw)) or (raw, make(raw)) for raw in plan.plan.made]
        own, data = [*leaves(self.carry), *self._totals(sums)], leaves(self.columns)
        batch = [make(array) for array in plan.plan.arrays[len(own) :]]
        pairs = [p for p in zip(data, batch, strict=False) if not isinstance(p[0], HostRows)]
        around = fetch(self.table, batch[-1], pairs), tick(self.table, rows)
        places = [*zip(plan.plan.arrays, [*own, *batch], strict=True), *memory]
        places += [(part, make(part)) for part in plan.parts]
        segments = plan.bind(self.cuda, places, around)
        self.no_graph = self.no_graph or plan.no_graph
        sent = [b for c, b in zip(data, batch, strict=False) if isinstance(c, HostRows)]
        return _Bound(segments, sent, batch[len(data) : -1], memory, plan.dtype)

    def _bound_for(self, rows: int, drawn: Any, sums: int) -> _Bound | None:
        """Find the plan for a batch size, or make one; None where there can be none."""
        key = (rows, sums, *((str(c.dtype), tuple(c.strides)) for c in self._data()))
        if key not in self.bound:
            try:
                self.bound[key] = self._bind(rows, drawn, sums)
            except Exception as error:
                self._refused(error)
                return None
            if len(self.bound) > _KEPT:
                self.bound.popitem(last=False)
        self.bound.move_to_end(key)
        return self.bound[key]

    def _totals(self, count: int) -> tuple[Any, ...]:
        if count not in self.totals:
            self.totals[count] = tuple(self.cuda.empty((), self.dtype) for _ in range(count))
        return self.totals[count]

    # Running

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        if self.reason:
            return super().run(rows, size, order, rates, noise, sums, before)
        size, totals = min(size, rows), self._totals(sums)
        numbers = host.arange(rows) if order is None else host.asarray(order)
        self._show(numbers, rates)
        for value, place in zip(before or (self.number(0.0),) * sums, totals, strict=True):
            if value is not place:
                self.cuda.copy(value, place)
        steps = zip(cycle(batches(rows, size)), rates, strict=False)
        for number, ((start, stop), rate) in enumerate(steps, 1):
            totals = self._step(numbers[start:stop], rate, noise(stop - start), totals)
            if self.reason:
                rest, self.shown = stop % rows, ()
                self.bound.clear()
                left = numbers[rest:]
                return super().run(rows - rest, size, left, rates[number:], noise, sums, totals)
        return totals

    def _show(self, numbers: Any, rates: Sequence[float]) -> None:
        """Let the steps to come find the rows, their order and the rates."""
        order = to_device(host.asarray(numbers, host.int64), self.xp, self.device)
        self.shown = order, to_device(host.asarray(rates, self.dtype), self.xp, self.device)
        addresses = [self.cuda.address(array) for array in (*self.shown, *self._data())]
        table = host.asarray([0, 0, len(numbers), *addresses], host.int64)
        self.cuda.put(table, self.table[: len(table)])

    def _data(self) -> list[Array]:
        """List the columns that are on the GPU."""
        return [c for c in leaves(self.columns) if not isinstance(c, HostRows)]

    def _feed(self, bound: _Bound, numbers: Any, drawn: Any) -> None:
        """Bring noise and rows that stay on the host to the GPU."""
        for values, place in zip(leaves(drawn), bound.noise, strict=True):
            self.cuda.put(values, place)
        for array, place in zip(self._send(numbers) if bound.sent else (), bound.sent, strict=True):
            self.cuda.copy(array, place)

    def _start(self, bound: _Bound) -> None:
        """Start a step; the first one loads its kernels, which no graph can record."""
        self.whole = False
        for segment in bound.segments:
            segment.start()
        self.whole = True
        if bound.recorded:
            return
        bound.recorded = True
        try:
            bound.segments = [
                Segment([self.cuda.graph(one.start)]) if one.recordable else one
                for one in bound.segments
            ]
        except Exception as error:
            if not (is_refusal(error) or isinstance(error, NotImplementedError)):
                raise
            self.no_graph = f"{type(error).__name__}: {error}"
            log.warning("no CUDA graph of a step: %s", self.no_graph)

    def _step(self, numbers: Any, rate: float, drawn: Any, totals: Any) -> tuple[Array, ...]:
        """Take a step on the rows with these numbers; give what it adds up.

        The first steps are taken by the pure update too, from the same carry. Where that says
        something else, or CUDA refuses, its results are the step's.
        """
        bound, mine = self._bound_for(len(numbers), drawn, len(totals)), (self.carry, totals)
        if bound is not None:
            self._feed(bound, numbers, drawn)
            if not bound.checks:
                self._start(bound)
                return totals
            bound.checks -= 1
        dtype = "" if bound is None else bound.dtype
        old, agree = map_tree(self._copy, mine), partial(_agree, self.xp, dtype)
        with exchanges_noted() as noted:
            try:
                if bound is not None:
                    self._start(bound)
            except BaseException as error:
                for value, place in zip(leaves(old), leaves(mine), strict=True):
                    self.cuda.copy(value, place)
                self.whole = True
                self._refused(error)
        here = partial(to_device, xp=self.xp, device=self.device)
        batch = self._batch(numbers, here(numbers), 0, len(numbers), len(numbers))
        # A step that was refused before the exchange leaves that to the pure one.
        with exchanges_answered(noted, agree) if noted else nullcontext():
            right = self.update(*old, (*batch, map_tree(here, drawn), self.number(rate)))
        if not self.reason:
            if all(map(agree, leaves(mine), leaves(right), leaves(old))):
                return totals
            self.reason = "a step from a plan gave other numbers"
            warnings.warn(
                "a planned step gave other numbers than the pure step, which runs in its place "
                "from now on: slower, but right. This is a bug of xpnn, please report it",
                RuntimeWarning,
                stacklevel=3,
            )
        self.carry, totals = right
        return totals

    def _refused(self, error: BaseException) -> None:
        """Run the update as it is from now on, where that is an answer to an error."""
        if isinstance(error, UnknownOperationError):
            self.reason = f"the engine has no rule for {error}"
        elif is_refusal(error):
            self.reason = f"{type(error).__name__}: {error}"
        else:
            raise error
        log.warning("the pure step runs as it is: %s", self.reason)
        if self.asked_for:
            text = f"engine='native': the pure step runs in its place: {self.reason}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    @property
    def engine(self) -> str:
        """How steps run, and why not faster."""
        if self.reason:
            return f"pure: {self.reason}"
        return f"CUDA, not all of it in graphs: {self.no_graph}" if self.no_graph else "CUDA"

    def set_theta(self, theta: Array) -> None:
        """Go on from other parameters, which are only read."""
        if self.reason:
            super().set_theta(theta)
        elif theta is not self.carry[0]:
            self.cuda.copy(theta, self.carry[0])

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return super().theta() if self.reason else self._copy(self.carry[0])

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        return self.carry if self.reason else map_tree(self._copy, self.carry)


def _agree(xp: Namespace, dtype: str, mine: Array, right: Array, old: Any = 0.0) -> bool:
    """Whether a result is the pure update's, computed in a dtype, but for roundings.

    The tolerance is that of `xpnn.checks.tolerance`, of the largest change by the step, to which
    comes the rounding of the result itself. A share of the entries, the square root of the
    dtype's eps, may be anything: an optimizer that divides a gradient by its own size makes a
    whole step of one whose sign is a matter of rounding.
    """
    if not right.size:
        return True
    share, eps = math.sqrt(EPS[dtype]), EPS.get(dtype_name(right.dtype), 0.0)
    with host.errstate(all="ignore"):  # of NumPy, which plays the GPU's part in tests
        a, b = (xp.astype(x, xp.float64) for x in (mine, right))
        change, size = xp.abs(b - old), xp.abs(b)
        largest = (xp.max(xp.where(xp.isfinite(x), x, 0.0)) for x in (change, size))
        limit = 4 * share * next(largest) + 8 * eps * next(largest)
        same = (xp.abs(a - b) <= limit) | (a == b) | (xp.isnan(a) & xp.isnan(b))
    return to_float(xp.sum(xp.astype(~same, xp.float64))) <= share * right.size
