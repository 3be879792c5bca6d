"""Write the files that `test_kept_files` reads, in the format of the day.

    python tests/files/make_kept.py tests/files/kept/2026-11

Files of an older format stay: add a folder for each new one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import xpnn
from xpnn.layers import Dropout
from xpnn.optimizers import AdamW, CosineWarmup

X = np.arange(48.0).reshape(12, 4) % 7 / 7
LABELS = np.asarray(["no", "yes", "perhaps"])[np.arange(12) % 3]


def network() -> xpnn.Network:
    """The network of the checkpoint, before its training."""
    return xpnn.Network(4, [3, "tanh", Dropout(0.25), 3], seed=0)


def fit(net: xpnn.Network, epochs: int, **given):
    """The training of the checkpoint."""
    return net.fit(X, np.arange(12) % 3, epochs=epochs, batch_size=5, early_stopping=5,
                   validation_fraction=0.25, learning_rate=CosineWarmup(0.1), **given)  # fmt: skip


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True)
    net = network()
    fit(net, 3, checkpoint=folder / "checkpoint.safetensors")
    xpnn.save(net, folder / "network.safetensors", {"scores": net.scores(X)})
    model = xpnn.MLPClassifier(
        (3, 2), activation=["gelu", "tanh"], optimizer=AdamW(CosineWarmup(0.1)), dropout=0.1,
        class_weight={"no": 2.0, "yes": 1.0, "perhaps": 1.0}, early_stopping=True,
        n_iter_no_change=np.inf, validation_fraction=0.5, max_iter=3, random_state=0,
    )  # fmt: skip
    model.fit(X, LABELS)
    record = {"probabilities": model.predict_proba(X), "loss": model.loss_curve_}
    xpnn.save(model, folder / "classifier.safetensors", record)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
