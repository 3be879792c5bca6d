"""Rosenblatt's rule: its steps, convergence, labels, several classes."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import backends
from xpnn.backends import MixedArraysError
from xpnn.units import NonConvergenceWarning, Perceptron

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
AND = [0, 0, 0, 1]
XOR = [0, 1, 1, 0]
CORNERS = [[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 1.0], [0.0, 9.0], [1.0, 8.0]]
THREE = [3, 3, 5, 5, 9, 9]


def by_hand(x, targets, eta0=1.0, epochs=1000, intercept=True, orders=None):
    """The rule as a textbook writes it, for one unit."""
    w, b, updates = [0.0] * len(x[0]), 0.0, []
    for epoch in range(epochs):
        changed = 0
        for i in range(len(x)) if orders is None else orders[epoch]:
            fires = 1 if sum(a * v for a, v in zip(w, x[i], strict=True)) + b >= 0 else 0
            error = targets[i] - fires
            if error:
                changed += 1
                w = [a + eta0 * error * v for a, v in zip(w, x[i], strict=True)]
                b += eta0 * error if intercept else 0.0
        updates.append(changed)
        if not changed:
            break
    return w, b, updates


def fit_quietly(unit, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonConvergenceWarning)
        return unit.fit(*args, **options)


def test_two_examples_converge_in_two_epochs(backend, assert_close):
    unit = Perceptron().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    assert unit.converged_
    assert unit.n_iter_ == 2
    assert unit.history_.updates == [2, 0]
    assert_close(unit.coef_, [[-1.0, 1.0]], backend)
    assert_close(unit.intercept_, [0.0], backend)


def test_and_takes_the_steps_of_the_textbook(backend, assert_close):
    x = backend.asarray(SQUARE)
    unit = Perceptron().fit(x, AND)
    w, b, updates = by_hand(SQUARE, AND)
    assert unit.history_.updates == updates
    assert unit.n_iter_ == len(updates) == 6
    assert_close(unit.coef_, [w], backend)
    assert_close(unit.intercept_, [b], backend)
    assert_close(unit.decision_function(x), np.asarray(SQUARE) @ w + b, backend)
    assert_close(unit.predict(x), AND, backend, dtype=backend.xp.int64)
    assert unit.score(x, AND) == 1.0
    assert unit.score(x, [1, 0, 0, 1]) == 0.75
    assert type(unit.score(x, AND)) is float


def test_xor_says_that_it_does_not_converge(backend):
    unit = Perceptron(max_iter=5)
    with pytest.warns(
        NonConvergenceWarning,
        match=r"the perceptron did not converge in 5 epochs \(18 updates in all\); "
        r"the classes may not be linearly separable",
    ):
        unit.fit(backend.asarray(SQUARE), XOR)
    assert unit.converged_ is False
    assert unit.n_iter_ == 5
    assert unit.history_.updates == by_hand(SQUARE, XOR, epochs=5)[2]
    assert "did not converge in 5 epochs" in str(unit.history_)
    assert "did not converge" in repr(unit.history_)


def test_the_warning_is_a_user_warning():
    assert issubclass(NonConvergenceWarning, UserWarning)


def test_the_last_epoch_may_be_the_one_that_changes_nothing():
    assert Perceptron(max_iter=6).fit(SQUARE, AND).converged_
    with pytest.warns(NonConvergenceWarning):
        assert not Perceptron(max_iter=5).fit(SQUARE, AND).converged_


def test_eta0_scales_the_weights(backend, assert_close):
    unit = Perceptron(eta0=0.25).fit(backend.asarray(SQUARE), AND)
    w, b, updates = by_hand(SQUARE, AND)
    assert unit.history_.updates == updates
    assert_close(unit.coef_, [[0.25 * v for v in w]], backend)
    assert_close(unit.intercept_, [0.25 * b], backend)


def test_without_intercept(backend, assert_close):
    x, y = [[1.0, 2.0], [2.0, 1.0], [-1.0, -3.0]], [1, 1, 0]
    unit = Perceptron(fit_intercept=False).fit(backend.asarray(x), y)
    w, _, updates = by_hand(x, y, intercept=False)
    assert unit.history_.updates == updates
    assert_close(unit.coef_, [w], backend)
    assert_close(unit.intercept_, [0.0], backend)
    with pytest.warns(NonConvergenceWarning):  # the zero row always fires
        Perceptron(fit_intercept=False, max_iter=3).fit(backend.asarray(SQUARE), AND)


def test_shuffle_follows_the_seed(backend, assert_close):
    source = np.random.default_rng(3)
    orders = [source.permutation(4).tolist() for _ in range(50)]
    w, b, updates = by_hand(SQUARE, AND, orders=orders)
    unit = Perceptron(shuffle=True, random_state=3).fit(backend.asarray(SQUARE), AND)
    assert unit.history_.updates == updates
    assert_close(unit.coef_, [w], backend)
    assert_close(unit.intercept_, [b], backend)
    shown = [row["example"] - 1 for row in unit.history_.epochs[0].to_rows()]
    assert shown == orders[0]
    assert orders[0] != [0, 1, 2, 3]


def test_one_feature(backend, assert_close):
    unit = Perceptron().fit(backend.asarray([[-1.0], [2.0]]), [0, 1])
    assert tuple(unit.coef_.shape) == (1, 1)
    found = unit.predict(backend.asarray([[5.0], [-5.0]]))
    assert_close(found, [1, 0], backend, dtype=backend.xp.int64)
    assert tuple(unit.decision_function(backend.asarray([[1.0]])).shape) == (1,)


# Labels


def test_several_classes_are_one_against_the_rest(backend, assert_close):
    x = backend.asarray(CORNERS)
    unit = Perceptron().fit(x, THREE)
    expected = [by_hand(CORNERS, [int(t == c) for t in THREE]) for c in (3, 5, 9)]
    assert unit.classes_.tolist() == [3, 5, 9]
    assert unit.n_iter_ == max(len(updates) for _, _, updates in expected)
    assert_close(unit.coef_, [w for w, _, _ in expected], backend)
    assert_close(unit.intercept_, [b for _, b, _ in expected], backend)
    assert tuple(unit.decision_function(x).shape) == (6, 3)
    assert_close(unit.predict(x), THREE, backend, dtype=backend.xp.int64)
    assert unit.score(x, THREE) == 1.0


def test_several_classes_name_the_ones_that_still_change():
    with pytest.warns(NonConvergenceWarning, match=r"still changing: mid\)"):
        # A unit for the middle of a line against both ends cannot exist.
        Perceptron(max_iter=100).fit([[0.0], [1.0], [2.0]], ["low", "mid", "top"])


def test_string_labels_come_back_as_numpy(backend):
    x = backend.asarray(SQUARE)
    unit = Perceptron().fit(x, ["no", "no", "no", "yes"])
    found = unit.predict(x)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == ["no", "no", "no", "yes"]
    assert unit.score(x, np.asarray(["no", "no", "yes", "yes"], dtype=object)) == 0.75
    several = Perceptron().fit(backend.asarray(CORNERS), list("aabbcc"))
    assert several.predict(backend.asarray(CORNERS)).tolist() == list("aabbcc")


def test_labels_may_be_an_array_beside_the_data(backend, assert_close):
    x = backend.asarray(SQUARE)
    y = backend.asarray(np.asarray([7, 7, 7, 4]), dtype="int32")
    unit = Perceptron().fit(x, y)
    assert_close(unit.predict(x), [7, 7, 7, 4], backend, dtype=backend.xp.int32)
    assert unit.score(x, y) == 1.0
    floats = backend.asarray(np.asarray([0.0, 0.0, 0.0, 1.0]))
    found = Perceptron().fit(x, floats).predict(x)
    assert_close(found, AND, backend, dtype=backend.xp.int64)


def test_boolean_labels(backend):
    x = backend.asarray(SQUARE)
    found = Perceptron().fit(x, [False, False, False, True]).predict(x)
    assert found.dtype == backend.xp.bool
    assert backends.to_host(found).tolist() == [False, False, False, True]


def test_labels_of_another_library_are_refused():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(MixedArraysError, match="X is an array of numpy and y of array_api_strict"):
        Perceptron().fit(np.asarray(SQUARE), strict.asarray(AND))
    device = strict.Device("device1")
    with pytest.raises(MixedArraysError, match="X is on device device1 and y on"):
        Perceptron().fit(strict.asarray(SQUARE, device=device), strict.asarray(AND))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, 0], ValueError, r"y has shape \(3,\); expected \(4,\), one label for each row"),
        ([[0], [1], [0], [1]], ValueError, r"y has shape \(4, 1\); expected \(4,\)"),
        ([1, 1, 1, 1], ValueError, "y holds one class only, 1; expected at least two"),
        ([0.5, 1, 0, 1], ValueError, "y holds 0.5; expected class labels, not values"),
        ([float("nan"), 1, 0, 1], ValueError, "y holds nan; expected class labels"),
        ([float("inf"), 1, 0, 1], ValueError, "y holds 'infinity'; expected class labels"),
        ([0, "a", 1, "b"], TypeError, "y holds strings and other values"),
        ([None, "a", 1, "b"], TypeError, "y holds strings and other values"),
        ([[0], [1, 2], [3], [4]], TypeError, "y is not a list of labels"),
        ([1j, 0, 1, 0], TypeError, "y has dtype complex128; expected integers"),
        ("abcd", ValueError, r"y has shape \(\)"),
    ],
)
def test_wrong_labels(y, error, message):
    with pytest.raises(error, match=message):
        Perceptron().fit(SQUARE, y)


def test_score_wants_labels_of_the_same_kind():
    unit = Perceptron().fit(SQUARE, AND)
    with pytest.raises(TypeError, match="y has dtype <U1; expected labels as in fit: int64"):
        unit.score(SQUARE, list("abab"))
    with pytest.raises(ValueError, match=r"y has shape \(1,\); expected \(4,\)"):
        unit.score(SQUARE, [1])


# Data


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([0.0, 1.0], ValueError, r"X has shape \(2,\); expected \(n, features\)"),
        (np.zeros((0, 2)), ValueError, r"X has shape \(0, 2\); expected at least one row and"),
        (np.zeros((2, 0)), ValueError, r"X has shape \(2, 0\); expected at least one row and"),
        ([[np.nan], [1.0]], ValueError, "X holds NaN or infinity; expected finite numbers"),
        ([[np.inf], [1.0]], ValueError, "X holds NaN or infinity"),
        ([["a"], ["b"]], TypeError, "X holds 'a'; expected numbers"),
    ],
)
def test_wrong_data(x, error, message):
    with pytest.raises(error, match=message):
        Perceptron().fit(x, [0, 1])


def test_nan_on_a_device_is_refused(backend):
    with pytest.raises(ValueError, match="X holds NaN"):
        Perceptron().fit(backend.asarray([[np.nan], [1.0]]), [0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta0": 0.0}, "eta0 is 0.0; expected a positive number"),
        ({"eta0": float("nan")}, "eta0 is nan"),
        ({"eta0": float("inf")}, "eta0 is inf"),
        ({"max_iter": 0}, "max_iter is 0; expected a positive integer"),
        ({"max_iter": 2.5}, "max_iter is 2.5"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        Perceptron(**options).fit(SQUARE, AND)


def test_record_is_one_of_three():
    with pytest.raises(ValueError, match="record is 'some'; expected True, False or 'auto'"):
        Perceptron().fit(SQUARE, AND, record="some")


def test_integers_become_the_default_float(backend):
    unit = Perceptron().fit(backend.asarray(np.asarray(SQUARE, dtype=int)), AND)
    assert unit.coef_.dtype == backends.default_float(backend.xp, backend.device)


def test_half_precision():
    unit = Perceptron().fit(np.asarray(SQUARE, dtype=np.float16), AND)
    assert unit.coef_.dtype == np.float16
    assert unit.predict(np.asarray(SQUARE, dtype=np.float16)).tolist() == AND


def test_predicting_follows_the_data(backend, assert_close):
    x = backend.asarray(SQUARE)
    unit = Perceptron().fit(x, AND)
    assert_close(unit.decision_function(SQUARE), by_hand_scores(), backend)  # lists go there
    for wrong in ([[1.0]], [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"X has shape .*; expected \(n, 2\), as many"):
            unit.predict(wrong)
    with pytest.raises(ValueError, match=r"X has shape \(0, 2\); expected at least one row"):
        unit.predict(backend.asarray(np.zeros((0, 2))))
    with pytest.raises(TypeError, match="X holds 'a'"):
        unit.predict([["a", "b"]])


def by_hand_scores():
    w, b, _ = by_hand(SQUARE, AND)
    return np.asarray(SQUARE) @ w + b


def test_predicting_elsewhere_is_refused():
    strict = pytest.importorskip("array_api_strict")
    unit = Perceptron().fit(SQUARE, AND)
    message = "X is an array of array_api_strict and coef_ of numpy"
    for call in (unit.predict, unit.decision_function):
        with pytest.raises(MixedArraysError, match=message):
            call(strict.asarray(SQUARE))
    with pytest.raises(MixedArraysError, match=message):
        unit.score(strict.asarray(SQUARE), AND)


def test_predicting_before_learning_is_refused():
    with pytest.raises(ValueError, match=r"has not learned anything yet; call fit\(X, y\) first"):
        Perceptron().predict(SQUARE)


def test_repr_shows_what_was_given():
    assert repr(Perceptron()) == "Perceptron()"
    assert repr(Perceptron(0.5, shuffle=True)) == "Perceptron(eta0=0.5, shuffle=True)"


# Properties


@st.composite
def separable(draw):
    """Rows, labels, and a separating unit with some margin."""
    features, rows = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    unit = source.normal(size=features + 1)
    unit /= np.linalg.norm(unit)
    x = np.hstack([source.uniform(-3, 3, (rows, features)), np.ones((rows, 1))])
    x = x[np.abs(x @ unit) > 0.15]
    return x, x @ unit >= 0, unit


@given(separable(), st.sampled_from([1.0, 0.1, 3.0]), st.booleans())
def test_separable_data_converge_within_novikoffs_bound(problem, eta0, shuffle):
    x, y, unit = problem
    if len(set(y.tolist())) < 2:
        return
    margin = float(np.min(np.abs(x @ unit)))
    radius = float(np.max(np.linalg.norm(x, axis=1)))
    bound = (radius / margin) ** 2
    found = Perceptron(eta0, max_iter=int(bound) + 2, shuffle=shuffle, random_state=0).fit(
        x[:, :-1], y, record=False
    )
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
    )
)
def test_every_problem_takes_the_steps_of_the_textbook(examples):
    x, y = [row for row, _ in examples], [label for _, label in examples]
    if len(set(y)) < 2:
        return
    w, b, updates = by_hand(x, y, epochs=20)
    unit = fit_quietly(Perceptron(max_iter=20), x, y)
    assert unit.history_.updates == updates
    assert unit.coef_.tolist() == [w]
    assert unit.intercept_.tolist() == [b]
    assert unit.converged_ == (updates[-1] == 0)
