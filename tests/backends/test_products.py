"""Products: how 16-bit floats add up, and how exactly float32 is multiplied."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from overlaps import ORDERS, overlap

from xpnn import Network, select
from xpnn.backends import PRECISIONS, dtype_name, matmul, matmul_precision, to_host
from xpnn.layers import Dense
from xpnn.training import Callback, options

HALVES = [
    ("numpy", "float16"), ("cupy", "float16"), ("torch", "float16"), ("torch", "bfloat16"),
    ("jax", "float16"), ("jax", "bfloat16"),
]  # fmt: skip


@pytest.fixture(params=HALVES, ids="-".join)
def half(request, use_library):
    """Each library in 16 bits."""
    name, dtype = request.param
    use_library(name)
    return select(name, dtype=dtype)


# Sums of 16-bit products


def test_products_of_16_bits_add_up_in_float32(half):
    """In 16 bits the sum of ones stands still at 2048 (float16) or 256 (bfloat16)."""
    ones = half.asarray(np.ones((2, 4096)))
    found = matmul(ones, ones.T, half.xp)
    assert dtype_name(found.dtype) == "float32"
    assert to_host(found).tolist() == [[4096.0, 4096.0], [4096.0, 4096.0]]


def test_one_factor_of_16_bits(half):
    ones = half.asarray(np.ones((2, 3)))
    found = matmul(ones, half.asarray(np.full((3, 1), 1 / 3), "float32"), half.xp)
    assert dtype_name(found.dtype) == "float32"
    np.testing.assert_allclose(to_host(found), 1.0, rtol=1e-6)


@pytest.mark.usefixtures("current")
def test_other_products_are_the_librarys_own(backend, assert_close):
    a = np.random.default_rng(0).normal(size=(3, 5))
    assert_close(matmul(backend.asarray(a), backend.asarray(a.T), backend.xp), a @ a.T, backend)


def test_a_dense_layer_adds_up_in_float32_both_ways(half):
    """Forward, and the gradients in input, weights and bias: 4096 terms of 1 each."""
    xp, one, zero = half.xp, half.asarray(np.ones((1, 1))), half.asarray(np.zeros(1))
    row, column = half.asarray(np.ones((1, 4096))), half.asarray(np.ones((4096, 1)))
    y, _ = Dense(1).forward((column, zero), row, None, xp=xp)
    _, (dweights, dbias) = Dense(1).backward((one, zero), (column,), column, xp=xp)
    dx, _ = Dense(4096).backward((row, row[0, :]), (one,), row, xp=xp)
    for found, dtype in ((y, half.dtype), (dx, half.dtype), (dweights, xp.float32),
                         (dbias, xp.float32)):  # fmt: skip
        assert dtype_name(found.dtype) == dtype_name(dtype)
        assert to_host(found).ravel().tolist() == [4096.0]


# The precision of float32


@pytest.fixture
def torch(use_library):
    use_library("torch")
    import torch

    before = torch.get_float32_matmul_precision()
    yield torch
    torch.set_float32_matmul_precision(before)


@ORDERS
@pytest.mark.parametrize("outside", ["highest", "medium"])
@pytest.mark.parametrize("asked", [("highest", "medium"), ("medium", "highest"), ("high", "high")])
def test_pytorch_multiplies_with_the_highest_precision_asked_for(asked, outside, order, torch):
    products = torch.backends.cuda.matmul

    def look():
        return (
            torch.get_float32_matmul_precision(), products.fp32_precision,
            torch.backends.mkldnn.matmul.fp32_precision,
            products.allow_fp16_reduced_precision_reduction,
            products.allow_bf16_reduced_precision_reduction,
        )  # fmt: skip

    torch.set_float32_matmul_precision(outside)
    before = look()
    scopes = [matmul_precision(one, torch) for one in asked]
    first, *held, last = overlap(scopes, order, look, fails=True)
    assert first == last == before
    both = "highest" if "highest" in asked else "high"
    assert [state[0] for state in held] == [asked[0], both, asked[order[1]]]
    assert all(state[3:] == (False, False) for state in held)


def test_pytorchs_newer_settings_come_back_too(torch):
    products, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        with pytest.raises(RuntimeError, match="mix"):
            torch.get_float32_matmul_precision()
        for asked, kinds in {
            "highest": ("ieee", "ieee"), "high": ("tf32", "tf32"), "medium": ("tf32", "bf16"),
        }.items():  # fmt: skip
            own = cpu.fp32_precision
            with matmul_precision(asked, torch):
                assert (products.fp32_precision, cpu.fp32_precision) == kinds
            assert (products.fp32_precision, cpu.fp32_precision) == ("tf32", own)
    finally:
        products.fp32_precision = before
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("asked", "name"),
    [("highest", "float32"), ("high", "tensorfloat32"), ("medium", "bfloat16")],
)
def test_jax_multiplies_as_it_is_told_and_then_as_before(asked, name, use_library):
    use_library("jax")
    import jax

    before = jax.config.jax_default_matmul_precision
    with matmul_precision(asked, jax.numpy):
        assert jax.config.jax_default_matmul_precision == name
        shown = str(jax.make_jaxpr(jax.numpy.matmul)(np.ones((2, 2)), np.ones((2, 2))))
    assert ("Precision.HIGHEST" in shown) == (asked == "highest")
    assert jax.config.jax_default_matmul_precision == before


@pytest.fixture
def cupy(monkeypatch):
    """CuPy's switch for float32 without CuPy, ``now``, and its namespace."""
    now = {"float32": 1}
    linalg = SimpleNamespace(
        COMPUTE_TYPE_DEFAULT=1, COMPUTE_TYPE_TF32=7, get_compute_type=now.__getitem__,
        set_compute_type=now.__setitem__,
    )  # fmt: skip
    for name in ("cupy", "cupy._core"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", linalg)
    return SimpleNamespace(now=now, xp=type("Namespace", (), {"__name__": "cupy"})())


@ORDERS
@pytest.mark.parametrize("outside", [1, 7])  # as CUPY_TF32=1 makes it
@pytest.mark.parametrize(
    ("asked", "kinds"),
    [(("high", "highest"), (7, 1)), (("highest", "medium"), (1, 7)), (("medium", "high"), (7, 7))],
)
def test_cupys_switch_goes_to_tensorfloat_only_if_all_allow_it(asked, kinds, outside, order, cupy):
    cupy.now["float32"] = outside
    scopes = [matmul_precision(one, cupy.xp) for one in asked]
    found = overlap(scopes, order, lambda: cupy.now["float32"], fails=True)
    assert found == [outside, kinds[0], min(kinds), kinds[order[1]], outside]


@pytest.mark.parametrize("name", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("asked", PRECISIONS)
def test_libraries_of_the_host_always_multiply_in_float32(name, asked, use_library):
    use_library(name)
    here = select(name, dtype="float32")
    a = here.asarray(np.random.default_rng(0).normal(size=(4, 4)))
    expected = to_host(here.xp.matmul(a, a))
    with matmul_precision(asked, here.xp):
        assert to_host(here.xp.matmul(a, a)).tobytes() == expected.tobytes()


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'low'; expected one of highest, high, med"):
        matmul_precision("low", np)


def test_a_training_holds_it_while_steps_run_and_no_longer(monkeypatch):
    """Callbacks, and what the user's program does after, are left alone."""
    seen = []

    @contextmanager
    def scope(asked, xp):
        seen.append(asked)
        with matmul_precision(asked, xp):
            yield
        seen.append("over")

    class Look(Callback):
        def on_epoch_end(self, run):
            seen.append("callback")

    monkeypatch.setattr(options, "matmul_precision", scope)
    x = np.random.default_rng(0).normal(size=(8, 2))
    network = Network(2, [3, "tanh", 2], seed=0)
    network.fit(x, [0, 1] * 4, batch_size=4, epochs=2, precision="high", callbacks=[Look()])
    assert seen == ["high", "over", "callback"] * 2
    seen.clear()
    network.fit(x, [0, 1] * 4, batch_size=4, epochs=1)
    assert seen == ["highest", "over"]
