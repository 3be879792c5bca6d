"""Do time per step and peak memory grow in proportion to rows, width and depth?

python benchmarks/scaling.py [--out FILE.json]
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contenders import ENDLESS, Paused
from rounds import (
    Contender,
    make_parser,
    measure,
    print_table,
    short_size,
    short_time,
    start,
    write,
)
from xpnn import Adam, Network

STEPS = 6  # in a round
FACTORS = (1, 3, 10, 30, 100)
TOO_STEEP = 1.15  # exponent over the last decade above which a cost outgrows the size
INPUTS, CLASSES = 64, 10


@dataclass(frozen=True)
class Series:
    """One quantity that grows while the others stay as they are at factor 1."""

    name: str
    title: str
    rows: int = 200  # in a step
    width: int = 64  # of a hidden layer
    depth: int = 1  # hidden layers

    def at(self, factor: int) -> dict[str, int]:
        """Rows, width and depth when the series' own quantity is that many times larger."""
        sizes = {"rows": self.rows, "width": self.width, "depth": self.depth}
        return {**sizes, self.name: sizes[self.name] * factor}


# A wide layer stands alone between fixed ones, so that its products grow with its width.
SERIES = (
    Series("rows", "a training step as its rows grow, 64-64-10", rows=100),
    Series("width", "a training step as the hidden layer grows, 64-width-10, 200 rows", width=32),
    Series("depth", "a training step as hidden layers of 64 are added, 200 rows"),
)


def training(rows: int, width: int, depth: int, steps: int) -> Any:
    """Make ``fit(epochs, callbacks)`` of a network on data for so many steps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows * steps, INPUTS), dtype="float32")
    t = rng.integers(0, CLASSES, rows * steps)
    network = Network(INPUTS, [*([width, "relu"] * depth), CLASSES], seed=0)
    # A small learning rate: a hundred layers shall not diverge.
    options = {"batch_size": rows, "optimizer": Adam(1e-6)}
    return lambda epochs, callbacks=(): network.fit(
        x, t, epochs=epochs, callbacks=callbacks, **options
    )


def paused_training(**sizes: int) -> Paused:
    """The same as a training that goes on by an epoch with each call."""
    fit = training(**sizes)
    return Paused(lambda turns: fit(ENDLESS, [turns]))


def peak_bytes(sizes: dict[str, int]) -> int:
    """Most memory that a training holds beside its data: NumPy tells tracemalloc of its arrays."""
    fit = training(**sizes, steps=2)
    tracemalloc.start()
    fit(1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms: 1 is proportional growth."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def growth(factors: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    """How values grow: over all factors, and over the last decade, where overhead is small."""
    last = [i for i, factor in enumerate(factors) if factor * 10 >= factors[-1]]
    late = exponent([factors[i] for i in last], [values[i] for i in last])
    return {
        "exponent": exponent(factors, values),
        "exponent_last_decade": late,
        "straight": late <= TOO_STEEP,
    }


def measure_series(series: Series, options: argparse.Namespace) -> dict[str, Any]:
    """Time per step and peak memory at each factor."""
    factors = FACTORS[:3:2] if options.tiny else FACTORS
    steps = 2 if options.tiny else STEPS
    listed = [
        Contender(str(f), lambda f=f: paused_training(**series.at(f), steps=steps), steps)
        for f in factors
    ]
    timings = measure(series.title, listed, options.rounds).timings
    seconds = [timing.record()["seconds"] for timing in timings]
    memory = [peak_bytes(series.at(factor)) for factor in factors]
    return {
        "name": series.name,
        "title": series.title,
        "factors": list(factors),
        "sizes": [series.at(factor)[series.name] for factor in factors],
        "seconds_per_step": seconds,
        "peak_bytes": memory,
        "time_growth": growth(factors, seconds),
        "memory_growth": growth(factors, memory),
    }


def show(found: dict[str, Any]) -> None:
    """Print a series as a table."""
    time, memory = found["seconds_per_step"], found["peak_bytes"]
    rows = [
        [f"{size:,}", short_time(s), f"{s / time[0]:.2f}", short_size(b), f"{b / memory[0]:.2f}"]
        for size, s, b in zip(found["sizes"], time, memory, strict=True)
    ]
    headers = [found["name"], "time per step", "ratio", "peak memory", "ratio"]
    print_table(found["title"], headers, rows)
    for what in ("time", "memory"):
        fitted = found[f"{what}_growth"]
        straight = "" if fitted["straight"] else ": FASTER than that"
        print(
            f"{what} grows as {found['name']}^{fitted['exponent_last_decade']:.2f} over the last "
            f"decade; 1 is a straight line{straight}"
        )


def main() -> None:
    options, run = start(make_parser(__doc__, 5))
    found = []
    for series in SERIES:
        found.append(measure_series(series, options))
        show(found[-1])
    if options.out is not None:
        write(options.out, {**run, "series": found})


if __name__ == "__main__":
    main()
