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


@pytest.mark.parametrize("seed", [1.5, "1", True, [1], -1])
def test_other_seeds_are_refused(seed):
    error = (ValueError, "expected 0 or more") if seed == -1 else (TypeError, "expected an integer")
    with pytest.raises(error[0], match=rf"seed is .*; {error[1]}"):
        generator(seed)


class AlmostOne:
    def random(self, shape):
        return np.full(shape, np.nextafter(1.0, 0.0))


def test_noise_is_below_one_even_after_rounding():
    noise = uniform_noise(AlmostOne(), (3,))
    assert noise.dtype == np.float32
    assert (noise < 1.0).all()


def make(kind, seed):
    if kind == "RandomState":
        return np.random.RandomState(seed)
    return np.random.Generator(getattr(np.random, kind)(seed))


@pytest.mark.parametrize(
    "kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64", "RandomState"]
)
def test_a_generator_goes_on_from_its_state(kind):
    first, second = make(kind, 1), make(kind, 2)
    first.normal(size=3)
    if kind != "RandomState":
        first.integers(0, 9, 3, dtype="int32")  # leaves half a word behind
    state = json.loads(json.dumps(generator_state(first)))
    restore_generator(second, state)
    assert (first.normal(size=9) == second.normal(size=9)).all()
    assert (first.permutation(9) == second.permutation(9)).all()


def inner(state, **changes):
    return {**state, "state": {**state["state"], **changes}}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("RandomState", lambda s: {}),
        ("RandomState", lambda s: 3),
        ("RandomState", lambda s: {**s, "bit_generator": 3}),
        ("RandomState", lambda s: {k: v for k, v in s.items() if k != "gauss"}),
        ("RandomState", lambda s: {**s, "more": 1}),
        ("RandomState", lambda s: {**s, "gauss": "a"}),
        ("RandomState", lambda s: inner(s, pos=10**4)),  # NumPy would read there
        ("RandomState", lambda s: inner(s, pos=-1)),
        ("RandomState", lambda s: inner(s, key=[0] * 623)),
        ("RandomState", lambda s: inner(s, key=[2**32] * 624)),
        ("PCG64", lambda s: {**s, "uinteger": 2**32}),
        ("PCG64", lambda s: {**s, "state": s["state"]["inc"]}),
        ("PCG64", lambda s: inner(s, inc=2**128)),
        ("Philox", lambda s: {**s, "buffer_pos": 5}),
    ],
)
def test_a_state_that_is_incomplete_or_out_of_range_is_refused(kind, change):
    rng = make(kind, 1)
    state = generator_state(rng)
    with pytest.raises(ValueError, match="state is incomplete, or not one of NumPy's"):
        restore_generator(rng, change(state))
    assert generator_state(rng) == state


@pytest.mark.parametrize("name", ["SFC64", "PCG65"])
def test_a_state_of_another_generator_is_refused(name):
    rng = make("PCG64", 1)
    other = {**generator_state(rng), "bit_generator": name}
    with pytest.raises(ValueError, match=f"state is of a {name}; the generator is a PCG64"):
        restore_generator(rng, other)


class Own(np.random.PCG64):
    """Stands for another package's."""


@pytest.mark.parametrize(
    ("rng", "message"),
    [
        (np.random.Generator(Own(1)), "state of a Generator of Own cannot be saved"),
        (np.random.RandomState(np.random.PCG64(1)), "state of a RandomState of PCG64 cannot be"),
    ],
)
def test_a_generator_that_cannot_be_restored_cannot_be_saved(rng, message):
    with pytest.raises(TypeError, match=message):
        generator_state(rng)
