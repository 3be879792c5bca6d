"""Rosenblatt's learning rule as a pure step, and an epoch of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import NamedTuple

from xpnn.backends import Array, Namespace, jit, library_name
from xpnn.functional import heaviside, linear, linear_bias_gradient, linear_weight_gradient


class State(NamedTuple):
    """What the rule changes.

    Parameters
    ----------
    weights : array, shape (features, units)
        One column for each unit.
    bias : array, shape (units,)
        One number for each unit.
    updates : array of int32, shape (units,)
        Examples of this epoch that changed the unit.
    """

    weights: Array
    bias: Array
    updates: Array


def perceptron_step(
    state: State, row: Array, target: Array, *, eta0: float, intercept: bool, xp: Namespace
) -> tuple[State, Array, Array]:
    """Learn from one example: ``weights += eta0 * (target - prediction) * row``.

    Nothing depends on a value that would have to be read from the device: where the
    prediction is right the error is 0, and the weights stay.

    Parameters
    ----------
    state : State
        As it is before the example.
    row : array, shape (1, features)
        The example.
    target : array of 0 and 1, shape (1, units)
        What each unit should say.
    eta0 : float
        Learning rate.
    intercept : bool
        Whether the bias learns (as a weight on an input that is always 1).
    xp : module
        Namespace of the arrays.

    Returns
    -------
    state : State
        As it is after the example.
    prediction : array of 0 and 1, shape (1, units)
    error : array of -1, 0 and 1, shape (1, units)

    References
    ----------
    F. Rosenblatt, "The perceptron: a probabilistic model for information storage and
    organization in the brain", Psychological Review 65 (1958), 386-408.
    """
    weights, bias, updates = state
    prediction = heaviside(linear(row, weights, bias, xp=xp), xp=xp)
    error = target - prediction
    weights = weights + eta0 * linear_weight_gradient(row, error, xp=xp)
    if intercept:
        bias = bias + eta0 * linear_bias_gradient(error, xp=xp)
    updates = updates + xp.astype(error[0, :] != 0, updates.dtype)
    return State(weights, bias, updates), prediction, error


Step = Callable[[State, Array, Array], tuple[State, Array, Array]]


@cache
def step_for(xp: Namespace, eta0: float, intercept: bool) -> Step:
    """`perceptron_step` for one library, compiled where the library compiles."""
    step = partial(perceptron_step, eta0=eta0, intercept=intercept, xp=xp)
    return jit(step, library_name(xp))


class Trace(NamedTuple):
    """What an epoch did, example by example, in the order in which they were shown.

    Parameters
    ----------
    weights : array, shape (n, features, units)
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
    step: Step,
    state: State,
    x: Array,
    targets: Array,
    order: Iterable[int],
    record: bool,
    *,
    xp: Namespace,
) -> tuple[State, Trace | None]:
    """Show every example once; reads nothing from the device.

    Parameters
    ----------
    step : callable
        From `step_for`.
    state : State
        As it is before the epoch.
    x : array, shape (n, features)
        One row for each example.
    targets : array, shape (n, units)
        What each unit should say.
    order : iterable of int
        Numbers of the rows, in the order in which they are shown.
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
    state = State(state.weights, state.bias, state.updates * 0)
    for i in order:
        state, prediction, error = step(state, x[i : i + 1, :], targets[i : i + 1, :])
        if record:
            steps.append((state.weights, state.bias, prediction[0, :], error[0, :]))
    if not record:
        return state, None
    return state, Trace(*(xp.stack(column) for column in zip(*steps, strict=True)))
