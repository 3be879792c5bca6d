"""The weights of a first layer: what each unit looks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xpnn.backends import InputError, as_array, is_array, to_host
from xpnn.plots.figure import SIGNED, axes_on, figure_of, short_names
from xpnn.plots.images import draw_tiles
from xpnn.plots.model import dense_views, input_names

_SMALLEST = 5  # side of an image: 16 inputs are a table's columns, not 4x4 pixels
_NAMED = 60  # features that are named one by one


def draw_weights(
    source: Any,
    *,
    names: Sequence[object] | None = None,
    shape: tuple[int, int] | None = None,
    most: int = 100,
    ax: Axes | None = None,
) -> Figure:
    """Draw the first layer's weights, one image or one column for each unit.

    Inputs that form a square of 5x5 or more are shown as images, others as a heat map with a
    row for each feature. All share one scale of colours around 0, dark for negative and light
    for positive weights.

    Parameters
    ----------
    source : Network, fitted estimator, or array of shape (inputs, units)
        Whose weights.
    names : sequence of inputs, optional
        Names of the features, which ask for the heat map. Default: those that the model
        knows, if any.
    shape : pair of int, optional
        Height and width of the images; asks for images.
    most : int, default 100
        Units that are drawn at most: the first ones.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Shapes do not fit, or a weight is not finite.
    """
    weights = _weights_of(source)
    inputs, units = weights.shape
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InputError(f"most is {most!r}; expected a positive integer")
    if names is None and not is_array(source):
        names = input_names(source)
    if names is not None and len(names) != inputs:
        raise InputError(f"names holds {len(names)}; expected {inputs}, one for each input")
    if shape is not None and (len(shape) != 2 or shape[0] * shape[1] != inputs):
        raise InputError(f"shape is {shape!r}; expected height and width with {inputs} pixels")
    side = math.isqrt(inputs)
    if shape is None and names is None and side * side == inputs and side >= _SMALLEST:
        shape = (side, side)
    largest = float(np.abs(weights).max()) or 1.0
    look: dict[str, Any] = {"cmap": SIGNED, "norm": Normalize(-largest, largest)}
    shown = weights[:, :most]
    if shape is not None:
        columns = min(shown.shape[1], 8)
        ax, image = draw_tiles(ax, shown.T.reshape(-1, *shape), columns=columns, **look)
    else:
        labels = list(range(inputs)) if names is None else short_names(names, 32)
        longest = max(len(str(label)) for label in labels)
        width, height = max(1.5, min(0.25 * units, 10.0)), max(1.0, min(0.22 * inputs, 12.0))
        ax = axes_on(ax, width + 1.8 + 0.08 * longest, height + 1.2)
        image = ax.imshow(shown, aspect="auto", interpolation="nearest", **look)
        _label_heat_map(ax, labels)
    first = "" if units <= most else f"the first {most} of "
    title = f"first layer: weights of {first}{units:,} unit{'' if units == 1 else 's'}"
    ax.set_title(title, fontsize=10, loc="left")
    bar = figure_of(ax).colorbar(image, ax=ax, label="weight", fraction=0.08)
    bar.locator = MaxNLocator(5, symmetric=True)
    return figure_of(ax)


def _weights_of(source: Any) -> Any:
    if not is_array(source):
        return dense_views(source)[0].weights
    weights = np.asarray(to_host(as_array("source", source)), dtype=np.float64)
    if weights.ndim != 2 or not weights.size:
        raise InputError(f"source has shape {weights.shape}; expected (inputs, units)")
    if not np.isfinite(weights).all():
        raise InputError("source holds weights that are not finite; there is nothing to draw")
    return weights


def _label_heat_map(ax: Axes, labels: Sequence[Any]) -> None:
    if len(labels) <= _NAMED:
        ax.set_yticks(range(len(labels)), labels, fontsize=9)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.set_xlabel("unit")
    ax.set_ylabel("input")
    ax.tick_params(length=0)
