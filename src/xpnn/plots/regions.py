"""What a model says over the plane of its two features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import distance_transform_edt, gaussian_filter, minimum_filter

from xpnn.backends import (
    Array,
    ArrayLike,
    InputError,
    device_of,
    is_array,
    is_floating,
    namespace,
    to_device,
    to_host,
)
from xpnn.plots.figure import (
    FILLS,
    MARKERS,
    SIGNED,
    add_box,
    bare_figure,
    fit_around,
    literal,
    short_names,
)
from xpnn.plots.labels import coded, label_column
from xpnn.plots.model import last_step
from xpnn.training import Network

MOST_CLASSES = 20
_MARGIN = 0.08  # of the points' range, around them
_WIDTH, _HEIGHT = 4.6, 3.8  # inches of the plane
_LETTER = 6.6  # points (1/72 inch) that a letter in bold type is wide, about
_PAD = 4.0  # points between a name and the border of its region at least
_LARGER = {"*": 1.6, "P": 1.25, "X": 1.25}  # markers that hold less colour than others


@dataclass(frozen=True)
class _Plane:
    """A grid of points, and what the model said there: shape (y, x)."""

    x: Any
    y: Any
    values: Any

    @property
    def box(self) -> tuple[float, float, float, float]:
        return float(self.x[0]), float(self.x[-1]), float(self.y[0]), float(self.y[-1])


def draw_regions(
    model: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    names: Sequence[object] | None = None,
    classes: Sequence[object] | None = None,
    task: str | None = None,
    resolution: int = 240,
    most: int = 1000,
) -> Figure:
    """Draw what a model of two features says, and the points of the data.

    Parameters
    ----------
    model : object
        Fitted on two columns, with `predict`, or with `predict_proba`.
    X : array_like or frame, shape (n, 2)
        The points, as the model takes them.
    y : array_like, shape (n,), optional
        Their labels or values.
    names : sequence of two, optional
        Names of the features; default, those of a frame's columns.
    classes : sequence, optional
        Names of the classes, in the order of the model's `classes_` or of labels 0, 1, ...
    task : {'classify', 'regress'}, optional
        What the predictions are; default, as the model says or as they look.
    resolution : int, default 240
        Points of the grid on each side.
    most : int, default 1000
        Points of the data that are drawn at most.

    Returns
    -------
    matplotlib.figure.Figure
        Regions of classes with their names and borders, or contours of a regression.

    Raises
    ------
    ValueError
        There are not exactly two features, a value is not finite, the model predicts
        several values for a row, or there are more than 20 classes.
    TypeError
        The model has neither `predict` nor `predict_proba`.
    """
    if task not in (None, "classify", "regress"):
        raise InputError(f"task is {task!r}; expected 'classify' or 'regress'")
    for name, number, least in (("resolution", resolution, 2), ("most", most, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise InputError(f"{name} is {number!r}; expected an integer from {least} on")
    points = _points(X)
    if names is None:
        names = list(X.columns) if hasattr(X, "columns") else ["input[0]", "input[1]"]
    if len(names) != 2:
        raise InputError(f"names holds {len(names)}; expected 2, one for each feature")
    targets = None if y is None else np.asarray(to_host(y))
    if targets is not None and len(targets) != len(points):
        raise InputError(f"y holds {len(targets)}; expected {len(points)}, as many as X has rows")
    plane = _ask(model, X, points, resolution)
    shown = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).astype(int))
    figure = bare_figure()
    axes = add_box(figure, 0.0, 0.0, _WIDTH, _HEIGHT)
    if (task or _task(model, plane.values)) == "classify":
        _classes(axes, plane, points, targets, shown, classes, last_step(model))
    else:
        _contours(figure, axes, plane, points[shown], targets, shown)
    axes.set_xlim(*plane.box[:2])
    axes.set_ylim(*plane.box[2:])
    texts = short_names(names, 50)
    literal([axes.set_xlabel(texts[0]), axes.set_ylabel(texts[1])])
    if len(shown) < len(points):
        axes.set_title(f"{len(shown):,} of {len(points):,} points", fontsize=10, loc="left")
    return fit_around(figure)


def _points(X: Any) -> Any:
    try:
        points = np.asarray(to_host(X), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X cannot be read as numbers: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise InputError(
            f"X has shape {points.shape}; decision regions need exactly two features: (n, 2)"
        )
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise InputError(f"X[{row}] is {points[row].tolist()}; expected finite numbers")
    return points


def _ask(model: Any, X: Any, points: Any, resolution: int) -> _Plane:
    """Let the model predict on a grid around the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, np.maximum(1.0, np.abs(high)))
    low, high = low - _MARGIN * span, high + _MARGIN * span
    x, y = (np.linspace(low[i], high[i], resolution) for i in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    rows = _like(grid, X)
    if hasattr(model, "predict"):
        said = np.asarray(to_host(model.predict(rows)))
    elif hasattr(model, "predict_proba"):
        proba = np.asarray(to_host(model.predict_proba(rows)))
        known = getattr(model, "classes_", None)
        said = proba.argmax(axis=1) if known is None else np.asarray(known)[proba.argmax(axis=1)]
    else:
        raise TypeError(
            f"model is a {type(model).__name__} without predict; expected a fitted model"
        )
    if said.size != len(grid):
        raise InputError(
            f"the model predicts values of shape {said.shape[1:]} for each row; "
            "decision regions show one label or one value"
        )
    return _Plane(x, y, said.reshape(resolution, resolution))


def _like(grid: Any, X: Any) -> Any:
    """Bring the grid into the form of the data: a frame, lists, or an array of its library."""
    if hasattr(X, "columns"):
        return type(X)(dict(zip(X.columns, grid.T, strict=True)))
    if not is_array(X):
        return grid.tolist()
    xp = namespace(X=X)
    dtype = X.dtype if is_floating(X, xp) else None
    if isinstance(X, np.ndarray):
        return grid.astype(dtype or np.float64)
    made: Array = to_device(grid if dtype else grid.astype(np.float32), xp, device_of(X), dtype)
    return made


def _task(model: Any, values: Any) -> str:
    inner = last_step(model)
    if isinstance(inner, Network):
        return "regress" if inner.loss.kind == "regression" else "classify"
    if hasattr(inner, "classes_") or hasattr(inner, "predict_proba"):
        return "classify"
    return "regress" if values.dtype.kind == "f" else "classify"


# Classes


def _classes(
    axes: Axes, plane: _Plane, points: Any, y: Any, shown: Any,
    classes: Sequence[object] | None, model: Any,
) -> None:  # fmt: skip
    columns = [plane.values.reshape(-1)] + ([] if y is None else [label_column("y", y)])
    codes, found = coded(columns, classes, getattr(model, "classes_", None))
    if len(found) > MOST_CLASSES:
        raise InputError(
            f"there are {len(found)} classes; their regions can be told apart up to {MOST_CLASSES}"
        )
    names, regions = short_names(found, 20), codes[0].reshape(plane.values.shape)
    tints = [_tint(FILLS[k % len(FILLS)]) for k in range(len(names))]
    axes.imshow(
        regions, cmap=ListedColormap(tints), vmin=-0.5, vmax=len(names) - 0.5, origin="lower",
        extent=plane.box, aspect="auto", interpolation="nearest",
    )  # fmt: skip
    present = np.unique(regions)
    for k in present if len(present) > 1 else ():
        inside = gaussian_filter((regions == k).astype(np.float64), 0.9)  # no stairs
        axes.contour(plane.x, plane.y, inside, levels=[0.5], colors="0.25", linewidths=0.8)
    if y is None:
        axes.plot(*points[shown].T, ".", color="black", markersize=3)
        handles: list[Any] = [Patch(facecolor=t, edgecolor="0.25") for t in tints]
    else:
        handles = _scatter(axes, points[shown], codes[1][shown], len(names))
    for k in present:
        _name_region(axes, plane, regions == k, names[k], points[shown])
    legend = axes.legend(
        handles, ["class"] * len(names), loc="upper left", bbox_to_anchor=(1.01, 1.02),
        fontsize=9, frameon=False,
    )  # fmt: skip
    # Set afterwards: a legend leaves out names that begin with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    literal(legend.get_texts())


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(1.0 - 0.4 * (1.0 - c) for c in to_rgb(colour))


def _scatter(axes: Axes, points: Any, codes: Any, count: int) -> list[Line2D]:
    """Draw points with a marker of their class; give one of each back."""
    handles = []
    size = 5.5 if len(points) <= 300 else 4.0
    for k in range(count):
        marker = MARKERS[k % len(MARKERS)]
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": marker,
            "markerfacecolor": FILLS[k % len(FILLS)],
            "markeredgecolor": "black",
            "markeredgewidth": 0.5,
        }
        larger = _LARGER.get(marker, 1.0)
        axes.plot(*points[codes == k].T, markersize=size * larger, **style)
        handles.append(Line2D([], [], markersize=7.0 * larger, **style))
    return handles


