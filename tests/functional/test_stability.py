"""The ends of the number range: no overflow, no NaN, no warning."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import backends
from xpnn import functional as F

# +-1e4 in single and double precision, +-60000 (near the largest, 65504) in half.
LARGE = {"float16": 6e4, "bfloat16": 1e4, "float32": 1e4, "float64": 1e4}
CASES = [
    ("numpy", "float16"), ("numpy", "float32"), ("numpy", "float64"),
    ("array_api_strict", "float32"),
    ("torch", "float16"), ("torch", "bfloat16"), ("torch", "float32"),
    ("jax", "float16"), ("jax", "bfloat16"), ("jax", "float32"),
    ("cupy", "float16"), ("cupy", "float32"),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def place(request, use_library):
    """Copies host values to a library, in a dtype."""
    name, dtype = request.param
    use_library(name)
    return backends.select(name, dtype=dtype).asarray, LARGE[dtype]


def finite(x):
    values = backends.to_host(x)
    return bool(np.all(np.isfinite(values)))


@pytest.fixture(autouse=True)
def strict_arithmetic():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield


@pytest.mark.parametrize("name", list(F.ACTIVATIONS))
def test_activations(name, place):
    asarray, large = place
    rule = F.activation_rule(name)
    z = asarray(
        large * np.array([[1.0, -1.0, 0.0], [-1, -1, -1], [0, 0, 0], [1, 1, 1], [1e-4, 1, 0]])
    )
    a = rule.forward(z)
    dz = rule.backward(a if rule.saves_output else z, asarray(np.ones((5, 3))))
    assert a.dtype == dz.dtype == z.dtype
    assert finite(a)
    assert finite(dz)


@pytest.mark.parametrize("name", list(F.ACTIVATIONS))
def test_activations_near_the_largest_float(name):
    """Farther out than asked for: even squares of these would overflow."""
    rule = F.activation_rule(name)
    z = np.array([[1e37, -1e37, 0.0]], dtype="float32")
    a = rule.forward(z)
    assert finite(a)
    assert finite(rule.backward(a if rule.saves_output else z, np.ones_like(z)))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", list(F.LOSSES))
def test_losses(name, weighted, place):
    asarray, large = place
    rule = F.loss_rule(name)
    scores = asarray(large * np.array([[1.0, -1.0], [-1, 1], [0, 0], [1, 1], [-1, -1]]))
    limits = rule.kind == "regression" and name != "poisson"
    t = asarray((large if limits else 1.0) * np.array([[0.0, 1.0], [0, 1], [1, 0], [1, 0], [0, 1]]))
    weight = asarray(np.array([0.5, 0.0, 1.0, 2.0, 1.0])) if weighted else None
    loss, saved = rule.forward(scores, t, weight)
    dscores = rule.backward(saved)
    half = backends.is_half(scores.dtype)
    assert backends.dtype_name(loss.dtype) == (
        "float32" if half else backends.dtype_name(scores.dtype)
    )
    assert dscores.dtype == scores.dtype
    assert finite(loss)
    assert finite(dscores)


def test_clip_by_norm_of_huge_and_of_zero_gradients(place):
    asarray, large = place
    huge = asarray(large * np.array([1.0, -1.0, 1.0, 1.0]))
    clipped = backends.to_host(F.clip_by_norm(huge, 1.0)).astype(float)
    np.testing.assert_allclose(clipped, [0.5, -0.5, 0.5, 0.5], rtol=1e-2)
    assert not backends.to_host(F.clip_by_norm(asarray(np.zeros(4)), 1.0)).any()


def test_saturated_losses_are_exact_not_only_finite():
    scores = np.array([[1e4, -1e4]], dtype="float32")
    right, wrong = np.array([[1.0, 0.0]], dtype="float32"), np.array([[0.0, 1.0]], dtype="float32")
    assert F.softmax_cross_entropy(scores, right)[0] == 0.0
    assert F.softmax_cross_entropy(scores, wrong)[0] == 2e4
    assert F.binary_cross_entropy(scores, right)[0] == 0.0
    assert F.binary_cross_entropy(scores, wrong)[0] == 2e4


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "mean_squared_error"])
def test_half_precision_is_rounded_once(name):
    """Computed in float32: half a hundred thousand small terms are not lost."""
    scores = np.linspace(-2, 2, 40_000).reshape(-1, 2).astype("float16")
    t = np.eye(2)[np.arange(20_000) % 2].astype("float16")
    loss, _ = F.loss_rule(name).forward(scores, t)
    expected, _ = F.loss_rule(name).forward(scores.astype("float64"), t.astype("float64"))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_gradient_that_overflows_becomes_infinite_and_a_value_the_largest_number():
    large = np.full((1, 2), 6e4, "float16")
    with np.errstate(over="ignore"):
        assert np.isinf(F.leaky_relu_backward(-large, large, 2.0)).all()
        assert (F.leaky_relu(-large, 2.0) == -65504.0).all()
