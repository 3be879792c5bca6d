"""What a perceptron did while it learned: a table, example by example."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnn.units.html import html_table
from xpnn.units.perceptron_rule import Trace, Unit

RECORD_LIMIT = 100_000
"""Numbers that a history recorded with ``record="auto"`` holds: 0.8 MB in float64."""

_HTML_ROWS, _VALUES = 40, 8  # rows, and values of a list, that a notebook shows


@dataclass(frozen=True)
class Epoch:
    """One pass through the examples.

    Parameters
    ----------
    number : int
        Counted from 1.
    units : tuple
        The class that each unit fires for; units that had stopped are not among them.
    updates : tuple of int
        Examples that changed each unit.
    details : tuple of Trace
        What happened to each unit at every example; empty if that was not recorded.
    """

    number: int
    units: tuple[Any, ...]
    updates: tuple[int, ...]
    details: tuple[Trace, ...] = ()

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary for each example and unit; none where there are no details."""
        return [
            {
                "epoch": self.number,
                "example": int(trace.indices[i]) + 1,
                "unit": unit,
                "input": _row(trace.inputs, trace.indices[i]),
                "target": int(trace.targets[trace.indices[i]] > 0),
                "score": float(trace.scores[i]),
                "prediction": int(trace.rule.fires(trace.scores[i])),
                "error": int(trace.errors[i]),
                "old_weights": trace.weights[i].tolist(),
                "old_bias": float(trace.bias[i]),
                "new_weights": trace.weights[i + 1].tolist(),
                "new_bias": float(trace.bias[i + 1]),
            }
            for i in range(len(self.details[0].indices) if self.details else 0)
            for unit, trace in zip(self.units, self.details, strict=True)
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
    size : int
        How many numbers the details hold, without the inputs.
    """

    units: tuple[Any, ...]
    epochs: list[Epoch] = field(default_factory=list)
    converged: bool = False
    stopped: bool = False
    size: int = 0

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def updates(self) -> list[int]:
        """Updates in each epoch, over all units."""
        return [sum(epoch.updates) for epoch in self.epochs]

    @property
    def still_changing(self) -> tuple[Any, ...]:
        """Classes whose units changed in their last epoch."""
        last = {unit: n for e in self.epochs for unit, n in zip(e.units, e.updates, strict=True)}
        return tuple(unit for unit in self.units if last.get(unit))

    def has_room(self, examples: int, features: int) -> bool:
        """Whether details of so many more examples fit into `RECORD_LIMIT`."""
        return self.size + examples * (features + 3) <= RECORD_LIMIT

    def add(self, units: list[Unit], details: list[Trace]) -> None:
        """Add an epoch of some of the units, with or without details."""
        self.size += sum(len(t.indices) * (t.weights.shape[1] + 3) for t in details)
        classes = tuple(self.units[unit.number] for unit in units)
        updates = tuple(unit.updates for unit in units)
        self.epochs.append(Epoch(len(self) + 1, classes, updates, tuple(details)))

    def verdict(self) -> str:
        """Say in one sentence whether it converged."""
        total = sum(self.updates)
        counted = f"{total} update{'' if total == 1 else 's'} in all"
        if self.converged:
            return f"converged: epoch {len(self)} changed nothing ({counted})"
        epochs = f"{len(self)} epoch{'' if len(self) == 1 else 's'}"
        changing = self.still_changing
        if not changing:
            return f"stopped after {epochs}, the last without an error ({counted})"
        if len(self.units) > 1:
            counted += f"; still changing: {', '.join(map(str, changing))}"
        if self.stopped:
            return f"stopped after {epochs}, before it converged ({counted})"
        return (
            f"did not converge in {epochs} ({counted}); the classes may not be linearly separable"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary for each recorded epoch, example and unit.

        Returns
        -------
        list of dict
            With the keys epoch, example, unit, input, target, score, prediction, error,
            old_weights, old_bias, new_weights, new_bias. Epochs and examples count from 1.
            The error is ``target - prediction``; but with ``fires_at_zero=False`` a score of
            0 is an error whatever the target is, 1 or -1 as the score should have been above
            or below 0.
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
        heads, body, omitted, notes = self._table(max_rows)
        widths = [max(len(row[c]) for row in (heads, *body)) for c in range(len(heads))]
        head, *lines = (
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in (heads, *body)
        )
        if omitted:
            lines.insert((len(lines) + 1) // 2, f"... {omitted} more ...")
        return "\n".join([head, "-" * len(head), *lines, *notes, self.verdict()])

    def _repr_html_(self) -> str:
        """The table for a notebook: the first rows and the last, long ones shortened."""
        heads, body, omitted, notes = self._table(_HTML_ROWS, _VALUES)
        return html_table(heads, body, "; ".join([*notes, self.verdict()]), omitted=omitted)

    def _table(
        self, max_rows: int | None, values: int | None = None
    ) -> tuple[list[str], list[list[str]], int, list[str]]:
        """Headings, rows as text, how many are missing in the middle, and notes.

        One row for each example, or where none was recorded for each epoch.
        """
        rows = self.to_rows()
        missing, notes = sum(not epoch.details for epoch in self.epochs), []
        if rows and missing:
            notes.append(f"{missing} of {len(self)} epochs have no recorded details")
        if any(row["error"] != row["target"] - row["prediction"] for row in rows):
            notes.append("a score of 0 is an error for either class (fires_at_zero=False)")
        rows = rows or [{"epoch": e.number, "updates": sum(e.updates)} for e in self.epochs]
        keys = [key for key in (rows or [{}])[0] if key != "unit" or len(self.units) > 1]
        omitted = 0 if max_rows is None else max(0, len(rows) - max_rows)
        first = (len(rows) - omitted + 1) // 2
        body = [
            [_text(row[key], values) for key in keys]
            for row in rows[:first] + rows[first + omitted :]
        ]
        return [key.replace("_", " ") for key in keys], body, omitted, notes

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"PerceptronHistory({self.verdict()})"


def _row(inputs: Any, index: Any) -> list[float]:
    """One row as a list, of an array or of a sparse matrix."""
    row = inputs[[index]]
    return (row.toarray() if hasattr(row, "toarray") else row)[0].tolist()


def _text(value: Any, most: int | None = None) -> str:
    if isinstance(value, list):
        shown = [_text(v) for v in value[:most]]
        more = [f"... {len(value) - len(shown)} more"] if len(shown) < len(value) else []
        return f"[{', '.join(shown + more)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Give every entry of a list its own column: ``input[0]``, ``input[1]``, ..."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list):
            flat |= {f"{key}[{i}]": v for i, v in enumerate(value)}
        else:
            flat[key] = value
    return flat
