"""Pictures of a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xpnn.plots.figure import COLOURS, LINES, MARKERS, new_figure, save_figure

if TYPE_CHECKING:
    from xpnn.training import History

_FEW = 25  # epochs that are marked one by one


def _curve(axes: Axes, epochs: list[int], values: list[float], label: str, number: int) -> None:
    marker = MARKERS[number] if len(values) <= _FEW else None
    axes.plot(
        epochs, values, LINES[number], color=COLOURS[number], marker=marker, markersize=4,
        label=label,
    )  # fmt: skip


def _finish(axes: Axes, label: str, history: History) -> None:
    if history.best_epoch is not None:
        axes.axvline(
            history.best_epoch,
            color="0.4",
            linestyle=":",
            label=f"best: epoch {history.best_epoch}",
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.legend(framealpha=1.0)


def plot_history(history: History, path: str | Path) -> Path:
    """Draw loss and accuracy epoch by epoch.

    Parameters
    ----------
    history : History
        Of at least one epoch. Validation curves and the accuracy's panel are drawn where
        it holds them.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        Where the picture is.

    Raises
    ------
    ValueError
        No epoch was finished.
    """
    if not history.loss:
        raise ValueError("history holds no epoch; expected at least one")
    figure, panels = new_figure(1, 2 if history.validation_accuracy else 1, squeeze=False)
    _curve(panels[0, 0], history.numbers, history.loss, "training", 0)
    if history.validation_loss:
        _curve(panels[0, 0], history.numbers, history.validation_loss, "validation", 1)
    _finish(panels[0, 0], "loss", history)
    if history.validation_accuracy:
        # The same line as the validation loss: one look for one set of data.
        _curve(panels[0, 1], history.numbers, history.validation_accuracy, "validation", 1)
        _finish(panels[0, 1], "accuracy", history)
    return save_figure(figure, path)
