"""What the bias does to a neuron, and the boundary of a perceptron epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from xpnn.backends import ArrayLike, InputError, to_host
from xpnn.plots.figure import COLOURS, LINES, MARKERS, axes_on, figure_of, literal, new_figure
from xpnn.units import Epoch, Neuron

if TYPE_CHECKING:
    from xpnn.estimators import Perceptron

_PANELS = 8
_SHADE = "0.88"


def draw_bias_shift(
    neurons: Sequence[Neuron], *, low: float = -10.0, high: float = 10.0, ax: Axes | None = None
) -> Figure:
    """Draw the outputs of neurons with one input each over that input, from `low` to `high`."""
    if not neurons or any(neuron.inputs != 1 for neuron in neurons):
        raise InputError(f"neurons is {neurons!r}; expected neurons with one input each")
    grid = np.linspace(low, high, 201)
    ax = axes_on(ax, 6.0, 3.6)
    for i, neuron in enumerate(neurons):
        output = to_host(neuron.forward(grid[:, None].tolist()))
        line, colour = LINES[i % len(LINES)], COLOURS[i % len(COLOURS)]
        ax.plot(grid, output, line, color=colour, label=f"bias {neuron.bias:g}", linewidth=1.8)
    ax.set_xlabel("input")
    ax.set_ylabel(f"output ({', '.join(dict.fromkeys(n.activation for n in neurons))})")
    ax.set_title("The bias shifts the activation left or right")
    ax.grid(color="0.9")
    ax.legend()
    return figure_of(ax)


def draw_boundaries(
    perceptron: Perceptron, X: ArrayLike, y: ArrayLike, *, ax: Axes | Sequence[Axes] | None = None
) -> Figure:
    """Draw the examples (n, 2) of two classes, and the line between them after some epochs.

    Axes take an epoch each, the last one of all among them; a new figure has up to eight. The
    shaded side is the one where the unit fires, and rings mark the misclassified examples.
    """
    points, labels = np.asarray(to_host(X), dtype=np.float64), to_host(y)
    classes = perceptron.classes_
    if points.shape[1] != 2 or len(classes) != 2:
        raise InputError(
            f"X has {points.shape[1]} features and y {len(classes)} classes; "
            "a picture needs two of both"
        )
    epochs = [epoch for epoch in perceptron.history_ if epoch.details]
    if not epochs:
        raise InputError("the history holds no details; fit with record=True")
    panels = _grid(min(_PANELS, len(epochs))) if ax is None else np.ravel(np.asarray(ax, object))
    chosen = np.linspace(len(epochs) - 1, 0, min(len(panels), len(epochs))).round()[::-1]
    for panel, i in zip(panels, chosen, strict=False):
        _panel(panel, epochs[int(i)], points, labels == classes[1], classes)
    handles = max((panel.get_legend_handles_labels()[0] for panel in panels), key=len)
    handles.append(Patch(color=_SHADE, label=f"the unit fires (class {literal(classes[1])})"))
    figure = figure_of(panels[0])
    if ax is None:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    else:
        for panel in panels:
            panel.set_xlabel("input[0]")
            panel.set_ylabel("input[1]")
        panels[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _grid(count: int) -> list[Axes]:
    """Axes in rows of four, with labels on the left and below the lowest of each column."""
    columns = min(4, count)
    _, grid = new_figure(
        -(-count // columns), columns, width=3.0, height=2.9,
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    panels = list(grid.flat)
    for spare in panels[count:]:
        spare.remove()
    for panel in panels[count - columns : count]:
        panel.set_xlabel("input[0]")
        panel.tick_params(labelbottom=True)
    for panel in grid[:, 0]:
        panel.set_ylabel("input[1]")
    return panels[:count]


def _panel(ax: Axes, epoch: Epoch, points: Any, second: Any, classes: Any) -> None:
    (trace,) = epoch.details
    weights, bias = trace.weights[-1], float(trace.bias[-1])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * np.maximum(high - low, 1.0)
    (left, bottom), (right, top) = low - margin, high + margin
    for i, group in enumerate((~second, second)):
        label = f"class {literal(classes[i])}"
        ax.plot(*points[group].T, MARKERS[i], color=COLOURS[i], markersize=5, label=label)
    wrong = trace.rule.fires(points @ weights + bias) != second
    ax.plot(*points[wrong].T, "o", mfc="none", mec="black", markersize=11, label="misclassified")
    if weights.any():
        # The score is linear: it is shaded where it is not below 0, which corners tell.
        x, y = np.meshgrid([left, right], [bottom, top])
        score = weights[0] * x + weights[1] * y + bias
        if score.max() >= 0:
            ax.contourf(x, y, score, levels=[0.0, float(score.max()) + 1.0], colors=[_SHADE])
        px, py = -bias * weights / (weights @ weights)  # its nearest point to the origin
        along = px - weights[1], py + weights[0]
        ax.axline((px, py), along, color="black", linewidth=1.5, label="boundary")
    count = sum(epoch.updates)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_title(f"epoch {epoch.number}: {count} update{'' if count == 1 else 's'}", fontsize=10)
