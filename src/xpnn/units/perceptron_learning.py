"""Epoch after epoch of Rosenblatt's rule, until every unit stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.units.perceptron_history import PerceptronHistory
from xpnn.units.perceptron_rule import Trace, Unit


@dataclass(frozen=True)
class StoppingRule:
    """When a unit stops: after `max_iter` epochs, or `n_iter_no_change` without improvement.

    The mean loss, or where there is one the validation score, improved if it got better by
    `tol` or more; with None it always did.
    """

    max_iter: int
    tol: float | None
    n_iter_no_change: int
    validation_score: Callable[[int, Any, float], float] | None = None  # of unit, weights, bias


@dataclass
class _Progress:
    """How far a unit has come."""

    number: int
    unit: Unit
    best_loss: float = float("inf")
    stalled: int = 0
    epochs: int = 0
    scale: float = 1.0
    stopped: bool = False

    def judge(self, rule: StoppingRule, steps: int) -> None:
        """Count an epoch; one that changed nothing repeats itself until the unit stops."""
        loss = self.unit.loss
        if rule.validation_score is not None:
            self._follow_scale(steps)
            weights = self.unit.weights / self.scale
            loss = -rule.validation_score(self.number, weights, self.unit.bias)
        while not self.stopped:
            self.epochs += 1
            improved = rule.tol is None or not loss > self.best_loss - rule.tol
            self.stalled = 0 if improved else self.stalled + 1
            self.best_loss = min(self.best_loss, loss)
            self.stopped = self.stalled >= rule.n_iter_no_change or self.epochs == rule.max_iter
            if not self.unit.settled:
                return

    def _follow_scale(self, steps: int) -> None:
        """Follow the factor that scikit-learn keeps beside weights that an L2 penalty shrinks.

        It scores validation rows with the weights before that factor and the bias as it is;
        without this its epochs would not be counted alike.
        """
        if self.unit.rule.l2:
            least = 1e-6 if self.unit.weights.dtype == host.float32 else 1e-9
            for _ in range(steps):
                self.scale *= self.unit.rule.shrinkage
                self.scale = 1.0 if self.scale < least else self.scale


def learn(
    units: list[Unit],
    x: Any,
    targets: Any,
    sample_weight: Any,
    *,
    permutations: Iterator[Any],
    stopping: StoppingRule,
    history: PerceptronHistory,
    record: bool | str,
    verbose: bool,
) -> int:
    """Let units learn, in place and on the host, until each of them stops.

    `x` is an array or a CSR matrix; `targets` (-1 and 1), `sample_weight` and the
    `permutations` of the rows for each epoch have a column for each unit. Gives the epochs
    until the last unit stopped. Once an epoch changed nothing no other can: those that remain
    until the stopping rule holds are counted and not run.

    Raises
    ------
    ValueError
        Weights became infinite or NaN.
    """
    everyone = live = [_Progress(number, unit) for number, unit in enumerate(units)]
    inputs = None
    for epoch in range(1, stopping.max_iter + 1):
        indices, details = next(permutations), None
        room = record == "auto" and history.has_room(len(indices) * len(live), x.shape[1])
        if record is True or room:
            # What was recorded does not change with the caller's array.
            inputs = x.copy() if inputs is None else inputs
            details = tuple(
                Trace(p.unit.rule, indices[:, p.number], inputs, targets[:, p.number]) for p in live
            )
        # What overflows is found at the end of the epoch.
        with host.errstate(over="ignore", invalid="ignore"):
            for i, p in enumerate(live):
                columns = (column[:, p.number] for column in (targets, sample_weight, indices))
                p.unit.run_epoch(x, *columns, trace=details[i] if details else None)
        if not all(p.unit.finite for p in live):
            raise ValueError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                "data with StandardScaler or MinMaxScaler might help."
            )
        history.add([p.number for p in live], [p.unit.updates for p in live], details)
        if verbose:
            updates, loss = sum(p.unit.updates for p in live), sum(p.unit.loss for p in live)
            print(f"Epoch {epoch}: {updates} updates, average loss {loss:.6f}")
        for progress in live:
            progress.judge(stopping, len(indices))
        live = [progress for progress in live if not progress.stopped]
        if not live:
            break
    history.converged = all(progress.unit.settled for progress in everyone)
    history.stopped = any(not p.unit.settled and p.epochs < stopping.max_iter for p in everyone)
    return max(progress.epochs for progress in everyone)
