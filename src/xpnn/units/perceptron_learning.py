"""Epoch after epoch of Rosenblatt's rule: when each unit stops, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    Namespace,
    dtype_name,
    host,
    library_name,
    on_device,
    to_device,
    to_host,
)
from xpnn.units.perceptron_history import Details, Epoch, PerceptronHistory
from xpnn.units.perceptron_host import run_epoch_on_host
from xpnn.units.perceptron_rule import Rule, State, Trace, run_epoch, start_state, step_for

RECORD_LIMIT = 100_000
"""Numbers that a history recorded with ``record="auto"`` keeps: 0.8 MB in float64."""


@dataclass(frozen=True)
class Examples:
    """What is shown.

    Parameters
    ----------
    x : array or sparse matrix, shape (n, features)
        One row for each example; sparse ones on the host.
    targets : numpy.ndarray of 0 and 1, shape (n, units)
        What each unit should say.
    amounts : numpy.ndarray, shape (n, units)
        Weights of the examples.
    orders : iterator of numpy.ndarray of int, shape (n,) or (n, units)
        For each epoch the rows that are shown, in their order.
    """

    x: Array
    targets: Any
    amounts: Any
    orders: Iterator[Any]


@dataclass(frozen=True)
class Course:
    """How long to learn, and what to tell.

    Parameters
    ----------
    max_iter : int
        Most epochs.
    tol : float or None
        A unit stops when its figure, the mean loss or the score on validation rows,
        improved by less than this in so many epochs; None: never for that reason.
    patience : int
        How many epochs.
    score : callable, optional
        ``score(weights, bias)`` gives the units' scores on validation rows, on the host.
    record : bool or 'auto'
        Whether to keep what happened at every example; 'auto': as far as there is room.
    verbose : bool
        Whether to print a line for each epoch.
    """

    max_iter: int
    tol: float | None
    patience: int
    score: Callable[[Array, Array], Any] | None = None
    record: bool | str = "auto"
    verbose: bool = False


@dataclass
class _Unit:
    """One unit's way to its end."""

    number: int
    best: float = float("inf")
    stalled: int = 0
    epochs: int = 0
    settled: bool = False
    weights: Array = None
    bias: Array = None

    def stops(self, figure: float, course: Course) -> bool:
        """Count epochs in which a figure, better where it is smaller, did not improve."""
        self.epochs += 1
        improved = course.tol is None or not figure > self.best - course.tol
        self.stalled = 0 if improved else self.stalled + 1
        self.best = min(self.best, figure)
        return self.stalled >= course.patience or self.epochs == course.max_iter


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Parameters
    ----------
    weights : array, shape (units, features)
        Where the examples are.
    bias : array, shape (units,)
        Where the examples are.
    epochs : int
        Until the last unit stopped. Once an epoch changed nothing no other can, so those
        that remain until the rule for stopping holds are counted and not run.
    """

    weights: Array
    bias: Array
    epochs: int


@dataclass
class _Learning:
    rule: Rule
    examples: Examples
    course: Course
    history: PerceptronHistory
    xp: Namespace
    device: Device
    inputs: Any = None
    shown: Any = None
    brought: tuple[Any, Any] = field(default=(None, None))

    @property
    def on_host(self) -> bool:
        return library_name(self.xp) == "numpy"

    def epoch(self, state: State, order: Any, live: list[int]) -> tuple[State, Trace | None]:
        wanted = self.wants_details(len(order), len(live))
        if order is not self.shown:
            pick = order[:, None] if order.ndim == 1 else order
            columns = (self.examples.targets, self.examples.amounts)
            self.brought = tuple(self.bring(host.take_along_axis(c, pick, 0)) for c in columns)
            self.shown = order
        if self.on_host and not self.rule.penalised:
            return run_epoch_on_host(
                self.rule, state, self.examples.x, *self.brought, order, live, wanted
            )
        step = step_for(self.xp, self.rule)
        return run_epoch(
            step, state, self.examples.x, *self.brought, order, wanted, xp=self.xp
        )  # fmt: skip

    def bring(self, values: Any) -> Array:
        dtype = self.examples.x.dtype
        if self.on_host:
            return host.asarray(values, dtype)
        return to_device(values, self.xp, self.device, dtype)

    def wants_details(self, rows: int, units: int) -> bool:
        record = self.course.record
        return bool(record if record != "auto" else self.room(rows, units) <= RECORD_LIMIT)

    def room(self, rows: int, units: int) -> int:
        """Numbers that the history would hold after another epoch with details."""
        shape = self.examples.x.shape
        inputs = 0 if self.inputs is not None else int(shape[0]) * (int(shape[1]) + units)
        return self.history.numbers + inputs + rows * units * (int(shape[1]) + 3)

    def note(
        self, order: Any, live: list[int], before: State, trace: Trace | None, updates: Any
    ) -> None:
        """Write an epoch into the history."""
        details = None
        if trace is not None:
            self.history.numbers = self.room(len(order), len(live))
            if self.inputs is None:
                x = self.examples.x
                self.inputs = x.copy() if hasattr(x, "toarray") else to_host(x).copy()
            details = Details(
                order if order.ndim == 1 else order[:, live],
                self.inputs,
                self.examples.targets[:, live],
                to_host(trace.predictions)[:, live],
                to_host(trace.errors)[:, live],
                host.concatenate([to_host(before.weights)[None], to_host(trace.weights)])[:, live],
                host.concatenate([to_host(before.bias)[None], to_host(trace.bias)])[:, live],
            )
        units = tuple(self.history.units[u] for u in live)
        counts = tuple(int(updates[u]) for u in live)
        self.history.epochs.append(Epoch(len(self.history) + 1, counts, units, details))


def learn_epochs(
    rule: Rule, examples: Examples, weights: Array, bias: Array, course: Course,
    history: PerceptronHistory, *, xp: Namespace, device: Device,
) -> Learned:  # fmt: skip
    """Learn until every unit stops; reads from the device once per epoch.

    Parameters
    ----------
    rule : Rule
        How an example changes a unit.
    examples : Examples
        What is shown.
    weights : array, shape (units, features)
        To begin with.
    bias : array, shape (units,)
        To begin with.
    course : Course
        How long to learn.
    history : PerceptronHistory
        Epochs are added to it.
    xp : module
        Namespace of the arrays.
    device : object
        Where they are.

    Returns
    -------
    Learned

    Raises
    ------
    ValueError
        Weights became infinite or NaN.
    """
    learning = _Learning(rule, examples, course, history, xp, device)
    units = [_Unit(u) for u in range(len(history.units))]
    live = units
    unscaled = 1.0
    # What overflows is found at the end of the epoch.
    with on_device(device), host.errstate(over="ignore", invalid="ignore"):
        state = start_state(weights, bias, rule, xp=xp)
        for number in range(1, course.max_iter + 1):
            order, before = next(examples.orders), state
            numbers = [unit.number for unit in live]
            state, trace = learning.epoch(state, order, numbers)
            updates, losses, finite = _figures(state, xp)
            if not all(finite[u] for u in numbers):
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{number}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            learning.note(order, numbers, before, trace, updates)
            figures = losses / len(order)
            if course.verbose:
                print(
                    f"Epoch {number}: {int(sum(updates[numbers]))} updates, "
                    f"average loss {float(sum(figures[numbers])):.6f}"
                )
            if course.score is not None:
                unscaled = _scale(unscaled, rule, len(order), state.weights)
                figures = -course.score(state.weights / unscaled, state.bias)
            for unit in live:
                u = unit.number
                unit.settled = not updates[u] and not rule.penalised
                if _ends(unit, float(figures[u]), course):
                    unit.weights, unit.bias = state.weights[u : u + 1, :], state.bias[u : u + 1]
            live = [unit for unit in live if unit.weights is None]
            if not live:
                break
        history.converged = all(unit.settled for unit in units)
        history.stopped = any(not u.settled and u.epochs < course.max_iter for u in units)
        return Learned(
            xp.concat([unit.weights for unit in units]),
            xp.concat([unit.bias for unit in units]),
            max(unit.epochs for unit in units),
        )


def _scale(scale: float, rule: Rule, steps: int, weights: Array) -> float:
    """Follow the factor that scikit-learn keeps beside weights that an L2 penalty shrinks.

    It looks at validation rows with the weights before that factor and the bias as it is;
    without this its epochs would not be counted alike.
    """
    if rule.ridge:
        least = 1e-6 if dtype_name(weights.dtype) == "float32" else 1e-9
        for _ in range(steps):
            scale *= rule.shrink
            scale = 1.0 if scale < least else scale
    return scale


def _ends(unit: _Unit, figure: float, course: Course) -> bool:
    """Whether a unit has learned all that it will."""
    stops = unit.stops(figure, course)
    while unit.settled and not stops:
        # Every epoch from here on would be like this one.
        stops = unit.stops(figure, course)
    return stops


def _figures(state: State, xp: Namespace) -> tuple[Any, Any, Any]:
    """Updates, losses, and whether all numbers are finite, by unit: one read."""
    finite = xp.all(xp.isfinite(state.weights), axis=1) & xp.isfinite(state.bias)
    table = xp.stack(
        [state.loss, *(xp.astype(c, state.loss.dtype) for c in (state.updates, finite))]
    )
    losses, updates, finite = to_host(table)
    return updates, losses, finite
