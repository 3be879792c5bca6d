"""Dropout: what is kept, how it is scaled, and what its gradient is."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import functional as F

RATES = [0.0, 0.25, 0.5, 0.9]


@pytest.mark.parametrize("rate", RATES)
def test_forward_and_backward(rate, backend, assert_close):
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
