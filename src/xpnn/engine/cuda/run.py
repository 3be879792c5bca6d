"""Running an update on a GPU: traced once for each batch size, then started step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import is_, itemgetter
from typing import Any

from xpnn.backends import Array, Device, DType, Feeder, Namespace, host, is_refusal
from xpnn.engine.cuda.plan import CudaPlan, Segment, in_turn, make_cuda_plan
from xpnn.engine.cuda.source import fetch, tick
from xpnn.engine.replay import labels_of
from xpnn.engine.run_pure import (
    HostRows,
    Names,
    Noise,
    PureRunner,
    Update,
    batches,
    first_drawn,
    on_host,
)
from xpnn.engine.trace import NAMESPACE, UnknownOperationError
from xpnn.engine.trees import leaves, map_tree

_NOISE_BYTES = 64 * 2**20  # noise that is on the GPU at once
_GRAPHS = 6  # kept of a batch size, each of another number of steps
STEPS = 16  # in a graph, at most; a guess, like all such numbers here, not measured on a GPU yet

log = logging.getLogger("xpnn.engine")


@dataclass
class _Bound:
    """A plan for one batch size, its buffers on the GPU, and what starts its step.

    Where rows are `sent` from the host before each step, a graph has one step.
    """

    plan: CudaPlan
    size: int
    columns: list[Any]
    noise: list[Any]
    ahead: list[Any]
    rate: Any
    sums: int
    direct: bool
    sent: bool = False
    segments: list[Segment] = field(default_factory=list)
    reads: list[Any] = field(default_factory=list)
    ran: bool = False
    graphs: dict[int, Callable[[], None]] = field(default_factory=dict)  # by number of steps

    def room(self, number: int, left: int) -> int:
        """Say how many steps may be in one graph, from `number` on with `left` of this size."""
        if self.plan.all_reduces or self.sent:
            return 1
        if self.noise:  # theirs has to be there before they start
            left = min(left, len(self.ahead[0]) - number % len(self.ahead[0]))
        return min(left, STEPS)


class CudaRunner(PureRunner):
    """Starts an update's kernels on buffers that it owns.

    The order of the rows, the rates and the number of the step are on the GPU, so that
    every step is the same launches: one CUDA graph, of one step or of several. Nothing
    waits for the GPU.

    `cuda` is the device as the engine uses it. A `careful` runner runs the update as it is where
    CUDA refuses to compile or to start it. For the rest see `PureRunner` and `NumpyRunner`.
    """

    mode = "auto"

    def __init__(
        self, make_update: Callable[[Namespace], Update], carry: Any, columns: Any, xp: Namespace,
        device: Device, dtype: DType, cuda: Any, names: Names | None = None,
        careful: bool = False, feeder: Feeder | None = None,
    ) -> None:  # fmt: skip
        super().__init__(make_update(xp), carry, columns, xp, device, host.dtype(dtype), feeder)
        self.make_update, self.names, self.cuda, self.careful = make_update, names, cuda, careful
        self.given: Any = carry  # until the first step
        self.carry = map_tree(self._copy, carry)
        self.bound: dict[tuple[int, int, bool], _Bound] = {}
        self.totals: dict[int, tuple[Any, ...]] = {}
        self.count = cuda.empty((1,), host.dtype("int64"))
        self.order = cuda.empty((1,), host.dtype("int64"))
        self.rates = cuda.empty((1,), self.dtype)
        self.reason = ""
        self.pure = False  # whether the update runs as it is

    def _copy(self, array: Array) -> Array:
        place = self.cuda.empty(tuple(array.shape), array.dtype)
        self.cuda.copy(array, place)
        return place

    # Planning

    def _plan(self, rows: int, drawn: Any, sums: int) -> tuple[CudaPlan, Any, Any]:
        """Plan the update for a batch size; also return what stands for batch and noise."""

        def stand(array: Any) -> Any:
            return host.empty(tuple(array.shape), array.dtype)

        columns = map_tree(lambda c: host.empty((rows, *c.shape[1:]), c.dtype), self.columns)
        noise, totals = map_tree(stand, drawn), self._totals(sums)
        batch = (*columns, noise, host.empty((), self.dtype))
        arguments = (map_tree(stand, self.carry), map_tree(stand, totals), batch)
        labels = labels_of(self.names, self.carry, totals, batch)
        plan = make_cuda_plan(
            self.make_update(NAMESPACE), arguments, labels,
            {i: i for i in range(len(leaves(arguments[:2])))},
            [len(leaves(self.carry)) - 1], lambda: self.cuda.no_graph,
        )  # fmt: skip
        return plan, leaves(columns), leaves(noise)

    def _bind(
        self, rows: int, size: int, steps: int, direct: bool, drawn: Any, sums: int
    ) -> _Bound:
        plan, columns, noise = self._plan(rows, drawn, sums)

        def make(array: Any, *more: int) -> Any:
            return self.cuda.empty((*more, *array.shape), array.dtype)

        each = sum(n.nbytes for n in noise)
        ahead = max(min(_NOISE_BYTES // each, steps), 1) if each and rows == size else 1
        return _Bound(
            plan, size, [] if direct else [make(c) for c in columns], [make(n) for n in noise],
            [make(n, ahead) for n in noise], self.cuda.empty((), self.dtype), sums, direct,
            bool(on_host(self.columns)),
        )  # fmt: skip

    def _bind_all(self, rows: int, size: int, direct: bool, drawn: Any, sums: int) -> None:
        """Plan every batch size before the first step, so that a missing rule costs no step."""
        for count in {stop - start for start, stop in batches(rows, size)}:
            if (count, sums, direct) not in self.bound:
                part = map_tree(itemgetter(slice(count)), drawn)
                self.bound[count, sums, direct] = self._bind(
                    count, size, rows // size, direct, part, sums
                )

    def _totals(self, count: int) -> tuple[Any, ...]:
        if count not in self.totals:
            self.totals[count] = tuple(self.cuda.empty((), self.dtype) for _ in range(count))
        return self.totals[count]

    def plan(self, rows: int, noise: Noise, sums: int) -> CudaPlan:
        """Plan a batch of that many rows, and run nothing.

        Raises UnknownOperationError where the engine has no rule for something in the update.
        """
        return self._plan(rows, noise(rows), sums)[0]

    # Running

    def run(
        self, rows: int, size: int, order: Any, rates: Sequence[float], noise: Noise, sums: int,
        before: tuple[Array, ...] | None = None,
    ) -> tuple[Array, ...]:  # fmt: skip
        """Go through the rows once; see `PureRunner.run`."""
        if self.pure:
            return super().run(rows, size, order, rates, noise, sums, before)
        size = min(size, rows)
        drawn = noise(size)
        direct = order is None and size == rows and not on_host(self.columns)
        numbers = host.arange(rows) if order is None else host.asarray(order)
        try:
            self._bind_all(rows, size, direct, drawn, sums)
            self.order = self._refilled(self.order, numbers)
            self.rates = self._refilled(self.rates, host.asarray(rates))
            for bound in self.bound.values():
                self._connect(bound)
            self._try_out()
        except Exception as error:
            self._fall_back(error)
            return super().run(rows, size, order, rates, first_drawn(drawn, noise), sums, before)
        totals = self._totals(sums)
        for array in (*([] if before is not None else totals), self.count):
            self.cuda.zero(array)
        for array, place in zip(before or (), totals, strict=before is not None):
            if array is not place:
                self.cuda.copy(array, place)
        self._steps(batches(rows, size), numbers, first_drawn(drawn, noise), sums, direct)
        return totals

    def _steps(
        self, spans: list[tuple[int, int]], order: Any, noise: Noise, sums: int, direct: bool
    ) -> None:
        """Start the steps of an epoch, those of one size several at once."""
        sizes = [stop - start for start, stop in spans]
        whole, number = sizes.count(sizes[0]), 0
        while number < len(spans):
            bound = self.bound[sizes[number], sums, direct]
            if bound.noise:
                self._put_noise(bound, number, spans, noise)
            if bound.sent:
                sent = self._send(order[slice(*spans[number])])
                for array, i in zip(sent, self._where(on_host=True), strict=True):
                    self.cuda.copy(array, bound.columns[i])
            room = bound.room(number, max(whole - number, 1))
            if bound.ran:  # a kernel is loaded when it first does, which no graph can record
                self._record(bound, room)
            together = max((steps for steps in bound.graphs if steps <= room), default=1)
            bound.graphs.get(together, in_turn(bound.segments))()
            bound.ran = True
            number += together

    def _where(self, on_host: bool) -> list[int]:
        """Say which columns stay on the host, or are on the device."""
        data = leaves(self.columns)
        return [i for i, c in enumerate(data) if isinstance(c, HostRows) is on_host]

    def _try_out(self) -> None:
        """Take a step of each batch size before the first, and forget it.

        What CUDA refuses it refuses here, where nothing is lost yet.
        """
        if self.given is None:
            return
        self.cuda.zero(self.count)
        for bound in self.bound.values():
            for segment in bound.segments:
                # Other processes may have batches of other sizes to try out.
                if not segment.all_reduces:
                    segment.start()
            bound.ran = True
            self.cuda.zero(self.count)
        for old, place in zip(leaves(self.given), leaves(self.carry), strict=True):
            self.cuda.copy(old, place)
        self.given = None

    def _record(self, bound: _Bound, steps: int) -> None:
        """Make a graph of so many steps, unless there is one, or it cannot be."""
        if bound.plan.no_graph or steps in bound.graphs or len(bound.graphs) >= _GRAPHS:
            return

        # What is recorded holds the memory, but not `bound`, which holds what is recorded.
        try:
            if bound.plan.all_reduces:
                graphs = [
                    one if one.all_reduces else Segment([self.cuda.graph(one.start)])
                    for one in bound.segments
                ]
                bound.graphs[steps] = in_turn(graphs)
            else:
                bound.graphs[steps] = self.cuda.graph(in_turn(bound.segments, steps))
        except Exception as error:
            if not (is_refusal(error) or isinstance(error, NotImplementedError)):
                raise
            bound.plan.no_graph = f"{type(error).__name__}: {error}"
            log.warning("no CUDA graph of a step: %s", bound.plan.no_graph)

    def _refilled(self, place: Any, values: Any) -> Any:
        """Fill an array, or a larger one in its place."""
        if len(place) < len(values):
            place = self.cuda.empty(values.shape, place.dtype)
        self.cuda.put(values.astype(place.dtype), place[: len(values)])
        return place

    def _put_noise(
        self, bound: _Bound, number: int, spans: list[tuple[int, int]], noise: Noise
    ) -> None:
        """Draw the noise of the coming steps of this batch size, and bring it to the GPU."""
        rows, ahead = spans[number][1] - spans[number][0], len(bound.ahead[0])
        if number % ahead:
            return
        coming = [b - a for a, b in spans[number : number + ahead] if b - a == rows]
        columns = zip(*(leaves(noise(n)) for n in coming), strict=True)
        for place, drawn in zip(bound.ahead, columns, strict=True):
            self.cuda.put(host.stack(drawn), place[: len(drawn)])

    def _connect(self, bound: _Bound) -> None:
        """Compile a step that reads the data, the order and the rates where they now are."""
        data, here = leaves(self.columns), self._where(on_host=False)
        reads = [self.order, self.rates, *(data[i] for i in here)]
        if len(reads) == len(bound.reads) and all(map(is_, reads, bound.reads)):
            return
        columns = data if bound.direct else bound.columns
        if bound.direct:
            columns = [c if c.flags.c_contiguous else self._copy(c) for c in data]
        first = fetch(
            self.count, self.order, self.rates, bound.rate, bound.size,
            [] if bound.direct else [(data[i], columns[i]) for i in here],
            list(zip(bound.ahead, bound.noise, strict=True)),
        )  # fmt: skip
        inputs = [*leaves((self.carry, self._totals(bound.sums))), *columns, *bound.noise]
        around = ([first], [tick(self.count)])
        bound.segments = bound.plan.bind(self.cuda, [*inputs, bound.rate], *around)
        bound.reads, bound.graphs, bound.ran = reads, {}, False

    def _fall_back(self, error: Exception) -> None:
        """Run the update as it is from now on, where that is an answer to an error."""
        self.reason = "the pure step runs as it is: "
        if isinstance(error, UnknownOperationError):
            self.reason += f"the engine has no rule for {error}"
            log.debug(self.reason)
        elif self.careful and self.given is not None and is_refusal(error):
            self.reason += f"{type(error).__name__}: {error}"
            log.warning(self.reason)
        else:
            raise error
        self.carry, self.given, self.pure = self._now(), None, True

    def _now(self) -> Any:
        """What the steps so far have led to; one that was only tried out is none of them."""
        return self.carry if self.given is None else self.given

    def theta(self) -> Array:
        """Copy the first array of the carry: the parameters."""
        return super().theta() if self.pure else self._copy(self._now()[0])

    def state(self) -> Any:
        """Copy all of the carry, for another runner to go on with."""
        return self.carry if self.pure else map_tree(self._copy, self._now())
