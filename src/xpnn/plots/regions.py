"""What a model predicts over the plane of its two features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from xpnn.backends import (
    ArrayLike,
    InputError,
    device_of,
    is_array,
    is_floating,
    namespace,
    to_device,
    to_host,
)
from xpnn.plots.confusion import class_codes, label_column
from xpnn.plots.figure import FILLS, MARKERS, SIGNED, axes_on, figure_of, short_names
from xpnn.plots.model import last_step
from xpnn.training import Network

MOST_CLASSES = 20
_MARGIN = 0.08  # of the points' range, around them


def draw_regions(
    model: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    names: Sequence[object] | None = None,
    classes: Sequence[object] | None = None,
    resolution: int = 240,
    most: int = 1000,
    ax: Axes | None = None,
) -> Figure:
    """Draw what a model of two features predicts, and the points of the data.

    Beside `sklearn.inspection.DecisionBoundaryDisplay`: for a `Network` too, on every array
    library, with the points, and a border and a marker for each class.

    Parameters
    ----------
    model : object
        Fitted on two columns, with `predict`.
    X : array_like or frame, shape (n, 2)
        The points, as the model takes them.
    y : array_like, shape (n,), optional
        Their labels or values.
    names : sequence of two, optional
        Names of the features; default, those of a frame's columns.
    classes : sequence, optional
        Names of the classes, in the order of the model's `classes_` or of labels 0, 1, ...
    resolution : int, default 240
        Points of the grid on each side.
    most : int, default 1000
        Points of the data that are drawn at most.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        Regions of classes, or contours of a regression.

    Raises
    ------
    ValueError
        There are not exactly two features, a value is not finite, the model predicts
        several values for a row, or there are more than 20 classes.
    TypeError
        The model has no `predict`.
    """
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
    plane = _predict_plane(model, X, points, resolution)
    shown = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).astype(int))
    ax = axes_on(ax, 5.6, 4.2)
    if _classifies(model, plane[2]):
        _draw_classes(ax, plane, points, targets, shown, classes, last_step(model))
    else:
        _draw_values(ax, plane, points, targets, shown)
    across, up = short_names(names, 50)
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    if len(shown) < len(points):
        ax.set_title(f"{len(shown):,} of {len(points):,} points", fontsize=10, loc="left")
    return figure_of(ax)


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


def _predict_plane(model: Any, X: Any, points: Any, resolution: int) -> tuple[Any, Any, Any]:
    """Let the model predict on a grid around the points: its x, y, and the predictions."""
    if not hasattr(model, "predict"):
        raise TypeError(
            f"model is a {type(model).__name__} without predict; expected a fitted model"
        )
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, np.maximum(1.0, np.abs(high)))
    low, high = low - _MARGIN * span, high + _MARGIN * span
    x, y = (np.linspace(low[i], high[i], resolution) for i in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    said = np.asarray(to_host(model.predict(_like(grid, X))))
    if said.size != len(grid):
        raise InputError(
            f"the model predicts values of shape {said.shape[1:]} for each row; "
            "decision regions show one label or one value"
        )
    return x, y, said.reshape(resolution, resolution)


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
    return to_device(grid if dtype else grid.astype(np.float32), xp, device_of(X), dtype)


def _classifies(model: Any, values: Any) -> bool:
    inner = last_step(model)
    if isinstance(inner, Network):
        return inner.loss.kind != "regression"
    return hasattr(inner, "classes_") or values.dtype.kind != "f"


def _draw_classes(
    ax: Axes,
    plane: tuple[Any, Any, Any],
    points: Any,
    y: Any,
    shown: Any,
    classes: Sequence[object] | None,
    model: Any,
) -> None:
    across, up, said = plane
    columns = [said.reshape(-1)] + ([] if y is None else [label_column("y", y)])
    codes, names = class_codes(columns, classes, getattr(model, "classes_", None))
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"there are {len(names)} classes; their regions can be told apart up to {MOST_CLASSES}"
        )
    regions = codes[0].reshape(said.shape)
    looks = [(FILLS[k % len(FILLS)], MARKERS[k % len(MARKERS)]) for k in range(len(names))]
    ax.imshow(
        regions,
        cmap=ListedColormap([tint(fill) for fill, _ in looks]),
        vmin=-0.5,
        vmax=len(names) - 0.5,
        origin="lower",
        extent=(across[0], across[-1], up[0], up[-1]),
        aspect="auto",
        interpolation="nearest",
    )
    for k in np.unique(regions) if len(np.unique(regions)) > 1 else ():
        ax.contour(across, up, regions == k, levels=[0.5], colors="0.25", linewidths=0.8)
    for k, (fill, marker) in enumerate(looks):
        own = shown[:0] if y is None else shown[codes[1][shown] == k]
        look: dict[str, Any] = {"color": fill, "marker": marker, "edgecolors": "black", "lw": 0.5}
        ax.scatter(points[own, 0], points[own, 1], s=26, **look)
    handles: Sequence[Any] = ax.collections[-len(names) :]
    if y is None:
        ax.plot(*points[shown].T, ".", color="black", markersize=3)
        handles = [Patch(facecolor=tint(fill), edgecolor="0.25") for fill, _ in looks]
    ax.legend(handles, names, loc="upper left", bbox_to_anchor=(1, 1))


def tint(colour: str) -> tuple[float, ...]:
    """Lighten the colour of a marker for its region."""
    return tuple(1.0 - 0.4 * (1.0 - c) for c in to_rgb(colour))


def _draw_values(ax: Axes, plane: tuple[Any, Any, Any], points: Any, y: Any, shown: Any) -> None:
    try:
        values = plane[2].astype(np.float64)
        targets = None if y is None else y.reshape(-1)[shown].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the predictions and y are to be numbers: {error}") from error
    if not np.isfinite(values).all():
        raise InputError("the model predicts values that are not finite; there is nothing to draw")
    finite = np.empty(0) if targets is None else targets[np.isfinite(targets)]
    both = np.concatenate([values.reshape(-1), finite])
    low, high = float(both.min()), float(both.max())
    pad = 0.0 if high > low else max(1.0, abs(high)) / 2
    norm = Normalize(low - pad, high + pad)
    levels = MaxNLocator(12).tick_values(low - pad, high + pad)
    filled = ax.contourf(*plane[:2], values, levels=levels, cmap=SIGNED, norm=norm)
    if values.max() > values.min():
        ax.clabel(ax.contour(*plane[:2], values, levels=levels, colors="black", linewidths=0.6))
    label = "prediction" if targets is None else "prediction (ground), value (points)"
    look: dict[str, Any] = {"color": "black", "s": 3}
    if targets is not None:
        look = {"c": targets, "cmap": SIGNED, "norm": norm, "s": 22, "edgecolors": "black"}
    ax.scatter(points[shown, 0], points[shown, 1], zorder=3, **look)
    figure_of(ax).colorbar(filled, ax=ax, label=label)
