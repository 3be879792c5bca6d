"""The weighted sum and its backward, initial weights, penalties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import references
from xpnn import functional as F
from xpnn.backends import generator


def draw(rows, inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    sizes = ((rows, inputs), (inputs, outputs), (outputs,), (rows, outputs))
    return [rng.normal(size=size) for size in sizes]


@pytest.mark.parametrize("biased", [True, False])
def test_forward(biased, backend, assert_close):
    x, weights, bias, _ = draw(5, 3, 2)
    expected = np.einsum("ni,io->no", x, weights) + (bias if biased else 0.0)
    arrays = (x, weights, bias) if biased else (x, weights)
    assert_close(F.linear(*map(backend.asarray, arrays)), expected, backend)


def test_backward(backend, assert_close):
    x, weights, _, dz = draw(5, 3, 2)
    dx, dweights, dbias = F.linear_backward(*map(backend.asarray, (x, weights, dz)))
    assert_close(dx, np.einsum("no,io->ni", dz, weights), backend)
    assert_close(dweights, np.einsum("ni,no->io", x, dz), backend)
    assert_close(dbias, np.einsum("no->o", dz), backend)


@given(*[st.integers(1, 6)] * 3)
def test_any_shape_even_one_row_and_one_feature(rows, inputs, outputs):
    """The forward is linear in each argument, so its slope is the forward of the change."""
    x, weights, _, dz = draw(rows, inputs, outputs)
    dx, dweights, dbias = F.linear_backward(x, weights, dz)
    change_x, change_weights, change_bias, _ = draw(rows, inputs, outputs, seed=1)
    change = np.sum(dx * change_x) + np.sum(dweights * change_weights) + dbias @ change_bias
    expected = F.linear(change_x, weights) + F.linear(x, change_weights, change_bias)
    assert change == pytest.approx(np.sum(dz * expected), rel=1e-11, abs=1e-11)


# What keeps weights and gradients small

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3))


def test_l2_penalty_and_its_gradient(backend, assert_close):
    def penalty(w):
        return 0.35 * np.linalg.norm(w) ** 2

    found, saved = F.l2_penalty(backend.asarray(WEIGHTS), 0.7)
    assert_close(found, penalty(WEIGHTS), backend)
    expected = references.gradient(penalty, WEIGHTS)
    assert_close(F.l2_penalty_backward(saved, 0.7), expected, backend)


@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_clip_by_norm(limit, backend, assert_close):
    gradient = WEIGHTS.reshape(-1)
    length = np.linalg.norm(gradient)
    expected = gradient if length <= limit else gradient / length * limit
    assert_close(F.clip_by_norm(backend.asarray(gradient), limit), expected, backend)


def test_a_short_gradient_is_left_as_it_is():
    gradient = np.array([0.3, -0.4])
    assert F.clip_by_norm(gradient, 0.5001).tolist() == gradient.tolist()


# Initial weights: their distribution, and that a seed fixes them

IN, OUT = 300, 200
DISTRIBUTIONS = {
    "glorot_uniform": stats.uniform(-((6 / 500) ** 0.5), 2 * (6 / 500) ** 0.5),
    "glorot_normal": stats.norm(0, (2 / 500) ** 0.5),
    "he_uniform": stats.uniform(-((6 / 300) ** 0.5), 2 * (6 / 300) ** 0.5),
    "he_normal": stats.norm(0, (2 / 300) ** 0.5),
    "uniform": stats.uniform(-1, 2),
    "normal": stats.norm(0, 300**-0.5),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name):
    weights = F.initializer(name)(generator(0), IN, OUT)
    assert weights.shape == (IN, OUT)
    assert weights.dtype == np.float64
    assert stats.kstest(weights.reshape(-1), DISTRIBUTIONS[name].cdf).pvalue > 0.01


@pytest.mark.parametrize("name", F.INITIALIZERS)
def test_a_seed_means_the_same_weights(name):
    first, second = (F.initializer(name)(generator(3), 4, 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_options_of_the_tutorials():
    np.testing.assert_array_equal(
        F.normal(generator(0), 784, 100, scale=100**-0.5),
        np.random.default_rng(0).normal(0, 0.1, (784, 100)),
    )
    assert F.uniform(generator(0), 50, 50, low=2.0, high=3.0).min() >= 2.0
    assert not F.zeros(generator(0), 2, 3).any()


def test_legacy_generators_are_taken():
    """The one-layer tutorial's weights: ``2 * u - 1`` with `u` from the legacy seed 1."""
    weights = F.uniform(np.random.RandomState(1), 3, 1)[:, 0]
    np.testing.assert_allclose(weights, [-0.16595599, 0.44064899, -0.99977125], atol=1e-8)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"initializer='xavier' is not known.*glorot_uniform"):
        F.initializer("xavier")
