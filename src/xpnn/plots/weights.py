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
from xpnn.plots.figure import SIGNED, add_box, bare_figure, fit_around, ink, literal, short_names
from xpnn.plots.model import dense_views, input_names

_SMALLEST = 5  # side of a picture: 16 inputs are a table's columns, not 4x4 pixels
_CELL, _GAP = 0.85, 0.07  # inches of a picture, and between two
_SCALE = 1.2  # inches of the scale of colours at least
_NAMED = 60  # features that are named one by one
_WRITTEN = 150  # weights that are written as numbers


def draw_weights(
    source: Any,
    *,
    names: Sequence[object] | None = None,
    shape: tuple[int, int] | None = None,
    most: int = 100,
) -> Figure:
    """Draw the first layer's weights, one picture or one column for each unit.

    Inputs that form a square of 5x5 or more are shown as pictures, others as a heat map
    with a row for each feature. All share one scale of colours around 0, dark for negative
    and light for positive weights.

    Parameters
    ----------
    source : Network, fitted estimator, or array of shape (inputs, units)
        Whose weights; see `xpnn.plots.model.dense_views`.
    names : sequence of inputs, optional
        Names of the features, which ask for the heat map. Default: those that the model
        knows, if any.
    shape : pair of int, optional
        Height and width of the pictures; asks for pictures.
    most : int, default 100
        Units that are drawn at most: the first ones.

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
    norm = Normalize(-largest, largest)
    shown = weights[:, :most]
    which = f"{units:,} unit{'' if units == 1 else 's'}"
    if units > most:
        which = f"the first {shown.shape[1]} of {which}"
    title = f"first layer: weights of {which}"
    if shape is not None:
        pictures = shown.T.reshape(-1, *shape)
        return _pictures(pictures, norm, title)
    return _heat_map(shown, names, norm, title)


def _weights_of(source: Any) -> Any:
    if not is_array(source):
        return dense_views(source)[0].weights
    weights = np.asarray(to_host(as_array("source", source)), dtype=np.float64)
    if weights.ndim != 2 or not weights.size:
        raise InputError(f"source has shape {weights.shape}; expected (inputs, units)")
    if not np.isfinite(weights).all():
        raise InputError("source holds weights that are not finite; there is nothing to draw")
    return weights


def _pictures(pictures: Any, norm: Normalize, title: str) -> Figure:
    units, high, wide = pictures.shape
    columns = min(units, 8 if units <= 64 else 10)
    rows = -(-units // columns)
    width, height = _CELL * min(1.0, wide / high), _CELL * min(1.0, high / wide)
    whole_width, whole_height = columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP
    figure, room = bare_figure(), max(whole_height, _SCALE)
    frame = add_box(figure, 0.0, 0.0, whole_width, room)
    frame.set_axis_off()
    frame.set_title(title, fontsize=10, loc="left", pad=10)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        top = (room + whole_height) / 2 - row * (height + _GAP)
        axes = add_box(figure, column * (width + _GAP), top - height, width, height)
        axes.set_axis_off()
        image = axes.imshow(picture, cmap=SIGNED, norm=norm, interpolation="nearest", aspect="auto")
    _scale(figure, image, whole_width + 0.15, room)
    return fit_around(figure)


def _scale(figure: Figure, image: Any, left: float, height: float) -> None:
    """Add the scale of colours on the right, of a height that can be read."""
    high = min(height, 4.0)
    beside = add_box(figure, left, (height - high) / 2, 0.14, high)
    bar = figure.colorbar(image, cax=beside, label="weight")
    bar.locator = MaxNLocator(5, symmetric=True)


def _heat_map(weights: Any, names: Sequence[object] | None, norm: Normalize, title: str) -> Figure:
    inputs, units = weights.shape
    written = weights.size <= _WRITTEN and units <= 15
    width = max(1.2, units * (0.5 if written else min(0.22, 12.0 / units)))
    height = max(_SCALE, inputs * min(0.25, 12.0 / inputs))
    figure = bare_figure()
    axes = add_box(figure, 0.0, 0.0, width, height)
    image = axes.imshow(weights, cmap=SIGNED, norm=norm, aspect="auto", interpolation="nearest")
    if inputs <= _NAMED:
        labels = [str(i) for i in range(inputs)] if names is None else short_names(names, 32)
        axes.set_yticks(range(inputs), labels, fontsize=9)
        literal(axes.get_yticklabels())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("unit")
    axes.set_ylabel("input")
    axes.set_title(title, fontsize=10, loc="left", pad=10)
    axes.tick_params(length=0)
    if written:
        _write(axes, weights, image)
    _scale(figure, image, width + 0.15, height)
    return fit_around(figure)


def _write(axes: Axes, weights: Any, image: Any) -> None:
    for (row, column), value in np.ndenumerate(weights):
        colour = ink(image.cmap(image.norm(value)))
        text = f"{value:.2g}" if abs(value) < 1e4 else f"{value:.0e}"
        axes.text(
            column, row, text, ha="center", va="center", color=colour, fontsize=8, in_layout=False
        )
