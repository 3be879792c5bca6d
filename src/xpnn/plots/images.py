"""Images side by side: handwritten digits, and those that a model got wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from xpnn.backends import ArrayLike, InputError, as_array, to_host
from xpnn.plots.figure import axes_on, figure_of, literal

_CELL, _LETTER = 0.9, 0.075  # inches of an image, and of a title's letter, about
_GAP, _TITLE = 0.08, 0.26  # between images, and of a title, as shares of an image's width


def draw_tiles(
    ax: Axes | None,
    images: Any,
    *,
    columns: int,
    titles: Sequence[str] = (),
    **look: Any,
) -> tuple[Axes, AxesImage]:
    """Draw images (n, height, width) of the host in rows on one pair of axes.

    A new figure has room for every image and title. The last image is for a colour bar.
    """
    count, high, wide = images.shape
    longest = max((len(title) for title in titles), default=0)
    room = max(1.0, _LETTER * longest / _CELL) + _GAP
    tall = min(high / wide, 12.0)
    step = tall + _GAP + (_TITLE if titles else 0.0)
    rows = -(-count // columns)
    ax = axes_on(ax, max(_CELL * room * columns + 0.3, 3.2), _CELL * step * rows + 0.5)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        left, top = room * column, -step * row
        drawn = ax.imshow(image, extent=(left, left + 1, top - tall, top), **look)
        if titles:
            ax.text(left + 0.5, top + 0.04, literal(titles[i]), ha="center", fontsize=8)
    ax.set_xlim(-(room - 1) / 2, room * columns - (room - 1) / 2)
    ax.set_ylim(_GAP - step * rows + (_TITLE if titles else 0.0) - _GAP, _TITLE if titles else 0.0)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax, drawn


def draw_digits(
    images: ArrayLike,
    titles: Sequence[object] | None = None,
    *,
    columns: int = 10,
    ax: Axes | None = None,
) -> Figure:
    """Draw images in rows, dark where the values are large.

    Parameters
    ----------
    images : array_like, shape (n, height, width) or (n, side * side)
        At least one; of any range of values, on any library and device.
    titles : sequence of n str or numbers, optional
        What stands above each.
    columns : int, default 10
        Images in a row at most.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The shape is not that of images, or the number of titles is another.
    """
    values = _square_images(to_host(as_array("images", images)))
    if columns < 1:
        raise InputError(f"columns is {columns!r}; expected a positive integer")
    texts = [] if titles is None else [str(title) for title in titles]
    if titles is not None and len(texts) != len(values):
        raise InputError(f"titles holds {len(texts)}; expected {len(values)}, as many as images")
    columns = min(columns, len(values))
    ax, _ = draw_tiles(ax, values, columns=columns, titles=texts, cmap="gray_r")
    return figure_of(ax)


def draw_misclassified(
    images: ArrayLike,
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    most: int = 20,
    ax: Axes | None = None,
) -> Figure:
    """Draw the images that were misclassified, with their labels and predictions.

    Parameters
    ----------
    images : array_like, shape (n, height, width) or (n, side * side)
        Of any range of values, on any library and device.
    labels, predicted : array_like, shape (n,)
        True and predicted labels.
    most : int, default 20
        Images that are drawn at most: the first ones.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        It says so where nothing was misclassified.

    Raises
    ------
    ValueError
        The shapes do not go together, or `most` is not positive.
    """
    values, right, said = (
        to_host(as_array(name, array))
        for name, array in (("images", images), ("labels", labels), ("predicted", predicted))
    )
    if not right.shape == said.shape == values.shape[:1]:
        raise InputError(
            f"images has shape {values.shape}, labels {right.shape} and predicted {said.shape}; "
            "expected the same length, and one label for each image"
        )
    if most < 1:
        raise InputError(f"most is {most!r}; expected a positive integer")
    values, wrong = _square_images(values), np.flatnonzero(right != said)
    shown = wrong[:most]
    if len(shown):
        titles = [f"{right[i]} → {said[i]}" for i in shown]
        ax, _ = draw_tiles(
            ax, values[shown], columns=max(5, min(10, len(shown))), titles=titles, cmap="gray_r"
        )
    else:
        ax = axes_on(ax, 5.0, 1.0)
        ax.set_axis_off()
    rest = "" if len(shown) == len(wrong) else f"; the first {len(shown)}"
    title = f"{len(wrong):,} of {len(values):,} misclassified{rest}"
    ax.set_title(f"{title}: true → predicted" if len(shown) else title, fontsize=10, pad=10)
    return figure_of(ax)


def _square_images(values: Any) -> Any:
    """Bring images to the shape (n, height, width)."""
    side = math.isqrt(values.shape[1]) if values.ndim == 2 else 0
    if values.ndim == 2 and side * side == values.shape[1]:
        values = values.reshape(-1, side, side)
    if values.ndim != 3 or not values.size:
        raise InputError(
            f"images has shape {values.shape}; expected (n, height, width) or (n, side * side), "
            "at least one image"
        )
    return values
