"""A network as a diagram: units, and lines for their weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xpnn.backends import InputError
from xpnn.plots.figure import COLOURS, axes_on, figure_of, short_names
from xpnn.plots.model import DenseView, dense_views, input_names, last_step

MOST_UNITS = 12  # of a layer; of a larger one some are drawn
_FIRST, _LAST = 5, 4  # units that are drawn of a larger layer
POSITIVE, NEGATIVE = (COLOURS[0], "-"), (COLOURS[1], (0, (3.5, 1.5)))


def draw_network(
    model: Any,
    *,
    names: Sequence[object] | None = None,
    classes: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a network's units and weights.

    A positive weight is a solid line and a negative one a dashed line, as wide as the weight
    is large. In a unit stands its bias. Of a layer with more than 12 units the first and the
    last ones are drawn.

    Parameters
    ----------
    model : Network or fitted estimator
        With dense layers only.
    names : sequence of inputs, optional
        Names of the inputs; default, those that the model knows.
    classes : sequence of outputs, optional
        Names of the outputs; default, the model's `classes_`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model has no weights.
    ValueError
        Names are too few or too many, or a layer is not dense.
    """
    views = dense_views(model)
    widths = [views[0].weights.shape[0], *(view.weights.shape[1] for view in views)]
    names = input_names(model) if names is None else names
    if classes is None:
        known = getattr(last_step(model), "classes_", None)
        classes = known if known is not None and len(known) == widths[-1] else None
    for name, given, width in (("names", names, widths[0]), ("classes", classes, widths[-1])):
        if given is not None and len(given) != width:
            raise InputError(f"{name} holds {len(given)}; expected {width}")
    layers = [_places(column, width) for column, width in enumerate(widths)]
    tallest = max(map(len, layers))
    ax = axes_on(ax, 1.9 * len(views) + 2.6, 0.45 * tallest + 1.6)
    largest = max(float(np.abs(view.weights).max()) for view in views) or 1.0
    for view, (starts, ends) in zip(views, pairwise(layers), strict=True):
        _draw_weights(ax, view.weights, starts, ends, largest)
    biases = [None, *(view.bias for view in views)]
    for places, width, bias in zip(layers, widths, biases, strict=True):
        _draw_units(ax, places, width, bias)
    for column, head in enumerate(_heads(views, widths)):
        ax.text(column, 0.7 + (tallest - 1) / 2, head, ha="center", fontsize=9, parse_math=False)
    _name(ax, layers[0], names, -1)
    _name(ax, layers[-1], classes, 1)
    ax.set_xlim(-0.2, len(views) + 0.2)
    ax.set_ylim(-0.7 - (tallest - 1) / 2, 0.6 + (tallest - 1) / 2)
    ax.set_axis_off()
    _legend(ax, views, largest)
    return figure_of(ax)


def _places(column: int, width: int) -> dict[int, tuple[float, float]]:
    """Where the units of a layer stand, by number; some of a large one's."""
    shown = list(range(width))
    if width > MOST_UNITS:
        shown = [*range(_FIRST), -1, *range(width - _LAST, width)]
    return {unit: (column, (len(shown) - 1) / 2 - i) for i, unit in enumerate(shown)}


def _draw_weights(ax: Axes, weights: Any, starts: Any, ends: Any, largest: float) -> None:
    pairs = [(i, j) for i in starts for j in ends if i >= 0 and j >= 0]
    # The widest first, so that thin ones are not hidden.
    pairs.sort(key=lambda pair: -abs(weights[pair]))
    for (colour, line), sign in ((POSITIVE, True), (NEGATIVE, False)):
        own = [pair for pair in pairs if (weights[pair] >= 0) == sign]
        lines = LineCollection(
            [(starts[i], ends[j]) for i, j in own],
            linewidths=[0.4 + 3.0 * abs(weights[pair]) / largest for pair in own],
            colors=colour,
            linestyles=[line],
            zorder=1,
        )
        ax.add_collection(lines)


def _draw_units(ax: Axes, places: dict[int, Any], width: int, bias: Any) -> None:
    for unit, (x, y) in places.items():
        if unit < 0:
            hidden = width - _FIRST - _LAST
            ax.text(x, y, f"{hidden:,} more", ha="center", va="center", fontsize=8, zorder=4)
            continue
        ax.plot([x], [y], "o", color="white", mec="black", ms=21, zorder=3, clip_on=False)
        if bias is not None:
            text = _number(float(bias[unit]))
            size = 7 if len(text) <= 5 else 5.5
            ax.text(x, y, text, ha="center", va="center", fontsize=size, zorder=4)


def _number(value: float) -> str:
    """Write a number in few letters."""
    size = abs(value)
    text = f"{value:.0f}" if 100 <= size < 10_000 else f"{value:.2g}"
    text = f"{value:.2f}" if 0.095 <= size < 100 else text
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _heads(views: list[DenseView], widths: list[int]) -> list[str]:
    heads = [f"input\n{widths[0]:,}\n"]
    for i, (view, width) in enumerate(zip(views, widths[1:], strict=True), start=1):
        name = "output" if i == len(views) else "hidden" if len(views) == 2 else f"hidden {i}"
        heads.append(f"{name}\n{width:,}\n{view.activation}")
    return heads


def _name(ax: Axes, places: dict[int, Any], names: Sequence[object] | None, side: int) -> None:
    look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 9}
    look |= {"xytext": (side * 14, 0), "ha": "left" if side > 0 else "right"}
    for unit, text in enumerate(short_names(names, 28) if names is not None else ()):
        if unit in places:
            ax.annotate(text, places[unit], **look)


def _legend(ax: Axes, views: list[DenseView], largest: float) -> None:
    weights = sum(view.weights.size for view in views)
    biases = sum(0 if view.bias is None else view.bias.size for view in views)
    rows: list[tuple[str, Any, str]] = [
        (*POSITIVE, "positive weight"),
        (*NEGATIVE, "negative weight"),
        ("none", "none", f"largest weight: {_number(largest)}"),
        ("none", "none", f"weights: {weights:,}; biases, in the units: {biases:,}"),
    ]
    handles = [Line2D([], [], color=c, linestyle=s, lw=2.0, label=text) for c, s, text in rows]
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 2}
    ax.legend(handles=handles, fontsize=8, frameon=False, **place)
