"""A roofline: what each work reaches beside what the device's memory and products allow.

Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from xpnn.plots.figure import COLOURS, FILLS, LINES, MARKERS, new_figure

TERA = 1e12
NAMES = {"float32": "float32", "tf32": "TensorFloat-32", "float16": "float16",
         "bfloat16": "bfloat16"}  # fmt: skip
WORKS = {
    "mnist": "MNIST 784-100-10, batch 200",
    "tabular": "tabular 20-64-32-2, batch 200",
    "estimator": "784-512-512-10, batch 256, whole fits",
    "large": "4096 (4 times)-1000, batch 8192",
    "predict": "predict 784-100-10",
}


def fastest(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keep the fastest of each work."""
    best: dict[str, Mapping[str, Any]] = {}
    for point in points:
        if point["work"] not in best or point["step"] < best[point["work"]]["step"]:
            best[point["work"]] = point
    return [dict(point) for point in best.values()]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 3, max(values) * 3


def _mark(axes: Any, points: Sequence[Mapping[str, Any]]) -> None:
    for number, point in enumerate(points):
        rate = point["flops"] / point["step"]
        axes.plot(
            [point["flops"] / point["bytes"]], [rate / TERA], linestyle="none", markersize=10,
            marker=MARKERS[number % len(MARKERS)], markeredgecolor="black",
            markerfacecolor=FILLS[number % len(FILLS)],
            label=f"{WORKS.get(point['work'], point['work'])}: {rate / TERA:,.3g} TFLOP/s",
        )  # fmt: skip


def draw_roofline(
    ceilings: Mapping[str, Any], points: Sequence[Mapping[str, Any]], device: str = ""
) -> Figure:
    """Draw ceilings as lines and works as marks; shapes and line styles say which is which.

    Parameters
    ----------
    ceilings : dict
        `copy` in bytes a second; `products` in operations a second, by kind.
    points : sequence of dict
        `work`, `flops` and `bytes` of a step, and `step`, its seconds; see
        `xpnn.bench.gpu.cost` for how they are counted. Of each work the fastest is drawn.
    device : str, default ''
        For the title.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no ceilings.
    """
    products = {k: rate for k, rate in ceilings.get("products", {}).items() if rate}
    if not ceilings.get("copy") or not products:
        raise ValueError("the ceilings were not measured; --work has to name 'ceilings'")
    copy, shown = ceilings["copy"], fastest(points)
    reached = [p["flops"] / p["step"] for p in shown]
    ridges = [rate / copy for rate in products.values()]
    left, right = _bounds([*(p["flops"] / p["bytes"] for p in shown), *ridges])
    low, high = _bounds([*reached, *products.values(), copy * left * 3])
    figure, axes = new_figure(width=7.4, height=5.4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(
        [left, max(ridges)], [copy * left / TERA, max(products.values()) / TERA],
        color="black", linewidth=2, label=f"memory, a copy: {copy / 1e9:,.0f} GB/s",
    )  # fmt: skip
    ordered = sorted(products.items(), key=lambda item: -item[1])
    for number, (kind, rate) in enumerate(ordered):
        axes.plot(
            [rate / copy, right], [rate / TERA] * 2, linestyle=LINES[number % len(LINES)],
            color=COLOURS[number % len(COLOURS)], linewidth=2,
            label=f"products, {NAMES.get(kind, kind)}: {rate / TERA:,.3g} TFLOP/s",
        )  # fmt: skip
    _mark(axes, shown)
    axes.set_xlim(left, right)
    axes.set_ylim(low / TERA, high / TERA)
    axes.set_xlabel("operations for each byte (least traffic, counted from shapes)")
    axes.set_ylabel("matrix products, TFLOP/s")
    axes.set_title(f"Where the works stand{f': {device}' if device else ''}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return figure