def _name_region(axes: Axes, plane: _Plane, inside: Any, name: str, points: Any) -> None:
    """Write a name where it lies inside its region, far from points and borders."""
    rows, columns = inside.shape
    across = _LETTER * len(name) + _PAD, 9.0 + _PAD  # points (1/72 inch): width, height
    cells = (
        int(across[1] / 72.0 / _HEIGHT * rows) | 1,
        int(across[0] / 72.0 / _WIDTH * columns) | 1,
    )
    fits = minimum_filter(inside.astype(np.uint8), size=cells, mode="constant", cval=0)
    if not fits.any():
        return  # the legend names it
    left, right, bottom, top = plane.box
    free = np.ones(inside.shape, dtype=bool)
    place = ((points - (left, bottom)) / (right - left, top - bottom) * (columns, rows)).astype(int)
    free[place[:, 1], place[:, 0]] = False
    step = _HEIGHT / rows, _WIDTH / columns
    # Half an inch from the next point is far enough; then the middle of the region counts.
    room = np.minimum(distance_transform_edt(free, sampling=step), 0.5)
    room += 0.2 * distance_transform_edt(np.pad(inside, 1), sampling=step)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.where(fits, room, -1.0).argmax()), inside.shape)
    axes.text(
        float(plane.x[column]), float(plane.y[row]), name, ha="center", va="center", fontsize=9,
        fontweight="bold", parse_math=False,
        path_effects=[withStroke(linewidth=3.0, foreground="white")],
    )  # fmt: skip


