"""The learning rule as a pure step, and what is read from the device."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from xpnn import backends
from xpnn.units import perceptron_host
from xpnn.units.perceptron_host import run_epoch_on_host
from xpnn.units.perceptron_rule import (
    Rule,
    judge,
    perceptron_step,
    run_epoch,
    start_state,
    step_for,
)

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def begin(chosen, rule, weights, bias):
    return start_state(chosen.asarray(weights), chosen.asarray(bias), rule, xp=chosen.xp)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_an_epoch_reads_nothing_from_the_device(monkeypatch, penalty, own):
    chosen = backends.select("array_api_strict", "device1", "float64")
    rule = Rule(fires_at_zero=True, lasso=penalty, ridge=penalty)
    order = np.arange(4)
    if own:
        order = np.stack([order, order], axis=1)
    units = 2 if own else 1
    x = chosen.asarray(SQUARE)
    t = chosen.asarray(np.repeat([[0.0], [0.0], [0.0], [1.0]], units, axis=1))
    one = chosen.asarray(np.ones((4, units)))
    state = begin(chosen, rule, np.zeros((units, 2)), np.zeros(units))

    def read(*args, **options):
        raise AssertionError("the epoch waits for the device")

    kind = type(x)
    for name in ("__bool__", "__float__", "__int__", "__index__", "__array__", "to_device"):
        monkeypatch.setattr(kind, name, read)
    step = step_for(chosen.xp, rule)
    after, trace = run_epoch(step, state, x, t, one, order, True, xp=chosen.xp)
    monkeypatch.undo()
    assert backends.to_host(after.updates).tolist() == [2] * units
    assert backends.to_host(trace.errors)[:, 0].tolist() == [-1, 0, 0, 1]


@pytest.mark.usefixtures("current")
def test_the_step_is_pure(backend, assert_close):
    rule = Rule(eta0=0.5, fires_at_zero=True)
    state = begin(backend, rule, [[0.5, -1.0]], [0.25])
    row, target = backend.asarray([[2.0, 1.0]]), backend.asarray([0.0])
    after, prediction, error = perceptron_step(
        state, row, target, backend.asarray([1.0]), rule=rule, xp=backend.xp
    )
    assert_close(prediction, [1.0], backend)
    assert_close(error, [-1.0], backend)
    assert_close(after.weights, [[-0.5, -1.5]], backend)
    assert_close(after.bias, [-0.25], backend)
    assert_close(state.weights, [[0.5, -1.0]], backend)
    assert_close(after.updates, [1], backend, dtype=backend.xp.int32)
    assert_close(after.loss, [0.25], backend)


@pytest.mark.usefixtures("current")
def test_what_a_score_means(backend, assert_close):
    score, target = (
        backend.asarray(v) for v in ([-2.0, -0.0, 0.0, 2.0] * 2, [0.0] * 4 + [1.0] * 4)
    )
    for fires, said, wrong in (
        (True, [0, 1, 1, 1], [0, -1, -1, -1, 1, 0, 0, 0]),
        (False, [0, 0.5, 0.5, 1], [0, -1, -1, -1, 1, 1, 1, 0]),
    ):
        prediction, error = judge(score, target, Rule(fires_at_zero=fires), xp=backend.xp)
        assert_close(prediction, said * 2, backend)
        assert_close(error, wrong, backend)


@pytest.mark.usefixtures("current")
def test_a_weight_of_zero_changes_nothing(backend, assert_close):
    rule = Rule()
    state = begin(backend, rule, [[1.0]], [0.0])
    after, _, error = perceptron_step(
        state, backend.asarray([[3.0]]), backend.asarray([0.0]), backend.asarray([0.0]),
        rule=rule, xp=backend.xp,
    )  # fmt: skip
    assert_close(error, [-1.0], backend)
    assert_close(after.weights, [[1.0]], backend)
    assert_close(after.updates, [0], backend, dtype=backend.xp.int32)
    assert_close(after.loss, [3.0], backend)  # it is wrong all the same


@pytest.mark.usefixtures("current")
def test_each_unit_may_see_its_own_row(backend, assert_close):
    rule = Rule(bias=0.01)
    state = begin(backend, rule, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.5])
    rows = backend.asarray([[2.0, 1.0], [-1.0, -3.0]])
    after, _, error = perceptron_step(
        state, rows, backend.asarray([0.0, 1.0]), backend.asarray([1.0, 2.0]),
        rule=rule, xp=backend.xp,
    )  # fmt: skip
    assert_close(error, [-1.0, 1.0], backend)
    assert_close(after.weights, [[-1.0, -1.0], [-2.0, -5.0]], backend)
    assert_close(after.bias, [-0.01, 0.52], backend)


@pytest.mark.usefixtures("current")
def test_penalties_shrink_and_cut_off(backend, assert_close):
    # A right example: weights * (1 - 0.5 * 0.2), then 0.5 * 0.4 off each, but not beyond 0.
    rule = Rule(eta0=0.5, ridge=0.2, lasso=0.4)
    state = begin(backend, rule, [[2.0, -1.0, 0.1]], [0.0])
    step = step_for(backend.xp, rule)
    row, one = backend.asarray([[1.0, 0.0, 0.0]]), backend.asarray([1.0])
    after, _, _ = step(state, row, one, one)
    assert_close(after.weights, [[1.6, -0.7, 0.0]], backend)
    assert_close(after.loss, [0.1 * 5.01 + 0.4 * 3.1], backend)
    again, _, _ = step(after, row, one, one)
    assert_close(again.weights, [[1.24, -0.43, 0.0]], backend)
    # As in scikit-learn, the sums in the objective know nothing of what was cut off.
    assert_close(again.loss, [0.1 * 5.01 * 1.81 + 0.4 * 3.1 * 1.9], backend)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4), st.integers(1, 3),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_skipping_what_changes_nothing_changes_nothing(
    seed, rows, features, units, fires, own, sparse
):
    """The host's epochs are those of the pure step, whatever is weighed, shown or unsettled."""
    source = np.random.default_rng(seed)
    rule = Rule(eta0=0.5, bias=float(source.choice([0.0, 0.25, 1.0])), fires_at_zero=fires)
    # Quarters: every sum is exact, and many scores are 0.
    x = source.integers(-2, 3, (rows, features)) / 2
    order = source.permutation(rows)[: source.integers(1, rows + 1)]
    if own:
        order = np.stack([source.permutation(order) for _ in range(units)], axis=1)
    shape = (len(order), units)
    targets = source.integers(0, 2, shape).astype(float)
    amounts = source.choice([0.0, 0.5, 1.0], shape)
    chosen = backends.select("numpy")
    state = begin(chosen, rule, source.integers(-2, 3, (units, features)) / 2, np.zeros(units))
    given = csr_array(x) if sparse else x
    after, trace = run_epoch(
        step_for(np, rule), state, given, targets, amounts, order, True, xp=np
    )  # fmt: skip
    found, seen = run_epoch_on_host(
        rule, state, given, targets, amounts, order, list(range(units)), True
    )
    for name in ("weights", "bias", "updates", "loss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(after, name), name)
    for name in trace._fields:
        np.testing.assert_array_equal(getattr(seen, name), getattr(trace, name), name)
    without, nothing = run_epoch_on_host(
        rule, state, given, targets, amounts, order, list(range(units)), False
    )
    assert nothing is None
    for name in ("weights", "bias", "updates", "loss"):
        np.testing.assert_array_equal(getattr(without, name), getattr(after, name), name)


@pytest.mark.parametrize("bias", [0.0, 0.25])
@pytest.mark.parametrize("fires", [False, True])
@pytest.mark.parametrize("wrong", [0.02, 0.4])
def test_many_mistakes_are_taken_in_blocks(monkeypatch, wrong, fires, bias):
    source = np.random.default_rng(7)
    rule = Rule(eta0=0.5, bias=bias, fires_at_zero=fires)
    x = source.integers(-2, 3, (700, 5)) / 2  # every sum is exact
    flipped = source.random((700, 1)) < wrong
    targets = ((x @ [[1.0], [2.0], [-1.0], [0.0], [1.0]] > 0) ^ flipped).astype(float)
    amounts, order = source.choice([0.0, 0.5, 1.0], (700, 1)), np.arange(700)
    state = start_state(np.zeros((1, 5)), np.zeros(1), rule, xp=np)
    after, _ = run_epoch(step_for(np, rule), state, x, targets, amounts, order, False, xp=np)
    blocks = []

    def counted(*arguments):
        blocks.append(len(arguments[2]))
        return block(*arguments)

    block = perceptron_host._block
    monkeypatch.setattr(perceptron_host, "_block", counted)
    found, _ = run_epoch_on_host(rule, state, x, targets, amounts, order, [0], False)
    for name in ("weights", "bias", "updates", "loss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(after, name), name)
    assert len(blocks) >= (4 if wrong > 0.1 else 1)
    assert sum(blocks) < 700 or wrong > 0.1  # few mistakes are looked for one by one


def test_long_epochs_are_gathered_in_parts(monkeypatch):
    monkeypatch.setattr("xpnn.units.perceptron_host._GATHERED", 20)
    monkeypatch.setattr("xpnn.units.perceptron_host._NUMBERS", 6)
    source = np.random.default_rng(0)
    x, order = source.normal(size=(100, 2)), source.permutation(100)
    targets, amounts = (x[order] @ [[1.0], [2.0]] > 0.1).astype(float), np.ones((100, 1))
    rule = Rule()
    state = start_state(np.zeros((1, 2)), np.zeros(1), rule, xp=np)
    after, _ = run_epoch(step_for(np, rule), state, x, targets, amounts, order, False, xp=np)
    found, _ = run_epoch_on_host(rule, state, x, targets, amounts, order, [0], False)
    np.testing.assert_allclose(found.weights, after.weights, rtol=1e-12)
    assert found.updates == after.updates
