"""An epoch of the rule where looking at a score is free: on the host."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

from xpnn.backends import host, threads_for
from xpnn.functional import linear
from xpnn.units.perceptron_rule import Rule, State, Trace, judge, learn

# NumPy's rows are never of half precision here: the formula needs no wrapping.
_weighted_sum = unwrap(linear)

_FIRST = 8
"""Rows that are scored at once after a change."""
_NUMBERS = 1 << 16
"""Most numbers that are scored at once."""
_GATHERED = 1 << 20
"""Most numbers that are brought into the order in which they are shown at once."""
_OFTEN = 16
"""Rows from one mistake to the next, below which rows are taken in blocks."""


def run_epoch_on_host(
    rule: Rule, state: State, x: Any, targets: Any, amounts: Any, order: Any, live: list[int],
    record: bool,
) -> tuple[State, Trace | None]:  # fmt: skip
    """Show every example once, unit by unit, stepping only where something changes.

    What `xpnn.units.perceptron_rule.run_epoch` does, for NumPy and without penalties:
    between two changes the weights are the same, so many rows are scored at once.

    Parameters
    ----------
    rule : Rule
        Without penalties.
    state : State
        As it is before the epoch.
    x : numpy.ndarray or sparse matrix, shape (rows, features)
        One row for each example.
    targets, amounts : numpy.ndarray, shape (n, units)
        What each unit should say and the examples' weights, in the order in which they
        are shown.
    order : numpy.ndarray of int, shape (n,) or (n, units)
        Numbers of the rows in that order; each unit may have its own.
    live : list of int
        Units that learn.
    record : bool
        Whether to keep what happened at every example.

    Returns
    -------
    state : State
        As it is after the epoch.
    trace : Trace or None
    """
    state = State(
        state.weights.copy(), state.bias.copy(), state.updates * 0, state.loss * 0.0
    )  # fmt: skip
    trace = None
    if record:
        shape = (len(order), len(state.bias))
        dtype = state.weights.dtype
        tables = [host.zeros(shape, dtype) for _ in range(3)]
        trace = Trace(host.zeros((*shape, x.shape[1]), dtype), *tables)
    for u in live:
        part = slice(u, u + 1)
        one = State(*(column[part] for column in state[:4]))
        own = order if order.ndim == 1 else order[:, u]
        view = trace and Trace(*(column[:, u] for column in trace))
        with threads_for(1, len(own)):
            after = _run_unit(rule, one, x, targets[:, u], amounts[:, u], own, view)
        for column, changed in zip(state[:4], after, strict=True):
            column[part] = changed
    return state, trace


def _run_unit(
    rule: Rule, state: State, x: Any, target: Any, amount: Any, order: Any, trace: Trace | None
) -> tuple[Any, ...]:
    features, sparse = int(x.shape[1]), hasattr(x, "toarray")
    gathered, most = max(1, _GATHERED // features), max(_FIRST, _NUMBERS // features)
    block = min(max(_OFTEN, 4096 // features), 128)
    size, idle, often = _FIRST, 0.0, False
    for begin in range(0, len(order), gathered):
        rows = x[order[begin : begin + gathered]]
        at, count = begin, begin + rows.shape[0]
        while at < count:
            if often:
                end = min(at + block, count)
                state, wrong = _block(
                    rule, state, rows[at - begin : end - begin], target[at:end], amount[at:end]
                )
                often, at = wrong * _OFTEN >= end - at, end
                continue
            end = min(at + size, count)
            score = _scores(rows[at - begin : end - begin], state, sparse)
            said, error = judge(score, target[at:end], rule, xp=host)
            hits = error * amount[at:end] != 0
            right = int(hits.argmax())
            hit = bool(hits[right])
            right = right if hit else end - at
            if trace is not None:
                _record(trace, at, right, state, said, error)
            # Rows of no weight may be wrong and yet change nothing.
            idle += float(error[:right] @ score[:right])
            at += right
            size = min(2 * size, most)
            if hit:
                row, one = rows[at - begin : at - begin + 1], slice(right, right + 1)
                state = learn(
                    state, row.toarray() if sparse else row, score[one], error[one],
                    amount[at : at + 1], rule=rule, xp=host,
                )  # fmt: skip
                if trace is not None:
                    _record(trace, at, 1, state, said[one], error[one])
                at += 1
                size = min(max(_FIRST, 2 * right), most)
                often = right < _OFTEN and trace is None and not sparse
    return (*state[:3], state.loss - idle)


def _block(rule: Rule, state: State, rows: Any, target: Any, amount: Any) -> tuple[State, int]:
    """Learn from rows of which many are wrong, and count those.

    A mistake adds a multiple of its row to the weights, and so as much of the rows' inner
    products to the scores that follow: the weights themselves are needed at the end only
    (the dual form of Freund & Schapire 1999, section 3).
    """
    sign = 2.0 * target - 1.0
    # How far scores are on the right side; what a mistake at row i adds to that of row j.
    margins = sign * _scores(rows, state, False)
    effects = (rows @ rows.T + rule.bias) * ((rule.eta0 * amount * sign)[:, None] * sign)
    # What a margin must be above: 0 is right for a unit that fires there and should.
    least = host.where(target * rule.fires_at_zero > 0, -host.nextafter(0.0, 1.0), 0.0)
    at = 0
    while at < len(rows):
        wrong = margins[at:] <= least[at:]
        hit = int(wrong.argmax())
        if not wrong[hit]:
            break
        at += hit + 1
        margins[at:] += effects[at - 1, at:]
    score = sign * margins
    _, error = judge(score, target, rule, xp=host)
    change = rule.eta0 * amount * error
    updates = int(host.count_nonzero(change))
    new = State(
        state.weights + change @ rows,
        state.bias + rule.bias * change.sum(),
        state.updates + state.updates.dtype.type(updates),
        state.loss - error @ score,
    )
    return new, updates


def _scores(rows: Any, state: State, sparse: bool) -> Any:
    """Scores of many rows for one unit; SciPy's sparse rows know only the operator."""
    if sparse:
        return rows @ state.weights[0] + state.bias
    return _weighted_sum(rows, state.weights.T, state.bias, xp=host)[:, 0]


def _record(trace: Trace, at: int, count: int, state: State, said: Any, error: Any) -> None:
    place = slice(at, at + count)
    trace.weights[place], trace.bias[place] = state.weights[0], state.bias[0]
    trace.predictions[place], trace.errors[place] = said[:count], error[:count]
