"""Rosenblatt's learning rule as a pure step, and an epoch of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

from xpnn.backends import Array, Namespace, device_of, jit, library_name, to_device
from xpnn.functional import heaviside, linear


@dataclass(frozen=True)
class Rule:
    """How an example changes a unit.

    Parameters
    ----------
    eta0 : float, default 1
        Learning rate.
    bias : float, default 1
        Share of a change that the bias takes, as a weight on an input of that size; 0
        leaves it as it is.
    fires_at_zero : bool, default False
        What a unit says where its score is 0: that it fires, as a threshold unit does, or
        neither, which is never right and always changes it.
    ridge, lasso : float, default 0
        Strengths of the L2 and the L1 penalty on the weights.
    sparse : bool, default False
        Whether the rows came sparse: penalties then see only the features that a row has.
    """

    eta0: float = 1.0
    bias: float = 1.0
    fires_at_zero: bool = False
    ridge: float = 0.0
    lasso: float = 0.0
    sparse: bool = False

    @property
    def penalised(self) -> bool:
        """Whether weights shrink without any mistake."""
        return self.ridge > 0 or self.lasso > 0

    @property
    def shrink(self) -> float:
        """What a step with an L2 penalty multiplies the weights by."""
        return max(0.0, 1.0 - self.eta0 * self.ridge)


class Penalty(NamedTuple):
    """What the penalties go on with.

    Parameters
    ----------
    squares, absolutes : array, shape (units,)
        Sums of the weights' squares and absolute values for the objective.
    due : array, shape (units,)
        L1 penalty that each weight should have had by now.
    had : array, shape (units, features)
        What it has had, with the sign of its weight turned round.
    """

    squares: Array
    absolutes: Array
    due: Array
    had: Array


class State(NamedTuple):
    """What the rule changes.

    Parameters
    ----------
    weights : array, shape (units, features)
        One row for each unit.
    bias : array, shape (units,)
        One number for each unit.
    updates : array of int32, shape (units,)
        Examples of this epoch that changed the unit.
    loss : array, shape (units,)
        Sum over the epoch of how far scores were on the wrong side, and of the penalties.
    penalty : Penalty or None
        None without penalties.
    """

    weights: Array
    bias: Array
    updates: Array
    loss: Array
    penalty: Penalty | None = None


def start_state(weights: Array, bias: Array, rule: Rule, *, xp: Namespace) -> State:
    """Make the state before the first example.

    Parameters
    ----------
    weights : array, shape (units, features)
        To begin with.
    bias : array, shape (units,)
        To begin with.
    rule : Rule
        The rule.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    State
    """
    none = bias * 0.0
    penalty = None
    if rule.penalised:
        squares, absolutes = _sums(weights, None, xp)
        penalty = Penalty(squares, absolutes, none, weights * 0.0)
    return State(weights, bias, xp.astype(none, xp.int32), none, penalty)


def scores(rows: Array, weights: Array, bias: Array, *, xp: Namespace) -> Array:
    """Scores of one row that all units see, or of as many rows as there are units."""
    if rows.shape[0] == 1:
        return linear(rows, weights.T, bias, xp=xp)[0, :]
    return xp.sum(rows * weights, axis=1) + bias


def judge(score: Array, target: Array, rule: Rule, *, xp: Namespace) -> tuple[Array, Array]:
    """Say what units say, and which way that is wrong.

    Parameters
    ----------
    score : array
        Weighted sums.
    target : array of 0 and 1
        What the units should say.
    rule : Rule
        Says what a score of 0 means.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    prediction : array of 0 and 1
        And of 1/2, where the score is 0 and units do not fire there.
    error : array of -1, 0 and 1
        The sign of ``target - prediction``.
    """
    if rule.fires_at_zero:
        prediction = heaviside(score, xp=xp)
        return prediction, target - prediction
    prediction = 0.5 + 0.5 * xp.sign(score)
    return prediction, xp.sign(target - prediction)


def learn(
    state: State, row: Array, score: Array, error: Array, amount: Array, *, rule: Rule,
    xp: Namespace,
) -> State:  # fmt: skip
    """Change the units by one judged example: ``weights += eta0 * amount * error * row``.

    Parameters
    ----------
    state : State
        As it is before the example.
    row : array, shape (1, features) or (units, features)
        The example, or each unit's own one.
    score, error : array, shape (units,)
        From `scores` and `judge`.
    amount : array, shape (units,)
        Weights of the example.
    rule : Rule
        The rule.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    State

    References
    ----------
    F. Rosenblatt, "The perceptron: a probabilistic model for information storage and
    organization in the brain", Psychological Review 65 (1958), 386-408.
    """
    weights, bias, updates, loss, penalty = state
    change = rule.eta0 * amount * error
    # The perceptron's loss is how far the score is on the wrong side (Bottou 1998).
    loss = loss - error * score
    if penalty is None:
        weights = weights + change[:, None] * row
    else:
        loss = loss + 0.5 * rule.ridge * penalty.squares + rule.lasso * penalty.absolutes
        weights, penalty = _penalised(weights, penalty, row, change, rule, xp)
    if rule.bias:
        bias = bias + rule.bias * change
    updates = updates + xp.astype(change != 0, updates.dtype)
    return State(weights, bias, updates, loss, penalty)


def _sums(weights: Array, seen: Array | None, xp: Namespace) -> tuple[Array, Array]:
    if seen is not None:
        weights = xp.where(seen, weights, weights * 0.0)
    return xp.sum(weights * weights, axis=1), xp.sum(xp.abs(weights), axis=1)


def _penalised(
    weights: Array, penalty: Penalty, row: Array, change: Array, rule: Rule, xp: Namespace
) -> tuple[Array, Penalty]:
    """Shrink, change, and cut off: a step with penalties.

    The L1 penalty is the cumulative one of Tsuruoka, Tsujii & Ananiadou (2009), which
    cuts each weight off at 0. As in scikit-learn, the sums that the objective takes are
    those of the last change, before anything was cut off.
    """
    squares, absolutes, due, had = penalty
    shrink = rule.shrink
    weights = weights * shrink + change[:, None] * row
    seen = row != 0 if rule.sparse else None
    new = _sums(weights, seen, xp)
    changed = change != 0
    squares = xp.where(changed, new[0], squares * (shrink * shrink))
    absolutes = xp.where(changed, new[1], absolutes * shrink)
    if rule.lasso:
        due = due + rule.eta0 * rule.lasso
        above = xp.maximum(weights - (due[:, None] + had), 0.0)
        below = xp.minimum(weights + (due[:, None] - had), 0.0)
        cut = xp.where(weights > 0, above, xp.where(weights < 0, below, weights))
        if seen is not None:
            cut = xp.where(seen, cut, weights)
        had, weights = had + (cut - weights), cut
    return weights, Penalty(squares, absolutes, due, had)


def perceptron_step(
    state: State, row: Array, target: Array, amount: Array, *, rule: Rule, xp: Namespace
) -> tuple[State, Array, Array]:
    """Judge one example and learn from it.

    Nothing depends on a value that would have to be read from the device: where the
    prediction is right the error is 0, and the weights stay.

    Parameters
    ----------
    state : State
        As it is before the example.
    row : array, shape (1, features) or (units, features)
        The example, or each unit's own one.
    target : array of 0 and 1, shape (units,)
        What each unit should say.
    amount : array, shape (units,)
        Weights of the example.
    rule : Rule
        The rule.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    state : State
        As it is after the example.
    prediction, error : array, shape (units,)
        As in `judge`.
    """
    score = scores(row, state.weights, state.bias, xp=xp)
    prediction, error = judge(score, target, rule, xp=xp)
    return learn(state, row, score, error, amount, rule=rule, xp=xp), prediction, error


Step = Callable[[State, Array, Array, Array], tuple[State, Array, Array]]


@cache
def step_for(xp: Namespace, rule: Rule) -> Step:
    """`perceptron_step` for one library, compiled where the library compiles."""
    return jit(partial(perceptron_step, rule=rule, xp=xp), library_name(xp))


class Trace(NamedTuple):
    """What an epoch did, example by example, in the order in which they were shown.

    Parameters
    ----------
    weights : array, shape (n, units, features)
        After each example.
    bias : array, shape (n, units)
        After each example.
    predictions, errors : array, shape (n, units)
        What the units said, and how far that was from their targets.
    """

    weights: Array
    bias: Array
    predictions: Array
    errors: Array


def run_epoch(
    step: Step, state: State, x: Array, targets: Array, amounts: Array, order: Any,
    record: bool, *, xp: Namespace,
) -> tuple[State, Trace | None]:  # fmt: skip
    """Show every example once, to all units in step; reads nothing from the device.

    Parameters
    ----------
    step : callable
        From `step_for`.
    state : State
        As it is before the epoch.
    x : array or sparse matrix, shape (rows, features)
        One row for each example.
    targets, amounts : array, shape (n, units)
        What each unit should say and the examples' weights, in the order in which they
        are shown.
    order : numpy.ndarray of int, shape (n,) or (n, units)
        Numbers of the rows in that order; each unit may have its own.
    record : bool
        Whether to keep what happened at every example.
    xp : module
        Namespace of the arrays.

    Returns
    -------
    state : State
        As it is after the epoch.
    trace : Trace or None
    """
    steps = []
    state = State(
        state.weights, state.bias, state.updates * 0, state.loss * 0.0, state.penalty
    )  # fmt: skip
    pick = _picker(x, order, xp)
    for i in range(order.shape[0]):
        state, prediction, error = step(state, pick(i), targets[i, :], amounts[i, :])
        if record:
            steps.append((state.weights, state.bias, prediction, error))
    if not record:
        return state, None
    return state, Trace(*(xp.stack(column) for column in zip(*steps, strict=True)))


def _picker(x: Array, order: Any, xp: Namespace) -> Callable[[int], Array]:
    """Make a function that gives the i-th shown rows."""
    if hasattr(x, "toarray"):
        shown = order if order.ndim == 2 else order[:, None]
        return lambda i: x[shown[i]].toarray()
    if order.ndim == 2:
        numbers = to_device(order, xp, device_of(x))
        return lambda i: xp.take(x, numbers[i, :], axis=0)
    rows = order.tolist()
    return lambda i: x[rows[i] : rows[i] + 1, :]
