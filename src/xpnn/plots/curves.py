"""Pictures of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xpnn.backends import InputError, is_array, to_host
from xpnn.plots.figure import COLOURS, LINES, MARKERS, new_figure, save_figure
from xpnn.training import History

_FEW = 25  # epochs that are marked one by one
_HUGE = 1e100  # beyond that no axis is drawn
_LOG = 1000.0  # largest over smallest loss, from which on the axis is logarithmic


@dataclass(frozen=True)
class Curves:
    """What there is to draw of a training.

    Parameters
    ----------
    epochs : list of int
        Where the curves have their points.
    loss, validation_loss, scores : list of float
        One for each epoch; the last two may be empty.
    score : str
        What the scores are.
    best : int or None
        Epoch to be marked.
    mark : str
        What that epoch is.
    """

    epochs: list[int]
    loss: list[float]
    validation_loss: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score: str = "accuracy"
    best: int | None = None
    mark: str = "best"


def curves_of(source: Any) -> Curves:
    """Find the curves in a record of a training.

    Parameters
    ----------
    source : History, dict, sequence of float, or fitted estimator
        A dict is what `History.to_dict` gives, or holds that under ``'history'``; a
        sequence is the training loss; an estimator has a `loss_curve_`.

    Returns
    -------
    Curves

    Raises
    ------
    TypeError
        It is none of these.
    ValueError
        It holds no epoch, or lists that do not go together.
    """
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
    loss = _numbers("loss", source["loss"])
    if not loss:
        raise InputError("history holds no epoch; expected at least one")
    validation, scores = (
        _numbers(name, source.get(name), len(loss))
        for name in ("validation_loss", "validation_accuracy")
    )
    epochs = [int(e) for e in _numbers("epoch", source.get("epoch"), len(loss))]
    epochs = epochs or list(range(1, len(loss) + 1))
    if source.get("best_epoch") is not None:
        return Curves(epochs, loss, validation, scores, best=int(source["best_epoch"]))
    return Curves(
        epochs,
        loss,
        validation,
        scores,
        best=_lowest(epochs, validation),
        mark="lowest validation loss",
    )


def _of_estimator(model: Any) -> Curves:
    loss = _numbers("loss_curve_", model.loss_curve_)
    if not loss:
        raise InputError("loss_curve_ is empty; expected at least one epoch")
    validation = _numbers("validation_loss_curve_", getattr(model, "validation_loss_curve_", None))
    scores = _numbers("validation_scores_", getattr(model, "validation_scores_", None))
    epochs = list(range(1, len(loss) + 1))
    # Early stopping watches the scores; those of a fit that went on are of its end only.
    scores, validation = ([] if len(c) != len(loss) else c for c in (scores, validation))
    best = _lowest(epochs, [-s for s in scores] or validation)
    mark = "best score" if scores else "lowest validation loss"
    return Curves(epochs, loss, validation, scores, "score", best, mark)


def _numbers(name: str, values: Any, count: int | None = None) -> list[float]:
    """Bring a list into numbers; JSON's null stands for what is none."""
    if values is None:
        return []
    found = []
    for i, value in enumerate(to_host(values).tolist() if is_array(values) else values):
        try:
            found.append(math.nan if value is None else float(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name}[{i}] is {value!r}; expected a number") from error
    if count is not None and found and len(found) != count:
        raise InputError(f"{name} holds {len(found)}; expected {count}, as many as loss")
    return found


def _drawable(value: float) -> bool:
    return abs(value) <= _HUGE  # neither infinite nor nan


def _lowest(epochs: list[int], values: list[float]) -> int | None:
    pairs = zip(values, epochs, strict=True) if values else ()
    finite = [(v, e) for v, e in pairs if _drawable(v)]
    return min(finite)[1] if finite else None


def _curve(axes: Axes, epochs: list[int], values: list[float], label: str, number: int) -> None:
    marker = MARKERS[number] if len(values) <= _FEW else None
    # Axes cannot hold an infinite value; such ones are marked at the upper edge.
    drawn = [v if _drawable(v) else math.nan for v in values]
    axes.plot(
        epochs, drawn, LINES[number], color=COLOURS[number], marker=marker, markersize=4,
        linewidth=1.6, label=label,
    )  # fmt: skip


def _finish(axes: Axes, label: str, curves: Curves, *lists: list[float]) -> None:
    broken = [
        e
        for e, *values in zip(curves.epochs, *lists, strict=True)
        if not all(map(_drawable, values))
    ]
    if broken:
        infinite = all(_drawable(v) or not math.isfinite(v) for values in lists for v in values)
        axes.plot(
            broken, [0.97] * len(broken), "x", color="black", markersize=5,
            transform=axes.get_xaxis_transform(),
            label="not finite" if infinite else f"not finite or beyond {_HUGE:g}",
        )  # fmt: skip
    if not any(_drawable(v) for values in lists for v in values):
        axes.set_yticks([])
    if curves.best is not None:
        name = f"{curves.mark}: epoch {curves.best}"
        axes.axvline(curves.best, color="0.4", linestyle=":", label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def _wants_log(*lists: list[float]) -> bool:
    finite = [v for values in lists for v in values if _drawable(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _LOG


def draw_history(source: Any, *, log: bool | None = None) -> Figure:
    """Draw loss and accuracy epoch by epoch.

    Parameters
    ----------
    source : History, dict, sequence of float, or fitted estimator
        See `curves_of`. Validation curves and the accuracy's panel are drawn where it
        holds them. The best epoch is marked: the one whose weights were kept, else that of
        the lowest validation loss.
    log : bool, optional
        Whether the loss has a logarithmic axis; default, where it spans three powers of ten.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        See `curves_of`.
    """
    curves = curves_of(source)
    figure, panels = new_figure(1, 2 if curves.scores else 1, squeeze=False)
    left = panels[0, 0]
    losses = [values for values in (curves.loss, curves.validation_loss) if values]
    for number, (label, values) in enumerate(zip(("training", "validation"), losses, strict=False)):
        _curve(left, curves.epochs, values, label, number)
    logarithmic = _wants_log(*losses) if log is None else log
    if logarithmic:
        left.set_yscale("log", nonpositive="mask")
    _finish(left, "loss (logarithmic)" if logarithmic else "loss", curves, *losses)
    if curves.scores:
        # The same line as the validation loss: one look for one set of data.
        _curve(panels[0, 1], curves.epochs, curves.scores, "validation", 1)
        _finish(panels[0, 1], curves.score, curves, curves.scores)
    shown: dict[str, Any] = {}
    for axes in panels.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    # Outside, where it lies on no curve.
    columns = len(shown) if curves.scores else min(2, len(shown))
    figure.legend(
        list(shown.values()), list(shown), loc="outside upper center", ncols=columns, frameon=False
    )
    return figure


def plot_history(history: Any, path: str | Path) -> Path:
    """Write the picture of `draw_history` to a file.

    Parameters
    ----------
    history : History, dict, sequence of float, or fitted estimator
        Of at least one epoch.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        Where the picture is.

    Raises
    ------
    TypeError, ValueError
        See `curves_of`.
    """
    return save_figure(draw_history(history), path)
