"""Measurements as text: metrics beside the baseline, and the confusion matrix."""

from __future__ import annotations

from typing import Any

_NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
}
_HIGHER = ("accuracy", "r2")  # what decides whether anything was learned: more is better
_MOST_CLASSES = 20
_MOST_LETTERS = 20
_CONFUSED = 10


def evaluation_lines(scores: dict[str, Any], note: str = "") -> list[str]:
    """Write what `TableModel.evaluate` gave: metrics, a note, and the confusion matrix."""
    lines = [*score_lines(scores), *([note] if note else [])]
    if "confusion" in scores:
        lines += ["", *confusion_lines(scores["confusion"])]
    return lines


def score_lines(scores: dict[str, Any]) -> list[str]:
    """Write metrics as a table, beside those of a model that has learned nothing."""
    base = scores["baseline"]
    names = [name for name in _NAMES if name in scores]
    cells = [["", "model", "baseline"]]
    cells += [[_NAMES[name], _number(scores[name]), _number(base.get(name))] for name in names]
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
    name = next(name for name in _HIGHER if name in scores)
    own, base = scores[name], scores["baseline"].get(name)
    if own is None or base is None:
        return True  # a single row tells nothing
    if own > base:
        return True
    # Where one class is nearly all there is, accuracy can not be better; probabilities can.
    own, base = scores.get("log_loss"), scores["baseline"].get("log_loss")
    return own is not None and base is not None and own < base


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _aligned(cells: list[list[str]]) -> list[str]:
    """Rows of text with the columns under each other, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def confusion_lines(confusion: dict[str, Any]) -> list[str]:
    """Write a confusion matrix; of many classes, those that are confused most."""
    labels = [_short(str(label)) for label in confusion["labels"]]
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


def _short(text: str) -> str:
    text = " ".join(text.split()) or "(empty)"
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."


def indented(lines: list[str]) -> list[str]:
    """Lines two letters further to the right."""
    return [f"  {line}" for line in lines]
