"""What the estimators learn side by side: rows to learn from and rows held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.bench.rounds import SkipError

HIDDEN = 100  # scikit-learn's default


@dataclass(frozen=True)
class Split:
    """Rows with labels or values.

    Parameters
    ----------
    x, y : numpy.ndarray
        To learn from.
    x_test, y_test : numpy.ndarray
        Held out.
    """

    x: Any
    y: Any
    x_test: Any
    y_test: Any

    def first(self, rows: int, test_rows: int) -> Split:
        """Return the first rows of both parts."""
        return Split(self.x[:rows], self.y[:rows], self.x_test[:test_rows], self.y_test[:test_rows])

    def columns(self) -> Split:
        """Return the same with values as a column of the rows' dtype, as PyTorch wants them."""
        y, y_test = (v.reshape(-1, 1).astype(self.x.dtype) for v in (self.y, self.y_test))
        return Split(self.x, y, self.x_test, y_test)


@dataclass(frozen=True)
class Problem:
    """Data, and how long to learn from them.

    Parameters
    ----------
    name, title : str
        For the results.
    load : callable
        ``load(folder)`` gives a `Split` or raises `SkipError`; `folder` is MNIST's, or None.
    dtype : str
        Of the rows.
    epochs : int
        Epochs in a fit.
    regression : bool, default False
        Whether values are learned, in place of classes.
    """

    name: str
    title: str
    load: Callable[[Path | None], Split]
    dtype: str
    epochs: int
    regression: bool = False

    def data(self, folder: Path | None, tiny: bool) -> Split:
        """Load the data; a few rows where they shall be tiny."""
        found = self.load(folder)
        x, x_test = (rows.astype(self.dtype, copy=False) for rows in (found.x, found.x_test))
        whole = Split(x, found.y, x_test, found.y_test)
        return whole.first(60, 30) if tiny else whole

    def epochs_in(self, tiny: bool) -> int:
        """Return the number of epochs."""
        return 2 if tiny else self.epochs

    def widths(self, split: Split) -> tuple[int, int, int]:
        """Inputs, scikit-learn's default hidden layer, and an output for each class."""
        outputs = 1 if self.regression else int(split.y.max()) + 1
        return int(split.x.shape[1]), HIDDEN, outputs


def _held_out(x: Any, y: Any, share: float) -> Split:
    from sklearn.model_selection import train_test_split

    x, x_test, y, y_test = train_test_split(x, y, test_size=share, random_state=0)
    return Split(x, y, x_test, y_test)


def _digits(folder: Path | None) -> Split:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _held_out(x / 16.0, y, 0.2)


def _mnist(folder: Path | None) -> Split:
    if folder is None:
        raise SkipError("left out: --data names no folder with the MNIST database")
    from xpnn.data import load_mnist

    found = load_mnist(folder)
    images = (found.train_images, found.test_images)
    x, x_test = (part.astype("float32") / np.float32(255) for part in images)
    return Split(x, found.train_labels.astype("int64"), x_test, found.test_labels.astype("int64"))


def _classification(folder: Path | None) -> Split:
    from sklearn.datasets import make_classification

    x, y = make_classification(25_000, 20, n_informative=10, random_state=0)
    return _held_out(x, y, 0.2)


def _regression(folder: Path | None) -> Split:
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(25_000, noise=1.0, random_state=0)
    return _held_out(x, y, 0.2)


PROBLEMS = (
    Problem("digits-float32", "load_digits", _digits, "float32", 30),
    Problem("digits-float64", "load_digits", _digits, "float64", 30),
    Problem("mnist", "MNIST", _mnist, "float32", 5),
    Problem("classification", "make_classification", _classification, "float64", 10),
    Problem("regression", "make_friedman1", _regression, "float64", 10, regression=True),
)
