"""The L2 penalty, and gradients cut to a length."""

from __future__ import annotations

import numpy as np
import pytest

import references
from xpnn import functional as F

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
