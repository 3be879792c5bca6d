"""Rows of a source go to the GPU window by window."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import MARKS

from xpnn import MLPClassifier, Network
from xpnn.data import BlockShuffle, stream

pytestmark = MARKS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(203, 6)).astype("float32")
LABELS = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


def source(*data):
    return stream(*data, shuffle=BlockShuffle(11, 3))


def test_a_network_on_the_gpu_learns_from_a_source():
    here, there = Network(6, [8, "tanh", 3], seed=1), Network(6, [8, "tanh", 3], seed=1)
    there.to("cupy", dtype="float32")
    options = {"epochs": 3, "batch_size": 16, "shuffle": False}
    expected = here.fit(X, LABELS, **options)
    found = there.fit(source(X, LABELS), X_val=source(X, LABELS), **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert type(there.theta).__module__.startswith("cupy")
    proba = there.predict_proba(source(X))
    assert isinstance(proba, np.ndarray)
    np.testing.assert_allclose(proba, here.predict_proba(X), rtol=1e-3, atol=1e-5)


def test_an_estimator_on_the_gpu_learns_from_a_source():
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "shuffle": False}
    expected = MLPClassifier(**options).fit(X, LABELS)
    found = MLPClassifier(**options, backend="cupy").fit(source(X, LABELS))
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-4)
    assert isinstance(found.predict(source(X)), np.ndarray)
    assert found.score(source(X, LABELS)) == pytest.approx(expected.score(X, LABELS), abs=0.02)
