"""The estimators in the place of scikit-learn's: the same calls, all checks of input included."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnn.bench.by_hand import bare_products as floor
from xpnn.bench.command import Settings
from xpnn.bench.library import ENDLESS, KERNELS, NUMPY, Held, Variant
from xpnn.bench.peers import (
    begun,
    installed,
    sklearn_classifier,
    sklearn_epoch,
    sklearn_parameters,
    skorch_estimator,
)
from xpnn.bench.predict import again, bare_arithmetic, bare_products
from xpnn.bench.problems import PROBLEMS, Problem, Split
from xpnn.bench.rounds import Comparison, Contender, SkipError, Timing, Work, measure
from xpnn.bench.workloads import WORKLOADS, Workload
from xpnn.estimators import MLPClassifier, MLPRegressor

FIT_ROUNDS, EPOCH_ROUNDS, PREDICT_ROUNDS = 5, 7, 9
CALLS = 2000  # in a round, for one row
ROWS = 20_000
PREDICTED = WORKLOADS[0]
SKLEARN, SKORCH = "scikit-learn", "skorch, fused Adam"
VARIANTS = (NUMPY, KERNELS)


# A fit from nothing


class Fit:
    """Make an estimator and fit it, with each call.

    Parameters
    ----------
    make : callable
        Makes the estimator.
    split : Split
        What it learns from.
    traced : bool, default True
        Whether its arrays are NumPy's, of which `tracemalloc` knows.
    """

    def __init__(self, make: Callable[[], Any], split: Split, traced: bool = True) -> None:
        self.make, self.split, self.traced = make, split, traced
        self.model: Any = None

    def __call__(self) -> None:
        """Fit a new estimator."""
        self.model = self.make()
        with warnings.catch_warnings():
            # It has so many epochs and no more: that is what is asked for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.split.x, self.split.y)

    def score(self) -> float:
        """Accuracy or R squared of the last model on the rows held out."""
        return float(self.model.score(self.split.x_test, self.split.y_test))

    def peak_bytes(self) -> int | None:
        """Most memory that a further fit holds beside the data; None where nobody knows."""
        if not self.traced:
            return None
        self.model = None
        gc.collect()
        tracemalloc.start()
        try:
            self()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def fits(problem: Problem, split: Split, settings: Settings) -> dict[str, Callable[[], Fit]]:
    """List everybody's fit, scikit-learn's first; some may raise `SkipError`."""
    epochs = problem.epochs_in(settings.tiny)
    # The rule that stops early is out of reach: everybody does the same work.
    options: dict[str, Any] = {
        "max_iter": epochs,
        "tol": 0.0,
        "n_iter_no_change": epochs,
        "random_state": 0,
    }
    name = "MLPRegressor" if problem.regression else "MLPClassifier"

    def sklearn() -> Fit:
        kind = getattr(installed("sklearn.neural_network"), name)
        return Fit(partial(kind, **options), split)

    def library(variant: Variant) -> Fit:
        kind = MLPRegressor if problem.regression else MLPClassifier
        return Fit(partial(kind, **options, **variant.fit_options()), split)

    def skorch() -> Fit:
        make = skorch_estimator(
            problem.widths(split), epochs, settings.threads,
            regression=problem.regression, double=problem.dtype == "float64",
        )  # fmt: skip
        return Fit(make, split.columns() if problem.regression else split, traced=False)

    ours = {variant.name: partial(library, variant) for variant in VARIANTS}
    return {SKLEARN: sklearn, **ours, SKORCH: skorch}


def compare_fit(problem: Problem, settings: Settings) -> Comparison:
    """Time fits of a problem; afterwards look at scores and at memory."""
    title = f"fit: {problem.title}, {problem.dtype}"
    try:
        split = problem.data(settings.data, settings.tiny)
    except SkipError as reason:
        return Comparison(problem.name, title, [Timing(SKLEARN, skipped=str(reason))])
    made: dict[str, Fit] = {}

    def keep(name: str, make: Callable[[], Fit]) -> Fit:
        made[name] = make()
        return made[name]

    shape = "-".join(str(width) for width in problem.widths(split))
    found = measure(
        problem.name,
        f"{title}, {shape}, {len(split.x):,} rows, {problem.epochs_in(settings.tiny)} epochs, "
        f"{len(split.x_test):,} rows held out",
        [Contender(n, partial(keep, n, m)) for n, m in fits(problem, split, settings).items()],
        settings.count(FIT_ROUNDS),
        note="Peak memory of a fit beside its data, by tracemalloc: NumPy's arrays and Python's "
        "objects, not PyTorch's. Compiling was done in the round that does not count.",
    )
    metric = "r2" if problem.regression else "accuracy"
    for timing in found.timings:
        if not timing.skipped:
            fit = made[timing.name]
            timing.facts = {metric: fit.score(), "peak_bytes": fit.peak_bytes()}
    return found


# An epoch


def _begun(work: Workload, x: Any, t: Any, variant: Variant) -> Any:
    model = MLPClassifier(**sklearn_parameters(work), **variant.fit_options())
    return begun(model, work, x, t)


def partial_fits(work: Workload, x: Any, t: Any, variant: Variant) -> Work:
    """`partial_fit` on all rows, as scikit-learn's epoch is measured."""
    model = _begun(work, x, t, variant)
    return lambda: model.partial_fit(x, t)


