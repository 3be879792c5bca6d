"""Every library and device agrees with NumPy's float64, case by case: what `xpnn check` runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnn.checks import check_backend, deviation, tolerance
from xpnn.checks.cases import CASES


@pytest.mark.parametrize("case", CASES)
def test_case_agrees_with_numpy_float64(backend, case, monkeypatch):
    kept = {case: CASES[case]}
    monkeypatch.setattr("xpnn.checks.agreement.CASES", kept)
    (finding,) = check_backend(backend)
    assert not finding.problem
    assert finding.relative <= finding.allowed, f"{finding.worst} deviates"


def test_tolerance_is_scipys_for_the_dtype():
    for dtype in ("float16", "float32", "float64"):
        assert tolerance(dtype) == 4 * math.sqrt(np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("found", "expected", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.5, 0.5 / 3.0),
        ([2e-6], [1e-6], 1e-6, 0.5),
        ([1e4, 1.1], [1e4, 1.0], 0.1, 0.05),
        ([math.inf], [math.inf], 0.0, 0.0),
        ([math.nan], [math.nan], 0.0, 0.0),
        ([math.nan], [1.0], math.inf, math.inf),
        ([1.0], [math.inf], math.inf, math.inf),
        ([1.0, 1.0], [1.0], math.inf, math.inf),
        ([], [], 0.0, 0.0),
    ],
)
def test_deviation_is_relative_to_the_entry_and_sees_nan_inf_and_shape(
    found, expected, absolute, relative
):
    a, r = deviation(found, expected)
    assert a == pytest.approx(absolute)
    assert r == pytest.approx(relative)
