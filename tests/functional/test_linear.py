"""The weighted sum and its backward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import functional as F


def draw(rows, inputs, outputs, seed=0):
    generator = np.random.default_rng(seed)
    sizes = ((rows, inputs), (inputs, outputs), (outputs,), (rows, outputs))
    return [generator.normal(size=size) for size in sizes]


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
