"""Handwritten digits, three layers: "make your own neural network".

The tutorial's network learns one record at a time, has no biases, and sends raw errors
back (see `RawErrorDense`). Beside it a modern network of the same size: mini-batches,
ReLU, softmax cross-entropy, Adam.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import Backend
from xpnn.data import ascii_digit, digit_targets, load_mnist, scale_pixels
from xpnn.layers import RawErrorDense
from xpnn.optimizers import SGD, Adam
from xpnn.plots import draw_digits, draw_misclassified, save_figure
from xpnn.training import Network, Run


def tutorial_network(hidden: int, seed: int) -> Network:
    """Make the text's 784-hidden-10 network; both matrices start as normal(0, hidden**-0.5)."""
    scale = hidden**-0.5
    layers = [RawErrorDense(hidden, scale=scale), RawErrorDense(10, scale=scale)]
    return Network(784, layers, loss="sum_squared_errors", seed=seed)


def run(
    backend: Backend,
    out: Path,
    data: Path | None = None,
    hidden: int = 200,
    learning_rate: float = 0.1,
    epochs: int = 5,
    seed: int = 1,
    progress: bool = False,
) -> dict[str, Any]:
    """Train both networks on the MNIST files in a folder, and show what they predict.

    `data` holds IDX or CSV files, plain or gzipped; without them `load_mnist` says what to fetch.
    """
    mnist = load_mnist(data if data is not None else Path())
    labels = mnist.test_labels
    print(f"{len(mnist.train_labels):,} records to train on, {len(labels):,} to test on")
    print(f"the first test record, a {labels[0]}:")
    print(ascii_digit(mnist.test_images[0].reshape(28, 28)))
    train, test = (
        backend.asarray(scale_pixels(i)) for i in (mnist.train_images, mnist.test_images)
    )

    def performance(network: Network) -> float:
        """The text's: share of the test records whose largest score is at the right label."""
        scores = backend.to_host(network.scores(test))
        return float(np.mean(scores.argmax(axis=1) == labels))

    def report(run: Run) -> None:
        history = run.history
        speed = history.rows / max(history.seconds[-1], 1e-9)
        print(f"  epoch {history.epochs}: performance {performance(run.network):.4f}", end="")
        print(f"  ({speed:,.0f} records/s)")

    options: dict[str, Any] = {
        "epochs": epochs,
        "callbacks": [report],
        "progress": progress,
    }
    text = tutorial_network(hidden, seed).to(backend)
    print(
        f"the text's network, 784-{hidden}-10, one record at a time, "
        f"learning rate {learning_rate:g}:"
    )
    targets = backend.asarray(digit_targets(mnist.train_labels))
    # The text's update has no factor 2, which the gradient of squared errors has.
    text.fit(
        train, targets, batch_size=1, shuffle=False, optimizer=SGD(learning_rate / 2), **options
    )
    modern = Network(784, [hidden, "relu", 10], seed=seed).to(backend)
    print(f"a modern network, 784-{hidden}-10, batches of 100, Adam:")
    targets = backend.asarray(mnist.train_labels.astype(np.int64))
    modern.fit(train, targets, batch_size=100, optimizer=Adam(0.001), **options)
    predicted = backend.to_host(modern.predict(test))
    figures = {
        "digits": draw_digits(mnist.test_images[:20], labels[:20]),
        "misclassified": draw_misclassified(mnist.test_images, labels, predicted),
    }
    for name, figure in figures.items():
        print(f"picture: {save_figure(figure, out / f'mnist-{name}.png')}")
    query = backend.to_host(text.scores(test[0, :]))
    print("the text's query of the first test record:")
    print("  " + "  ".join(f"{digit}: {score:.3f}" for digit, score in enumerate(query)))
    return {
        "tutorial": performance(text),
        "modern": performance(modern),
        "label": int(labels[0]),
        "predicted": int(query.argmax()),
    }
