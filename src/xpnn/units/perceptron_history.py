"""What a perceptron did while it learned: a table, example by example."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpnn.units.html import html_table

_HTML_ROWS, _NUMBERS = 40, 8  # rows, and numbers of a list, that a notebook shows
_FIGURES = ("target", "prediction", "error", "old_weights", "old_bias", "new_weights", "new_bias")
_HEADS = ("epoch", "example", "unit", "input", *_FIGURES)


@dataclass(frozen=True)
class Details:
    """What happened at every example of an epoch; arrays on the host.

    Parameters
    ----------
    order : array of int, shape (n,) or (n, units)
        Rows in the order in which they were shown; each unit may have its own.
    inputs : array or sparse matrix, shape (rows, features)
        All rows, in their own order.
    targets : array, shape (rows, units)
        What each unit should say to each row.
    predictions, errors : array, shape (n, units)
        In the order in which the examples were shown. A prediction of 1/2 is a score of 0.
    weights : array, shape (n + 1, units, features)
        Before the first example, and after each.
    bias : array, shape (n + 1, units)
        Likewise.
    """

    order: Any
    inputs: Any
    targets: Any
    predictions: Any
    errors: Any
    weights: Any
    bias: Any


@dataclass(frozen=True)
class Epoch:
    """One pass through the examples.

    Parameters
    ----------
    number : int
        Counted from 1.
    updates : tuple of int
        Examples that changed each unit.
    units : tuple
        The class that each unit fires for; units that had stopped are not among them.
    details : Details or None
        None where they were not recorded.
    """

    number: int
    updates: tuple[int, ...]
    units: tuple[Any, ...]
    details: Details | None = None

    @property
    def changed(self) -> bool:
        """Whether an example changed any unit."""
        return any(self.updates)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary for each example and unit; none where there are no details.

        Epochs and examples count from 1, example i being row i - 1 of the data.
        """
        d = self.details
        if d is None:
            return []
        shown = d.order if d.order.ndim == 2 else d.order[:, None].repeat(len(self.units), 1)
        return [
            {
                "epoch": self.number,
                "example": int(shown[i, u]) + 1,
                "unit": unit,
                "input": _row(d.inputs, shown[i, u]),
                "target": int(d.targets[shown[i, u], u]),
                "prediction": _whole(float(d.predictions[i, u])),
                "error": int(d.errors[i, u]),
                "old_weights": d.weights[i, u].tolist(),
                "old_bias": float(d.bias[i, u]),
                "new_weights": d.weights[i + 1, u].tolist(),
                "new_bias": float(d.bias[i + 1, u]),
            }
            for i in range(len(shown))
            for u, unit in enumerate(self.units)
        ]


