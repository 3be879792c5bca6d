"""Trainings whose outcome must not depend on the number of processes.

Run by `mpiexec`: ``python mpi_cases.py FOLDER CASE ...`` writes what each case ends with, for
every rank, to ``FOLDER/CASE.RANK.npz``. Imported by the tests, for what one process ends with.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from xpnn import MLPClassifier, MLPRegressor, Network, select
from xpnn.backends import to_host
from xpnn.data import stream
from xpnn.data.streams import BlockShuffle
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    CosineWarmup,
    chain,
    clip_by_global_norm,
)

ROWS = 103
_random = np.random.default_rng(7)
X = _random.normal(size=(ROWS, 6))
LABELS = _random.integers(0, 3, ROWS)
WEIGHT = _random.uniform(0.1, 2.0, ROWS)
VALUES = np.sin(X[:, :2]) + 0.1


def network(distributed, x=X, t=LABELS, layers=(8, "tanh", 3), loss="softmax_cross_entropy",
            **options):  # fmt: skip
    made = Network(6, list(layers), loss=loss, seed=3)
    options = {"epochs": 3, "batch_size": 16, **options}
    history = made.fit(x, t, distributed=distributed, **options)
    return {"theta": to_host(made.theta), "loss": history.loss,
            "validation_loss": history.validation_loss,
            "validation_accuracy": history.validation_accuracy,
            "epochs": history.epochs}  # fmt: skip


def estimator(made, x=X, y=LABELS, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few epochs do not converge
        made.fit(x, y, **options)
    return {"loss": getattr(made, "loss_curve_", [made.loss_]), "epochs": made.n_iter_,
            "theta": np.concatenate([to_host(w).ravel() for w in made.coefs_]),
            "scores": getattr(made, "validation_scores_", None) or [],
            "validation_loss": getattr(made, "validation_loss_curve_", [])}  # fmt: skip


def classifier(distributed, **options):
    given = {"hidden_layer_sizes": (8,), "max_iter": 3, "batch_size": 16, "random_state": 5}
    return MLPClassifier(**given | options, distributed=distributed)


def on(name, dtype="float64"):
    place = select(name, None, dtype)
    return place.asarray(X), place.asarray(LABELS)


def partial(distributed):
    made = classifier(distributed)
    for start in range(0, ROWS, 40):
        part = slice(start, start + 40)
        made.partial_fit(X[part], LABELS[part], classes=[0, 1, 2])
    return {"theta": np.concatenate([w.ravel() for w in made.coefs_]), "t": made.t_}


def batches():
    for start in range(0, ROWS, 30):
        part = slice(start, start + 30)
        yield X[part].astype("float32"), VALUES[part], WEIGHT[part]


def files(folder):
    np.save(folder / "x.npy", X)
    np.save(folder / "t.npy", LABELS)
    return folder


def from_files(distributed, folder):
    source = stream(folder / "x.npy", folder / "t.npy", weight=WEIGHT, memory="4 KiB",
                    shuffle=BlockShuffle(block_rows=7, seed=2))  # fmt: skip
    return network(distributed, source, None, X_val=stream(X, LABELS, memory="4 KiB"))


SUM = {"layers": (8, "relu", 2), "loss": "sum_squared_errors", "t": VALUES}
CASES = {
    "plain": network,
    "in order": lambda d: network(d, shuffle=False),
    "float32": lambda d: network(d, X.astype("float32")),
    "weights and penalty": lambda d: network(d, sample_weight=WEIGHT, l2=0.02),
    "weights of zero": lambda d: network(d, sample_weight=WEIGHT * (np.arange(ROWS) > 50),
                                         shuffle=False),
    "dropout": lambda d: network(d, layers=(8, "tanh", Dropout(0.4), 3)),
    "sum of squares": lambda d: network(d, **SUM, optimizer=SGD(0.001, momentum=0.9)),
    "clipped, scheduled": lambda d: network(
        d, optimizer=chain(clip_by_global_norm(0.3), Adam()), learning_rate=CosineWarmup(0.01)
    ),
    "few rows": lambda d: network(d, X[:7], LABELS[:7], batch_size=3),
    "batch below ranks": lambda d: network(d, X[:9], LABELS[:9], batch_size=2),
    "all rows": lambda d: network(d, batch_size=None),
    "validation": lambda d: network(
        d, validation_fraction=0.2, early_stopping=2, epochs=6, learning_rate=0.2
    ),
    "accumulated": lambda d: network(d, gradient_accumulation_steps=3, sample_weight=WEIGHT,
                                     l2=0.02,
                                     layers=(8, "tanh", Dropout(0.4), 3)),
    "seeds of their own": lambda d: network(
        d, seed=int(os.environ.get("PMI_RANK", "0")), layers=(8, "tanh", Dropout(0.4), 3)
    ),
    "reports": lambda d: network(d, epochs=5, report_every=2),
    "mixed": lambda d: network(d, X.astype("float32"), compute_dtype="float16", l2=0.02),
    "pure": lambda d: network(d, engine="pure", l2=0.02),
    "strict": lambda d: network(d, *on("array_api_strict")),
    "torch": lambda d: network(d, *on("torch", "float32")),
    "jax": lambda d: network(d, *on("jax", "float32")),
    "cupy": lambda d: network(d, *on("cupy", "float32")),
    "cupy, mixed": lambda d: network(d, *on("cupy", "float32"), compute_dtype="float16"),
    "native": lambda d: network(d, engine="native", l2=0.02),
    "files": None,
    "batches": lambda d: network(d, stream(batches, memory="2 KiB"), None, epochs=2,
                                 layers=SUM["layers"], loss="huber"),
    "classifier": lambda d: estimator(classifier(d, early_stopping=True), sample_weight=WEIGHT),
    "sgd": lambda d: estimator(classifier(d, solver="sgd", class_weight="balanced")),
    "lbfgs": lambda d: estimator(classifier(d, solver="lbfgs"), sample_weight=WEIGHT),
    "sparse": lambda d: estimator(classifier(d, alpha=0.1), csr_matrix(X)),
    "accumulated sgd": lambda d: estimator(
        classifier(d, solver="sgd", gradient_accumulation_steps=3), sample_weight=WEIGHT
    ),
    "sparse lbfgs": lambda d: estimator(classifier(d, solver="lbfgs"), csr_matrix(X)),
    "partial": partial,
    "regressor": lambda d: estimator(
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=3, random_state=5, distributed=d),
        y=VALUES, X_val=X, y_val=VALUES,
    ),
    "stream of labels": lambda d: estimator(
        classifier(d, class_weight="balanced"),
        stream(X, np.asarray(["a", "bb", "ccc"])[LABELS], memory="4 KiB"), None,
        X_val=stream(X, np.asarray(["a", "bb", "ccc"])[LABELS], memory="4 KiB"),
    ),
}  # fmt: skip


def run(name, distributed, folder):
    return from_files(distributed, folder) if name == "files" else CASES[name](distributed)


if __name__ == "__main__":
    place, names = Path(sys.argv[1]), sys.argv[2:]
    from xpnn.distributed import process_group

    group = process_group("mpi")
    rank = 0 if group is None else group.rank
    for name in names:
        np.savez(place / f"{name}.{rank}.npz", **run(name, "mpi", place))