def fit_epochs(work: Workload, x: Any, t: Any, variant: Variant) -> Work:
    """One `fit` that goes on by an epoch with each call."""
    model = MLPClassifier(
        **sklearn_parameters(work), **variant.fit_options(), max_iter=ENDLESS, tol=0.0,
        n_iter_no_change=np.inf,
    )  # fmt: skip

    def train(turns: Any) -> None:
        model.fit(x, t, callbacks=[turns])

    return Held(train)


def compare_epoch(whole: Workload, settings: Settings) -> Comparison:
    """Time an epoch through the estimators beside its matrix products."""
    work = whole.tiny() if settings.tiny else whole
    x, t = work.data(settings.data)
    listed = [
        Contender("floor", lambda: floor(work, x)),
        Contender(f"{SKLEARN}, partial_fit", lambda: sklearn_epoch(work, x, t)),
    ]
    for variant in VARIANTS:
        for way, make in (("partial_fit", partial_fits), ("inside fit", fit_epochs)):
            listed.append(Contender(f"{variant.name}, {way}", partial(make, work, x, t, variant)))
    real = settings.data is not None and work.name == "mnist"
    return measure(
        f"epoch-{work.name}",
        f"one epoch through the estimators: {work.describe()}",
        listed,
        settings.count(EPOCH_ROUNDS),
        note="floor: the epoch's matrix products alone. partial_fit on all rows is one epoch; it "
        "checks its input with each call. inside fit: the next epoch of one long fit, which has "
        "checked its input once; scikit-learn's cannot be halted between epochs. "
        + ("Data: MNIST." if real else "Data: random."),
    )


# Prediction


def predictors() -> dict[str, Any]:
    """scikit-learn's classifier and ours after the same steps: 784-100-10 in float32."""
    train = PREDICTED.tiny()
    x, t = train.data()
    return {
        SKLEARN: sklearn_classifier(train, x, t),
        NUMPY.name: _begun(train, x, t, NUMPY),
    }


def bare_probabilities(x: Any) -> Callable[[], Any]:
    """Make the arithmetic of `predict_proba` as a person writes it."""
    scores_of = bare_arithmetic(x)

    def probabilities() -> Any:
        scores = scores_of()
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    return probabilities


def _methods(name: str, x: Any) -> dict[str, Callable[[], Work]]:
    def call(model: Any) -> Work:
        method = getattr(model, name)
        return lambda: method(x)

    return {f"{who} {name}": partial(call, model) for who, model in predictors().items()}


def compare_row(settings: Settings) -> Comparison:
    """Time `predict` of one row."""
    x = np.random.default_rng(0).random((1, 784), dtype="float32")
    calls = 20 if settings.tiny else CALLS
    listed = {**_methods("predict", x), "bare arithmetic": lambda: bare_arithmetic(x)}
    return measure(
        "row",
        f"one call: predict of one row through 784-100-10, float32, {calls:,} calls in a round",
        [Contender(name, again(make, calls), calls) for name, make in listed.items()],
        settings.count(PREDICT_ROUNDS),
        note="bare arithmetic: x @ w1 + b1, maximum, @ w2 + b2; predict also picks the label.",
    )


def compare_rows(settings: Settings) -> Comparison:
    """Time `predict_proba` of many rows."""
    rows = 200 if settings.tiny else ROWS
    x = np.random.default_rng(0).random((rows, 784), dtype="float32")
    listed = {
        **_methods("predict_proba", x),
        "bare arithmetic with softmax": lambda: bare_probabilities(x),
        "bare matrix products": lambda: bare_products(x),
    }
    return measure(
        "rows",
        f"one call: predict_proba of {rows:,} rows through 784-100-10, float32",
        [Contender(name, make) for name, make in listed.items()],
        settings.count(PREDICT_ROUNDS),
        note="bare matrix products: into buffers allocated once.",
    )


def compare(settings: Settings) -> Iterator[Comparison]:
    """Yield all tables; `fit`, `epoch` and `predict` each stand for a group of them."""

    def wants(group: str, name: str) -> bool:
        return settings.wants(group) or settings.wants(name)

    for problem in PROBLEMS:
        if wants("fit", problem.name):
            yield compare_fit(problem, settings)
    for work in WORKLOADS:
        if wants("epoch", f"epoch-{work.name}"):
            yield compare_epoch(work, settings)
    if wants("predict", "row"):
        yield compare_row(settings)
    if wants("predict", "rows"):
        yield compare_rows(settings)