@dataclass
class PerceptronHistory:
    """Record of a perceptron's learning; printing it gives the table, iterating the epochs.

    Parameters
    ----------
    units : tuple
        The class that each unit fires for: one unit for two classes, else one for each.
    epochs : list of Epoch
        What happened in each.
    converged : bool
        Whether every unit came to an epoch that changed nothing. Units that a penalty
        shrinks never do.
    stopped : bool
        Whether a unit that still changed was stopped before the last epoch allowed.
    numbers : int
        Numbers that the details hold.
    """

    units: tuple[Any, ...]
    epochs: list[Epoch] = field(default_factory=list)
    converged: bool = False
    stopped: bool = False
    numbers: int = 0

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def updates(self) -> list[int]:
        """Updates in each epoch, over all units."""
        return [sum(epoch.updates) for epoch in self.epochs]

    @property
    def unsettled(self) -> tuple[Any, ...]:
        """Classes whose units still changed in their last epoch."""
        last = {unit: n for e in self.epochs for unit, n in zip(e.units, e.updates, strict=True)}
        return tuple(unit for unit in self.units if last.get(unit))

    def verdict(self) -> str:
        """Say in one sentence whether it converged."""
        total = sum(self.updates)
        counted = f"{total} update{'' if total == 1 else 's'} in all"
        if self.converged:
            return f"converged: epoch {len(self)} changed nothing ({counted})"
        epochs = f"{len(self)} epoch{'' if len(self) == 1 else 's'}"
        unsettled = self.unsettled
        if not unsettled:
            return f"stopped after {epochs}, the last without a mistake ({counted})"
        which = ""
        if len(self.units) > 1:
            which = f"; still changing: {', '.join(map(str, unsettled))}"
        if self.stopped:
            return f"stopped after {epochs}, before it converged ({counted}{which})"
        return (
            f"did not converge in {epochs} ({counted}{which}); "
            "the classes may not be linearly separable"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary for each recorded epoch, example and unit.

        Returns
        -------
        list of dict
            With the keys epoch, example, unit, input, target, prediction, error,
            old_weights, old_bias, new_weights, new_bias. Epochs and examples count from 1.
            A prediction of 1/2 is a score of 0, where a unit says neither.
        """
        return [row for epoch in self.epochs for row in epoch.to_rows()]

    def to_csv(self) -> str:
        """The recorded examples as CSV text, a column for each input and weight."""
        rows = [_flat(row) for row in self.to_rows()]
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return text.getvalue()

    def table(self, max_rows: int | None = 60) -> str:
        """The recorded examples as an aligned table, and whether the rule converged.

        Parameters
        ----------
        max_rows : int or None, default 60
            Rows to show, half of them from the beginning and half from the end; None
            shows all.

        Returns
        -------
        str
        """
        rows = self.to_rows()
        if not rows:
            return "\n".join([*_short(self._epoch_lines(), max_rows), self.verdict()])
        heads = [head for head in _HEADS if head != "unit" or len(self.units) > 1]
        body = [tuple(_text(row[head]) for head in heads) for row in rows]
        named = tuple(head.replace("_", " ") for head in heads)
        widths = [max(len(row[c]) for row in (named, *body)) for c in range(len(heads))]
        lines = [_align(row, widths) for row in body]
        lines = [_align(named, widths), "-" * len(_align(named, widths)), *_short(lines, max_rows)]
        missing = sum(epoch.details is None for epoch in self.epochs)
        if missing:
            lines.append(f"epochs {len(self) - missing + 1} to {len(self)}: no details recorded")
        return "\n".join([*lines, self.verdict()])

    def _repr_html_(self) -> str:
        """The table for a notebook: the first rows and the last, long ones shortened."""
        rows: list[Any] = self.to_rows()
        detailed = bool(rows)
        rows = rows if detailed else list(self.epochs)
        left_out = max(0, len(rows) - _HTML_ROWS)
        half = _HTML_ROWS // 2
        shown: list[Any] = [*rows[:half], *rows[-half:]] if left_out else rows
        if detailed:
            heads = [head for head in _HEADS if head != "unit" or len(self.units) > 1]
            body = [[_text(row[head], _NUMBERS) for head in heads] for row in shown]
        else:
            heads = ["epoch", "updates"]
            body = [[str(epoch.number), f"{sum(epoch.updates):,}"] for epoch in shown]
        named = [head.replace("_", " ") for head in heads]
        return html_table(named, body, self.verdict(), left_out=left_out)

    def _epoch_lines(self) -> list[str]:
        return [f"epoch {e.number}: {sum(e.updates)} updates" for e in self.epochs]

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"PerceptronHistory({self.verdict()})"


def _row(inputs: Any, number: Any) -> list[float]:
    """One row as a list, of an array or of a sparse matrix."""
    row = inputs[[number]]
    return (row.toarray() if hasattr(row, "toarray") else row)[0].tolist()


def _whole(value: float) -> float:
    return int(value) if value.is_integer() else value


def _text(value: Any, most: int | None = None) -> str:
    if isinstance(value, list):
        shown = [_text(v) for v in value[:most]]
        more = [f"... {len(value) - len(shown)} more"] if len(shown) < len(value) else []
        return f"[{', '.join(shown + more)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _short(lines: list[str], most: int | None) -> list[str]:
    """Leave the middle out of a long list."""
    if most is None or len(lines) <= most:
        return lines
    first, last = (most + 1) // 2, most // 2
    left_out = f"... {len(lines) - most} more ..."
    return [*lines[:first], left_out, *lines[len(lines) - last :]]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Give every entry of a list its own column: ``input[0]``, ``input[1]``, ..."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list):
            flat |= {f"{key}[{i}]": v for i, v in enumerate(value)}
        else:
            flat[key] = value
    return flat
