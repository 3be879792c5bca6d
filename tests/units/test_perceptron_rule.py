"""The learning rule, example by example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from xpnn.units.perceptron import Rule, Trace, Unit


def textbook(rule, weights, bias, x, signs, amounts, order):
    """An epoch as it is written down: what every example changes, and the sum of the losses."""
    w, b, updates, loss, steps = list(weights), bias, 0, 0.0, []
    for i in order:
        score = sum(a * v for a, v in zip(w, x[i], strict=True)) + b
        right = score * signs[i] > 0 or (score == 0 and signs[i] > 0 and rule.fires_at_zero)
        error = 0 if right else signs[i]
        loss -= error * score
        change = rule.eta0 * amounts[i] * error
        updates += change != 0
        w = [a + change * v for a, v in zip(w, x[i], strict=True)]
        b += rule.bias_step * change
        steps.append((score, error, w, b))
    return w, b, updates, loss / len(order), steps


def run(rule, x, targets, *, weights=None, bias=0.0, sample_weight=None):
    """A unit after one epoch in the order of the rows."""
    x, targets = np.asarray(x, dtype=float), np.asarray(targets, dtype=float)
    amounts = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    start = np.zeros(x.shape[1]) if weights is None else np.asarray(weights)
    unit = Unit(rule, start, bias, targets=targets, sample_weight=amounts)
    unit.run_epoch(x, np.arange(len(x)))
    return unit


def test_an_error_moves_the_weights_towards_the_example_or_away_from_it():
    unit = run(Rule(eta0=0.5), [[2.0, 1.0]], [-1], weights=[0.5, -1.0], bias=0.25)
    assert (unit.weights.tolist(), unit.bias) == ([-0.5, -1.5], -0.25)
    assert (unit.updates, unit.loss) == (1, 0.25)
    assert not unit.settled
    unit = run(Rule(eta0=0.5), [[2.0, 1.0]], [1], weights=[0.5, -2.0], bias=0.25)
    assert (unit.weights.tolist(), unit.bias) == ([1.5, -1.5], 0.75)


def test_a_right_example_changes_nothing():
    unit = run(Rule(), [[2.0, 1.0]], [1], weights=[0.5, -1.0], bias=0.25)
    assert (unit.weights.tolist(), unit.bias, unit.updates, unit.loss) == ([0.5, -1.0], 0.25, 0, 0)
    assert unit.settled


@pytest.mark.parametrize(
    ("fires", "target", "changed"),
    [(True, 1, False), (True, -1, True), (False, 1, True), (False, -1, True)],
)
def test_a_score_of_zero(fires, target, changed):
    rule = Rule(fires_at_zero=fires)
    assert rule.fires(np.asarray([-1.0, -0.0, 0.0, 1.0])).tolist() == [False, fires, fires, True]
    for zero in (0.0, -0.0):
        assert run(rule, [[1.0]], [target], bias=zero).updates == changed


def test_a_weight_of_zero_changes_nothing():
    unit = run(Rule(), [[3.0]], [-1], weights=[1.0], sample_weight=[0.0])
    assert (unit.weights.tolist(), unit.updates) == ([1.0], 0)
    assert unit.loss == 3.0  # it is wrong all the same


def test_the_start_values_are_not_changed():
    start = np.ones(2)
    unit = Unit(Rule(l1=0.1), start, 0.0, targets=-np.ones(1), sample_weight=np.ones(1))
    unit.run_epoch(np.ones((1, 2)), np.arange(1))
    assert start.tolist() == [1.0, 1.0]
    assert unit.weights.tolist() != [1.0, 1.0]


def test_penalties_shrink_and_cut_off():
    # A right example: weights * (1 - 0.5 * 0.2), then 0.5 * 0.4 off each, but not beyond 0.
    rule = Rule(eta0=0.5, l2=0.2, l1=0.4)
    one = np.ones(1)
    unit = Unit(rule, np.asarray([2.0, -1.0, 0.1]), 0.0, targets=one, sample_weight=one)
    x = np.asarray([[1.0, 0.0, 0.0]])
    unit.run_epoch(x, np.arange(1))
    assert unit.weights == pytest.approx([1.6, -0.7, 0.0])
    assert unit.loss == pytest.approx(0.1 * 5.01 + 0.4 * 3.1)
    unit.run_epoch(x, np.arange(1))
    assert unit.weights == pytest.approx([1.24, -0.43, 0.0])
    # As in scikit-learn, the norms in the loss know nothing of what was cut off.
    assert unit.loss == pytest.approx(0.1 * 5.01 * 0.81 + 0.4 * 3.1 * 0.9)
    assert (unit.updates, unit.settled) == (0, False)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_an_epoch_is_the_textbooks(seed, rows, features, fires, sparse, traced):
    rng = np.random.default_rng(seed)
    rule = Rule(eta0=0.5, bias_step=float(rng.choice([0.0, 0.25, 1.0])), fires_at_zero=fires)
    # Quarters: every sum is exact, and many scores are 0.
    x = rng.integers(-2, 3, (rows, features)) / 2
    order = rng.permutation(rows)[: rng.integers(1, rows + 1)]
    signs, amounts = rng.choice([-1.0, 1.0], rows), rng.choice([0.0, 0.5, 1.0], rows)
    start = rng.integers(-2, 3, features) / 2
    given = csr_array(x) if sparse else x
    unit = Unit(rule, start, 0.25, targets=signs, sample_weight=amounts)
    trace = Trace(unit, order, given) if traced else None
    unit.run_epoch(given, order, trace)
    w, b, updates, loss, steps = textbook(rule, start, 0.25, x, signs, amounts, order)
    assert (unit.weights.tolist(), unit.bias, unit.updates) == (w, b, updates)
    assert unit.loss == loss
    if trace is not None:
        assert trace.weights.tolist() == [start.tolist(), *(step[2] for step in steps)]
        assert trace.bias.tolist() == [0.25, *(step[3] for step in steps)]
        assert trace.scores.tolist() == [step[0] for step in steps]
        assert trace.errors.tolist() == [step[1] for step in steps]


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
def test_skipping_blocks_of_right_rows_changes_nothing(noise, sparse):
    """Recording looks at every row; without it many right ones are skipped at once."""
    rng = np.random.default_rng(0)
    x, order = rng.normal(size=(1000, 3)), rng.permutation(1000)
    signs = np.where((x @ [1.0, 2.0, -1.0] > 0.1) ^ (rng.random(1000) < noise), 1.0, -1.0)
    given = csr_array(x) if sparse else x
    # Weights that are right but for the noise, so that there is something to skip.
    skipping, looking = (
        Unit(
            Rule(eta0=1e-6), np.asarray([1.0, 2.0, -1.0]), -0.1,
            targets=signs, sample_weight=np.ones(1000),
        )
        for _ in "ab"
    )  # fmt: skip
    skipping.run_epoch(given, order)
    looking.run_epoch(given, order, Trace(looking, order, given))
    assert skipping.weights.tolist() == looking.weights.tolist()
    assert (skipping.bias, skipping.updates) == (looking.bias, looking.updates)
    assert skipping.loss == looking.loss
    assert (skipping.updates > 0) == (noise > 0)


def test_a_unit_stops_when_its_loss_stops_falling():
    unit = run(Rule(), [[1.0]], [-1])
    losses = [3.0, 2.0, 1.95, 1.95, 1.0, 0.95, 0.95, 0.95]
    for loss in losses:
        unit.stop_if_done(loss, tol=0.1, patience=2, max_iter=100)
        if unit.stopped:
            break
    assert unit.epochs == 4  # 1.95 twice


def test_a_unit_that_is_settled_counts_the_other_epochs():
    unit = run(Rule(), [[1.0]], [1], weights=[1.0])
    unit.stop_if_done(0.0, tol=1e-3, patience=5, max_iter=100)
    assert (unit.epochs, unit.stopped) == (6, True)
    unit = run(Rule(), [[1.0]], [1], weights=[1.0])
    unit.stop_if_done(0.0, tol=None, patience=5, max_iter=100)
    assert (unit.epochs, unit.stopped) == (100, True)
