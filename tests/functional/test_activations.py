"""Every activation, and dropout, with its backward, on every library."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import references
from xpnn import functional as F

NAMES = list(F.ACTIVATIONS)
ALPHAS = {"leaky_relu": 0.3, "elu": 1.7}


@cache
def case(name):
    """Scores, the activation's values, an incoming gradient and the gradient it becomes."""
    generator = np.random.default_rng(0)
    z = references.away_from([0.0], 2.0 * generator.normal(size=(6, 4)))
    da = generator.normal(size=(6, 4))
    function = references.ACTIVATIONS[name]
    return z, function(z), da, references.gradient(lambda v: np.sum(da * function(v)), z)


def backward(name, z, da, **options):
    """The backward, handed what the table says that it wants."""
    rule = F.activation_rule(name)
    return rule.backward(rule.forward(z, **options) if rule.saves_output else z, da, **options)


def test_the_references_know_every_activation():
    assert set(references.ACTIVATIONS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_forward(name, backend, assert_close):
    z, expected, _, _ = case(name)
    assert_close(getattr(F, name)(backend.asarray(z)), expected, backend)


@pytest.mark.parametrize("name", NAMES)
def test_backward(name, backend, assert_close):
    z, _, da, expected = case(name)
    assert_close(backward(name, backend.asarray(z), backend.asarray(da)), expected, backend)


@pytest.mark.parametrize("name", NAMES)
@given(
    shape=st.sampled_from([(1,), (7,), (1, 1), (1, 6), (6, 1), (3, 5), (2, 3, 4)]),
    seed=st.integers(0, 1000),
)
def test_backward_is_the_slope_of_forward_in_any_direction(name, shape, seed):
    generator = np.random.default_rng(seed)
    z = references.away_from([0.0], 3.0 * generator.normal(size=shape), 0.05)
    da, direction = generator.normal(size=(2, *shape))
    forward = F.activation_rule(name).forward
    expected = references.slope(lambda h: np.sum(da * forward(z + h * direction)))
    found = np.sum(backward(name, z, da) * direction)
    assert found == pytest.approx(expected, rel=6e-8, abs=1e-9)


@pytest.mark.parametrize("name", ALPHAS)
def test_alpha_is_the_slope_or_the_depth_below_zero(name, backend64, assert_close):
    z, _, da, _ = case(name)
    alpha = ALPHAS[name]
    below = {"leaky_relu": alpha * z, "elu": alpha * np.expm1(np.minimum(z, 0))}[name]
    function = getattr(F, name)
    x = backend64.asarray(z)
    assert_close(function(x, alpha), np.where(z > 0, z, below), backend64)
    slopes = {"leaky_relu": alpha, "elu": below + alpha}[name]
    found = backward(name, x, backend64.asarray(da), alpha=alpha)
    assert_close(found, da * np.where(z > 0, 1.0, slopes), backend64)


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [("heaviside", 1.0), ("relu", 0.0), ("sigmoid", 0.5), ("softplus", np.log(2.0)), ("gelu", 0.0)],
)
def test_values_at_zero(name, at_zero):
    assert getattr(F, name)(np.zeros(3)) == pytest.approx(at_zero)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_does_not_see_what_all_scores_share(name):
    z = np.random.default_rng(1).normal(size=(3, 4))
    function = getattr(F, name)
    np.testing.assert_allclose(function(z + 100.0), function(z), rtol=1e-12)


def test_softmax_rows_add_up_to_one():
    z = np.random.default_rng(2).normal(size=(50, 7)) * 100
    np.testing.assert_allclose(F.softmax(z).sum(axis=1), 1.0, rtol=1e-14)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"activation='swish' is not known.*sigmoid, tanh"):
        F.activation_rule("swish")


# Dropout


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
def test_dropout(rate, backend, assert_close):
    generator = np.random.default_rng(0)
    x, dy = generator.normal(size=(2, 6, 4))
    noise = generator.random((6, 4)).astype("float32")
    factor = np.where(noise < np.float32(rate), 0.0, 1.0 / (1.0 - rate))
    y, mask = F.dropout(backend.asarray(x), backend.asarray(noise, "float32"), rate)
    assert_close(mask, factor, backend)
    assert_close(y, x * factor, backend)
    assert_close(F.dropout_backward(mask, backend.asarray(dy)), dy * factor, backend)


def test_the_mean_stays():
    x, noise = np.ones((200, 500)), np.random.default_rng(0).random((200, 500))
    y, mask = F.dropout(x, noise, 0.3)
    assert y.mean() == pytest.approx(1.0, abs=0.01)
    assert np.mean(mask == 0.0) == pytest.approx(0.3, abs=0.01)


def test_noise_at_the_rate_is_kept():
    mask = F.dropout_mask(np.array([0.5, np.nextafter(0.5, 0)]), 0.5, np.ones(2))
    assert mask.tolist() == [2.0, 0.0]
