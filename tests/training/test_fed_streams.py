"""Rows of a source, and rows without room, go to a device through a feeder, on fake streams."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import races
import unread
from xpnn import MLPClassifier, Network, backends, select
from xpnn.backends import backend_of, to_host
from xpnn.data import BlockShuffle, stream

strict = pytest.importorskip("array_api_strict")
ARRAY = type(strict.zeros(1))
HERE = select("array_api_strict", "device1")
DEVICE = HERE.device

RNG = np.random.default_rng(0)
X = RNG.normal(size=(103, 4)).astype("float32")
LABELS = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)
WEIGHT = RNG.uniform(0.5, 2.0, 103)


def replace_everywhere(monkeypatch, name, function):
    """Put a function in the place of another wherever that was imported."""
    modules = [module for key, module in sys.modules.items() if key.startswith("xpnn.")]
    found = [module for module in modules if callable(vars(module).get(name))]
    assert found
    for module in found:
        monkeypatch.setattr(module, name, function)


@pytest.fixture
def door(monkeypatch):
    """Feeders on fake streams for array-api-strict, whose operations read as steps do."""
    found = races.Streams(lambda a: ARRAY._new(a, device=DEVICE), lambda a: a._array)

    def feeder_for(xp, device):
        return backends.Feeder(found) if xp is strict and device == DEVICE else None

    replace_everywhere(monkeypatch, "feeder_for", feeder_for)
    for name in ("take", "matmul", "astype"):
        _read_by(monkeypatch, name, found)
    return found


def _read_by(monkeypatch, name, door):
    own = getattr(strict, name)

    def reading(x, *others, **options):
        for array in (x, *others):
            if isinstance(array, ARRAY):
                door.reads(array)
        return own(x, *others, **options)

    monkeypatch.setattr(strict, name, reading)


def copies(door):
    return sum(who == "copies" and how == "write" for who, how, *_ in door.log)


def source(*data, **options):
    return stream(*data, shuffle=BlockShuffle(11, 3), **options)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_network_learns_from_a_source_as_from_an_array(weighted, door):
    weight = WEIGHT if weighted else None
    options = {"epochs": 3, "batch_size": 8, "shuffle": False}
    here, there = (Network(4, [8, "tanh", 3], seed=1) for _ in range(2))
    there.to("array_api_strict", "device1", "float32")
    here.to("numpy", dtype="float32")
    expected = here.fit(X, LABELS, sample_weight=weight, **options)
    rows = source(X, LABELS, weight=weight)
    found = there.fit(rows, X_val=source(X, LABELS), **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(to_host(there.theta), here.theta, rtol=1e-4, atol=1e-6)
    assert copies(door) > 3 * 2 * 3  # epochs, columns, windows
    np.testing.assert_allclose(
        there.predict_proba(source(X)), here.predict_proba(X), rtol=1e-3, atol=1e-5
    )


def test_labels_are_looked_at_on_the_host(door, monkeypatch):
    """Nothing of a window is read back: the device is not waited for."""
    reads = unread.Reads(monkeypatch, "array_api_strict", ARRAY)

    def train(times):
        network = Network(4, [8, "tanh", 3], seed=1, backend=HERE)
        network.fit(source(np.tile(X, (times, 1)), np.tile(LABELS, times)), epochs=1, batch_size=8)

    assert reads.during(train, 3) == reads.during(train, 1) > 0


@pytest.mark.parametrize("wrong", [7, -1])
def test_a_wrong_label_is_still_named(wrong, door):
    network = Network(4, [3], seed=1, backend=HERE)
    labels = np.where(np.arange(103) == 50, wrong, LABELS)
    with pytest.raises(ValueError, match=r"rows 33 to 65: y holds"):
        network.fit(source(X, labels), epochs=1, batch_size=11, shuffle=False)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("from_source", [False, True])
def test_an_estimators_rows_go_batch_by_batch(from_source, door, monkeypatch):
    replace_everywhere(monkeypatch, "fits", lambda *which: False)
    options = {
        "hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "shuffle": not from_source,
        "batch_size": 16, "dtype": "float32",
    }  # fmt: skip
    expected = MLPClassifier(**options).fit(X, LABELS)
    model = MLPClassifier(**options, backend="array_api_strict", device="device1")
    model.fit(*([source(X, LABELS)] if from_source else [X, LABELS]))
    assert backend_of(model.coefs_[0]).device == DEVICE
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-4)
    assert copies(door) >= 3 * 3
    sent = copies(door)
    found = model.predict_proba(source(X) if from_source else X)
    assert copies(door) > sent
    np.testing.assert_allclose(to_host(found), expected.predict_proba(X), rtol=1e-3, atol=1e-5)


def test_the_check_sees_a_copy_that_is_not_waited_for(door, monkeypatch):
    monkeypatch.setattr(door, "let_steps_wait", lambda mark: None)
    network = Network(4, [3], seed=1, backend=HERE)
    with pytest.raises(races.RaceError, match="may still be written by copies"):
        network.fit(source(X, LABELS), epochs=1, batch_size=8)
