"""True and predicted classes as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from xpnn.backends import ArrayLike, InputError, to_host
from xpnn.plots.figure import AMOUNT, axes_on, figure_of, short_names

MOST_CLASSES = 50


def label_column(name: str, values: Any) -> Any:
    """Bring labels of shape (n,) or (n, 1) to the host as a column."""
    found = np.asarray(to_host(values))
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise InputError(f"{name} has shape {found.shape}; expected (n,), one label for each row")
    if found.dtype.kind == "f":
        fractions = np.flatnonzero(found != np.round(found))  # nan too
        if fractions.size:
            i = int(fractions[0])
            raise InputError(f"{name}[{i}] is {found[i]}; expected labels of classes")
    return found


def class_codes(
    columns: Sequence[Any], classes: Sequence[object] | None, known: Sequence[object] | None = None
) -> tuple[list[Any], list[str]]:
    """Number the labels of some columns of `label_column`; returns codes and short names.

    `classes` names the classes in the order of `known`, which are all labels of a model, or of
    the labels 0, 1, ...; or it holds the labels themselves in the order that is wanted.
    """
    listed = [column.tolist() for column in columns]
    labels: list[Any] = list({label: None for column in listed for label in column})
    try:
        labels.sort()
    except TypeError:  # texts and numbers have no order
        labels.sort(key=str)
    names = None if classes is None else list(classes)
    if known is not None:
        labels = list(known)
    elif names is not None and set(labels) <= set(names):
        labels = names
    elif names is not None and set(labels) <= set(range(len(names))):
        labels = list(range(len(names)))
    if names is not None and len(names) != len(labels):
        raise InputError(f"classes names {len(names)} classes; expected {len(labels)}: {labels}")
    if len(labels) > MOST_CLASSES:
        raise InputError(f"there are {len(labels)} classes; expected at most {MOST_CLASSES}")
    places = {label: i for i, label in enumerate(labels)}
    for label in (label for column in listed for label in column):
        if label not in places:
            some = ", ".join(map(str, labels[:10])) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"the label {label!r} is not among the classes {some}")
    codes = [np.asarray([places[label] for label in column], dtype=np.int64) for column in listed]
    return codes, short_names(labels if names is None else names, 28)


def draw_confusion(
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    classes: Sequence[object] | None = None,
    normalize: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a confusion matrix: a row for each true class, a column for each predicted one.

    Parameters
    ----------
    labels, predicted : array_like, shape (n,)
        True and predicted labels; of any library, numbers or texts.
    classes : sequence, optional
        Names of the classes. Where labels are 0, 1, ..., names stand in their place; other
        labels must be among the names, which then give the order. Default: all that occur.
    normalize : {'true', 'pred', 'all'}, optional
        Show shares of the rows, of the columns or of all in place of counts.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Lengths differ, there is no row, a label has no name, or there are too many classes.
    """
    true, said = label_column("labels", labels), label_column("predicted", predicted)
    if len(true) != len(said) or not len(true):
        raise InputError(
            f"labels holds {len(true)} and predicted {len(said)}; expected as many of both, "
            "at least one"
        )
    (rows, columns), names = class_codes([true, said], classes)
    many = len(names)
    side, longest = max(2.4, (0.6 if many <= 10 else 0.48) * many), max(map(len, names))
    ax = axes_on(ax, side + 1.6 + 0.08 * longest, side + 0.6 + 0.08 * longest)
    # Not `from_predictions`, which warns of a single class.
    cells: Any = np.zeros((many, many), dtype=np.int64)
    np.add.at(cells, (rows, columns), 1)
    if normalize is not None:
        wholes = {"true": cells.sum(1, keepdims=True), "pred": cells.sum(0), "all": cells.sum()}
        if normalize not in wholes:
            raise InputError(f"normalize is {normalize!r}; expected 'true', 'pred' or 'all'")
        cells = cells / np.maximum(wholes[normalize], 1)
    ConfusionMatrixDisplay(cells, display_labels=names).plot(
        xticks_rotation="horizontal" if longest <= 5 else "vertical",
        values_format="d" if normalize is None else ".2f",
        cmap=AMOUNT,
        ax=ax,
        text_kw={"fontsize": 9 if many <= 10 else 7},
    )
    correct = int((rows == columns).sum())
    ax.set_title(f"accuracy {correct / len(rows):.4f} ({correct:,} of {len(rows):,})", fontsize=10)
    return figure_of(ax)
