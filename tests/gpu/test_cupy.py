"""What only a CUDA device can show. The rest of the suite runs on it through the matrix."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from gpus import DEVICES, MARKS, STATUS, two_gpus

from xpnn import Network, backends, select
from xpnn import functional as F
from xpnn.layers import Dropout
from xpnn.optimizers import Adam

pytestmark = MARKS

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(90, 6))
LABELS = (X @ GENERATOR.normal(size=(6, 3))).argmax(axis=1)


def make(**options):
    return Network(6, [16, "tanh", Dropout(0.2), 3], **{"seed": 1} | options)


@pytest.mark.parametrize("device", DEVICES)
def test_arrays_go_where_they_are_told(device, cupy):
    backend = select("cupy", device, "float32")
    x = backend.asarray(X)
    assert isinstance(x, cupy.ndarray)
    assert backends.device_name(backends.device_of(x)) == device
    assert x.dtype == np.float32
    np.testing.assert_array_equal(backends.to_host(x), X.astype("float32"))


@pytest.mark.parametrize("device", DEVICES)
def test_the_current_device_does_not_matter_and_does_not_change(device, cupy):
    """CuPy makes new arrays on the current device, wherever the others are."""
    for current in range(len(DEVICES)):
        with cupy.cuda.Device(current):
            backend = select("cupy", device, "float64")
            x, t = backend.asarray(X), backend.asarray(LABELS)
            network = make()
            network.fit(x, t, epochs=1, validation_fraction=0.2, l2=0.01)
            outputs = [
                network.theta, network.scores(x), network.predict(x), network.predict_proba(x),
                *network.evaluate(x, t), F.softmax(x), F.one_hot(t, 3),
                F.softmax_cross_entropy(x, t)[0], network.scores(backend.asarray(X[0])),
            ]  # fmt: skip
            for array in outputs:
                assert backends.device_name(backends.device_of(array)) == device
            assert cupy.cuda.Device().id == current


@two_gpus
def test_two_devices_are_an_error_that_names_both():
    near, far = (select("cupy", device).asarray(X) for device in DEVICES[:2])
    with pytest.raises(
        backends.MixedArraysError, match="x is on device cuda:0 and weights on cuda"
    ):
        F.linear(near, far)


def test_numpy_and_cupy_are_an_error_that_names_both():
    with pytest.raises(backends.MixedArraysError, match="X is an array of cupy and y of numpy"):
        make().fit(select("cupy").asarray(X), LABELS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_ends_where_numpy_ends(dtype, assert_close):
    options = {"epochs": 3, "batch_size": 32, "l2": 1e-3, "validation_fraction": 0.2}
    expected = make()
    expected.fit(X, LABELS, **options)
    backend = select("cupy", dtype=dtype)
    network = make()
    network.fit(backend.asarray(X), backend.asarray(LABELS), **options)
    assert_close(network.theta, expected.theta, backend)


@pytest.fixture
def reads(cupy, monkeypatch):
    """Counts every way to read a value of a CuPy array on the host: each waits for the GPU."""
    counted = Counter()

    def count(name):
        own = getattr(cupy.ndarray, name)

        def counting(self, *args, **kwargs):
            counted[name] += 1
            return own(self, *args, **kwargs)

        monkeypatch.setattr(cupy.ndarray, name, counting)

    for name in ("get", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"):
        count(name)
    return counted


def count(rows, reads):
    backend = select("cupy", dtype="float32")
    x, t = backend.asarray(np.resize(X, (rows, 6))), backend.asarray(np.resize(LABELS, rows))
    reads.clear()
    make().fit(x, t, epochs=2, batch_size=8, optimizer=Adam(0.01))
    return reads.total()


def test_host_reads_do_not_grow_with_the_steps_of_an_epoch(reads):
    assert count(16, reads) == count(80, reads) == count(400, reads) > 0


def test_training_on_a_stream_of_ones_own(cupy, assert_close):
    """Work goes to the caller's current stream, and results are whole when it is done."""
    backend = select("cupy", dtype="float64")
    expected = make()
    expected.fit(X, LABELS, epochs=2, batch_size=32)
    stream = cupy.cuda.Stream(non_blocking=True)
    network = make()
    with stream:
        network.fit(backend.asarray(X), backend.asarray(LABELS), epochs=2, batch_size=32)
        assert cupy.cuda.get_current_stream() == stream
    stream.synchronize()
    assert_close(network.theta, expected.theta, backend)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_and_memory_report(dtype):
    backend = select("cupy", dtype=dtype)
    x = backend.asarray(np.array([[6e4, -6e4, 0.0]]))
    assert F.softmax(x).dtype == dtype
    assert np.isfinite(backends.to_host(F.softplus(x))).all()
    assert all(memory > 2**20 for memory in STATUS.devices.values())
