"""A picture of what the bias does to a neuron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpnn.backends import InputError, host, to_host
from xpnn.plots.figure import COLOURS, LINES, new_figure, save_figure
from xpnn.units import Neuron


def plot_bias_shift(
    neurons: Sequence[Neuron], path: str | Path, *, low: float = -10.0, high: float = 10.0
) -> Path:
    """Draw the outputs of neurons with one input each, over that input.

    Parameters
    ----------
    neurons : sequence of Neuron
        With one input; the legend shows their biases.
    path : path
        Ends in ``.png``, ``.svg`` or ``.pdf``.
    low, high : float
        Range of the input.

    Returns
    -------
    Path
        Where the picture is.

    Raises
    ------
    ValueError
        There is no neuron, or one has several inputs.
    """
    if not neurons or any(neuron.inputs != 1 for neuron in neurons):
        raise InputError(f"neurons is {neurons!r}; expected neurons with one input each")
    grid = host.linspace(low, high, 201)
    figure, axes = new_figure(width=6.0)
    for i, neuron in enumerate(neurons):
        output = to_host(neuron.forward(grid[:, None].tolist()))
        style = {"linestyle": LINES[i % len(LINES)], "color": COLOURS[i % len(COLOURS)]}
        axes.plot(grid, output, label=f"bias {neuron.bias:g}", linewidth=1.8, **style)
    axes.set_xlabel("input")
    axes.set_ylabel(f"output ({', '.join(dict.fromkeys(n.activation for n in neurons))})")
    axes.set_title("The bias shifts the activation left or right")
    axes.grid(color="0.9")
    axes.legend()
    return save_figure(figure, path)
