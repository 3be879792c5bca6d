"""How do xpnn's estimators do in the place of scikit-learn's: time, accuracy, memory?

    python benchmarks/sklearn_dropin.py [--data FOLDER_WITH_MNIST] [--work digits,iris-50,...]
                                        [--out FILE.json]

Each round makes an estimator and fits it; both do the same number of epochs.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_iris, make_classification, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Perceptron as TheirPerceptron
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from rounds import Comparison, Contender, SkipError, Timing, main, make_parser, measure
from xpnn import MLPClassifier, MLPRegressor, Perceptron
from xpnn.data import load_mnist

Split = tuple[Any, Any, Any, Any]  # rows, test rows, targets, test targets


@dataclass(frozen=True)
class Problem:
    """Data, and what learns from them."""

    title: str
    load: Callable[[Path | None], Split]  # it is given MNIST's folder
    dtype: str = "float64"  # of the rows
    options: dict[str, Any] = field(default_factory=dict)  # parameters of both estimators
    theirs: Any = TheirClassifier
    ours: Any = MLPClassifier

    def data(self, folder: Path | None, tiny: bool) -> Split:
        """Load the data; few rows where they shall be tiny."""
        x, x_test, y, y_test = self.load(folder)
        n, m = (60, 30) if tiny else (len(x), len(x_test))
        return x[:n].astype(self.dtype), x_test[:m].astype(self.dtype), y[:n], y_test[:m]

    def parameters(self, tiny: bool) -> dict[str, Any]:
        """Parameters of the estimators; the rules that stop early are out of reach."""
        given = {"random_state": 0, "tol": 0.0, "n_iter_no_change": 10**6, **self.options}
        return {**given, "max_iter": 2} if tiny else given


class Fit:
    """Make an estimator and fit it, with each call."""

    def __init__(self, make: Callable[[], Any], split: Split) -> None:
        self.make, self.split = make, split
        self.model: Any = None

    def __call__(self) -> None:
        x, _, y, _ = self.split
        self.model = self.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are asked for
            self.model.fit(x, y)

    def score(self) -> float:
        """Accuracy or R squared of the last model on the test rows."""
        _, x_test, _, y_test = self.split
        return float(self.model.score(x_test, y_test))

    def peak_bytes(self) -> int:
        """Most memory that a further fit holds beside the data."""
        self.model = None
        gc.collect()
        tracemalloc.start()
        try:
            self()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def fits(problem: Problem, split: Split, tiny: bool) -> dict[str, Fit]:
    """scikit-learn's fit and ours."""
    options = problem.parameters(tiny)
    kinds = {"scikit-learn": problem.theirs, "xpnn": problem.ours}
    return {name: Fit(partial(kind, **options), split) for name, kind in kinds.items()}


def compare(problem: Problem, options: argparse.Namespace) -> Comparison:
    """Time fits of a problem; afterwards look at scores and at memory."""
    try:
        split = problem.data(options.data, options.tiny)
    except SkipError as reason:
        return Comparison(f"fit: {problem.title}", [Timing("scikit-learn", skipped=str(reason))])
    made = fits(problem, split, options.tiny)
    x, x_test, *_ = split
    found = measure(
        f"fit: {problem.title}, {problem.dtype}, {len(x):,} x {x.shape[1]} rows, "
        f"{len(x_test):,} test rows",
        [Contender(name, lambda fit=fit: fit) for name, fit in made.items()],
        options.rounds,
        note="Peak memory of a fit beside its data, by tracemalloc. Compiling was done in the "
        "round that does not count.",
    )
    metric = "r2" if problem.ours is MLPRegressor else "accuracy"
    for timing in found.timings:
        fit = made[timing.name]
        timing.facts = {metric: fit.score(), "peak_bytes": fit.peak_bytes()}
    return found


def _split(x: Any, y: Any) -> Split:
    return tuple(train_test_split(x, y, test_size=0.2, random_state=0))


def _digits(folder: Path | None) -> Split:
    x, y = load_digits(return_X_y=True)
    return _split(x / 16.0, y)


def _iris(folder: Path | None) -> Split:
    return _split(*load_iris(return_X_y=True))


def _mnist(folder: Path | None) -> Split:
    if folder is None:
        raise SkipError("left out: --data names no folder with the MNIST database")
    found = load_mnist(folder)
    images = (found.train_images, found.test_images)
    x, x_test = (part.astype("float32") / np.float32(255) for part in images)
    return x, x_test, found.train_labels.astype("int64"), found.test_labels.astype("int64")


def _classification(folder: Path | None) -> Split:
    return _split(*make_classification(25_000, 20, n_informative=10, random_state=0))


def _regression(folder: Path | None) -> Split:
    return _split(*make_friedman1(25_000, noise=1.0, random_state=0))


def _not_separable(folder: Path | None) -> Split:
    return _split(*make_classification(62_500, 20, flip_y=0.1, random_state=0))


REGRESSORS = {"theirs": TheirRegressor, "ours": MLPRegressor}
PERCEPTRONS = {"theirs": TheirPerceptron, "ours": Perceptron}
PROBLEMS = {
    "digits": Problem("load_digits, 30 epochs", _digits, options={"max_iter": 30}),
    "digits-float32": Problem("load_digits, 30 epochs", _digits, "float32", {"max_iter": 30}),
    "mnist": Problem("MNIST, 5 epochs", _mnist, "float32", {"max_iter": 5}),
    "classification": Problem(
        "make_classification, 10 epochs", _classification, options={"max_iter": 10}
    ),
    "regression": Problem(
        "make_friedman1, 10 epochs", _regression, options={"max_iter": 10}, **REGRESSORS
    ),
    **{
        f"iris-{n}": Problem(f"iris, {n} epochs", _iris, options={"max_iter": n})
        for n in (5, 50, 200)
    },
    # Rounding decides how many evaluations a search along a line takes: as many for both.
    "iris-lbfgs": Problem(
        "iris, L-BFGS, 150 evaluations", _iris, options={"solver": "lbfgs", "max_fun": 150}
    ),
    "perceptron": Problem(
        "Perceptron, 20 epochs, not linearly separable",
        _not_separable,
        options={"max_iter": 20, "tol": None},
        **PERCEPTRONS,
    ),
}
WORKS = {name: partial(compare, problem) for name, problem in PROBLEMS.items()}

if __name__ == "__main__":
    parser = make_parser(__doc__, 5)
    parser.add_argument("--data", type=Path, help="folder with the MNIST database")
    main(__doc__, WORKS, parser=parser)
