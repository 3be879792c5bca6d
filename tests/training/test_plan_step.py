"""What a step is made of, in whatever it computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import select
from xpnn.layers import Layer

X = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
LABELS = np.arange(40) % 3


def plan(x=X, layers=(8, "relu", 3), **options):
    network = Network(5, list(layers), seed=0, dtype="float32")
    before = np.array(network.theta)
    made = network.plan_step(x, LABELS, **options)
    np.testing.assert_array_equal(network.theta, before)
    return made.describe()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_in_16_bits(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    text = plan(compute_dtype=dtype)
    assert f" {dtype}[" in text
    assert "theta        float32[" in text
    # A scale that adapts itself is state: scale, good steps, skipped steps.
    assert ("state 4 " in text) == (dtype == "float16")
    assert "float16" not in plan()


def test_a_scale_of_ones_own_is_no_state():
    text = plan(compute_dtype="float16", loss_scale=1024.0)
    assert "state 2 " not in text
    assert " 1024)" in text


@dataclass(frozen=True)
class Sorted(Layer):
    """A layer with an operation that the engine has no rule for."""

    def forward(self, params, x, noise, *, xp):
        return xp.sort(x), ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy, ()


def test_a_step_without_a_plan_says_what_lacks_a_rule():
    with pytest.raises(ValueError, match=r"the step has no plan: .* no rule for sort"):
        plan(layers=(8, Sorted(), 3))


def test_other_libraries_have_none(use_library):
    use_library("array_api_strict")
    here = select("array_api_strict", dtype="float32")
    with pytest.raises(ValueError, match="only steps on arrays of NumPy and CuPy"):
        Network(5, [8, "relu", 3], seed=0).plan_step(here.asarray(X), here.asarray(LABELS, "int64"))
