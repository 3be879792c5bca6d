"""Initial weights: their distribution, and that a seed fixes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xpnn import functional as F
from xpnn.backends import generator

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
