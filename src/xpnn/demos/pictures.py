"""The pictures of the README, made anew: ``python -m xpnn.demos.pictures [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import make_moons

from xpnn.demos.digits import load_split
from xpnn.plots import draw_regions, draw_weights, save_figure
from xpnn.training import Network

FOLDER = Path("benchmarks", "results", "pictures")


def digit_weights(folder: Path) -> Path:
    """Draw what 24 hidden units of a classifier of handwritten digits look for."""
    images, _, labels, _ = load_split()
    network = Network(64, [24, "tanh", 10], seed=0)
    # The penalty takes the noise out of pixels that say nothing.
    network.fit(images, labels, epochs=60, learning_rate=0.005, l2=0.01)
    return save_figure(draw_weights(network), folder / "digit-weights.png")


def moons(folder: Path) -> Path:
    """Draw the decision boundary of a small network between two half moons."""
    points, labels = make_moons(200, noise=0.2, random_state=0)
    network = Network(2, [16, "tanh", 2], seed=0)
    network.fit(points, labels, epochs=200, learning_rate=0.02, l2=0.001)
    figure = draw_regions(network, points, labels, classes=["upper moon", "lower moon"])
    return save_figure(figure, folder / "moons.png")


if __name__ == "__main__":
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    print(digit_weights(to), moons(to), sep="\n")
