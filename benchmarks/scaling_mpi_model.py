"""A model of data-parallel steps on many GPUs: arithmetic, one all-reduce, nothing else.

A step of B rows on k GPUs takes

    max(6 N B / (k F), t0) + 2 (k - 1) / k * 4 N / W + 2 ceil(log2 k) * a

with N parameters (2 operations for each parameter and row forward, 4 backward; biases and
activations left out), F operations a second that a GPU sustains in matrix products, t0 the
least time of a step whatever its size (launches), W the bytes a second of each GPU's link in
an all-reduce, a the latency of one of its hops. That is a ring for its bytes and a tree for its
latency, does not overlap with arithmetic, and gradients are float32; reading rows costs nothing.
None of the numbers in `Cluster` was measured here: they are assumptions, to be replaced on the
command line by those of one's own cluster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
SIZES = {
    "0.7 million: 784-512-512-10": (784, 512, 512, 10),
    "54 million: 4096-4096-4096-4096-1000": (4096, 4096, 4096, 4096, 1000),
    "1.1 billion: five layers of 16384": (16384, 16384, 16384, 16384, 16384, 1000),
}
STRONG, WEAK = 65_536, 1024  # rows of all GPUs, rows of each


@dataclass(frozen=True)
class Cluster:
    """What the prediction takes for granted; see the module."""

    rate: float = 3e14  # F, operations a second of one GPU
    link: float = 4e10  # W, bytes a second of one GPU in an all-reduce
    latency: float = 5e-6  # a, seconds of one hop
    least: float = 5e-5  # t0, least seconds of a step


def parameters(layers: tuple[int, ...]) -> int:
    """Weights and biases of dense layers."""
    return sum((a + 1) * b for a, b in pairwise(layers))


def step(cluster: Cluster, size: int, rows: int, gpus: int) -> tuple[float, float]:
    """Seconds of arithmetic and of the all-reduce in one step."""
    arithmetic = max(6.0 * size * rows / gpus / cluster.rate, cluster.least)
    if gpus == 1:
        return arithmetic, 0.0
    ring = 2 * (gpus - 1) / gpus * 4 * size / cluster.link
    return arithmetic, ring + 2 * math.ceil(math.log2(gpus)) * cluster.latency


def predict(cluster: Cluster) -> list[dict[str, Any]]:
    """Speed against one GPU, and the share of the all-reduce, by network and number of GPUs."""
    found = []
    for name, layers in SIZES.items():
        size = parameters(layers)
        one: dict[str, Any] = {"name": name, "parameters": size, "gpus": list(GPUS)}
        for kind in ("strong", "weak"):
            speeds, shares = [], []
            for gpus in GPUS:
                rows = STRONG if kind == "strong" else WEAK * gpus
                alone = sum(step(cluster, size, STRONG if kind == "strong" else WEAK, 1))
                arithmetic, reducing = step(cluster, size, rows, gpus)
                work = 1 if kind == "strong" else gpus
                speeds.append(work * alone / (arithmetic + reducing))
                shares.append(reducing / (arithmetic + reducing))
            one[kind] = {"speedup": speeds, "share_of_all_reduce": shares}
        found.append(one)
    return found


def table(prediction: dict[str, Any]) -> str:
    """The prediction as lines of text."""
    cluster = prediction["cluster"]
    lines = [
        f"predicted, not measured: GPUs of {cluster['rate']:.0e} operations a second, links of "
        f"{cluster['link']:.0e} bytes a second, {1e6 * cluster['latency']:.0f} us a hop",
        f"times as fast as one GPU, {STRONG:,} rows a step (and with {WEAK:,} rows for each GPU):",
    ]
    for one in prediction["sizes"]:
        cells = [
            f"{gpus}: {strong:.0f} ({weak:.0f})"
            for gpus, strong, weak in zip(
                one["gpus"], one["strong"]["speedup"], one["weak"]["speedup"], strict=True
            )
        ]
        lines.append(f"  {one['name']}: {', '.join(cells)}")
    return "\n".join(lines)


def draw(prediction: dict[str, Any], path: Path) -> Path:
    """Draw speed against the number of GPUs, for a fixed batch and for a growing one."""
    from xpnn.plots.figure import COLOURS, LINES, MARKERS, new_figure, save_figure

    figure, panels = new_figure(1, 2)
    titles = {
        "strong": f"{STRONG:,} rows a step, shared out",
        "weak": f"{WEAK:,} rows a step for each GPU",
    }
    for axes, (kind, title) in zip(panels, titles.items(), strict=True):
        axes.loglog(GPUS, GPUS, ":", color="0.5", label="in proportion", base=2)
        for number, one in enumerate(prediction["sizes"]):
            axes.loglog(
                one["gpus"], one[kind]["speedup"], LINES[number], color=COLOURS[number],
                marker=MARKERS[number], markersize=5, label=one["name"], base=2,
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xticks(GPUS, [f"{gpus:,}" for gpus in GPUS])
        ticks = [2**n for n in range(11)]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("GPUs")
        axes.set_ylabel("times as fast as one GPU (predicted)")
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    panels[0].legend(framealpha=1.0, fontsize="x-small", loc="upper left")
    return save_figure(figure, path)
