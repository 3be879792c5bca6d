"""Rosenblatt's learning rule: how a unit changes, example by example.

Every step needs the result of the one before and does next to nothing: the units learn on
the host, wherever the rows came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host

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

    @property
    def penalised(self) -> bool:
        """Whether weights shrink without any error."""
        return self.l2 > 0 or self.l1 > 0

    @property
    def shrinkage(self) -> float:
        """Factor that a step with an L2 penalty multiplies the weights by."""
        return max(0.0, 1.0 - self.eta0 * self.l2)

    def fires(self, scores: Any) -> Any:
        """Whether units fire at their scores."""
        return scores >= 0 if self.fires_at_zero else scores > 0


class Unit:
    """One unit, which learns in place; `updates` and `loss` are those of its last epoch.

    `targets` (-1 and 1) and `sample_weight` have an entry for every row; `number` counts the
    units of a perceptron.
    """

    def __init__(
        self,
        rule: Rule,
        weights: Any,
        bias: float,
        *,
        targets: Any,
        sample_weight: Any,
        number: int = 0,
    ) -> None:
        self.rule, self.weights, self.bias = rule, weights.copy(), bias
        self.targets, self.sample_weight, self.number = targets, sample_weight, number
        self.updates, self.loss, self.epochs, self.stopped = 0, 0.0, 0, False
        self._best_loss, self._stalled, self._scale = math.inf, 0, 1.0
        self._norms = _norms(weights)  # that the loss takes
        self._due = 0.0  # L1 penalty that every weight should have had by now,
        self._applied = host.zeros_like(weights)  # and has had, its sign turned round

    @property
    def settled(self) -> bool:
        """Whether the last epoch changed nothing, so that no other can."""
        return not self.updates and not self.rule.penalised

    @property
    def finite(self) -> bool:
        """Whether nothing has overflowed."""
        return bool(host.isfinite(self.bias) and host.isfinite(self.weights).all())

    @host.errstate(over="ignore", invalid="ignore")  # `finite` tells
    def run_epoch(self, x: Any, indices: Any, trace: Trace | None = None) -> None:
        """Learn from every example: ``weights += eta0 * sample_weight * error * row``.

        `x` is an array or a CSR matrix in the dtype of the weights, `indices` the rows in the
        order in which they are shown. The loss is the mean over them of how far the score is on
        the wrong side (Bottou 1998), and of the penalties.

        F. Rosenblatt, "The perceptron: a probabilistic model for information storage and
        organization in the brain", Psychological Review 65 (1958), 386-408.
        """
        rule, weights, updates, loss = self.rule, self.weights, 0, 0.0
        penalised, per_row = rule.penalised, (self.targets, self.sample_weight)
        skips = trace is None and not penalised
        if trace is not None:
            trace.weights[0], trace.bias[0] = weights, self.bias
        for start in range(0, len(indices), _BLOCK):
            part = indices[start : start + _BLOCK]
            if skips:
                part = part[self._right(x[part], self.targets[part]) :]
            columns = _entries(x, part), *(c[part].tolist() for c in per_row)
            for i, ((at, values), sign, amount) in enumerate(zip(*columns, strict=True), start):
                score = float(values.dot(weights if at is _ALL else weights[at])) + self.bias
                if skips and score * sign > 0:
                    continue
                wrong = score * sign < 0 or (score == 0 and not (rule.fires_at_zero and sign > 0))
                error = sign if wrong else 0.0
                if wrong:
                    loss -= score * sign
                if penalised:
                    loss += 0.5 * rule.l2 * self._norms[0] + rule.l1 * self._norms[1]
                if wrong or penalised:
                    updates += self._change(at, values, rule.eta0 * amount * error)
                if trace is not None:
                    trace.scores[i], trace.errors[i] = score, error
                    trace.weights[i + 1], trace.bias[i + 1] = weights, self.bias
        self.updates, self.loss = updates, loss / len(indices)

    def _change(self, at: Any, values: Any, change: float) -> bool:
        """Add a multiple of a row to the weights, and shrink them where there is a penalty."""
        if self.rule.penalised:
            self._change_penalised(at, values, change)
        elif change:
            self.weights[at] += change * values
        self.bias += self.rule.bias_step * change
        return change != 0.0

    def _right(self, rows: Any, targets: Any) -> int:
        """How many rows of a block come before the first that may be wrong."""
        margins = targets * (rows @ self.weights + self.bias)
        doubtful = ~(margins > _DOUBT * abs(margins).max())
        return int(doubtful.argmax()) if doubtful.any() else len(doubtful)

    def _change_penalised(self, at: Any, values: Any, change: float) -> None:
        """Shrink and change the weights; where the row is sparse, those of its features only.

        The L1 penalty is the cumulative one of Tsuruoka, Tsujii & Ananiadou (2009), which
        cuts each weight off at 0. As in scikit-learn, the norms that the loss takes are
        those of the last change, before anything was cut off.
        """
        rule, weights = self.rule, self.weights
        weights *= rule.shrinkage
        if change:
            weights[at] += change * values
            self._norms = _norms(weights[at])
        else:
            squares, sizes = self._norms
            self._norms = squares * rule.shrinkage**2, sizes * rule.shrinkage
        if rule.l1:
            self._due += rule.eta0 * rule.l1
            now, had = weights[at], self._applied[at]
            above = host.maximum(now - (self._due + had), 0.0)
            below = host.minimum(now + (self._due - had), 0.0)
            cut = host.where(now > 0, above, host.where(now < 0, below, now))
            self._applied[at] = had + (cut - now)
            weights[at] = cut

    def stop_if_done(
        self, loss: float, *, tol: float | None, n_iter_no_change: int, max_iter: int
    ) -> None:
        """Count an epoch, and stop after `max_iter` or `n_iter_no_change` without improvement.

        One that changed nothing repeats itself: the others are counted without being run.
        """
        while not self.stopped:
            self.epochs += 1
            improved = tol is None or not loss > self._best_loss - tol
            self._stalled = 0 if improved else self._stalled + 1
            self._best_loss = min(self._best_loss, loss)
            self.stopped = self._stalled >= n_iter_no_change or self.epochs == max_iter
            if not self.settled:
                return

    def validation_scores(self, x: Any, steps: int) -> Any:
        """Scores of validation rows as scikit-learn's, after an epoch of so many steps.

        It takes the weights before the factor that it keeps for the L2 penalty, and the bias
        as it is; with other scores its epochs would not be counted alike.
        """
        if self.rule.l2:
            least = 1e-6 if self.weights.dtype == host.float32 else 1e-9
            for _ in range(steps):
                self._scale *= self.rule.shrinkage
                self._scale = 1.0 if self._scale < least else self._scale
        return x @ (self.weights / self._scale) + self.bias


class Trace:
    """What happened to a unit at every example of an epoch, in the order of `indices`.

    Scores and errors have shape (n,). `weights` and `bias` have an entry more: before the first
    example, and after each. `inputs` are all rows, which are not copied.
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
        yield from ((_ALL, x[i]) for i in indices.tolist())
        return
    for start, end in zip(x.indptr[indices].tolist(), x.indptr[indices + 1].tolist(), strict=True):
        yield x.indices[start:end], x.data[start:end]
