"""The trainings that are measured: shapes and data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

RATE, BETA1, BETA2, EPS = 0.001, 0.9, 0.999, 1e-8  # Adam's, the same for everybody


@dataclass(frozen=True)
class Workload:
    """A network with ReLU between its layers and softmax cross-entropy, and its data.

    Parameters
    ----------
    name, title : str
        For the results.
    widths : tuple of int
        Inputs, hidden layers, classes.
    batch : int
        Rows in a step.
    rows : int
        Rows in an epoch.
    """

    name: str
    title: str
    widths: tuple[int, ...]
    batch: int
    rows: int

    def describe(self) -> str:
        """Say what it is in a line."""
        shape = "-".join(str(width) for width in self.widths)
        return f"{self.title} {shape}, batch {self.batch}, {self.rows:,} rows, float32, Adam"

    def data(self, folder: Path | None = None) -> tuple[Any, Any]:
        """Make rows and labels: random ones, or for MNIST the files in a folder.

        Returns
        -------
        x : numpy.ndarray of float32, shape (rows, inputs)
        labels : numpy.ndarray of int64, shape (rows,)
        """
        if folder is not None and self.name == "mnist":
            from xpnn.data import load_mnist

            mnist = load_mnist(folder)
            x = mnist.train_images[: self.rows].astype("float32") / np.float32(255)
            return x, mnist.train_labels[: self.rows].astype("int64")
        rng = np.random.default_rng(0)
        x = rng.random((self.rows, self.widths[0]), dtype="float32")
        return x, rng.integers(0, self.widths[-1], self.rows)

    def weights(self) -> list[tuple[Any, Any]]:
        """Draw start weights (He) and zero biases of each layer."""
        rng = np.random.default_rng(1)
        pairs = zip(self.widths[:-1], self.widths[1:], strict=True)
        return [
            ((rng.standard_normal((a, b)) * (2 / a) ** 0.5).astype("float32"), np.zeros(b, "f4"))
            for a, b in pairs
        ]

    def tiny(self) -> Workload:
        """Return the same with two small batches: what compiles, compiles once."""
        return replace(self, batch=20, rows=40)


WORKLOADS = (
    Workload("mnist", "MNIST", (784, 100, 10), 200, 60_000),
    Workload("wide", "wide", (784, 512, 512, 10), 256, 20_000),
    Workload("tabular", "tabular", (20, 64, 32, 2), 200, 50_000),
)
