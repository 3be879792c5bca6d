"""Rosenblatt's learning rule, and a table of what it did, example by example.

Every step needs the result of the one before and does next to nothing: the units learn on
the host, wherever the rows came from.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import host
from xpnn.units.html import html_table

RECORD_LIMIT = 100_000
"""Numbers that a history recorded with ``record="auto"`` holds: 0.8 MB in float64."""

_HTML_ROWS, _VALUES = 40, 8  # rows, and values of a list, that a notebook shows
_BLOCK = 128  # rows that are scored at once, to skip those that are right
_DOUBT = 1e-4  # share of the largest score in which rounding may differ: looked at one by one
_ALL = slice(None)


@dataclass(frozen=True)
class Rule:
    """How an example changes a unit.

    Where `fires_at_zero` is False a score of 0 does not fire, but it is an error for either
    class and always changes the unit.
    """

    eta0: float = 1.0
    bias_step: float = 1.0  # factor on the updates of the bias
    fires_at_zero: bool = False
    l2: float = 0.0  # strengths of the penalties
    l1: float = 0.0

    def fires(self, scores: Any) -> Any:
        """Whether units fire at their scores."""
        return scores >= 0 if self.fires_at_zero else scores > 0


@dataclass(eq=False)
class Unit:
    """One unit, which learns in place; `updates` and `loss` are those of its last epoch."""

    rule: Rule
    weights: Any
    bias: float
    targets: Any  # -1 and 1, one for each row
    sample_weight: Any
    number: int = 0  # among the units of a perceptron

    def __post_init__(self) -> None:
        rule, self.weights = self.rule, self.weights.copy()
        self.updates, self.loss, self.epochs, self.stopped = 0, 0.0, 0, False
        self._best_loss, self._no_improvement_count, self._scale = math.inf, 0, 1.0
        self._penalised = rule.l2 > 0 or rule.l1 > 0  # weights shrink without any error
        self._shrinkage = max(0.0, 1.0 - rule.eta0 * rule.l2)  # factor of a step with L2 penalty
        with host.errstate(over="ignore"):
            self._steps = rule.eta0 * self.sample_weight * self.targets
        self._totals = host.zeros(3)  # bias, loss and updates: native code changes them
        self._pass: Any = None  # through the rows, in Python or natively
        self._norms = _norms(self.weights)  # that the loss takes
        self._due = 0.0  # L1 penalty that every weight should have had by now,
        self._applied = host.zeros_like(self.weights)  # and has had, its sign turned round

    @property
    def settled(self) -> bool:
        """Whether the last epoch changed nothing, so that no other can."""
        return not self.updates and not self._penalised

    @host.errstate(over="ignore", invalid="ignore")  # the estimator looks at the weights
    def run_epoch(self, x: Any, indices: Any, trace: Trace | None = None) -> None:
        """Learn from every example: ``weights += eta0 * sample_weight * error * row``.

        `x` is an array or a CSR matrix in the dtype of the weights, `indices` the rows in the
        order in which they are shown. The loss is the mean over them of how far the score is on
        the wrong side (Bottou 1998), and of the penalties.

        F. Rosenblatt, "The perceptron: a probabilistic model for information storage and
        organization in the brain", Psychological Review 65 (1958), 386-408.
        """
        self._totals[:] = self.bias, 0.0, 0.0
        if trace is not None or self._penalised:
            self._learn(x, indices, trace)
        else:
            self._pass_through(x).run(indices)
        self.bias, self.loss, updates = self._totals.tolist()
        self.updates, self.loss = int(updates), self.loss / len(indices)

    def _pass_through(self, x: Any) -> Any:
        """What learns from rows of `x`, where no row changes anything unless it is wrong."""
        if self._pass is None or self._pass.rows is not x:
            from xpnn.engine.rows import RowPass

            how = self.rule.bias_step, self.rule.fires_at_zero, lambda part: self._learn(x, part)
            self._pass = RowPass(x, self.targets, self._steps, self.weights, self._totals, *how)
        return self._pass

    def _learn(self, x: Any, indices: Any, trace: Trace | None = None) -> None:
        """Learn from examples by the rule in Python, beginning and ending with the totals."""
        rule, weights, penalised = self.rule, self.weights, self._penalised
        self.bias, self.loss, updates = self._totals.tolist()
        self.updates = int(updates)
        skips = trace is None and not penalised
        if trace is not None:
            trace.weights[0], trace.bias[0] = weights, self.bias
        for start in range(0, len(indices), _BLOCK):
            part = indices[start : start + _BLOCK]
            if skips:
                part = part[self._right(x[part], self.targets[part]) :]
            columns = _entries(x, part), self.targets[part].tolist(), self._steps[part].tolist()
            for i, ((at, values), sign, step) in enumerate(zip(*columns, strict=True), start):
                score = float(values.dot(weights if at is _ALL else weights[at])) + self.bias
                if skips and score * sign > 0:
                    continue
                wrong = score * sign < 0 or (score == 0 and not (rule.fires_at_zero and sign > 0))
                if wrong:
                    self.loss -= score * sign
                if penalised:
                    self.loss += 0.5 * rule.l2 * self._norms[0] + rule.l1 * self._norms[1]
                if wrong or penalised:
                    self._change(at, values, step if wrong else 0.0)
                if trace is not None:
                    trace.scores[i], trace.errors[i] = score, sign if wrong else 0.0
                    trace.weights[i + 1], trace.bias[i + 1] = weights, self.bias
        self._totals[:] = self.bias, self.loss, self.updates

    def _change(self, at: Any, values: Any, change: float) -> None:
        """Add a multiple of a row to the weights, and shrink them where there is a penalty."""
        if self._penalised:
            self.weights *= self._shrinkage
        if change:
            self.weights[at] += change * values
            self.bias += self.rule.bias_step * change
            self.updates += 1
        if self._penalised:
            self._penalise(at, change != 0)

    def _right(self, rows: Any, targets: Any) -> int:
        """How many rows of a block come before the first that may be wrong."""
        margins = targets * (rows @ self.weights + self.bias)
        doubtful = ~(margins > _DOUBT * abs(margins).max())
        return int(doubtful.argmax()) if doubtful.any() else len(doubtful)

    def _penalise(self, at: Any, changed: bool) -> None:
        """Note the norms for the loss, and cut weights off; of a sparse row its features only.

        The L1 penalty is the cumulative one of Tsuruoka, Tsujii & Ananiadou (2009), which
        cuts each weight off at 0. As in scikit-learn, the norms that the loss takes are
        those of the last change, before anything was cut off.
        """
        rule, weights = self.rule, self.weights
        squares, sizes = self._norms
        scaled = squares * self._shrinkage**2, sizes * self._shrinkage
        self._norms = _norms(weights[at]) if changed else scaled
        if rule.l1:
            self._due += rule.eta0 * rule.l1
            now, had = weights[at], self._applied[at]
            above = host.maximum(now - (self._due + had), 0.0)
            below = host.minimum(now + (self._due - had), 0.0)
            cut = host.where(now > 0, above, host.where(now < 0, below, now))
            self._applied[at] = had + (cut - now)
            weights[at] = cut

    def stop_if_done(self, loss: float, tol: float | None, patience: int, max_iter: int) -> None:
        """Count an epoch, and stop after `max_iter` or `patience` without improvement.

        One that changed nothing repeats itself: the others are counted without being run.
        """
        while not self.stopped:
            self.epochs += 1
            improved = tol is None or not loss > self._best_loss - tol
            self._no_improvement_count = 0 if improved else self._no_improvement_count + 1
            self._best_loss = min(self._best_loss, loss)
            self.stopped = self._no_improvement_count >= patience or self.epochs == max_iter
            if not self.settled:
                return

    def validation_scores(self, x: Any, steps: int) -> Any:
        """Scores of validation rows as scikit-learn has them, after an epoch of so many steps.

        It leaves out the factor on the weights that it keeps for the L2 penalty.
        """
        if self.rule.l2:
            least = 1e-6 if self.weights.dtype == host.float32 else 1e-9
            for _ in range(steps):
                self._scale *= self._shrinkage
                self._scale = 1.0 if self._scale < least else self._scale
        return x @ (self.weights / self._scale) + self.bias


class Trace:
    """What happened to a unit at every example of an epoch, in the order of `indices`.

    `weights` and `bias` have an entry more: before the first example, and after each. `inputs`
    are all rows, which are not copied.
    """

    def __init__(self, unit: Unit, indices: Any, inputs: Any) -> None:
        self.rule, self.targets = unit.rule, unit.targets
        self.indices, self.inputs = indices, inputs
        self.scores, self.errors = host.zeros((2, len(indices)), inputs.dtype)
        self.weights = host.zeros((len(indices) + 1, inputs.shape[1]), inputs.dtype)
        self.bias = host.zeros(len(indices) + 1, inputs.dtype)


def _norms(weights: Any) -> tuple[float, float]:
    """Sums of squares and of sizes."""
    return float(weights.dot(weights)), float(abs(weights).sum())


def _entries(x: Any, indices: Any) -> Iterator[tuple[Any, Any]]:
    """Where each row has entries, and which."""
    if not hasattr(x, "toarray"):
        return ((_ALL, x[i]) for i in indices.tolist())
    ends = zip(x.indptr[indices].tolist(), x.indptr[indices + 1].tolist(), strict=True)
    return ((x.indices[start:end], x.data[start:end]) for start, end in ends)


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
            With the keys epoch, example (both from 1), unit, input, target, score,
            prediction, error, old_weights, old_bias, new_weights, new_bias. The error is
            ``target - prediction``; but with ``fires_at_zero=False`` a score of 0 is always
            an error, 1 or -1 as it should have been above or below 0.
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

    __str__ = table

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
        rows, notes = self.to_rows(), []
        missing = sum(not epoch.details for epoch in self)
        if rows and missing:
            notes.append(f"{missing} of {len(self)} epochs have no recorded details")
        if any(row["error"] != row["target"] - row["prediction"] for row in rows):
            notes.append("a score of 0 is an error for either class (fires_at_zero=False)")
        rows = rows or [{"epoch": e.number, "updates": sum(e.updates)} for e in self]
        keys = [key for key in (rows or [{}])[0] if key != "unit" or len(self.units) > 1]
        omitted = 0 if max_rows is None else max(0, len(rows) - max_rows)
        first = (len(rows) - omitted + 1) // 2
        shown = rows[:first] + rows[first + omitted :]
        body = [[_text(row[key], values) for key in keys] for row in shown]
        return [key.replace("_", " ") for key in keys], body, omitted, notes

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
