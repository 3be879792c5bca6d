"""A network as a diagram: units, and lines for their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch

from xpnn.backends import InputError
from xpnn.plots.figure import COLOURS, add_box, bare_figure, fit_around, literal, short_names
from xpnn.plots.model import DenseView, dense_views, input_names, last_step

MOST_UNITS = 12  # in a layer; a larger network is drawn as blocks
MOST_WEIGHTS = 100  # between two layers: more lines are a grey veil
MOST_LAYERS = 6
# Inches: between layers and units, of a unit's radius, and of a letter of a weight.
_ACROSS, _DOWN, _RADIUS, _LETTER = 2.3, 0.62, 0.21, 0.062
_CLEAR = 0.08  # inches between a weight's text and every other line
_TRIED = np.linspace(0.16, 0.84, 35)  # places along a line for its weight
POSITIVE, NEGATIVE = (COLOURS[0], "-"), (COLOURS[1], (0, (3.5, 1.5)))


@dataclass(frozen=True)
class _Edge:
    """A weight's line, in inches."""

    start: Any
    end: Any
    weight: float


def draw_network(
    model: Any,
    *,
    names: Sequence[object] | None = None,
    classes: Sequence[object] | None = None,
) -> Figure:
    """Draw a network's units and weights.

    A positive weight is a solid line and a negative one a dashed line, as wide as the
    weight is large; its value is written where it fits. In a unit stands its bias. A
    network with more than 12 units in a layer, 100 weights between two of them, or 6 layers
    is drawn as blocks with the numbers and sizes of its weights.

    Parameters
    ----------
    model : Network or fitted estimator
        See `xpnn.plots.model.dense_views`.
    names : sequence of inputs, optional
        Names of the inputs; default, those that the model knows.
    classes : sequence of outputs, optional
        Names of the outputs; default, the model's `classes_`.

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
    if names is None:
        names = input_names(model)
    if classes is None:
        known = getattr(last_step(model), "classes_", None)
        classes = known if known is not None and len(known) == widths[-1] else None
    for name, given, width in (("names", names, widths[0]), ("classes", classes, widths[-1])):
        if given is not None and len(given) != width:
            raise InputError(f"{name} holds {len(given)}; expected {width}")
    heads = _heads(views)
    weights = max(view.weights.size for view in views)
    if max(widths) > MOST_UNITS or weights > MOST_WEIGHTS or len(views) > MOST_LAYERS:
        return _blocks(views, widths, heads)
    return _units(views, widths, heads, names, classes)


def _heads(views: list[DenseView]) -> list[str]:
    heads = ["input"]
    for i, view in enumerate(views, start=1):
        hidden = "hidden" if len(views) == 2 else f"hidden {i}"
        name = "output" if i == len(views) else hidden
        heads.append(f"{name}\n{view.activation}".strip())
    return heads


def _sizes(views: list[DenseView]) -> str:
    weights = sum(view.weights.size for view in views)
    biases = sum(0 if view.bias is None else view.bias.size for view in views)
    return (
        f"{weights:,} weight{'' if weights == 1 else 's'}, "
        f"{biases:,} bias{'' if biases == 1 else 'es'}"
    )


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Make axes whose coordinates are inches."""
    figure = bare_figure()
    axes = add_box(figure, 0.0, 0.0, width, height)
    axes.set_xlim(0.0, width)
    axes.set_ylim(0.0, height)
    axes.set_axis_off()
    return figure, axes


# Unit by unit


def _units(
    views: list[DenseView],
    widths: list[int],
    heads: list[str],
    names: Sequence[object] | None,
    classes: Sequence[object] | None,
) -> Figure:
    height = _DOWN * max(widths)
    figure, axes = _canvas(_ACROSS * len(views) + 2 * _RADIUS, height)
    places = [
        [(_RADIUS + _ACROSS * c, height / 2 + _DOWN * ((n - 1) / 2 - i)) for i in range(n)]
        for c, n in enumerate(widths)
    ]
    largest = max(float(np.abs(view.weights).max()) for view in views)
    for view, starts, ends in zip(views, places[:-1], places[1:], strict=True):
        edges = [
            _Edge(np.asarray(a), np.asarray(b), float(view.weights[i, j]))
            for i, a in enumerate(starts)
            for j, b in enumerate(ends)
        ]
        _draw_edges(axes, edges, largest)
        _write_weights(axes, edges)
    for column, layer in enumerate(places):
        bias = None if column == 0 else views[column - 1].bias
        for i, place in enumerate(layer):
            axes.add_patch(
                Circle(
                    place, _RADIUS, facecolor="white", edgecolor="black", zorder=3, clip_on=False
                )
            )
            if bias is not None:
                text = _number(float(bias[i]))
                size = 7.5 if len(text) <= 5 else 5.5
                axes.text(*place, text, ha="center", va="center", fontsize=size, zorder=4)
        look: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 10}
        axes.text(layer[0][0], height + 0.05, heads[column], parse_math=False, **look)
    _label(axes, places[0], names, -1)
    _label(axes, places[-1], classes, 1)
    _legend(axes, largest, _sizes(views), any(view.bias is not None for view in views))
    return fit_around(figure)


def _number(value: float) -> str:
    size = abs(value)
    if 100 <= size < 10_000:
        return f"{value:.0f}"
    text = f"{value:.2f}" if 0.095 <= size < 100 else f"{value:.2g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _style(weight: float) -> dict[str, Any]:
    colour, line = POSITIVE if weight >= 0 else NEGATIVE
    return {"color": colour, "linestyle": line}


