"""The boundary of a perceptron, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from xpnn.backends import ArrayLike, InputError, host, to_host
from xpnn.plots.figure import COLOURS, MARKERS, literal, new_figure, save_figure
from xpnn.units import Epoch

if TYPE_CHECKING:
    from xpnn.estimators import Perceptron

_PANELS = 8
_SHADE = "0.88"


def plot_boundaries(perceptron: Perceptron, X: ArrayLike, y: ArrayLike, path: str | Path) -> Path:
    """Draw the examples, and the line between two classes after each epoch.

    Of many epochs eight are shown, the first and the last among them. In each panel the
    shaded side is the one where the unit fires, and rings mark the misclassified examples.

    Parameters
    ----------
    perceptron : Perceptron
        Fitted on two features and two classes, with a recorded history.
    X : array_like, shape (n, 2)
        The examples.
    y : array_like, shape (n,)
        Their labels.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        Where the picture is.

    Raises
    ------
    ValueError
        There are more features or classes than two, or no epoch was recorded in detail.
    """
    points, labels = host.asarray(to_host(X), dtype=host.float64), to_host(y)
    if points.shape[1] != 2 or len(perceptron.classes_) != 2:
        raise InputError(
            f"X has {points.shape[1]} features and y {len(perceptron.classes_)} classes; "
            "a picture needs two of both"
        )
    epochs = [epoch for epoch in perceptron.history_ if epoch.details]
    if not epochs:
        raise InputError("the history holds no details; fit with record=True")
    chosen = sorted({round(float(i)) for i in host.linspace(0, len(epochs) - 1, _PANELS)})
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, grid = new_figure(
        rows, columns, width=3.0, height=2.9, squeeze=False, sharex=True, sharey=True
    )
    panels = list(grid.flat)
    for axes, i in zip(panels, chosen, strict=False):
        _panel(axes, epochs[i], points, labels == perceptron.classes_[1], perceptron.classes_)
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(chosen) - columns) : len(chosen)]:  # the lowest of each column
        axes.set_xlabel("input[0]")
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("input[1]")
    handles = max((axes.get_legend_handles_labels()[0] for axes in panels), key=len)
    fires = Patch(color=_SHADE, label=f"the unit fires (class {perceptron.classes_[1]})")
    legend = figure.legend(
        handles=[*handles, fires], loc="outside lower center", ncols=len(handles) + 1
    )
    literal(legend.get_texts())
    return save_figure(figure, path)


def _panel(axes: Axes, epoch: Epoch, points: Any, second: Any, classes: Any) -> None:
    (trace,) = epoch.details
    weights, bias = trace.weights[-1], float(trace.bias[-1])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * host.maximum(high - low, 1.0)
    (left, bottom), (right, top) = low - margin, high + margin
    for group, marker, colour, label in (
        (~second, MARKERS[0], COLOURS[0], classes[0]),
        (second, MARKERS[1], COLOURS[1], classes[1]),
    ):
        axes.plot(*points[group].T, marker, color=colour, markersize=5, label=f"class {label}")
    wrong = trace.rule.fires(points @ weights + bias) != second
    axes.plot(
        *points[wrong].T, "o", markersize=11, markerfacecolor="none", markeredgecolor="black",
        label="misclassified",
    )  # fmt: skip
    _line(axes, weights, bias, (left, right, bottom, top))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    count = sum(epoch.updates)
    axes.set_title(f"epoch {epoch.number}: {count} update{'' if count == 1 else 's'}", fontsize=10)


def _line(axes: Axes, weights: Any, bias: float, box: tuple[Any, ...]) -> None:
    """Draw where the score is 0, and shade where it is not below."""
    size = float(weights @ weights)
    if size == 0.0:
        return
    left, right, bottom, top = box
    x, y = host.meshgrid([left, right], [bottom, top])  # the score is linear: corners will do
    score = weights[0] * x + weights[1] * y + bias
    if score.max() >= 0:
        axes.contourf(x, y, score, levels=[0.0, float(score.max()) + 1.0], colors=[_SHADE])
    px, py = -bias * weights / size  # the boundary's nearest point to the origin
    along = px - weights[1], py + weights[0]
    axes.axline((px, py), along, color="black", linewidth=1.5, label="boundary")
