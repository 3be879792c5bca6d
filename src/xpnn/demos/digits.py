"""The main job: a network that classifies images of handwritten digits.

scikit-learn brings 1,797 images of 8x8 pixels. Four fifths are trained on, the last fifth is
for validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

from xpnn.backends import Backend
from xpnn.files import save
from xpnn.layers import LayerSpec
from xpnn.optimizers import Adam, CosineWarmup
from xpnn.plots import draw_history, draw_misclassified, save_figure
from xpnn.training import Network

SPLIT_SEED = 0  # the validation set is the same one whatever the network's seed


def load_split() -> tuple[Any, Any, Any, Any]:
    """Load the images with pixels in [0, 1], split 4 to 1 and stratified by digit."""
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
    """Train, measure, and write the model and two pictures; `seed` is the network's."""
    train_x, test_x, train_t, test_t = load_split()
    layers: list[LayerSpec] = [spec for width in hidden for spec in (width, "relu")]
    network = Network(64, [*layers, 10], seed=seed).to(backend)
    print(f"{len(train_t):,} images to train on, {len(test_t):,} for validation")
    rows = backend.asarray(test_x)
    history = network.fit(
        backend.asarray(train_x),
        backend.asarray(train_t),
        epochs=epochs,
        optimizer=Adam(CosineWarmup(0.003)),
        X_val=rows,
        y_val=backend.asarray(test_t),
        progress=progress,
    )
    predicted = backend.to_host(network.predict(rows))
    accuracy = float(np.mean(predicted == test_t))
    matrix = confusion_matrix(test_t, predicted, labels=range(10))
    print("\nconfusion matrix (rows: true digit, columns: predicted)")
    for digit, row in enumerate([range(10), *matrix], start=-1):
        cells = "".join(f"{n if n or digit < 0 else '.':>4}" for n in row)
        print(f"{digit if digit >= 0 else '':>4} {cells}")
    print(f"\nvalidation accuracy: {accuracy:.4f}")
    misclassified = draw_misclassified(test_x, test_t, predicted)
    written = {
        "model": save(network, out / "digits.safetensors", record=history.to_dict()),
        "curves": save_figure(draw_history(history), out / "curves.png"),
        "misclassified": save_figure(misclassified, out / "misclassified.png"),
    }
    for what, path in written.items():
        print(f"{what}: {path}")
    found = {"accuracy": accuracy, "confusion": matrix.tolist(), "seconds": sum(history.seconds)}
    return found | {what: str(path) for what, path in written.items()}
