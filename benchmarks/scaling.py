"""Do time per step and peak memory grow in proportion to rows, width and depth?

python benchmarks/scaling.py [--tiny] [--rounds N] [--threads 2] [--work rows,width,depth]
                             [--out FILE.json]

With --out, a picture is written beside the JSON file.
"""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnn.bench.command import Settings, describe_run, parse, shown_command
from xpnn.bench.machine import limit_threads

ROUNDS = 5
STEPS = 6  # in a round
FACTORS = (1, 3, 10, 30, 100)
TOO_STEEP = 1.15  # exponent over the last decade above which a cost outgrows the size
INPUTS, CLASSES = 64, 10


@dataclass(frozen=True)
class Series:
    """One quantity that grows while the others stay.

    Parameters
    ----------
    name, title : str
        What grows.
    rows, width, depth : int
        Rows in a step, units of a hidden layer, and hidden layers, at factor 1.
    """

    name: str
    title: str
    rows: int = 200
    width: int = 64
    depth: int = 1

    def at(self, factor: int) -> tuple[int, int, int]:
        """Rows, width and depth when the series' own quantity is that many times larger."""
        names = ("rows", "width", "depth")
        sizes = (self.rows, self.width, self.depth)
        return tuple(s * factor if n == self.name else s for n, s in zip(names, sizes, strict=True))

    def size(self, factor: int) -> int:
        return dict(zip(("rows", "width", "depth"), self.at(factor), strict=True))[self.name]


# A wide layer stands alone between fixed ones, so that its products grow with its width.
SERIES = (
    Series("rows", "a training step as its rows grow, 64-64-10", rows=100),
    Series("width", "a training step as the hidden layer grows, 64-width-10, 200 rows", width=32),
    Series("depth", "a training step as hidden layers of 64 are added, 200 rows"),
)


def training(sizes: tuple[int, int, int], steps: int) -> tuple[Any, Any, Any, dict[str, Any]]:
    """A network, data for so many steps, and the options of `fit`."""
    import numpy as np

    from xpnn import Adam, Network

    rows, width, depth = sizes
    layers = [*([width, "relu"] * depth), CLASSES]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows * steps, INPUTS), dtype="float32")
    t = rng.integers(0, CLASSES, rows * steps)
    # A small rate: a hundred layers shall not run away.
    return Network(INPUTS, layers, seed=0), x, t, {"batch_size": rows, "optimizer": Adam(1e-6)}


def peak_bytes(sizes: tuple[int, int, int]) -> int:
    """Most memory that a training holds beside its data: NumPy tells tracemalloc of its arrays."""
    network, x, t, options = training(sizes, 2)
    tracemalloc.start()
    network.fit(x, t, epochs=1, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms: 1 is proportional growth."""
    xs, ys = [math.log(s) for s in sizes], [math.log(v) for v in values]
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - middle) ** 2 for x in xs)


def growth(factors: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    """How values grow: over all factors, and over the last decade, where overhead is small."""
    last = [i for i, factor in enumerate(factors) if factor * 10 >= factors[-1]]
    late = exponent([factors[i] for i in last], [values[i] for i in last])
    return {
        "exponent": exponent(factors, values),
        "exponent_last_decade": late,
        "straight": late <= TOO_STEEP,
    }


def measure_series(series: Series, settings: Settings) -> dict[str, Any]:
    """Time per step and peak memory at each factor."""
    from xpnn.bench.library import Epochs
    from xpnn.bench.rounds import Contender, measure

    factors = FACTORS[:3:2] if settings.tiny else FACTORS
    steps = 2 if settings.tiny else STEPS

    def work(factor: int) -> Epochs:
        network, x, t, options = training(series.at(factor), steps)
        return Epochs(network, x, t, **options)

    listed = [Contender(f"{series.size(f):,}", lambda f=f: work(f), steps) for f in factors]
    timings = measure(series.name, "", listed, settings.count(ROUNDS)).timings
    seconds = [timing.record()["seconds"] for timing in timings]
    memory = [peak_bytes(series.at(factor)) for factor in factors]
    return {
        "name": series.name,
        "title": series.title,
        "factors": list(factors),
        "sizes": [series.size(factor) for factor in factors],
        "seconds_per_step": seconds,
        "peak_bytes": memory,
        "time_growth": growth(factors, seconds),
        "memory_growth": growth(factors, memory),
    }


def show(found: dict[str, Any]) -> None:
    """Print a series as a table."""
    from rich.table import Table

    from xpnn.bench.report import console, short_size, short_time

    time, memory = found["seconds_per_step"], found["peak_bytes"]
    table = Table(found["name"], "time per step", "times the first", "peak memory",
                  "times the first", title=found["title"],
                  title_justify="left", caption_justify="left")  # fmt: skip
    for size, seconds, held in zip(found["sizes"], time, memory, strict=True):
        table.add_row(
            f"{size:,}", short_time(seconds), f"{seconds / time[0]:.2f}", short_size(held),
            f"{held / memory[0]:.2f}",
        )  # fmt: skip
    lines = []
    for what in ("time", "memory"):
        fitted = found[f"{what}_growth"]
        line = (
            f"{what} grows as {found['name']}^{fitted['exponent_last_decade']:.2f} over the last "
            "decade; 1 is a straight line"
        )
        lines.append(line if fitted["straight"] else f"{line}: FASTER than that")
    table.caption = "\n".join(lines)
    console().print(table)


def draw(series: list[dict[str, Any]], path: Path) -> Path:
    """Draw time and memory of all series against the factor."""
    from xpnn.plots.figure import COLOURS, LINES, MARKERS, new_figure, save_figure

    figure, panels = new_figure(1, 2)
    wanted = (("seconds_per_step", 1e3, "time per step (ms)"),
              ("peak_bytes", 2**-20, "peak memory beside the data (MiB)"))  # fmt: skip
    for axes, (key, scale, label) in zip(panels, wanted, strict=True):
        for number, found in enumerate(series):
            values = [value * scale for value in found[key]]
            axes.loglog(
                found["factors"], values, LINES[number], color=COLOURS[number],
                marker=MARKERS[number], markersize=5,
                label=f"{found['name']}: {found['sizes'][0]:,} to {found['sizes'][-1]:,}",
            )  # fmt: skip
            # In proportion from the largest size down: where a curve lies on it, it is straight.
            first, last = found["factors"][0], found["factors"][-1]
            axes.loglog(
                [first, last], [values[-1] * first / last, values[-1]], ":", color="0.6",
                zorder=1, label="in proportion" if number == len(series) - 1 else None,
            )  # fmt: skip
        factors = series[0]["factors"]
        axes.set_xticks(factors, [f"{factor}x" for factor in factors])
        axes.minorticks_off()
        axes.set_xlabel("growth")
        axes.set_ylabel(label)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.legend(framealpha=1.0, fontsize="small")
    return save_figure(figure, path)


def main() -> None:
    prefix, argv = "python benchmarks/scaling.py", sys.argv[1:]
    settings = parse(__doc__.splitlines()[0], argv, prefix)
    limit_threads(settings.threads)
    from xpnn.bench.report import write

    run = describe_run(settings, shown_command(prefix, argv))
    print(f"{run['machine']['cpu']}, {run['machine']['cores']} cores, {settings.threads} threads")
    series = []
    for one in SERIES:
        if settings.wants(one.name):
            series.append(measure_series(one, settings))
            show(series[-1])
    if settings.out is not None:
        print(f"results: {write(settings.out, {'question': 'scaling', **run, 'series': series})}")
        print(f"picture: {draw(series, settings.out.with_suffix('.png'))}")


if __name__ == "__main__":
    main()
