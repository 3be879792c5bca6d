"""A training in a notebook: its curve as a small SVG picture, and its last reports."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from xpnn.units.html import html_table

_ROWS = 5  # reports that are shown: the last ones
_POINTS = 120  # points of a curve
_WIDTH, _HEIGHT, _EDGE = 360, 90, 6
# The first takes the colour of the page's text, so both are seen on a dark page too.
_STYLES = (
    'stroke="currentColor"',
    'stroke="#CC6677" stroke-dasharray="6 3"',  # the colour of validation in `xpnn.plots`
)


def history_html(history: Any) -> str:
    """Describe a training for a notebook."""
    if not history.loss:
        return f"<div>{escape(repr(history))}</div>"
    columns: dict[str, list[str]] = {"epoch": [f"{epoch:,}" for epoch in history.numbers]}
    for name in ("loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds"):
        values = getattr(history, name)
        if len(values) == len(history.loss):
            columns[name.replace("_", " ")] = [f"{value:.4g}" for value in values[-_ROWS:]]
    if any(history.skipped):
        columns["steps skipped"] = [f"{count:,}" for count in history.skipped[-_ROWS:]]
    columns["epoch"] = columns["epoch"][-_ROWS:]
    rows = list(zip(*columns.values(), strict=True))
    left_out = len(history.loss) - len(rows)
    said = [repr(history)]
    if left_out:
        said.append(f"{left_out:,} report{'' if left_out == 1 else 's'} before these")
    if history.best_epoch is not None:
        said.append(f"weights of epoch {history.best_epoch:,}")
    table = html_table(list(columns), rows, "; ".join(said))
    return f"<div>{_curves(history)}{table}</div>"


def _curves(history: Any) -> str:
    """Draw the losses over the epochs; nothing where no two of them are finite."""
    lists = [values for values in (history.loss, history.validation_loss) if values]
    finite = [v for values in lists for v in values if math.isfinite(v)]
    if len(finite) < 2 or len(history.loss) < 2:
        return ""
    low, high = min(finite), max(finite)
    logarithmic = low > 0 and high / 1000 > low
    parts = []
    for style, values in zip(_STYLES, lists, strict=False):
        for points in _pieces(values, low, high, logarithmic):
            parts.append(f'<polyline fill="none" stroke-width="1.5" {style} points="{points}"/>')
    scale = ", logarithmic" if logarithmic else ""
    text = f"loss from {high:.4g} (top) to {low:.4g} (bottom){scale}"
    if history.validation_loss:
        text += "; dashed: validation"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="{escape(text)}">{"".join(parts)}</svg>'
        f"<div><small>{escape(text)}</small></div>"
    )


def _pieces(values: list[float], low: float, high: float, logarithmic: bool) -> list[str]:
    """Turn a curve of at least one value into polylines, broken where one is not finite."""

    def place(value: float) -> float:
        if logarithmic:
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        # Halved, since the range of large numbers of either sign may overflow.
        return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5

    last = max(1, len(values) - 1)
    chosen = sorted({round(i * last / (_POINTS - 1)) for i in range(_POINTS)})
    pieces: list[list[str]] = [[]]
    for i in chosen:
        if not math.isfinite(values[i]):
            pieces.append([])
            continue
        x = _EDGE + (_WIDTH - 2 * _EDGE) * i / last
        y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * place(values[i])
        pieces[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(piece) for piece in pieces if len(piece) > 1]
