"""What only a CUDA device can show. The rest of the suite runs on it through the matrix."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import DEVICES, MARKS, STATUS, two_gpus

from xpnn import Network, backends, select
from xpnn import functional as F
from xpnn.backends import matmul, matmul_precision, to_host
from xpnn.layers import Dropout

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
    np.testing.assert_array_equal(to_host(x), X.astype("float32"))


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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_and_memory_report(dtype):
    backend = select("cupy", dtype=dtype)
    x = backend.asarray(np.array([[6e4, -6e4, 0.0]]))
    assert F.softmax(x).dtype == dtype
    assert np.isfinite(to_host(F.softplus(x))).all()
    assert all(memory > 2**20 for memory in STATUS.devices.values())


# TensorFloat-32 and 16 bits

A = GENERATOR.normal(size=(256, 512))


def error(found):
    expected = A @ A.T
    return np.linalg.norm(to_host(found) - expected) / np.linalg.norm(expected)


@pytest.fixture
def modern():
    """Skip where the GPU has no TensorFloat-32."""
    import cupy

    if int(cupy.cuda.Device().compute_capability) < 80:
        pytest.skip("TensorFloat-32 came with compute capability 8.0")


def test_tf32_is_a_choice_and_holds_no_longer_than_asked_for(modern):
    here = select("cupy", dtype="float32")
    a = here.asarray(A)
    found = {}
    for precision in ("highest", "high", "medium"):
        with matmul_precision(precision, here.xp):
            found[precision] = error(matmul(a, a.T, here.xp))
    assert found["highest"] < 1e-6
    for precision in ("high", "medium"):
        assert 1e-5 < found[precision] < 1e-2
    with matmul_precision("highest", here.xp):
        assert error(matmul(a, a.T, here.xp)) < 1e-6


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_learn_where_they_are(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on CuPy needs ml_dtypes")
    here, x = select("cupy", dtype="float32"), GENERATOR.normal(size=(512, 16))
    t = (x[:, 0] * x[:, 1] > 0).astype("int32")
    options = {"epochs": 20, "batch_size": 64, "learning_rate": 0.01}
    expected = Network(16, [32, "relu", 2], seed=0)
    half = Network(16, [32, "relu", 2], seed=0)
    full = expected.fit(here.asarray(x), here.asarray(t), **options)
    history = half.fit(here.asarray(x), here.asarray(t), compute_dtype=dtype, **options)
    assert half.theta.dtype == np.float32
    assert history.loss[-1] == pytest.approx(full.loss[-1], rel=0.1, abs=0.02)
