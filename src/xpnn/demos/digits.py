"""The main job: a network that reads handwritten digits.

scikit-learn brings 1,797 digits of 8x8 pixels. Four fifths are learned, the last fifth is
held out and only looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.backends import Backend
from xpnn.files import save
from xpnn.layers import LayerSpec
from xpnn.optimizers import Adam, CosineWarmup
from xpnn.plots.curves import plot_history
from xpnn.plots.digits import plot_misread
from xpnn.training import Network

SPLIT_SEED = 0  # the held-out fifth is the same one whatever the network's seed


def load_split() -> tuple[Any, Any, Any, Any]:
    """Load the digits with pixels in [0, 1], split 4 to 1 and stratified by digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    return train_test_split(
        images / 16.0, labels, test_size=0.2, stratify=labels, random_state=SPLIT_SEED
    )


def run(
    backend: Backend,
    out: Path,
    seed: int = 0,
    epochs: int = 40,
    hidden: Sequence[int] = (128,),
    progress: bool = True,
) -> dict[str, Any]:
    """Train, measure, and write the model and two pictures.

    Parameters
    ----------
    backend : Backend
        Where it runs.
    out : Path
        Folder for the model and the pictures.
    seed : int, default 0
        For initial weights and row orders.
    epochs : int, default 40
        Times that the training digits are gone through.
    hidden : sequence of int, default (128,)
        Widths of the hidden layers.
    progress : bool, default True
        Whether to draw a progress bar.

    Returns
    -------
    dict
        Accuracy, confusion matrix, and the paths written.
    """
    from sklearn.metrics import confusion_matrix

    train_x, test_x, train_t, test_t = load_split()
    layers: list[LayerSpec] = [spec for width in hidden for spec in (width, "relu")]
    network = Network(64, [*layers, 10], seed=seed).to(backend)
    print(f"{len(train_t):,} digits to learn, {len(test_t):,} held out")
    history = network.fit(
        backend.asarray(train_x),
        backend.asarray(train_t),
        epochs=epochs,
        optimizer=Adam(CosineWarmup(0.003)),
        validation=(backend.asarray(test_x), backend.asarray(test_t)),
        progress=progress,
    )
    predicted = backend.to_host(network.predict(backend.asarray(test_x)))
    accuracy = float(np.mean(predicted == test_t))
    matrix = confusion_matrix(test_t, predicted, labels=range(10))
    print(f"\nconfusion matrix (rows: the digit, columns: read as)\n{_table(matrix)}")
    print(f"\naccuracy on the held-out fifth: {accuracy:.4f}")
    written = {
        "model": save(network, out / "digits.safetensors", record=history.to_dict()),
        "curves": plot_history(history, out / "curves.png"),
        "misread": plot_misread(test_x.reshape(-1, 8, 8), test_t, predicted, out / "misread.png"),
    }
    for what, path in written.items():
        print(f"{what + ':':<9}{path}")
    return {"accuracy": accuracy, "confusion": matrix.tolist(), "seconds": sum(history.seconds)} | {
        what: str(path) for what, path in written.items()
    }


def _table(matrix: Any) -> str:
    lines = ["     " + "".join(f"{digit:>4}" for digit in range(10))]
    for digit, row in enumerate(matrix):
        lines.append(f"{digit:>4} " + "".join(f"{n or '.':>4}" for n in row))
    return "\n".join(lines)
