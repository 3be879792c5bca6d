"""Learning one record at a time, and a tiny network: what learners run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.bench.command import Settings
from xpnn.bench.library import KERNELS, NUMPY, PURE, Epochs, Variant
from xpnn.bench.rounds import Comparison, Contender, Work, measure
from xpnn.bench.tutorials import TutorialDigits, TutorialLayer
from xpnn.data import digit_targets, scale_pixels
from xpnn.layers import Dense, RawErrorDense
from xpnn.optimizers import SGD
from xpnn.training import Network, fit

ROUNDS = 7
RECORDS = 3000
ITERATIONS = 15_000
HIDDEN, RATE = 200, 0.1
INPUTS = [[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]]
TARGETS = [[0], [1], [1], [0]]
VARIANTS = (NUMPY, KERNELS, PURE)


def digits(records: int, folder: Path | None) -> tuple[Any, Any]:
    """Return scaled pixels and targets as the text has them, in float64."""
    if folder is None:
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (records, 784)), rng.integers(0, 10, records)
    else:
        from xpnn.data import load_mnist

        mnist = load_mnist(folder)
        images, labels = mnist.train_images[:records], mnist.train_labels[:records]
    return scale_pixels(images, "float64"), digit_targets(labels, dtype="float64")


def _tutorial_digits(x: Any, t: Any) -> Work:
    network = TutorialDigits(784, HIDDEN, 10, RATE, seed=1)

    def records() -> None:
        for inputs, targets in zip(x, t, strict=True):
            network.train(inputs, targets)

    return records


def _library_digits(x: Any, t: Any, variant: Variant) -> Work:
    scale = HIDDEN**-0.5
    layers = [RawErrorDense(HIDDEN, scale=scale), RawErrorDense(10, scale=scale)]
    network = Network(784, layers, loss="sum_squared_errors", seed=1)
    x, t = x.astype("float32"), t.astype("float32")
    # The text's update has no factor 2, which the slope of squared errors has.
    sgd, options = SGD(RATE / 2), variant.fit_options()
    return Epochs(network, x, t, batch_size=1, shuffle=False, optimizer=sgd, **options)


def _tutorial_layer(iterations: int) -> Work:
    # The text's arrays hold integers, which NumPy would convert at every step.
    x, t = np.array(INPUTS, float), np.array(TARGETS, float)
    return lambda: TutorialLayer().train(x, t, iterations)


def _library_layer(iterations: int, variant: Variant) -> Work:
    """Make the whole call of `fit`, planning included."""
    x, t = np.array(INPUTS, float), np.array(TARGETS, float)
    start = TutorialLayer().synaptic_weights
    options = {"batch_size": None, "optimizer": SGD(0.5), **variant.fit_options()}
    if "report_every" in inspect.signature(fit).parameters:
        # Like the text's loop, which looks at no loss on the way.
        options["report_every"] = iterations

    def train() -> Network:
        network = Network(3, [Dense(1, bias=False), "sigmoid"], loss="sum_squared_errors")
        network.assign(**{"0.weights": start})
        network.fit(x, t, epochs=iterations, **options)
        return network

    return train


def _records(settings: Settings) -> Comparison:
    count = 30 if settings.tiny else RECORDS
    x, t = digits(count, settings.data)
    listed = [Contender("the text's code", lambda: _tutorial_digits(x, t), count)]
    for v in VARIANTS:
        listed.append(Contender(v.name, lambda v=v: _library_digits(x, t, v), count))  # type: ignore[misc]
    return measure(
        "digits",
        f"one record: digit tutorial, 784-{HIDDEN}-10, {count:,} records in a round",
        listed,
        settings.count(ROUNDS),
        note="The text's code in float64, xpnn in float32. "
        + ("Data: random." if settings.data is None else "Data: MNIST."),
    )


def _iterations(settings: Settings) -> Comparison:
    count = 150 if settings.tiny else ITERATIONS
    listed = [Contender("the text's code", lambda: _tutorial_layer(count), count)]
    for v in VARIANTS:
        listed.append(Contender(v.name, lambda v=v: _library_layer(count, v), count))  # type: ignore[misc]
    return measure(
        "layer",
        f"one iteration: one-layer tutorial, 4 examples, {count:,} iterations in a round, float64",
        listed,
        settings.count(ROUNDS),
        note="xpnn: the whole call of fit, planning included.",
    )


def compare(settings: Settings) -> Iterator[Comparison]:
    """Yield both comparisons."""
    if settings.wants("digits"):
        yield _records(settings)
    if settings.wants("layer"):
        yield _iterations(settings)
