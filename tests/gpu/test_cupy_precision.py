"""16 bits and TensorFloat-32 on a GPU; the rest of it runs there through the matrix."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import MARKS

from xpnn import Network, select
from xpnn.backends import matmul, matmul_precision, to_host

pytestmark = MARKS

GENERATOR = np.random.default_rng(0)
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
