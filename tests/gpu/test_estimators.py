"""The estimators on a CUDA device. What does not need one is in `tests/estimators`."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from gpus import DEVICES, MARKS, two_gpus

from xpnn import MLPClassifier, MLPRegressor, select
from xpnn.backends import device_name, device_of, to_host

pytestmark = MARKS

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(90, 6))
VALUES = X @ GENERATOR.normal(size=(6, 3))
LABELS = VALUES.argmax(axis=1)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 90)
COMMON = {"hidden_layer_sizes": (8,), "random_state": 1, "max_iter": 3, "batch_size": 32}
TASKS = {
    "adam": (MLPClassifier, LABELS, {}),
    "sgd, several labels": (MLPClassifier, (VALUES > 0).astype(int), {"solver": "sgd"}),
    "dropout, early stopping": (
        MLPClassifier, LABELS, {"dropout": 0.3, "early_stopping": True, "monitor": "neg_log_loss"},
    ),
    "values": (MLPRegressor, VALUES, {"weight_decay": 0.01, "clip_norm": 0.5}),
    "counts": (MLPRegressor, np.floor(np.exp(VALUES)), {"loss": "poisson"}),
    "lbfgs": (MLPRegressor, VALUES, {"solver": "lbfgs"}),
}  # fmt: skip


def train(name, x, **options):
    make, y, own = TASKS[name]
    return make(**COMMON | own | options).fit(x, y, sample_weight=WEIGHT)


def weights(model):
    return [*model.coefs_, *model.intercepts_]


def is_on(array, device):
    return device_name(device_of(array)) == device


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", TASKS)
def test_a_fit_ends_where_numpys_does(name, device, cupy, assert_close):
    backend = select("cupy", device, "float64")
    x, expected = backend.asarray(X), train(name, X)
    for current in range(len(DEVICES)):
        with cupy.cuda.Device(current):
            model = train(name, x)
            for found, values in zip(weights(model), weights(expected), strict=True):
                assert isinstance(found, cupy.ndarray)
                assert_close(found, values, backend)
            assert_close(model.transform(x), expected.transform(X), backend)
            assert is_on(model.predict(x), device)
            assert cupy.cuda.Device().id == current
    np.testing.assert_allclose(to_host(model.predict(x)), expected.predict(X), rtol=1e-6)
    assert model.score(x, TASKS[name][1]) == pytest.approx(expected.score(X, TASKS[name][1]))


def test_words_and_weights_on_the_host_rows_on_the_device(cupy):
    names = np.array(["ant", "bee", "cow"])[LABELS]
    model = MLPClassifier(**COMMON).fit(cupy.asarray(X), names, sample_weight=WEIGHT)
    found = model.predict(cupy.asarray(X))
    assert isinstance(found, np.ndarray)
    assert isinstance(model.predict_proba(cupy.asarray(X)), cupy.ndarray)
    assert model.score(cupy.asarray(X), names) == np.mean(found == names)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_same_fit_gives_the_same_bytes(dtype, cupy):
    fits = [train("dropout, early stopping", cupy.asarray(X), dtype=dtype) for _ in range(2)]
    for a, b in zip(*map(weights, fits), strict=True):
        assert a.dtype == dtype
        assert to_host(a).tobytes() == to_host(b).tobytes()


def test_numpy_rows_for_a_model_on_the_device_are_refused(cupy):
    model = train("adam", cupy.asarray(X))
    with pytest.raises(ValueError, match=r"MLPClassifier\.predict\(\) must use the same namespace"):
        model.predict(X)
    assert isinstance(model.to("numpy").predict(X), np.ndarray)
    assert isinstance(model.to("cupy", DEVICES[-1]).coefs_[0], cupy.ndarray)
    assert is_on(model.coefs_[0], DEVICES[-1])


@two_gpus
def test_rows_on_another_device_are_refused():
    near, far = (select("cupy", device).asarray(X) for device in DEVICES[:2])
    with pytest.raises(ValueError, match="the same device as those passed to fit"):
        train("adam", near).predict(far)


@pytest.mark.parametrize("name", TASKS)
def test_rows_that_do_not_fit_go_batch_by_batch(name, cupy, monkeypatch):
    expected = train(name, X)
    at_once = train(name, X, backend="cupy")
    monkeypatch.setenv("XPNN_DEVICE_SHARE", "0")
    streamed = train(name, X, backend="cupy")
    for model in (at_once, streamed):
        assert isinstance(model.coefs_[0], cupy.ndarray)
        found = model.predict(X)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, expected.predict(X), rtol=1e-6)
        for a, b in zip(weights(model), weights(expected), strict=True):
            np.testing.assert_allclose(to_host(a), b, rtol=1e-6, atol=1e-6)


def test_partial_fit_goes_on_after_each_move(cupy):
    model, expected = (MLPClassifier(**COMMON) for _ in range(2))
    for _ in range(3):
        expected.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.to("cupy").partial_fit(cupy.asarray(X), LABELS)
    model.to("numpy").partial_fit(X, LABELS)
    for a, b in zip(weights(model), weights(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


LOAD = """
import pickle, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = pickle.load(open(sys.argv[1], "rb"))
assert any("it is on NumPy now" in str(one.message) for one in caught), caught
np.save(sys.argv[2], model.predict_proba(np.load(sys.argv[2])))
"""


def test_a_pickle_loads_on_a_machine_without_cuda(cupy, tmp_path, monkeypatch):
    model = MLPClassifier(**COMMON)
    for _ in range(2):
        model.partial_fit(cupy.asarray(X), LABELS, classes=[0, 1, 2])
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    again = pickle.loads((tmp_path / "model").read_bytes())
    assert is_on(again.coefs_[0], device_name(device_of(model.coefs_[0])))
    np.save(tmp_path / "rows.npy", X)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path / "model", tmp_path / "rows.npy"], check=True
    )
    expected = to_host(model.predict_proba(cupy.asarray(X)))
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, rtol=1e-6)
