"""Pictures of handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from xpnn.backends import Array, ArrayLike, InputError, as_array, host, to_host
from xpnn.data import square_picture
from xpnn.plots.figure import literal, new_figure, save_figure

_CELL = 0.95  # inches of a picture
_LETTER = 0.075  # inches of a title's letter, about
_HEADING = 5  # pictures that a row is wide at least, where a heading stands above it


def _grid(pictures: Sequence[Array], titles: Sequence[str], columns: int) -> Figure:
    """Draw pictures in rows; places without a picture stay empty."""
    rows = -(-len(pictures) // columns)
    width = max(_CELL, _LETTER * max((len(title) for title in titles), default=0))
    height = _CELL + (0.2 if titles else 0.0)
    figure, axes = new_figure(rows, columns, width, height, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, picture in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, cmap="gray_r", interpolation="nearest")
    for axis, title in zip(axes.flat, titles, strict=False):
        literal([axis.set_title(title, fontsize=8, pad=3)])
    return figure


def plot_digits(
    images: ArrayLike,
    path: str | Path,
    titles: Sequence[object] | None = None,
    columns: int = 10,
) -> Path:
    """Draw pictures in a grid, dark where the values are large.

    Parameters
    ----------
    images : array_like, shape (n, h, w) or (n, h * h)
        At least one; of any range of values, on any library and device.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.
    titles : sequence of n str or numbers, optional
        What stands above each.
    columns : int, default 10
        Pictures in a row at most.

    Returns
    -------
    Path
        Where the picture is.

    Raises
    ------
    ValueError
        The shape is not that of pictures, or the number of titles is another.
    """
    values = to_host(as_array("images", images))
    if values.ndim not in (2, 3) or not len(values):
        raise InputError(
            f"images has shape {values.shape}; expected (n, h, w) or (n, h * h), n at least 1"
        )
    if columns < 1:
        raise InputError(f"columns is {columns!r}; expected a positive integer")
    texts = [] if titles is None else [str(title) for title in titles]
    if titles is not None and len(texts) != len(values):
        raise InputError(f"titles holds {len(texts)}; expected {len(values)}, as many as images")
    pictures = [square_picture(image) for image in values]
    return save_figure(_grid(pictures, texts, min(columns, len(pictures))), path)


def plot_misread(
    images: ArrayLike,
    labels: ArrayLike,
    predicted: ArrayLike,
    path: str | Path,
    most: int = 20,
) -> Path:
    """Draw the digits that were misread, with what was read.

    Parameters
    ----------
    images : array_like, shape (n, h, w) or (n, h * h)
        Of any range of values, on any library and device.
    labels, predicted : array_like of integers, shape (n,)
        What stands there, and what was read.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.
    most : int, default 20
        Digits that are drawn at most: the first ones.

    Returns
    -------
    Path
        Where the picture is; it says so where nothing was misread.

    Raises
    ------
    ValueError
        The shapes do not go together, or `most` is not positive.
    """
    values, right, read = (
        to_host(as_array(name, array))
        for name, array in (("images", images), ("labels", labels), ("predicted", predicted))
    )
    if values.ndim not in (2, 3) or not right.shape == read.shape == values.shape[:1]:
        raise InputError(
            f"images has shape {values.shape}, labels {right.shape} and predicted {read.shape}; "
            "expected (n, h, w) or (n, h * h), (n,) and (n,)"
        )
    if most < 1:
        raise InputError(f"most is {most!r}; expected a positive integer")
    wrong = host.flatnonzero(right != read)
    if not wrong.size:
        figure, axis = new_figure(1, 1, 5.0, 1.2)
        axis.set_axis_off()
        text = f"None of the {len(values):,} digits was misread."
        axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
        return save_figure(figure, path)
    shown = wrong[:most]
    titles = [f"{right[i]} read as {read[i]}" for i in shown]
    columns = max(_HEADING, min(10, len(shown)))
    figure = _grid([square_picture(values[i]) for i in shown], titles, columns)
    rest = "" if len(shown) == len(wrong) else f"; the first {len(shown)} of them"
    figure.suptitle(f"{len(wrong):,} of {len(values):,} digits misread{rest}", fontsize=11)
    return save_figure(figure, path)