# Values


def _contours(
    figure: Figure, axes: Axes, plane: _Plane, points: Any, y: Any, shown: Any
) -> None:  # fmt: skip
    try:
        values = plane.values.astype(np.float64)
        targets = None if y is None else y.reshape(-1)[shown].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the predictions and y are to be numbers: {error}") from error
    if not np.isfinite(values).all():
        raise InputError("the model predicts values that are not finite; there is nothing to draw")
    low, high = float(values.min()), float(values.max())
    finite = [] if targets is None else targets[np.isfinite(targets)]
    least, largest = min([low, *finite]), max([high, *finite])
    pad = 0.0 if largest > least else max(1.0, abs(largest)) / 2
    norm = Normalize(least - pad, largest + pad)
    levels = MaxNLocator(12).tick_values(low, high) if high > low else [low - 0.5, high + 0.5]
    axes.contourf(plane.x, plane.y, values, levels=levels, cmap=SIGNED, norm=norm)
    if high > low:
        lines = axes.contour(
            plane.x, plane.y, values, levels=levels, colors="black", linewidths=0.6
        )
        for text in axes.clabel(lines, fontsize=8, fmt="%g"):
            text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
    if targets is not None:
        axes.scatter(
            points[:, 0], points[:, 1], c=targets, cmap=SIGNED, norm=norm, s=22, edgecolors="black",
            linewidths=0.7, zorder=3,
        )  # fmt: skip
    else:
        axes.plot(*points.T, ".", color="black", markersize=3)
    label = "prediction" if targets is None else "prediction (ground), value (points)"
    beside = add_box(figure, _WIDTH + 0.15, 0.0, 0.16, _HEIGHT)
    figure.colorbar(ScalarMappable(norm, SIGNED), cax=beside, label=label)
