"""Measurements as text: metrics beside the baseline, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
}
_MOST_CLASSES = 20
_MOST_LETTERS = 20
_CONFUSED = 10


def evaluation_lines(scores: dict[str, Any], note: str = "") -> list[str]:
    """Write what `xpnn.tabular.scores.evaluate` gave: metrics, a note, and the confusion matrix."""
    lines = [*score_lines(scores), *([note] if note else [])]
    if "confusion" in scores:
        lines += ["", *confusion_lines(scores["confusion"])]
    return lines


def score_lines(scores: dict[str, Any]) -> list[str]:
    """Write metrics as a table, beside those of a model that has learned nothing."""
    base = scores["baseline"]
    cells = [["", "model", "baseline"]]
    cells += [
        [text, _number(scores[name]), _number(base.get(name))]
        for name, text in _NAMES.items()
        if name in scores
    ]
    lines = _aligned(cells)
    lines[0] += f" ({base['name']})"
    if scores.get("unknown_labels"):
        count = scores["unknown_labels"]
        lines.append(f"{count:,} rows are of classes that the model does not know: all wrong")
    if not learned(scores):
        lines.append("The model is no better than its baseline: it has learned nothing of use.")
    return lines


def learned(scores: dict[str, Any]) -> bool:
    """Whether a model is better than its baseline."""
    base = scores["baseline"]
    name = "accuracy" if "accuracy" in scores else "r2"
    if scores[name] is None or base.get(name) is None:
        return True  # a single row tells nothing
    if scores[name] > base[name]:
        return True
    # Where one class is nearly all there is, accuracy can not be better; probabilities can.
    own, other = scores.get("log_loss"), base.get("log_loss")
    return own is not None and other is not None and own < other


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _aligned(cells: list[list[str]]) -> list[str]:
    """Rows of text with the columns under each other, the first one to the left."""
    first, *widths = (max(map(len, column)) for column in zip(*cells, strict=True))
    return [
        "  ".join([head.ljust(first), *map(str.rjust, row, widths)]).rstrip()
        for head, *row in cells
    ]


def confusion_lines(confusion: dict[str, Any]) -> list[str]:
    """Write a confusion matrix; of many classes, those that are confused most."""
    labels = [short(str(label), _MOST_LETTERS) or "(empty)" for label in confusion["labels"]]
    matrix = confusion["matrix"]
    if len(labels) > _MOST_CLASSES:
        pairs = [
            (count, labels[i], labels[j])
            for i, row in enumerate(matrix)
            for j, count in enumerate(row)
            if i != j and count
        ]
        pairs.sort(key=lambda pair: -pair[0])
        shown = [f"  {n:,} x {true} predicted as {other}" for n, true, other in pairs[:_CONFUSED]]
        return [f"{len(labels)} classes; confused most:", *(shown or ["  none"])]
    cells = [["", *labels]]
    cells += [
        [label, *(f"{count:,}" if count else "." for count in row)]
        for label, row in zip(labels, matrix, strict=True)
    ]
    return ["confusion matrix (rows: true, columns: predicted)", *indented(_aligned(cells))]


def short(text: str, most: int) -> str:
    """Bring a text onto one line of so many letters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def indented(lines: Iterable[str]) -> list[str]:
    """Lines two letters further to the right."""
    return [f"  {line}" for line in lines]
