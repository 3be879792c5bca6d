"""The one host generator, and the noise drawn from it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnn.backends import generator, generator_state, restore_generator, uniform_noise


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


KINDS = ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"]


@pytest.mark.parametrize("kind", [*KINDS, "RandomState"])
def test_a_generator_goes_on_from_its_state(kind):
    def make(seed):
        if kind == "RandomState":
            return np.random.RandomState(seed)
        return np.random.Generator(getattr(np.random, kind)(seed))

    first, second = make(1), make(2)
    first.normal(size=3)
    if kind != "RandomState":
        first.integers(0, 9, 3, dtype="int32")  # leaves half a word behind
    state = json.loads(json.dumps(generator_state(first)))
    restore_generator(second, state)
    assert (first.normal(size=9) == second.normal(size=9)).all()
    assert (first.permutation(9) == second.permutation(9)).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {},
        lambda s: 3,
        lambda s: {**s, "bit_generator": 3},
        lambda s: {k: v for k, v in s.items() if k != "gauss"},
        lambda s: {**s, "more": 1},
        lambda s: {**s, "state": {**s["state"], "pos": 10**4}},  # NumPy would read there
        lambda s: {**s, "state": {**s["state"], "pos": -1}},
        lambda s: {**s, "state": {**s["state"], "key": [0] * 623}},
        lambda s: {**s, "state": {**s["state"], "key": [2**32] * 624}},
        lambda s: {**s, "gauss": "a"},
    ],
)
def test_a_state_that_is_incomplete_is_refused(change):
    source = np.random.RandomState(1)
    state = generator_state(source)
    with pytest.raises(ValueError, match="state is incomplete, or not one of NumPy's"):
        restore_generator(source, change(state))
    assert generator_state(source) == state


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {**s, "uinteger": 2**32},
        lambda s: {**s, "state": {**s["state"], "inc": 2**128}},
        lambda s: {**s, "state": s["state"]["inc"]},
    ],
)
def test_values_out_of_range_are_refused(change):
    rng = np.random.default_rng(1)
    state = generator_state(rng)
    with pytest.raises(ValueError, match="state is incomplete, or not one of NumPy's"):
        restore_generator(rng, change(state))
    assert generator_state(rng) == state


def test_a_position_outside_its_table_is_refused():
    rng = np.random.Generator(np.random.Philox(1))
    with pytest.raises(ValueError, match="state is incomplete"):
        restore_generator(rng, {**generator_state(rng), "buffer_pos": 5})


def test_a_state_of_another_generator_is_refused():
    rng = np.random.default_rng(1)
    for name in ("SFC64", "PCG65"):
        other = {**generator_state(rng), "bit_generator": name}
        with pytest.raises(ValueError, match=f"state is of a {name}; the generator is a PCG64"):
            restore_generator(rng, other)
    with pytest.raises(TypeError, match="state of a RandomState of PCG64 cannot be saved"):
        generator_state(np.random.RandomState(np.random.PCG64(1)))


def test_a_generator_that_is_not_numpys_cannot_be_saved():
    class Own(np.random.PCG64):
        """Stands for another package's."""

    with pytest.raises(TypeError, match="state of a Generator of Own cannot be saved"):
        generator_state(np.random.Generator(Own(1)))
