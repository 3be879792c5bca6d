"""Rosenblatt's rule through `Perceptron`: its steps, convergence, several classes."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from tutorial import AND, CORNERS, SQUARE, XOR, tutorial

from xpnn import Perceptron, backends
from xpnn.estimators import perceptron as module

THREE = [3, 3, 5, 5, 9, 9]


def by_hand(x, targets, eta0=1.0, epochs=1000, intercept=True, fires=True):
    """The rule as a textbook writes it, for one unit; or with a score of 0 always wrong."""
    w, b, updates = [0.0] * len(x[0]), 0.0, []
    for _ in range(epochs):
        changed = 0
        for row, target in zip(x, targets, strict=True):
            score = sum(a * v for a, v in zip(w, row, strict=True)) + b
            if fires:
                error = target - (1 if score >= 0 else 0)
            else:
                sign = 1 if target else -1
                error = sign if sign * score <= 0 else 0
            if error:
                changed += 1
                w = [a + eta0 * error * v for a, v in zip(w, row, strict=True)]
                b += eta0 * error if intercept else 0.0
        updates.append(changed)
        if not changed:
            break
    return w, b, updates


def test_two_examples_converge_in_two_epochs(backend, assert_close):
    unit = tutorial().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    assert unit.converged_
    assert unit.history_.updates == [2, 0]
    assert_close(unit.coef_, [[-1.0, 1.0]], backend)
    assert_close(unit.intercept_, [0.0], backend)


@pytest.mark.parametrize("eta0", [1.0, 0.25])
@pytest.mark.parametrize("fires", [True, False])
def test_and_takes_the_steps_of_the_textbook(fires, eta0, backend, assert_close):
    x = backend.asarray(SQUARE)
    unit = tutorial(fires_at_zero=fires, eta0=eta0).fit(x, AND)
    w, b, updates = by_hand(SQUARE, AND, eta0, fires=fires)
    assert unit.history_.updates == updates
    assert len(unit.history_) == len(updates) == (6 if fires else 9)
    assert_close(unit.coef_, [w], backend)
    assert_close(unit.intercept_, [b], backend)
    assert_close(unit.decision_function(x), np.asarray(SQUARE) @ w + b, backend)
    assert_close(unit.predict(x), AND, backend, dtype=backend.xp.int64)
    assert unit.score(x, AND) == 1.0
    assert unit.score(x, [1, 0, 0, 1]) == 0.75
    assert type(unit.score(x, AND)) is float


def test_xor_says_that_it_does_not_converge(backend):
    unit = tutorial(max_iter=5).fit(backend.asarray(SQUARE), XOR)
    assert unit.converged_ is False
    assert unit.n_iter_ == 5
    assert unit.history_.updates == by_hand(SQUARE, XOR, epochs=5)[2]
    said = (
        "did not converge in 5 epochs (18 updates in all); the classes may not be linearly "
        "separable"
    )
    assert unit.history_.verdict() == said
    assert str(unit.history_).endswith(said)
    assert said in repr(unit.history_)


def test_epochs_after_one_that_changed_nothing_are_counted_and_not_run():
    assert not tutorial(max_iter=5).fit(SQUARE, AND).converged_
    assert tutorial(max_iter=6).fit(SQUARE, AND).converged_
    unit = tutorial(max_iter=40).fit(SQUARE, AND)
    assert (unit.n_iter_, len(unit.history_), unit.t_) == (40, 6, 161.0)


def test_without_intercept(backend, assert_close):
    x, y = [[1.0, 2.0], [2.0, 1.0], [-1.0, -3.0]], [1, 1, 0]
    unit = tutorial(fit_intercept=False).fit(backend.asarray(x), y)
    w, _, updates = by_hand(x, y, intercept=False)
    assert unit.history_.updates == updates
    assert_close(unit.coef_, [w], backend)
    assert_close(unit.intercept_, [0.0], backend)
    # The zero row always fires.
    zero = tutorial(fit_intercept=False, max_iter=3).fit(backend.asarray(SQUARE), AND)
    assert not zero.converged_


@pytest.mark.parametrize("fires", [True, False])
def test_at_zero_a_unit_fires_or_does_not(fires, backend, assert_close):
    x = backend.asarray([[0.0], [1.0], [-1.0]])
    unit = tutorial(fires_at_zero=fires, fit_intercept=False).fit(x[1:, :], [1, 0])
    assert tuple(unit.coef_.shape) == (1, 1)
    assert_close(unit.predict(x), [int(fires), 1, 0], backend, dtype=backend.xp.int64)
    assert_close(unit.decision_function(x[:1, :]), [0.0], backend)


def test_several_classes_are_one_against_the_rest(backend, assert_close):
    x = backend.asarray(CORNERS)
    unit = tutorial().fit(x, THREE)
    expected = [by_hand(CORNERS, [int(t == c) for t in THREE]) for c in (3, 5, 9)]
    assert unit.classes_.tolist() == [3, 5, 9]
    assert len(unit.history_) == max(len(updates) for _, _, updates in expected)
    assert_close(unit.coef_, [w for w, _, _ in expected], backend)
    assert_close(unit.intercept_, [b for _, b, _ in expected], backend)
    assert tuple(unit.decision_function(x).shape) == (6, 3)
    assert_close(unit.predict(x), THREE, backend, dtype=backend.xp.int64)
    assert unit.score(x, THREE) == 1.0


def test_a_rule_for_stopping_is_not_called_inseparable():
    unit = Perceptron(shuffle=False, n_iter_no_change=2).fit(SQUARE, XOR)
    assert unit.history_.verdict() == (
        f"stopped after {unit.n_iter_} epochs, before it converged "
        f"({sum(unit.history_.updates)} updates in all)"
    )


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
def test_skipping_blocks_of_right_rows_changes_nothing(noise, sparse):
    """Recording looks at every row; without it many right ones are skipped at once."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 3))
    y = (x @ [1.0, 2.0, -1.0] > 0.1) ^ (rng.random(1000) < noise)
    # Weights that are right but for the noise, so that there is something to skip.
    start = np.asarray([[1.0, 2.0, -1.0]]), np.asarray([-0.1])
    skipping, looking = (
        Perceptron(eta0=1e-6, max_iter=2, tol=None).fit(
            csr_array(x) if sparse else x, y, *start, record=record
        )
        for record in (False, True)
    )
    assert start[0].tolist() == [[1.0, 2.0, -1.0]]  # they are not learned into
    assert skipping.coef_.tolist() == looking.coef_.tolist()
    assert skipping.intercept_.tolist() == looking.intercept_.tolist()
    assert skipping.history_.updates == looking.history_.updates
    assert (skipping.history_.updates[0] > 0) == (noise > 0)


