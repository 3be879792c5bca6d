"""Loss and scores of a training, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xpnn.backends import InputError, is_array, to_host
from xpnn.plots.figure import COLOURS, LINES, MARKERS, figure_of, new_figure
from xpnn.training import History

_FEW = 25  # epochs that are marked one by one
_HUGE = 1e100  # beyond that no axis is drawn
_LOG = 1000.0  # largest over smallest loss, from which on the axis is logarithmic


@dataclass(frozen=True)
class Curves:
    """What there is to draw of a training."""

    epochs: list[int]
    loss: list[float]
    validation_loss: list[float]  # may be empty
    scores: list[float]  # may be empty
    score: str  # what the scores are
    best: int | None  # epoch to be marked
    mark: str  # what that epoch is


def curves_of(source: Any) -> Curves:
    """Find the curves in a record of a training, as `draw_history` takes it."""
    if hasattr(source, "loss_curve_"):
        return _of_estimator(source)
    if isinstance(source, History):
        source = source.to_dict()
    elif is_array(source) or (isinstance(source, Sequence) and not isinstance(source, str | bytes)):
        source = {"loss": source}
    if not isinstance(source, Mapping):
        raise TypeError(
            f"source is a {type(source).__name__}; expected a History, its record (a dict), a "
            "list of losses, or a fitted estimator with a loss_curve_"
        )
    if "loss" not in source and isinstance(source.get("history"), Mapping):
        source = source["history"]
    if "loss" not in source:
        keys = ", ".join(map(str, source)) or "nothing"
        raise InputError(f"the record holds {keys}; expected loss, as History.to_dict() gives")
    names = ("loss", "validation_loss", "validation_accuracy", "epoch")
    loss, validation, scores, epochs = (_floats(name, source.get(name)) for name in names)
    if not loss:
        raise InputError("history holds no epoch; expected at least one")
    for name, found in zip(names, (loss, validation, scores, epochs), strict=True):
        if found and len(found) != len(loss):
            raise InputError(f"{name} holds {len(found)}; expected {len(loss)}, as many as loss")
    shown = [int(epoch) for epoch in epochs] or list(range(1, len(loss) + 1))
    best, mark = source.get("best_epoch"), "best"
    if best is None:
        best, mark = _lowest(shown, validation), "lowest validation loss"
    return Curves(shown, loss, validation, scores, "accuracy", best, mark)


def _of_estimator(model: Any) -> Curves:
    names = ("loss_curve_", "validation_loss_curve_", "validation_scores_")
    loss, *more = (_floats(name, getattr(model, name, None)) for name in names)
    if not loss:
        raise InputError("loss_curve_ is empty; expected at least one epoch")
    # Those of a fit that went on are of its end only.
    validation, scores = ([] if len(curve) != len(loss) else curve for curve in more)
    epochs = list(range(1, len(loss) + 1))
    # Early stopping monitors the scores.
    best = _lowest(epochs, [-s for s in scores] or validation)
    mark = "best score" if scores else "lowest validation loss"
    return Curves(epochs, loss, validation, scores, "score", best, mark)


def _floats(name: str, values: Any) -> list[float]:
    """Bring a list into numbers; JSON's null stands for what is none."""
    if values is None:
        return []
    found = []
    for i, value in enumerate(to_host(values).tolist() if is_array(values) else values):
        try:
            found.append(math.nan if value is None else float(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name}[{i}] is {value!r}; expected a number") from error
    return found


def _drawable(value: float) -> bool:
    return abs(value) <= _HUGE  # neither infinite nor nan


def _lowest(epochs: list[int], values: list[float]) -> int | None:
    finite = [(v, e) for v, e in zip(values, epochs, strict=False) if _drawable(v)]
    return min(finite)[1] if finite else None


def draw_history(
    source: Any, *, log: bool | None = None, ax: Axes | Sequence[Axes] | None = None
) -> Figure:
    """Draw loss and accuracy epoch by epoch.

    Parameters
    ----------
    source : History, dict, sequence of float, or fitted estimator
        A dict is what `History.to_dict` gives, or holds that under ``'history'``; a sequence
        is the training loss; an estimator has a `loss_curve_`. Validation curves and the
        accuracy are drawn where it holds them. The best epoch is marked: the one whose
        weights were kept, else that of the lowest validation loss.
    log : bool, optional
        Whether the loss has a logarithmic axis; default, where it spans three powers of ten.
    ax : matplotlib.axes.Axes or two of them, optional
        Where to draw the loss, and the accuracy, which is not drawn where there is one only;
        default, a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The source is none of these.
    ValueError
        It holds no epoch, or lists that do not go together.
    """
    curves = curves_of(source)
    if ax is None:
        _, ax = new_figure(1, 2 if curves.scores else 1)
    panels = list(np.ravel(np.asarray(ax, dtype=object)))
    losses = {"training": curves.loss}
    if curves.validation_loss:
        losses["validation"] = curves.validation_loss
    finite = [v for values in losses.values() for v in values if _drawable(v)]
    if log is None:
        log = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _LOG
    if log:
        panels[0].set_yscale("log", nonpositive="mask")
    _draw(panels[0], "loss (logarithmic)" if log else "loss", losses, curves)
    if curves.scores and len(panels) > 1:
        _draw(panels[1], curves.score, {"validation": curves.scores}, curves)
    return figure_of(panels[0])


def _draw(ax: Axes, label: str, lists: dict[str, list[float]], curves: Curves) -> None:
    for name, values in lists.items():
        look = int(name == "validation")  # one look for one set of data
        ax.plot(
            curves.epochs,
            # Axes cannot hold an infinite value; such epochs are marked at the upper edge.
            [v if _drawable(v) else math.nan for v in values],
            LINES[look],
            color=COLOURS[look],
            marker=MARKERS[look] if len(values) <= _FEW else None,
            markersize=4,
            linewidth=1.6,
            label=name,
        )
    rows = zip(curves.epochs, *lists.values(), strict=True)
    broken = [epoch for epoch, *values in rows if not all(map(_drawable, values))]
    if broken:
        edge = ax.get_xaxis_transform()
        ax.plot(broken, [0.97] * len(broken), "kx", transform=edge, label="not finite, or huge")
    if len(broken) == len(curves.epochs):
        ax.set_yticks([])
    if curves.best is not None:
        mark = f"{curves.mark}: epoch {curves.best}"
        ax.axvline(curves.best, color="0.4", linestyle=":", label=mark)
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(fontsize="small")
