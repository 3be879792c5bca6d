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
from xpnn.backends import default_float, to_host

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


REDUCTIONS = [(name, how) for name in NAMES for how in {F.LOSSES[name].reduction, "sum"}]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("name", "reduction"), sorted(REDUCTIONS))
def test_loss_and_gradient(name, reduction, weighted, backend, assert_close):
    """A sum is the mean times the weights of all rows."""
    scores, t, weight, value, gradient = case(name, weighted)
    w = None if weight is None else backend.asarray(weight)
    rule, options, whole = F.loss_rule(name), {}, 1.0
    if reduction != rule.reduction:
        options, whole = {"reduction": "sum"}, 6.0 if weight is None else weight.sum()
    found, saved = rule.forward(backend.asarray(scores), backend.asarray(t), w, **options)
    assert_close(found, whole * value, backend)
    assert_close(rule.backward(saved), whole * gradient, backend)


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


MEANS = [name for name in NAMES if F.LOSSES[name].reduction == "mean"]


@pytest.mark.parametrize("name", MEANS)
def test_an_unknown_reduction_is_refused(name):
    scores, t, _ = draw(name, 2, 3)
    with pytest.raises(ValueError, match="reduction is 'average'; expected one of mean, sum"):
        F.loss_rule(name).forward(scores, t, reduction="average")


@pytest.mark.parametrize("given", [False, True], ids=["xp looked up", "xp given"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("argument", "shape", "message"),
    [
        ("scores", (4,), r"scores has shape \(4,\); expected \(rows, outputs\)"),
        ("targets", (1, 4), r"targets has shape \(1, 4\); expected \(4, 1\), the shape of scores"),
        ("targets", (4, 3), r"targets has shape \(4, 3\); expected \(4, 1\)"),
        ("targets", (), r"targets has shape \(\); expected \(4, 1\)"),
        ("targets", (3,), r"targets has shape \(3,\); expected \(4(, 1|,)\)"),
        ("targets", (4,), r"targets has shape \(4,\); expected \(4, 1\)"),
        ("sample_weight", (4, 1), r"sample_weight has shape \(4, 1\); expected \(4,\)"),
        ("sample_weight", (1,), r"sample_weight has shape \(1,\); expected \(4,\)"),
        ("sample_weight", (), r"sample_weight has shape \(\); expected \(4,\)"),
    ],
)
def test_shapes_that_would_be_broadcast_are_refused(name, argument, shape, message, given):
    if name == "softmax_cross_entropy" and (argument, shape) == ("targets", (4,)):
        pytest.skip("these are labels")
    arrays = {"scores": (4, 1), "targets": (4, 1), "sample_weight": (4,)} | {argument: shape}
    arrays = {key: np.ones(value) for key, value in arrays.items()}
    with pytest.raises(ValueError, match=message):
        F.loss_rule(name).forward(**arrays, **({"xp": np} if given else {}))


# A loss of the user's own


def log_cosh(scores, targets, xp):
    return xp.sum(xp.log(xp.cosh(scores - targets)), axis=1)


def log_cosh_backward(scores, targets, xp):
    return xp.tanh(scores - targets)


def brier(scores, targets, xp):
    return xp.sum((F.softmax(scores, xp=xp) - targets) ** 2, axis=1)


def brier_backward(scores, targets, xp):
    p = F.softmax(scores, xp=xp)
    return F.softmax_backward(p, 2.0 * (p - targets), xp=xp)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_custom_loss(weighted, reduction, backend, assert_close):
    scores, t, weight = draw("mean_squared_error", 6, 4)
    rows, gradient = np.log(np.cosh(scores - t)).sum(axis=1), np.tanh(scores - t)
    counts = weight if weighted else np.ones(6)
    counts = counts / counts.sum() if reduction == "mean" else counts
    w = backend.asarray(weight) if weighted else None
    own = F.loss_rule(F.CustomLoss(log_cosh, log_cosh_backward, reduction=reduction))
    assert (own.kind, own.mean, own.reduction) == ("regression", None, reduction)
    asked = F.CustomLoss(log_cosh, log_cosh_backward).rule
    for rule, options in ((own, {}), (asked, {"reduction": reduction})):
        found, saved = rule.forward(backend.asarray(scores), backend.asarray(t), w, **options)
        assert_close(found, rows @ counts, backend)
        assert_close(rule.backward(saved), gradient * counts[:, None], backend)


def test_a_custom_loss_of_classes_takes_labels_and_distributions(backend64, assert_close):
    scores, t, weight = draw("softmax_cross_entropy", 6, 4)
    rule = F.CustomLoss(brier, brier_backward, kind="multiclass", mean=F.softmax).rule
    expected, saved = rule.forward(scores, t, weight)
    arrays = [backend64.asarray(scores), backend64.asarray(t.argmax(axis=1), "int64")]
    found, kept = rule.forward(*arrays, backend64.asarray(weight))
    assert_close(found, expected, backend64)
    assert_close(rule.backward(kept), rule.backward(saved), backend64)


def test_a_custom_loss_of_half_precision_is_computed_in_single():
    scores, t = np.full((4, 1), 300, "float16"), np.zeros((4, 1), "float16")
    rule = F.CustomLoss(
        lambda s, t, xp: xp.sum((s - t) ** 2, axis=1), lambda s, t, xp: 2.0 * (s - t)
    ).rule
    loss, saved = rule.forward(scores=scores, targets=t, reduction="sum")
    assert (loss.dtype, loss) == (np.float32, 360_000.0)
    assert rule.backward(saved).dtype == np.float16


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"forward": "mse"}, TypeError, "forward is 'mse'; expected a function"),
        ({"backward": None}, TypeError, "backward is None; expected a function"),
        ({"mean": 3}, TypeError, "mean is 3; expected a function"),
        ({"kind": "values"}, ValueError, "kind is 'values'; expected one of multiclass, binary"),
        ({"reduction": None}, ValueError, "reduction is None; expected one of mean, sum"),
    ],
)
def test_a_custom_loss_says_what_is_wrong(given, error, message):
    with pytest.raises(error, match=message):
        F.CustomLoss(**{"forward": log_cosh, "backward": log_cosh_backward} | given)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            (lambda s, t, xp: xp.sum((s - t) ** 2), log_cosh_backward),
            r"forward of the custom loss returned the shape \(\); expected \(6,\)",
        ),
        (
            (log_cosh, lambda s, t, xp: xp.sum(s - t, axis=1)),
            r"backward of the custom loss returned the shape \(6,\); expected \(6, 4\)",
        ),
    ],
)
def test_a_custom_loss_of_another_shape_is_refused(pair, message):
    scores, t, _ = draw("mean_squared_error", 6, 4)
    with pytest.raises(ValueError, match=message):
        F.CustomLoss(*pair).rule.forward(scores, t)


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


