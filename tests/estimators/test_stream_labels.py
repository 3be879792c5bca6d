"""Labels of a source are found, and counted, in all of its blocks."""

from itertools import pairwise

import numpy as np
import pytest
import small

from xpnn import MLPClassifier
from xpnn.data import stream


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classes_are_weighted_by_all_batches():
    x, y, cuts = small.X, np.sort(small.LABELS), [0, 9, 25, 40]  # no batch has all labels
    batches = [(x[a:b], y[a:b]) for a, b in pairwise(cuts)]
    model = MLPClassifier(**small.COMMON, class_weight="balanced", shuffle=False)
    expected = small.weights(model.fit(x, y))
    found = small.weights(model.fit(stream(batches), None))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
