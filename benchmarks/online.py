"""How long does learning take one record at a time, and in small batches that arrive?

python benchmarks/online.py [--data FOLDER_WITH_MNIST] [--work digits,layer,partial_fit]
                            [--out FILE.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from contenders import ENDLESS, Paused, installed
from rounds import Comparison, Contender, Work, main, make_parser, measure
from tutorials import INPUTS, TARGETS, TutorialDigits, TutorialLayer
from xpnn import SGD, MLPClassifier, Network
from xpnn.data import digit_targets, load_mnist, scale_pixels
from xpnn.layers import Dense, RawErrorDense

RECORDS, ITERATIONS = 3000, 15_000
HIDDEN, RATE = 200, 0.1
ENGINES = ("auto", "pure")


def named(engine: str) -> str:
    return "xpnn" if engine == "auto" else f"xpnn, engine={engine!r}"


# One record at a time


def digits(records: int, folder: Path | None) -> tuple[Any, Any]:
    """Scaled pixels and targets as the text has them, in float64."""
    if folder is None:
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (records, 784)), rng.integers(0, 10, records)
    else:
        mnist = load_mnist(folder)
        images, labels = mnist.train_images[:records], mnist.train_labels[:records]
    return scale_pixels(images, "float64"), digit_targets(labels, dtype="float64")


def tutorial_digits(x: Any, t: Any) -> Work:
    network = TutorialDigits(784, HIDDEN, 10, RATE, seed=1)

    def records() -> None:
        for inputs, targets in zip(x, t, strict=True):
            network.train(inputs, targets)

    return records


def our_digits(x: Any, t: Any, engine: str) -> Work:
    scale = HIDDEN**-0.5
    layers = [RawErrorDense(HIDDEN, scale=scale), RawErrorDense(10, scale=scale)]
    network = Network(784, layers, loss="sum_squared_errors", seed=1)
    x, t = x.astype("float32"), t.astype("float32")
    # The text's update has no factor 2, which the gradient of squared errors has.
    options = {"batch_size": 1, "shuffle": False, "optimizer": SGD(RATE / 2), "engine": engine}
    return Paused(lambda turns: network.fit(x, t, epochs=ENDLESS, callbacks=[turns], **options))


def digit_records(options: argparse.Namespace) -> Comparison:
    """The digit tutorial, record by record."""
    count = 30 if options.tiny else RECORDS
    x, t = digits(count, options.data)
    ours = [Contender(named(e), partial(our_digits, x, t, e), count) for e in ENGINES]
    return measure(
        f"one record: digit tutorial, 784-{HIDDEN}-10, {count:,} records in a round",
        [Contender("the text's code", partial(tutorial_digits, x, t), count), *ours],
        options.rounds,
        note="The text's code in float64, xpnn in float32. "
        + ("Data: random." if options.data is None else "Data: MNIST."),
    )


# A tiny network


def tutorial_layer(iterations: int) -> Work:
    return lambda: TutorialLayer().train(INPUTS, TARGETS, iterations)


def our_layer(iterations: int, engine: str) -> Callable[[], Network]:
    """Make the whole call of `fit`, planning included."""
    start = TutorialLayer().synaptic_weights
    # Like the text's loop, which looks at no loss on the way.
    options = {"batch_size": None, "optimizer": SGD(0.5), "report_every": iterations}

    def train() -> Network:
        network = Network(3, [Dense(1, bias=False), "sigmoid"], loss="sum_squared_errors")
        network.assign(**{"0.weights": start})
        network.fit(INPUTS, TARGETS, epochs=iterations, engine=engine, **options)
        return network

    return train


def layer_iterations(options: argparse.Namespace) -> Comparison:
    """The one-layer tutorial."""
    count = 150 if options.tiny else ITERATIONS
    ours = [Contender(named(e), partial(our_layer, count, e), count) for e in ENGINES]
    return measure(
        f"one iteration: one-layer tutorial, 4 examples, {count:,} iterations in a round, float64",
        [Contender("the text's code", partial(tutorial_layer, count), count), *ours],
        options.rounds,
        note="xpnn: the whole call of fit, planning included.",
    )


# Batches of different sizes


def batches(calls: int) -> list[tuple[Any, Any]]:
    """Rows and labels of 20 to 120 rows each, as they arrive."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 121, calls)
    return [(rng.standard_normal((n, 20)), rng.integers(0, 3, n)) for n in sizes]


def partial_fits(estimator: Callable[..., Any], arrived: list[tuple[Any, Any]]) -> Work:
    """Make a round: a new model that learns from each batch once."""

    def learn() -> Any:
        model = estimator(hidden_layer_sizes=(50,), random_state=0)
        for x, y in arrived:
            model.partial_fit(x, y, classes=[0, 1, 2])
        return model

    return learn


def arriving_batches(options: argparse.Namespace) -> Comparison:
    """`partial_fit` beside scikit-learn's."""
    arrived = batches(5 if options.tiny else 100)
    peer = installed("sklearn.neural_network").MLPClassifier
    return measure(
        f"{len(arrived)} calls of partial_fit, 20 to 120 rows each, 20-50-3, float64",
        [
            Contender("scikit-learn", partial(partial_fits, peer, arrived)),
            Contender("xpnn", partial(partial_fits, MLPClassifier, arrived)),
        ],
        options.rounds,
    )


WORKS = {"digits": digit_records, "layer": layer_iterations, "partial_fit": arriving_batches}

if __name__ == "__main__":
    parser = make_parser(__doc__, 7)
    parser.add_argument("--data", type=Path, help="folder with the MNIST database")
    main(__doc__, WORKS, parser=parser)
