"""Trainings that are killed with SIGKILL, over and over, and resumed; prints what came out.

Run as a program: ``python killing.py FOLDER KILLS SEED``. Every training runs in a child of this
process, which has imported everything already; that is why it is a program and not a part
of pytest, whose process may hold threads. Set OMP_NUM_THREADS=1. No verdict depends on how
long anything takes: a kill that comes too late counts as none, and another training is begun.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from resuming import outcome

from xpnn import AdamW, Dropout, MLPClassifier, MLPRegressor, Network
from xpnn.data import BlockShuffle, stream
from xpnn.optimizers import SGD, CosineWarmup, ReduceOnPlateau, chain, clip_by_global_norm
from xpnn.training import Checkpoint, EarlyStopping

GENERATOR = np.random.default_rng(2)
X = GENERATOR.normal(size=(60, 4))
T = (X[:, 0] * X[:, 1] > 0).astype("int64")
EPOCHS = 40


def from_arrays():
    return X, T


def from_source():
    """Four windows an epoch, read ahead by a thread."""
    return (stream(X, T, shuffle=BlockShuffle(5, 6)),)


def network(data=from_arrays, dtype="float64", **options):
    def train(**given):
        net = Network(4, [8, "tanh", Dropout(0.3), 2], seed=3, backend="numpy", dtype=dtype)
        return outcome(net, net.fit(*data(), epochs=EPOCHS, batch_size=16, **options, **given))

    return train


def estimator(kind, data=from_arrays, **options):
    own = {"max_iter": EPOCHS, "random_state": 1, "batch_size": 16, "tol": 0.0}

    def train(**given):
        model = kind(hidden_layer_sizes=(8,), **own, **options)
        model.fit(*data(), **given)
        names = ("n_iter_", "t_", "loss_curve_", "validation_scores_", "best_loss_")
        weights = [a.tobytes() for a in [*model.coefs_, *model.intercepts_]]
        return [*weights, *(repr(getattr(model, name)) for name in names)]

    return train


CASES = {
    "network, early stopping": network(
        validation_fraction=0.2, early_stopping=EarlyStopping(50),
        learning_rate=CosineWarmup(0.02, 5),
    ),
    "network, plateau, float32": network(
        dtype="float32", validation_fraction=0.2, learning_rate=ReduceOnPlateau(0.05, patience=2),
        optimizer=chain(clip_by_global_norm(1.0), SGD(0.05, 0.9)), l2=0.01,
    ),
    "network, calls of NumPy": network(
        engine="planned", optimizer=AdamW(0.01), report_every=2
    ),
    "classifier, early stopping": estimator(
        MLPClassifier, dropout=0.3, early_stopping=True, n_iter_no_change=50
    ),
    "regressor, adaptive": estimator(
        MLPRegressor, solver="sgd", learning_rate="adaptive", n_iter_no_change=2
    ),
    "network, from a source": network(
        from_source, learning_rate=CosineWarmup(0.02, 5), X_val=X, y_val=T
    ),
    "classifier, from a source": estimator(MLPClassifier, from_source, dropout=0.3),
}  # fmt: skip


def in_child(work):
    """Start a child; returns its number."""
    number = os.fork()
    if number:
        return number
    try:
        work()
    except BaseException as error:
        print(f"in a child: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def kill(number, path, writes, delay):
    """Kill a child that wrote so many checkpoints, after a while; whether it was at work."""

    def which():
        # Every checkpoint is a new file, put in the place of the one before.
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None

    seen, before, over = 0, which(), False
    while seen < writes and not over:
        time.sleep(0.0005)
        now = which()
        seen += now != before
        before = now
        over = os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    time.sleep(delay)
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a training failed")
    return os.WIFSIGNALED(status)


def main(folder, kills, seed):
    """Kill trainings `kills` times in all, and compare every one that ended."""
    warnings.simplefilter("ignore")
    dice, report = random.Random(seed), {}
    for case, train in CASES.items():
        began = time.perf_counter()
        path = folder / "checkpoint"
        expected = train(checkpoint=Checkpoint(folder / "whole"))
        assert train() == expected  # checkpoints change nothing
        length = (time.perf_counter() - began) / (2 * EPOCHS)
        killed = finished = resumed = 0
        while killed < kills:
            path.unlink(missing_ok=True)
            running = True
            while running and killed < kills:
                again = path.exists()
                number = in_child(lambda p=path, f=train: f(checkpoint=p, resume=True))
                # A few epochs and a part of one, or before anything could be written.
                running = kill(number, path, dice.randrange(5), dice.uniform(0.0, 2 * length))
                killed += running
                resumed += running and again
            found = train(checkpoint=path, resume=True)
            finished += 1
            if found != expected:
                sys.exit(f"{case}: other bytes after {killed} kills")
        report[case] = {"killed": killed, "resumed": resumed, "finished": finished}
    left = sorted(p.name for p in folder.iterdir())
    print(json.dumps({"cases": report, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
