"""Count the functions and files of ours that one fit runs through; run it as a script."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np

import xpnn

SOURCE = Path(xpnn.__file__).parent
ROWS, FEATURES = 200, 5
MOST = {  # functions, files
    ("MLPClassifier", "plain"): (150, 26),
    ("MLPClassifier", "full"): (170, 28),
    ("Network", "plain"): (110, 20),
    ("Network", "full"): (130, 22),
}


def data(seed):
    """Rows, labels and weights."""
    x = np.random.default_rng(seed).normal(size=(ROWS, FEATURES))
    return x, (x[:, 0] > 0).astype(int), np.linspace(0.5, 1.5, ROWS)


def call_of(kind, full):
    """A fit of three epochs; with early stopping, a validation set and weights, or without.

    Its steps run as they are: counting makes them slow, and slow steps are planned.
    """
    x, y, weight = data(0)
    x_val, y_val, _ = data(1)
    if kind == "Network":
        network = xpnn.Network(FEATURES, [8, "relu", 2], seed=0)
        options = {"X_val": x_val, "y_val": y_val, "early_stopping": 5, "sample_weight": weight}
        return lambda: network.fit(x, y, epochs=3, engine="pure", **(options if full else {}))
    options = {"early_stopping": full, "engine": "pure"}
    model = xpnn.MLPClassifier((8,), max_iter=3, random_state=0, **options)
    options = {"X_val": x_val, "y_val": y_val, "sample_weight": weight}
    return lambda: model.fit(x, y, **(options if full else {}))


def path_of(call):
    """Run a call; all functions of ours that it went through, as pairs of file and name."""
    seen = set()

    def note(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(SOURCE)):
            seen.add((os.path.relpath(code.co_filename, SOURCE), code.co_qualname))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def main():
    """Print the table; the exit status says whether all are below the most that they may be."""
    warnings.simplefilter("ignore")
    for kind in ("MLPClassifier", "Network"):  # what is imported at a first use is no part of it
        call_of(kind, full=True)()
    print(f"{'fit of three epochs':<24}{'functions':>10}{'most':>6}{'files':>7}{'most':>6}")
    fine = True
    for (kind, how), (most_functions, most_files) in MOST.items():
        seen = path_of(call_of(kind, how == "full"))
        files = len({file for file, _ in seen})
        fine = fine and len(seen) <= most_functions and files <= most_files
        print(f"{kind + ', ' + how:<24}{len(seen):>10}{most_functions:>6}{files:>7}{most_files:>6}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
