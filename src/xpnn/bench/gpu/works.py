"""What is measured: trainings epoch by epoch, and prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.ceilings import product_rate
from xpnn.bench.gpu.cost import Cost, predict_cost, train_cost
from xpnn.bench.gpu.ours import ENGINES, LEFT_OUT, OURS, epochs, named, predictor
from xpnn.bench.gpu.rows import CAPTURED, COMPILED, EAGER, REDUCED
from xpnn.bench.gpu.torch_side import TorchPredictor, TorchTraining
from xpnn.bench.gpu.within import Deadline, measure_within
from xpnn.bench.rounds import Contender, SkipError, Timing, Work
from xpnn.bench.workloads import WORKLOADS, Workload

ROUNDS = 60  # at most; the time that a work has ends them sooner
WIDE = (4096, 4096, 4096, 4096, 1000)
HALVES = ("bfloat16", "float16")
PREDICTED = 1_000_000


@dataclass
class Found:
    """What was measured of a work.

    Parameters
    ----------
    title : str
        What was done.
    timings : list of Timing
        Of each contender.
    note : str, default ''
        What a reader should know.
    cost : Cost, optional
        Arithmetic and memory traffic of `per` seconds, for the roofline.
    per : float, default 1
        Steps in what was timed.
    facts : dict
        What else was found.
    """

    title: str
    timings: list[Timing]
    note: str = ""
    cost: Cost | None = None
    per: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return plain values; `points` is where this library stands on the roofline."""
        points = []
        if self.cost is not None:
            for timing in self.timings:
                if not timing.skipped and timing.name in OURS:
                    seconds = median(timing.seconds) / self.per
                    points.append({"name": timing.name, "step": seconds, **asdict(self.cost)})
        return {
            "title": self.title, "note": self.note, "facts": self.facts, "points": points,
            "results": [timing.record() for timing in self.timings],
        }  # fmt: skip


def unless_quick(asked: Asked, make: Callable[[], Work]) -> Callable[[], Work]:
    """Leave out what takes long to prepare where it was asked for."""

    def made() -> Work:
        if asked.quick or asked.tiny:
            raise SkipError(LEFT_OUT)
        return make()

    return made


def whole_or_tiny(work: Workload, asked: Asked) -> Workload:
    """Return the workload, or the same with very little data."""
    return work.tiny() if asked.tiny else work


def _data_note(work: Workload, asked: Asked) -> str:
    real = asked.data is not None and work.name == "mnist"
    return "Data: MNIST." if real else "Data: random rows of the same shape."


def _torch(
    work: Workload, x: Any, t: Any, asked: Asked, way: str, half: str | None = None
) -> Callable[[], Work]:
    def make() -> Work:
        return getattr(TorchTraining(work, x, t, asked.device, half), way)()

    return make


def small(whole: Workload, asked: Asked, deadline: Deadline) -> Found:
    """An epoch of a small network in float32, rows on the device."""
    work = whole_or_tiny(whole, asked)
    x, t = work.data(asked.folder)
    listed = [
        *(Contender(named(e), partial(epochs, work, x, t, asked, e)) for e in ENGINES),
        Contender(EAGER, _torch(work, x, t, asked, "eager")),
        Contender(CAPTURED, _torch(work, x, t, asked, "captured")),
        Contender(REDUCED, unless_quick(asked, _torch(work, x, t, asked, "compiled"))),
    ]
    timings = measure_within(listed, asked.count(ROUNDS), deadline)
    return Found(
        f"one epoch: {work.describe()}", timings, _data_note(work, asked),
        train_cost(work.widths, work.batch), work.rows / work.batch,
    )  # fmt: skip


def large_work(asked: Asked) -> Workload:
    """The large network; a small one where that is asked for."""
    work = Workload("large", "large", WIDE, 8192, 65536)
    return replace(work, widths=(16, 32, 8), batch=16, rows=32) if asked.tiny else work


def half_of(asked: Asked) -> str:
    """The first of `HALVES` in which this library takes a step here."""
    work = Workload("probe", "probe", (16, 32, 8), 16, 32)
    x, t = work.data()
    for half in HALVES:
        try:
            probe = epochs(work, x, t, asked, "auto", half)
            probe()
        except Exception:  # a dtype, or the device, is not there: the table says why
            continue
        getattr(probe, "close", lambda: None)()
        return half
    return HALVES[0]


def large(asked: Asked, deadline: Deadline) -> Found:
    """An epoch of a large network in 16 bits."""
    work, half = large_work(asked), half_of(asked)
    x, t = work.data()
    listed = [
        *(Contender(named(e), partial(epochs, work, x, t, asked, e, half)) for e in ENGINES),
        Contender(EAGER, _torch(work, x, t, asked, "eager", half)),
        Contender(COMPILED, unless_quick(asked, _compiled(work, x, t, asked, half))),
    ]
    timings = measure_within(listed, asked.count(30), deadline)
    cost, steps = train_cost(work.widths, work.batch, 2), work.rows / work.batch
    found = Found(
        f"one epoch: {work.describe().replace('float32', half)}, float32 parameters", timings,
        "Random float32 rows on the device, rounded in the step by everybody.", cost, steps,
    )  # fmt: skip
    found.facts = {"dtype": half, "share_of_product_rate": None}
    rate = product_rate(half, (work.batch, work.widths[0], work.widths[1]), asked)
    own = [median(t.seconds) for t in timings if not t.skipped and t.name in OURS]
    if rate is not None and own:
        share = cost.flops * steps / min(own) / rate
        found.facts |= {"product_rate": rate, "share_of_product_rate": share}
    return found


def _compiled(work: Workload, x: Any, t: Any, asked: Asked, half: str) -> Callable[[], Work]:
    # Its kernels are long: graphs would only cost memory.
    def make() -> Work:
        return TorchTraining(work, x, t, asked.device, half).compiled("default")

    return make


def predict(asked: Asked, deadline: Deadline) -> Found:
    """Labels of a million rows that are on the device."""
    widths, rows = WORKLOADS[0].widths, 200 if asked.tiny else PREDICTED
    block = np.random.default_rng(0).random((min(rows, 50_000), widths[0]), dtype="float32")
    x = np.resize(block, (rows, widths[0]))

    def torch(compiled: bool) -> Work:
        return TorchPredictor(widths, x, asked.device).eager(compiled)

    listed = [
        Contender(OURS[-1], partial(predictor, widths, x, asked)),
        Contender(EAGER, partial(torch, False)),
        Contender(COMPILED, unless_quick(asked, partial(torch, True))),
    ]
    timings = measure_within(listed, asked.count(ROUNDS), deadline)
    note = "Labels stay on the device; random rows."
    shape = "-".join(map(str, widths))
    return Found(
        f"predict: {shape}, {rows:,} rows, float32", timings, note, predict_cost(widths, rows)
    )
