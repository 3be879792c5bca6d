"""Figures without a window and without global state; the colours of all pictures.

A picture must say the same to a reader who confuses colours and on a black-and-white
printer. So what belongs together differs in line style, marker or a word as well, and the
colours are a checked set: Tol (2021), "Colour schemes", scheme "muted", and black.
`tests/plots/test_colours.py` simulates both kinds of readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xpnn.backends import InputError
from xpnn.data.files import atomic_write

_INDIGO, _ROSE, _CYAN, _GREEN = "#332288", "#CC6677", "#88CCEE", "#117733"
_SAND, _WINE, _PURPLE, _BLACK = "#DDCC77", "#882255", "#AA4499", "#000000"

# For lines: dark enough on white paper, the first three told apart by lightness alone.
COLOURS = (_INDIGO, _ROSE, _BLACK, _GREEN, _PURPLE, _WINE)
# For areas and for markers with a dark edge: neighbours differ in lightness.
FILLS = (_INDIGO, _CYAN, _ROSE, _BLACK, _GREEN, _SAND, _WINE, _PURPLE)
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")  # 9 and 8 fills: 72 pairs

# From dark over grey to light: a sign is seen in grey print too, where the usual maps from
# blue over white to red show both ends alike.
SIGNED = "cividis"
AMOUNT = "Blues"  # from white to dark

ENDINGS = (".png", ".svg", ".pdf")
_DATES = {".svg": "Date", ".pdf": "CreationDate"}


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 5.0, height: float = 3.6, **options: Any
) -> tuple[Figure, Any]:
    """Make a figure with a grid of axes; a cell's size is in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, **options)


def axes_on(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes that were given, or those of a new figure of that size in inches."""
    return new_figure(width=width, height=height)[1] if ax is None else ax


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are on; of a subfigure's, the whole one."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure beside its place, then move it there; the same figure, the same bytes.

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

    Raises
    ------
    ValueError
        The path ends in something else.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"path is '{path}'; expected one that ends in {', '.join(ENDINGS)}")
    metadata = {_DATES[ending]: None} if ending in _DATES else None
    with atomic_write(path) as beside, rc_context({"svg.hashsalt": "xpnn"}):
        figure.savefig(beside, metadata=metadata)
    return path


def literal(name: object) -> str:
    """Write a name as it is, where Matplotlib would read ``$`` as the start of a formula."""
    return str(name).replace("$", r"\$")


def short_names(names: Sequence[object], most: int = 24) -> list[str]:
    """Bring names onto one line of at most so many letters, still different from each other."""
    whole = [" ".join(str(name).split()) or "(empty)" for name in names]
    half = (most - 1) // 2
    short = [n if len(n) <= most else f"{n[: most - 1 - half]}…{n[-half:]}" for n in whole]
    double = {name for name in short if short.count(name) > 1}
    return [literal(f"{s} #{i + 1}" if s in double else s) for i, s in enumerate(short)]