# Labels: rows of 0 and 1, and the share read right


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
def test_one_hot(kind, backend, assert_close):
    labels = np.array([0, 2, 1, 2, 4])
    found = F.one_hot(backend.asarray(labels, kind), 4, dtype=backend.dtype)
    assert_close(found, np.eye(5)[labels][:, :4], backend)  # a label out of range: zeros


def test_one_hot_is_of_the_default_float(backend, assert_close):
    found = F.one_hot(backend.asarray([1, 0]), 2)
    expected = default_float(backend.xp, backend.device)
    assert_close(found, [[0, 1], [1, 0]], backend, dtype=expected)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_one_hot_has_more_classes_than_the_dtype_has_numbers(kind):
    found = F.one_hot(np.array([100, 3], kind), 300)
    assert found.argmax(axis=1).tolist() == [100, 3]
    assert found.sum() == 2.0


@pytest.mark.parametrize(
    ("predicted", "labels", "share"),
    [
        ([1, 2, 3, 4], [1, 2, 0, 4], 0.75),
        ([[1, 0], [1, 1]], [[1, 0], [1, 0]], 0.5),  # a row counts where all are right
        ([0], [1], 0.0),
    ],
)
def test_accuracy(predicted, labels, share, backend, assert_close):
    found = F.accuracy(backend.asarray(predicted), backend.asarray(labels))
    assert_close(found, share, backend, dtype=backend.xp.float32)
