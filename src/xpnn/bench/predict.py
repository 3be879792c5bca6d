"""Prediction of one row and of many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnn.bench.command import Settings
from xpnn.bench.peers import sklearn_classifier
from xpnn.bench.rounds import Comparison, Contender, Work, measure
from xpnn.bench.workloads import WORKLOADS
from xpnn.training import Network

ROUNDS = 9
CALLS = 2000  # in a round, for one row
ROWS = 20_000
WORK = WORKLOADS[0]


def _network() -> Network:
    network = Network(784, [100, "relu", 10], seed=0)
    weights: dict[str, Any] = {}
    for number, (w, b) in zip((0, 2), WORK.weights(), strict=True):
        weights |= {f"{number}.weights": w, f"{number}.bias": b}
    return network.assign(**weights).to("numpy", dtype="float32")


def bare_arithmetic(x: Any) -> Any:
    """Make the arithmetic that a person writes for one row."""
    (w1, b1), (w2, b2) = WORK.weights()
    return lambda: np.maximum(x @ w1 + b1, 0.0) @ w2 + b2


def bare_products(x: Any) -> Work:
    """Make the matrix products into buffers allocated once, and nothing else."""
    (w1, _), (w2, _) = WORK.weights()
    hidden, scores = np.empty((len(x), 100), "f4"), np.empty((len(x), 10), "f4")

    def products() -> None:
        np.dot(x, w1, out=hidden)
        np.dot(hidden, w2, out=scores)

    return products


def again(make: Callable[[], Work], calls: int) -> Callable[[], Work]:
    """Make a round of many calls out of one."""

    def made() -> Work:
        work = make()

        def repeat() -> None:
            for _ in range(calls):
                work()

        return repeat

    return made


def _sklearn(x: Any, method: str) -> Work:
    train = WORK.tiny()
    rows, labels = train.data()
    model = sklearn_classifier(train, rows, labels)
    predict = getattr(model, method)
    return lambda: predict(x)


def _one_row(settings: Settings) -> Comparison:
    x = np.random.default_rng(0).random((1, 784), dtype="float32")
    calls = 20 if settings.tiny else CALLS
    network = _network()
    listed = {
        "bare arithmetic": lambda: bare_arithmetic(x),
        "xpnn Network.scores": lambda: lambda: network.scores(x),
        "xpnn Network.predict": lambda: lambda: network.predict(x),
        "xpnn Network.scores, row as (784,)": lambda: lambda: network.scores(x[0]),
        "scikit-learn predict": lambda: _sklearn(x, "predict"),
        "scikit-learn predict_proba": lambda: _sklearn(x, "predict_proba"),
    }
    return measure(
        "row",
        f"one call: one row through 784-100-10, float32, {calls:,} calls in a round",
        [Contender(name, again(make, calls), calls) for name, make in listed.items()],
        settings.count(ROUNDS),
        note="bare arithmetic: x @ w1 + b1, maximum, @ w2 + b2; predict also picks the label.",
    )


def _many_rows(settings: Settings) -> Comparison:
    rows = 200 if settings.tiny else ROWS
    x = np.random.default_rng(0).random((rows, 784), dtype="float32")
    network = _network()
    listed = {
        "bare matrix products": lambda: bare_products(x),
        "bare arithmetic": lambda: bare_arithmetic(x),
        "xpnn Network.scores": lambda: lambda: network.scores(x),
        "xpnn Network.predict": lambda: lambda: network.predict(x),
        "scikit-learn predict": lambda: _sklearn(x, "predict"),
    }
    return measure(
        "rows",
        f"one call: {rows:,} rows through 784-100-10, float32",
        [Contender(name, make) for name, make in listed.items()],
        settings.count(ROUNDS),
        note="bare matrix products: into buffers allocated once.",
    )


def compare(settings: Settings) -> Iterator[Comparison]:
    """Yield both comparisons."""
    if settings.wants("row"):
        yield _one_row(settings)
    if settings.wants("rows"):
        yield _many_rows(settings)
