"""The one host generator, and the noise drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn.backends import generator, uniform_noise


def test_a_seed_means_the_same_numbers():
    assert generator(5).random() == generator(np.int64(5)).random() == generator(5).random()
    assert generator(5).random() != generator(6).random()
    assert generator().random() != generator().random()


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_generators_are_passed_on(make):
    own = make(0)
    assert generator(own) is own
    assert uniform_noise(own, (2, 3)).shape == (2, 3)


@pytest.mark.parametrize("seed", [1.5, "1", True, [1]])
def test_other_seeds_are_refused(seed):
    with pytest.raises(
        TypeError, match=r"seed is .*; expected an integer, a NumPy generator or No"
    ):
        generator(seed)


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="seed is -1; expected 0 or more"):
        generator(-1)


class AlmostOne:
    def random(self, shape):
        return np.full(shape, np.nextafter(1.0, 0.0))


def test_noise_is_below_one_even_after_rounding():
    noise = uniform_noise(AlmostOne(), (3,))
    assert noise.dtype == np.float32
    assert (noise < 1.0).all()