def test_penalties_shrink_and_cut_off(capsys):
    # Right examples: weights * (1 - 0.5 * 0.2), then 0.5 * 0.4 off each, but not beyond 0.
    unit = tutorial(
        penalty="elasticnet", alpha=0.6, l1_ratio=2 / 3, eta0=0.5, max_iter=1, verbose=1
    )
    unit.fit([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], [1, 0], [[2.0, -1.0, 0.1]])
    assert unit.coef_.tolist() == [pytest.approx([1.24, -0.43, 0.0])]
    assert unit.history_.updates == [0]
    assert not unit.converged_
    # As in scikit-learn, the norms in the loss know nothing of what was cut off.
    loss = 0.1 * 5.01 + 0.4 * 3.1, 0.1 * 5.01 * 0.81 + 0.4 * 3.1 * 0.9
    assert capsys.readouterr().out == f"Epoch 1: 0 updates, average loss {sum(loss) / 2:.6f}\n"


# Properties


@st.composite
def separable(draw):
    """Rows, labels, and a separating unit with some margin."""
    features, rows = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    unit = rng.normal(size=features + 1)
    unit /= np.linalg.norm(unit)
    x = np.hstack([rng.uniform(-3, 3, (rows, features)), np.ones((rows, 1))])
    x = x[np.abs(x @ unit) > 0.15]
    return x, x @ unit >= 0, unit


@given(separable(), st.sampled_from([1.0, 0.1, 3.0]), st.booleans(), st.booleans())
def test_separable_data_converge_within_novikoffs_bound(problem, eta0, shuffle, fires):
    x, y, unit = problem
    if len(set(y.tolist())) < 2:
        return
    margin = float(np.min(np.abs(x @ unit)))
    radius = float(np.max(np.linalg.norm(x, axis=1)))
    bound = (radius / margin) ** 2
    found = tutorial(eta0=eta0, max_iter=int(bound) + 2, shuffle=shuffle, fires_at_zero=fires)
    found.fit(x[:, :-1], y, record=False)
    assert found.converged_
    assert sum(found.history_.updates) <= bound
    assert found.score(x[:, :-1], y) == 1.0


@given(
    st.integers(1, 3).flatmap(
        lambda f: st.lists(
            st.tuples(st.lists(st.integers(-5, 5), min_size=f, max_size=f), st.integers(0, 1)),
            min_size=2,
            max_size=8,
        )
    ),
    st.booleans(),
    st.booleans(),
)
def test_every_problem_takes_the_steps_of_the_textbook(examples, fires, record):
    x, y = [row for row, _ in examples], [label for _, label in examples]
    if len(set(y)) < 2:
        return
    w, b, updates = by_hand(x, y, epochs=20, fires=fires)
    unit = tutorial(max_iter=20, fires_at_zero=fires)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unit.fit(x, y, record=record)
    assert unit.history_.updates == updates
    assert unit.coef_.tolist() == [w]
    assert unit.intercept_.tolist() == [b]
    assert unit.converged_ == (updates[-1] == 0)


def test_the_rows_are_read_once(monkeypatch):
    """A step of one row costs a device more than it does: the units learn on the host."""
    chosen = backends.select("array_api_strict", "device1", "float64")
    x, calls = chosen.asarray(SQUARE), []
    monkeypatch.setattr(
        module, "to_host", lambda values: calls.append(values is x) or backends.to_host(values)
    )
    unit = tutorial().fit(x, AND)
    assert calls.count(True) == 1
    assert len(unit.history_) == 6
    for array in (unit.coef_, unit.intercept_):
        assert backends.backend_of(array) == chosen