def _draw_edges(axes: Axes, edges: list[_Edge], largest: float) -> None:
    # The widest first, so that thin ones are not hidden.
    for edge in sorted(edges, key=lambda e: -abs(e.weight)):
        width = 0.5 + 3.5 * abs(edge.weight) / (largest or 1.0)
        (x0, y0), (x1, y1) = edge.start, edge.end
        axes.plot([x0, x1], [y0, y1], linewidth=width, zorder=1, **_style(edge.weight))


def _write_weights(axes: Axes, edges: list[_Edge]) -> None:
    """Write weights along their lines, where no other line or text is near."""
    starts, ends = (np.stack([getattr(e, name) for e in edges]) for name in ("start", "end"))
    taken = np.zeros((0, 2))
    for number in sorted(range(len(edges)), key=lambda i: -abs(edges[i].weight)):
        edge = edges[number]
        text = _number(edge.weight)
        along = (edge.end - edge.start) / np.linalg.norm(edge.end - edge.start)
        reach = np.linspace(-0.5, 0.5, 7)[:, None] * _LETTER * len(text) * along
        # Every place that was tried, as the points that its text would cover.
        covered = (edge.start + _TRIED[:, None] * (edge.end - edge.start))[:, None] + reach
        others = np.arange(len(edges)) != number
        room = np.full(len(_TRIED), np.inf)
        if others.any():
            room = _distance(covered, starts[others], ends[others]).min(axis=(1, 2))
        if len(taken):
            apart = np.linalg.norm(covered[:, :, None] - taken, axis=-1).min(axis=(1, 2))
            room = np.minimum(room, apart - _CLEAR)
        for end in (edge.start, edge.end):
            apart = np.linalg.norm(covered - end, axis=-1).min(axis=1)
            room = np.minimum(room, apart - _RADIUS)
        best = int(np.argmax(np.minimum(room, 2 * _CLEAR) - 0.01 * np.abs(_TRIED - 0.5)))
        if room[best] < _CLEAR:
            continue
        taken = np.concatenate([taken, covered[best]])
        x, y = covered[best].mean(axis=0).tolist()
        axes.text(
            x, y, text, fontsize=7.5, ha="center", va="center", zorder=2,
            rotation=math.degrees(math.atan2(along[1], along[0])), rotation_mode="anchor",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
        )  # fmt: skip


def _distance(points: Any, starts: Any, ends: Any) -> Any:
    """Distances of points (places, k, 2) from segments (m, 2), as (places, k, m)."""
    span = ends - starts
    rest = points[:, :, None] - starts
    share = np.clip((rest * span).sum(-1) / (span * span).sum(-1), 0.0, 1.0)
    return np.linalg.norm(rest - share[..., None] * span, axis=-1)


def _label(axes: Axes, places: Any, names: Sequence[object] | None, side: int) -> None:
    if names is None:
        return
    for (x, y), name in zip(places, short_names(names, 28), strict=True):
        text = axes.text(
            x + side * (_RADIUS + 0.08), y, name, va="center", fontsize=9,
            ha="left" if side > 0 else "right",
        )  # fmt: skip
        literal([text])


def _legend(axes: Axes, largest: float, sizes: str, biased: bool) -> None:
    empty = {"color": "none", "linestyle": "none"}
    rows = [
        (_style(1.0), "positive weight"),
        (_style(-1.0), "negative weight"),
        (empty, f"widest: {_number(largest)} in size; {sizes}"),
    ]
    if biased:
        rows.append((empty, "in a unit: its bias"))
    handles = [Line2D([], [], linewidth=2.0, label=text, **style) for style, text in rows]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 0.0), fontsize=9, frameon=False
    )


# As blocks


def _blocks(views: list[DenseView], widths: list[int], heads: list[str]) -> Figure:
    across, wide = 2.5, 1.0
    highs = [0.7 + 0.55 * math.log10(n) for n in widths]
    height = max(highs)
    figure, axes = _canvas(across * len(views) + wide, height)
    for column, (units, high) in enumerate(zip(widths, highs, strict=True)):
        x, y = across * column, (height - high) / 2
        box = FancyBboxPatch(
            (x + 0.05, y + 0.05), wide - 0.1, high - 0.1, boxstyle="round,pad=0.05",
            facecolor="0.93", edgecolor="black", clip_on=False,
        )  # fmt: skip
        axes.add_patch(box)
        what = ("input" if column == 0 else "unit") + ("" if units == 1 else "s")
        middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10}
        axes.text(x + wide / 2, height / 2, f"{units:,}\n{what}", **middle)
        axes.text(
            x + wide / 2, height + 0.08, heads[column], ha="center", va="bottom", fontsize=10,
            parse_math=False,
        )  # fmt: skip
    for column, view in enumerate(views):
        left, right = across * column + wide, across * (column + 1)
        axes.annotate(
            "", (right, height / 2), (left, height / 2),
            arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 4, "shrinkB": 4},
        )  # fmt: skip
        size = float(np.abs(view.weights).mean())
        lines = [f"{view.weights.size:,} weights", f"about {_number(size)} in size"]
        count = 0 if view.bias is None else view.bias.size
        biases = f"{count:,} bias{'' if count == 1 else 'es'}"
        look: dict[str, Any] = {"ha": "center", "fontsize": 8.5}
        axes.text((left + right) / 2, height / 2 + 0.08, "\n".join(lines), va="bottom", **look)
        axes.text((left + right) / 2, height / 2 - 0.1, biases, va="top", **look)
    note = f"{_sizes(views)}; sizes are means"
    axes.text(0.0, -0.15, note, ha="left", va="top", fontsize=9)
    return fit_around(figure)
