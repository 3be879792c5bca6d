"""Labels to rows of 0 and 1, and the share of labels read right."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import backends
from xpnn import functional as F


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
def test_one_hot(kind, backend, assert_close):
    labels = np.array([0, 2, 1, 2, 4])
    found = F.one_hot(backend.asarray(labels, kind), 4, dtype=backend.dtype)
    assert_close(found, np.eye(5)[labels][:, :4], backend)  # a label out of range: zeros


def test_one_hot_is_of_the_default_float(backend, assert_close):
    found = F.one_hot(backend.asarray([1, 0]), 2)
    expected = backends.default_float(backend.xp, backend.device)
    assert_close(found, [[0, 1], [1, 0]], backend, dtype=expected)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_one_hot_has_more_classes_than_the_dtype_has_numbers(kind):
    found = F.one_hot(np.array([100, 3], kind), 300)
    assert found.argmax(axis=1).tolist() == [100, 3]
    assert found.sum() == 2.0


@pytest.mark.parametrize(
    ("predicted", "labels", "share"),
    [
        ([1, 2, 3, 4], [1, 2, 0, 4], 0.75),
        ([[1, 0], [1, 1]], [[1, 0], [1, 0]], 0.5),  # a row counts where all are right
        ([0], [1], 0.0),
    ],
)
def test_accuracy(predicted, labels, share, backend, assert_close):
    found = F.accuracy(backend.asarray(predicted), backend.asarray(labels))
    assert_close(found, share, backend, dtype=backend.xp.float32)
