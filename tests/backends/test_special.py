"""The error function, from each library and from standard operations alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from xpnn.backends import erf
from xpnn.backends.special import standard_erf

POINTS = np.concatenate([
    np.linspace(-7, 7, 4001), [0.5, -0.5, 4.0, 1e-300, -1e-10, 0.0, 30.0, -1e4, 1e300],
])  # fmt: skip


@pytest.mark.usefixtures("current")
def test_erf(backend, assert_close):
    x = POINTS[np.abs(POINTS) < 1e38]
    assert_close(erf(backend.asarray(x), backend.xp), special.erf(x), backend)


@pytest.mark.usefixtures("current")
def test_the_standard_form_is_good_to_the_last_digits(backend64):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = standard_erf(backend64.asarray(POINTS), backend64.xp)
    np.testing.assert_allclose(backend64.to_host(found), special.erf(POINTS), rtol=1e-15, atol=0)


def test_the_standard_form_is_odd():
    x = np.linspace(0, 6, 100)
    np.testing.assert_array_equal(standard_erf(-x, np), -standard_erf(x, np))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_stays(dtype):
    assert standard_erf(np.ones(3, dtype), np).dtype == dtype
