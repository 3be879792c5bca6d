"""Small data and short trainings for the tests of the estimators."""

import numpy as np

from xpnn import MLPClassifier, MLPRegressor
from xpnn.backends import backend_of, to_host

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 4))
SCORES = X @ GENERATOR.normal(size=(4, 3))
TWO, LABELS, SEVERAL = (SCORES[:, 0] > 0).astype(int), SCORES.argmax(axis=1), SCORES > 0
COUNTS = np.floor(np.exp(SCORES))
WEIGHT = GENERATOR.uniform(0.5, 2.0, 40)
COMMON = {"hidden_layer_sizes": (6,), "random_state": 1, "max_iter": 3, "batch_size": 16}


def classifier(y=LABELS, weight=None, **options):
    return MLPClassifier(**COMMON | options).fit(X, y, sample_weight=weight)


def regressor(y=SCORES, weight=None, **options):
    return MLPRegressor(**COMMON | options).fit(X, y, sample_weight=weight)


def weights(model):
    return [*model.coefs_, *model.intercepts_]


def pairs_of_weights(model, expected):
    """Arrays of two models side by side, on the host."""
    pairs = zip(weights(model), weights(expected), strict=True)
    return [(to_host(a), to_host(b)) for a, b in pairs]


def assert_same_bytes(model, expected):
    for a, b in pairs_of_weights(model, expected):
        assert a.tobytes() == b.tobytes()


def is_on(array, backend):
    """Whether an array is on a library and device."""
    found = backend_of(array)
    return (found.name, found.device) == (backend.name, backend.device)
