"""How long does a prediction take, of one row and of 20,000?

python benchmarks/predict.py [--work row,rows] [--out FILE.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from contenders import MNIST, begun, network_of, our_estimator, sklearn_estimator
from rounds import Comparison, Contender, Work, main, measure

CALLS = 2000  # in a round, for one row
ROWS = 20_000


def bare_arithmetic(x: Any) -> Work:
    """Make the arithmetic that a person writes for the scores."""
    (w1, b1), (w2, b2) = MNIST.weights()
    return lambda: np.maximum(x @ w1 + b1, 0.0) @ w2 + b2


def bare_products(x: Any) -> Work:
    """Make the matrix products into buffers allocated once, and nothing else."""
    (w1, _), (w2, _) = MNIST.weights()
    hidden, scores = np.empty((len(x), 100), "f4"), np.empty((len(x), 10), "f4")

    def products() -> None:
        np.dot(x, w1, out=hidden)
        np.dot(hidden, w2, out=scores)

    return products


def again(make: Callable[[], Work], calls: int) -> Work:
    """Make a round of many calls out of one."""
    work = make()

    def repeat() -> None:
        for _ in range(calls):
            work()

    return repeat


def predictors(x: Any) -> dict[str, Callable[[], Work]]:
    """scikit-learn's classifier first, then ours after the same step, and `Network`."""
    tiny = MNIST.sized(True)
    rows, labels = tiny.data()
    peer = begun(sklearn_estimator(tiny), tiny, rows, labels)
    ours = begun(our_estimator(tiny), tiny, rows, labels)
    network = network_of(MNIST)
    calls = {
        "scikit-learn predict": peer.predict,
        "xpnn MLPClassifier.predict": ours.predict,
        "scikit-learn predict_proba": peer.predict_proba,
        "xpnn MLPClassifier.predict_proba": ours.predict_proba,
        "xpnn Network.predict": network.predict,
        "xpnn Network.scores": network.scores,
    }
    return {name: lambda f=f: partial(f, x) for name, f in calls.items()}


def one_row(options: argparse.Namespace) -> Comparison:
    """A call for one row, many times."""
    x = np.random.default_rng(0).random((1, 784), dtype="float32")
    calls = 20 if options.tiny else CALLS
    listed = {**predictors(x), "bare arithmetic": lambda: bare_arithmetic(x)}
    return measure(
        f"one call: a row through 784-100-10, float32, {calls:,} calls in a round",
        [Contender(name, partial(again, make, calls), calls) for name, make in listed.items()],
        options.rounds,
        note="bare arithmetic: x @ w1 + b1, maximum, @ w2 + b2.",
    )


def many_rows(options: argparse.Namespace) -> Comparison:
    """A call for many rows."""
    rows = 200 if options.tiny else ROWS
    x = np.random.default_rng(0).random((rows, 784), dtype="float32")
    listed = {
        **predictors(x),
        "bare arithmetic": lambda: bare_arithmetic(x),
        "bare matrix products": lambda: bare_products(x),
    }
    return measure(
        f"one call: {rows:,} rows through 784-100-10, float32",
        [Contender(name, make) for name, make in listed.items()],
        options.rounds,
        note="bare matrix products: into buffers allocated once.",
    )


if __name__ == "__main__":
    main(__doc__, {"row": one_row, "rows": many_rows}, 9)
