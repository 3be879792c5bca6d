"""Figures without a window and without global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from xpnn.data.files import replacing

# Okabe & Ito (2008): told apart by colour-blind readers, and by lightness in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 5.0, height: float = 3.6, **options: Any
) -> tuple[Figure, Any]:
    """Make a figure with a grid of axes.

    Parameters
    ----------
    rows, columns : int, default 1
        Size of the grid.
    width, height : float
        Inches for each cell.
    **options
        For `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes or array of them
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, **options)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure beside its place, then move it there.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to draw.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        Where it is.
    """
    with replacing(path) as beside:
        figure.savefig(beside)
    return Path(path)
