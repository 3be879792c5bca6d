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
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

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


def add_box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches; for figures of `bare_figure`."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def bare_figure() -> Figure:
    """Make a figure whose axes are placed in inches; `fit_around` then gives it its size."""
    return Figure(figsize=(10.0, 10.0), dpi=120)


def fit_around(figure: Figure, margin: float = 0.1) -> Figure:
    """Give a figure the size of what is on it, so that nothing is cut off.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Of `bare_figure`; axes keep their sizes in inches, and move.
    margin : float, default 0.1
        Inches around.

    Returns
    -------
    matplotlib.figure.Figure
        The figure itself.
    """
    figure.canvas.draw_idle()
    box = figure.get_tightbbox()
    wide, high = figure.get_size_inches()
    new_wide, new_high = box.width + 2 * margin, box.height + 2 * margin
    places = [axes.get_position(original=True) for axes in figure.axes]
    figure.set_size_inches(new_wide, new_high)
    for axes, place in zip(figure.axes, places, strict=True):
        axes.set_position(
            (
                (place.x0 * wide - box.x0 + margin) / new_wide,
                (place.y0 * high - box.y0 + margin) / new_high,
                place.width * wide / new_wide,
                place.height * high / new_high,
            )
        )
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


def literal(texts: Sequence[Text]) -> None:
    """Show names as they are, where Matplotlib would read ``$`` as the start of a formula."""
    for text in texts:
        text.set_parse_math(False)


def short_names(names: Sequence[object], most: int = 24) -> list[str]:
    """Bring names onto one line of limited length, still different from each other.

    Parameters
    ----------
    names : sequence
        Of anything that has a text.
    most : int, default 24
        Letters of a name; the middle of a longer one is left out.

    Returns
    -------
    list of str
    """
    whole = [" ".join(str(name).split()) or "(empty)" for name in names]
    half = (most - 1) // 2
    short = [n if len(n) <= most else f"{n[: most - 1 - half]}…{n[-half:]}" for n in whole]
    double = {name for name in short if short.count(name) > 1}
    return [f"{s} #{i + 1}" if s in double else s for i, s in enumerate(short)]


def lightness(colour: Any) -> float:
    """Lightness of a colour, L* of CIELAB: from 0 (black) to 100 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * y ** (1 / 3) - 16 if y > (6 / 29) ** 3 else 903.3 * y


def ink(ground: Any) -> str:
    """Black or white, whichever can be read on a colour."""
    return "black" if lightness(ground) > 49.5 else "white"
