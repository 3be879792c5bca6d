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
from xpnn.data import Mnist, ascii_digit, digit_targets, load_mnist, scale_pixels
from xpnn.layers import RawErrorDense
from xpnn.optimizers import SGD, Adam
from xpnn.plots.digits import plot_digits, plot_misread
from xpnn.training import Callback, History, Network, Run


def tutorial_network(hidden: int, seed: int) -> Network:
    """Make the text's 784-hidden-10 network; both matrices start as normal(0, hidden**-0.5)."""
    scale = hidden**-0.5
    layers = [RawErrorDense(hidden, scale=scale), RawErrorDense(10, scale=scale)]
    return Network(784, layers, loss="sum_squared_errors", seed=seed)


class _Scorecard(Callback):
    """Print the text's "performance" after each epoch: the mean of the scorecard."""

    def __init__(self, x: Any, labels: Any, backend: Backend) -> None:
        self.x, self.labels, self.backend = x, labels, backend

    def performance(self, network: Network) -> float:
        """Share of the test records whose largest score is at the right label."""
        scores = self.backend.to_host(network.scores(self.x))
        return float(np.mean(scores.argmax(axis=1) == self.labels))

    def on_epoch_end(self, run: Run) -> None:
        """Print one line."""
        history: History = run.history
        print(
            f"  epoch {history.epochs}: performance {self.performance(run.network):.4f}"
            f"  ({history.rows / max(history.seconds[-1], 1e-9):,.0f} records/s)"
        )


def run(
    backend: Backend,
    out: Path,
    data: Path | None = None,
    hidden: int = 200,
    rate: float = 0.1,
    epochs: int = 5,
    seed: int = 1,
    progress: bool = False,
) -> dict[str, Any]:
    """Train both networks on MNIST files and show what they read.

    Parameters
    ----------
    backend : Backend
        Where it runs.
    out : Path
        Folder for the pictures.
    data : Path, optional
        Folder with IDX or CSV files, plain or gzipped; default, the current one.
    hidden : int, default 200
        Hidden units of both networks.
    rate : float, default 0.1
        Learning rate of the text's network.
    epochs : int, default 5
        Times that both go through the training records.
    seed : int, default 1
        For initial weights and the modern network's row orders.
    progress : bool, default False
        Whether to draw progress bars.

    Returns
    -------
    dict
        Performance of both networks, the first test digit's label and reading.

    Raises
    ------
    FileNotFoundError
        There are no such files; the message says what to fetch and from where.
    """
    mnist = load_mnist(data if data is not None else Path())
    print(f"{len(mnist.train_labels):,} records to learn, {len(mnist.test_labels):,} to test on")
    print(f"the first test record, a {mnist.test_labels[0]}:")
    print(ascii_digit(mnist.test_images[0].reshape(28, 28)))
    pictures = plot_digits(
        mnist.test_images[:20].reshape(-1, 28, 28),
        out / "mnist-digits.png",
        titles=[str(label) for label in mnist.test_labels[:20]],
    )
    train = backend.asarray(scale_pixels(mnist.train_images))
    card = _Scorecard(backend.asarray(scale_pixels(mnist.test_images)), mnist.test_labels, backend)
    text = _train_tutorial(backend, mnist, train, card, hidden, rate, epochs, seed, progress)
    modern = _train_modern(backend, mnist, train, card, hidden, epochs, seed, progress)
    predicted = backend.to_host(modern.predict(card.x))
    misread = plot_misread(
        mnist.test_images.reshape(-1, 28, 28), mnist.test_labels, predicted,
        out / "mnist-misread.png",
    )  # fmt: skip
    print(f"pictures: {pictures}, {misread}")
    query = backend.to_host(text.scores(card.x[0, :]))
    print("the text's query of the first test record:")
    print("  " + "  ".join(f"{digit}: {score:.3f}" for digit, score in enumerate(query)))
    return {
        "tutorial": card.performance(text),
        "modern": card.performance(modern),
        "label": int(mnist.test_labels[0]),
        "read": int(query.argmax()),
    }


def _train_tutorial(
    backend: Backend, mnist: Mnist, train: Any, card: _Scorecard, hidden: int, rate: float,
    epochs: int, seed: int, progress: bool,
) -> Network:  # fmt: skip
    network = tutorial_network(hidden, seed).to(backend)
    print(f"the text's network, 784-{hidden}-10, one record at a time, rate {rate:g}:")
    # The text's update has no factor 2, which the slope of squared errors has.
    network.fit(
        train,
        backend.asarray(digit_targets(mnist.train_labels)),
        epochs=epochs,
        batch_size=1,
        shuffle=False,
        optimizer=SGD(rate / 2),
        callbacks=[card],
        progress=progress,
    )
    return network


def _train_modern(
    backend: Backend, mnist: Mnist, train: Any, card: _Scorecard, hidden: int, epochs: int,
    seed: int, progress: bool,
) -> Network:  # fmt: skip
    network = Network(784, [hidden, "relu", 10], seed=seed).to(backend)
    print(f"a modern network, 784-{hidden}-10, batches of 100, Adam:")
    network.fit(
        train,
        backend.asarray(mnist.train_labels.astype(np.int64)),
        epochs=epochs,
        batch_size=100,
        optimizer=Adam(0.001),
        callbacks=[card],
        progress=progress,
    )
    return network
