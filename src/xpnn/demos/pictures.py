"""The pictures of the README, made anew: ``python -m xpnn.demos.pictures [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from xpnn.demos.digits import load_split
from xpnn.plots.figure import save_figure
from xpnn.plots.regions import draw_regions
from xpnn.plots.weights import draw_weights
from xpnn.training import Network

FOLDER = Path("benchmarks", "results", "pictures")


def digit_weights(folder: Path) -> Path:
    """Draw what 24 hidden units of a reader of handwritten digits look for."""
    images, _, labels, _ = load_split()
    network = Network(64, [24, "tanh", 10], seed=0)
    # The penalty takes the noise out of pixels that say nothing.
    network.fit(images, labels, epochs=60, rate=0.005, l2=0.01)
    return save_figure(draw_weights(network), folder / "digit-weights.png")


def moons(folder: Path) -> Path:
    """Draw where a small network sets the border between two half moons."""
    from sklearn.datasets import make_moons

    points, labels = make_moons(200, noise=0.2, random_state=0)
    network = Network(2, [16, "tanh", 2], seed=0)
    network.fit(points, labels, epochs=200, rate=0.02, l2=0.001)
    figure = draw_regions(network, points, labels, classes=["upper moon", "lower moon"])
    return save_figure(figure, folder / "moons.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both pictures, and say where they are.

    Parameters
    ----------
    arguments : sequence of str, optional
        The folder, if any; default, those of the command line.

    Returns
    -------
    int
        0, or 2 where there are too many arguments.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) > 1 or any(argument.startswith("-") for argument in given):
        print("usage: python -m xpnn.demos.pictures [FOLDER]", file=sys.stderr)
        return 2
    folder = Path(given[0]) if given else FOLDER
    for make in (digit_weights, moons):
        print(make(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
