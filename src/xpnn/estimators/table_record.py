"""What is remembered of the training of a table's model, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnn.training import Callback, History, Run


class KeepHistory(Callback):
    """Keep the history of a training."""

    def __init__(self) -> None:
        self.history: History | None = None

    def on_train_begin(self, run: Run) -> None:
        """Remember where it is written."""
        self.history = run.history

    def as_plain(self) -> dict[str, Any] | None:
        """The history as plain values; None where the solver keeps none."""
        return None if self.history is None else plain(self.history.to_dict())


def plain(value: Any) -> Any:
    """A value as JSON knows it; the text of what it does not know."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return repr(value)


def layer_widths(estimator: Any) -> list[int]:
    """Features, hidden layers and outputs of a fitted estimator."""
    return [estimator.n_features_in_, *(int(b.shape[0]) for b in estimator.intercepts_)]


def summary(estimator: Any, record: dict[str, Any]) -> list[str]:
    """Lines about the network and what was measured."""
    widths = layer_widths(estimator)
    lines = [f"network: {' - '.join(map(str, widths))}, {estimator.n_iter_} epochs"]
    if record.get("rows"):
        lines.append(
            f"learned from {record['rows']:,} rows, measured on {record['validation_rows']:,}"
        )
    measured = record.get("validation") or {}
    baseline = measured.get("baseline", {})
    for name, value in measured.items():
        if isinstance(value, float):
            other = baseline.get(name)
            beside = "" if other is None else f" ({baseline['name']}: {other:.4f})"
            lines.append(f"{name}: {value:.4f}{beside}")
    return lines
