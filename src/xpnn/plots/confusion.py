"""A table of what was there and what was read, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xpnn.backends import ArrayLike, InputError
from xpnn.plots.figure import AMOUNT, add_box, bare_figure, fit_around, ink, literal, short_names
from xpnn.plots.labels import coded, label_column

MOST_CLASSES = 50
_BOTH = 20  # classes up to which each cell also holds the share
_WIDE, _NARROW = 0.7, 0.52  # inches of a cell, up to ten classes and beyond
_LEAST = 1.4  # inches of a table
_UPRIGHT = 5  # letters of a class name that fit below a cell


def draw_confusion(
    labels: ArrayLike, predicted: ArrayLike, *, classes: Sequence[object] | None = None
) -> Figure:
    """Draw a confusion matrix: counts, and the share of each row.

    Parameters
    ----------
    labels, predicted : array_like, shape (n,)
        What is there, and what was read; of any library, numbers or texts.
    classes : sequence, optional
        Names of the classes. Where labels are 0, 1, ..., names stand in their place; other
        labels must be among the names, which then give the order. Default: all that occur.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Lengths differ, there is no row, a label has no name, or there are too many classes.
    """
    right, read = label_column("labels", labels), label_column("predicted", predicted)
    if len(right) != len(read) or not len(right):
        raise InputError(
            f"labels holds {len(right)} and predicted {len(read)}; expected as many of both, "
            "at least one"
        )
    (rows, columns), names = coded([right, read], classes)
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"there are {len(names)} classes; a picture can be read up to {MOST_CLASSES}"
        )
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return _draw(counts, short_names(names, 28))


def _draw(counts: Any, names: list[str]) -> Figure:
    many = len(names)
    whole = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(whole, 1)
    figure, side = bare_figure(), max(_LEAST, (_WIDE if many <= 10 else _NARROW) * many)
    axes = add_box(figure, 0.0, 0.0, side, side)
    image = axes.imshow(shares, cmap=AMOUNT, vmin=0.0, vmax=1.0)
    _fill(axes, counts, shares, image)
    rows = [f"{name}  ({n:,})" for name, n in zip(names, whole[:, 0], strict=True)]
    upright = max(map(len, names)) <= _UPRIGHT
    axes.set_xticks(range(many), names, fontsize=9, rotation=0 if upright else 90)
    axes.set_yticks(range(many), rows, fontsize=9)
    literal([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (rows)")
    # Lines between the cells in place of tick marks.
    axes.set_xticks(np.arange(many - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(many - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.8", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    right, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(
        f"{right:,} of {total:,} right ({_percent(right / total)})", fontsize=10, loc="left", pad=10
    )
    scale = add_box(figure, side + 0.15, 0.0, 0.16, side)
    figure.colorbar(image, cax=scale, label="share of the row", format=_tick)
    return fit_around(figure)


def _fill(axes: Axes, counts: Any, shares: Any, image: Any) -> None:
    """Write into the cells; those without a row stay empty."""
    many = len(counts)
    size = 9 if many <= 10 else 7
    # Inside the table: there is no need to measure them all.
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "in_layout": False}
    for row, column in zip(*np.nonzero(counts), strict=True):
        text, share = f"{counts[row, column]:,}", shares[row, column]
        if many <= _BOTH:
            text += f"\n{_percent(share)}"
        axes.text(column, row, text, color=ink(image.cmap(image.norm(share))), **look)
    for row in np.flatnonzero(counts.sum(axis=1) == 0).tolist():
        axes.text((many - 1) / 2, row, "no rows", color="0.35", **look)


def _percent(share: float) -> str:
    """Say a share in percent, rounding none of them to 0 or to all."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return "<1%" if share < 0.005 else ">99%" if share > 0.995 else f"{share:.0%}"


def _tick(value: float, _: Any = None) -> str:
    return f"{value:.0%}"
