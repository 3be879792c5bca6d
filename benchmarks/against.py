"""How long do fits and further epochs take in this checkout, beside another checkout of xpnn?

    git worktree add ../before COMMIT
    python benchmarks/against.py ../before

Each of 7 rounds times one new process of each, in turn; the table has medians and their ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any


def work() -> dict[str, float]:
    """Seconds of each work, with the xpnn that is on the path."""
    import numpy as np
    from sklearn.datasets import load_iris

    from xpnn import MLPClassifier

    warnings.simplefilter("ignore")
    rng, (iris, kinds) = np.random.default_rng(0), load_iris(return_X_y=True)
    table, pictures = rng.standard_normal((50_000, 20)), rng.standard_normal((60_000, 784))
    table, pictures = table.astype("float32"), pictures.astype("float32")
    endless = {"random_state": 0, "n_iter_no_change": 10**6, "tol": 0.0}

    def fit(x: Any, y: Any, widths: tuple[int, ...], epochs: int) -> Any:
        return MLPClassifier(widths, max_iter=epochs, **endless).fit(x, y)

    def going_on(x: Any, classes: int, widths: tuple[int, ...]) -> Any:
        """One more epoch of a training whose steps are planned."""
        model, y = MLPClassifier(widths, **endless), rng.integers(0, classes, len(x))
        for _ in range(2):
            model.partial_fit(x, y, None, list(range(classes)))
        return lambda: [model.partial_fit(x, y) for _ in range(3)]

    fitted, learn = fit(iris, kinds, (100,), 5), MLPClassifier((100,), **endless).partial_fit
    works = {
        "tabular, 8 epochs": lambda: fit(table, table[:, 0] > 0, (64, 32), 8),
        "size of MNIST, 3 epochs": lambda: fit(pictures, rng.integers(0, 10, 60_000), (100,), 3),
        **{f"Iris, {n} epochs": lambda n=n: fit(iris, kinds, (100,), n) for n in (5, 50, 200)},
        "3 further, tabular": going_on(table, 2, (64, 32)),
        "3 further, MNIST's size": going_on(pictures, 10, (100,)),
        "3 further, 784-512-512-10": going_on(pictures[:20_000], 10, (512, 512)),
        "300 predictions of a row": lambda: [fitted.predict(iris[:1]) for _ in range(300)],
        "100 partial_fit of Iris": lambda: [
            learn(iris, kinds, None, [0, 1, 2]) for _ in range(100)
        ],
    }
    moments = [
        (name, time.perf_counter(), call(), time.perf_counter()) for name, call in works.items()
    ]
    return {name: end - start for name, start, _, end in moments}


if __name__ == "__main__":
    if sys.argv[1] == "-":
        sys.exit(print(json.dumps(work())))
    runs, roots = [], (Path(sys.argv[1]).resolve(), Path(__file__).resolve().parents[1])
    for root in roots * 7:
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        done = subprocess.check_output([sys.executable, __file__, "-"], env=environment)
        runs.append(json.loads(done))
    for name in runs[0]:
        before, now = ([run[name] for run in runs[i::2]] for i in (0, 1))
        ratio = median(b / a for a, b in zip(before, now, strict=True))
        print(f"{name:<26}{median(before):>9.4f} s{median(now):>9.4f} s{ratio:>8.2f}")
