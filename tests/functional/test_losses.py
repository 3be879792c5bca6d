"""Every loss and its backward, on every library."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import references
from xpnn import functional as F
from xpnn.backends import to_host

NAMES = list(F.LOSSES)
KINKS = {"mean_absolute_error": [0.0], "huber": [-1.0, 1.0], "hinge": [-1.0, 1.0]}


def draw(name, rows, outputs, seed=0):
    """Scores whose errors keep away from the loss's kinks, targets, and weights."""
    generator = np.random.default_rng(seed)
    t = references.targets(name, generator, rows, outputs)
    scores = 1.5 * generator.normal(size=(rows, outputs))
    shift = 0.0 if name == "hinge" else t
    scores = references.away_from(KINKS.get(name, []), scores - shift) + shift
    return scores, t, generator.uniform(0.2, 3.0, rows)


@cache
def case(name, weighted):
    scores, t, weight = draw(name, 6, 4)
    weight = weight if weighted else None
    value = references.loss(name, scores, t, weight)
    gradient = references.gradient(lambda s: references.loss(name, s, t, weight), scores)
    return scores, t, weight, value, gradient


def test_the_references_know_every_loss():
    assert set(references.ROW_LOSSES) == set(NAMES)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient(name, weighted, backend, assert_close):
    scores, t, weight, value, gradient = case(name, weighted)
    w = None if weight is None else backend.asarray(weight)
    rule = F.loss_rule(name)
    found, saved = rule.forward(backend.asarray(scores), backend.asarray(t), w)
    assert_close(found, value, backend)
    assert_close(rule.backward(saved), gradient, backend)


@pytest.mark.parametrize("name", NAMES)
@given(rows=st.integers(1, 5), outputs=st.integers(1, 4), seed=st.integers(0, 1000))
def test_backward_is_the_slope_of_forward_in_any_direction(name, rows, outputs, seed):
    scores, t, weight = draw(name, rows, outputs, seed)
    direction = np.random.default_rng(seed).uniform(-1, 1, scores.shape)
    rule = F.loss_rule(name)
    expected = references.slope(lambda h: rule.forward(scores + h * direction, t, weight)[0])
    found = np.sum(rule.backward(rule.forward(scores, t, weight)[1]) * direction)
    assert found == pytest.approx(expected, rel=6e-8, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_weight_k_counts_like_k_equal_rows(name):
    scores, t, _ = draw(name, 4, 3)
    weight = np.array([1.0, 3.0, 0.0, 2.0])
    rule = F.loss_rule(name)
    again = weight.astype(int)
    weighted, saved = rule.forward(scores, t, weight)
    repeated, _ = rule.forward(np.repeat(scores, again, 0), np.repeat(t, again, 0))
    assert weighted == pytest.approx(repeated, rel=1e-13)
    assert not rule.backward(saved)[2].any()


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_all_zero_give_zero(name, backend, assert_close):
    scores, t, _ = draw(name, 6, 4)
    rule = F.loss_rule(name)
    loss, saved = rule.forward(
        backend.asarray(scores), backend.asarray(t), backend.asarray(np.zeros(6))
    )
    assert_close(loss, 0.0, backend)
    assert_close(rule.backward(saved), np.zeros((6, 4)), backend)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "float64"])
def test_targets_do_not_change_the_dtype(name, kind):
    scores = np.ones((2, 3), dtype="float32")
    loss, saved = F.loss_rule(name).forward(scores, np.eye(2, 3).astype(kind))
    assert loss.dtype == F.loss_rule(name).backward(saved).dtype == np.float32


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_integer_labels_equal_one_hot_rows(kind, smoothing, backend64, assert_close):
    scores, t, weight = draw("softmax_cross_entropy", 6, 4)
    labels = backend64.asarray(t.argmax(axis=1), kind)
    found = F.softmax_cross_entropy(
        backend64.asarray(scores), labels, backend64.asarray(weight), label_smoothing=smoothing
    )
    loss, (gradient,) = F.softmax_cross_entropy(scores, t, weight, label_smoothing=smoothing)
    assert_close(found[0], loss, backend64)
    assert_close(F.softmax_cross_entropy_backward(found[1]), gradient, backend64)


@pytest.mark.parametrize(
    ("name", "evenly"), [("softmax_cross_entropy", 1 / 4), ("binary_cross_entropy", 0.5)]
)
def test_label_smoothing_spreads_a_share_of_each_target(name, evenly, backend, assert_close):
    scores, t, weight = draw(name, 6, 4)
    smooth = 0.9 * t + 0.1 * evenly
    expected = references.loss(name, scores, smooth, weight)
    slopes = references.gradient(lambda s: references.loss(name, s, smooth, weight), scores)
    rule = F.loss_rule(name)
    loss, saved = rule.forward(*map(backend.asarray, (scores, t, weight)), label_smoothing=0.1)
    assert_close(loss, expected, backend)
    assert_close(rule.backward(saved), slopes, backend)


@pytest.mark.parametrize("delta", [0.25, 3.0])
def test_delta_is_where_huber_turns_into_a_line(delta, backend64, assert_close):
    scores, t, _ = draw("mean_squared_error", 6, 4)
    expected = special.huber(delta, scores - t).mean()
    loss, saved = F.huber(backend64.asarray(scores), backend64.asarray(t), delta=delta)
    assert_close(loss, expected, backend64)
    assert_close(F.huber_backward(saved), np.clip(scores - t, -delta, delta) / 24, backend64)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "binary_cross_entropy"])
def test_largest_caps_the_loss_and_leaves_the_gradient(name, backend, assert_close):
    scores, _, weight = draw(name, 6, 4)
    scores = 5.0 * scores
    t = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    if name == "softmax_cross_entropy":
        terms = t * -special.log_softmax(scores, axis=1)
    else:
        terms = -t * special.log_expit(scores) - (1.0 - t) * special.log_expit(-scores)
    capped = np.minimum(terms, 3.0).sum(axis=1)
    assert np.any(terms > 3.0)
    assert np.any((terms > 0.1) & (terms < 3.0))
    arrays = [*map(backend.asarray, (scores, t, weight))]
    rule = F.loss_rule(name)
    loss, saved = rule.forward(*arrays, largest=3.0)
    assert_close(loss, np.average(capped, weights=weight), backend)
    _, whole = rule.forward(*arrays)
    assert_close(rule.backward(saved), to_host(rule.backward(whole)), backend)


def test_targets_of_softmax_need_not_add_up_to_one():
    scores, t, _ = draw("softmax_cross_entropy", 6, 4)
    t = t * 2.5
    _, saved = F.softmax_cross_entropy(scores, t)
    expected = references.gradient(lambda s: references.loss("softmax_cross_entropy", s, t), scores)
    assert references.relative(F.softmax_cross_entropy_backward(saved), expected) < 1e-9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax_cross_entropy", special.softmax),
        ("binary_cross_entropy", lambda s: special.expit(s)),
        ("poisson", np.exp),
    ],
)
def test_what_scores_mean(name, expected):
    scores = np.random.default_rng(0).normal(size=3)
    np.testing.assert_allclose(F.loss_rule(name).mean(scores), expected(scores), rtol=1e-14)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"loss='mse' is not known.*mean_squared_error"):
        F.loss_rule("mse")
