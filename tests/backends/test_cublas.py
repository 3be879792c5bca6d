"""What cuBLAS is asked for, held against NumPy: a stand-in multiplies as cuBLAS does."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import types
from unittest.mock import Mock

import numpy as np
import pytest

from xpnn.backends import cublas, named_dtype
from xpnn.backends.cublas import call_gemm, gemm

KINDS = {number: name for name, number in cublas.TYPES.items()}
HANDLE = 7


def read(address, kind, rows, columns, leading, transposed):
    """See memory column by column, as cuBLAS does."""
    if transposed:
        return read(address, kind, columns, rows, leading, False).T
    assert leading >= max(rows, 1)
    dtype = np.dtype(named_dtype(KINDS[kind], np))
    size = (leading * (columns - 1) + rows) * dtype.itemsize
    raw = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(
        raw, (rows, columns), (dtype.itemsize, leading * dtype.itemsize)
    )


def gemm_ex(
    handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype, ldc,
    compute, algo,
):  # fmt: skip
    """``cublasGemmEx`` on the host, with the arguments of nvmath-python and of CuPy."""
    assert handle == HANDLE
    assert algo == -1
    sums = np.float64 if compute == cublas.COMPUTE_FLOAT64 else np.float32
    one, zero = (np.frombuffer((ctypes.c_char * sums().itemsize).from_address(x), sums)[0]
                 for x in (alpha, beta))  # fmt: skip
    assert (one, zero) == (1, 0)
    left = read(a, atype, m, k, lda, transa).astype(sums)
    right = read(b, btype, k, n, ldb, transb).astype(sums)
    result = (left @ right).astype(named_dtype(KINDS[ctype], np))
    size = result.dtype.itemsize
    for column in range(n):  # nothing between the columns may be touched
        ctypes.memmove(c + column * ldc * size, result[:, column].tobytes(), m * size)


def matrix(shape, dtype, order, padding):
    """Make a matrix row by row or column by column, with numbers that are nobody's between."""
    rows, columns = shape if order == "C" else shape[::-1]
    whole = np.random.default_rng(sum(shape)).normal(size=(rows, columns + padding))
    part = whole.astype(dtype)[:, :columns]
    return part if order == "C" else part.T


def multiply(a, b, out, fast=False):
    of = gemm(a, b, out)
    assert of is not None
    call_gemm(gemm_ex, HANDLE, of, [x.ctypes.data for x in (a, b, out)], fast)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("orders", ["CC", "CF", "FC", "FF"])
@pytest.mark.parametrize(
    "sizes", [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 6), (1, 1, 1)]
)
def test_products_are_numpys(sizes, orders, padding):
    n, k, m = sizes
    a, b = matrix((n, k), "float64", orders[0], padding), matrix((k, m), "float64", orders[1], 2)
    whole = np.full((n, m + padding), 77.0)
    multiply(a, b, whole[:, :m])
    np.testing.assert_allclose(whole[:, :m], a @ b, rtol=1e-14)
    assert (whole[:, m:] == 77.0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_16_bits_are_added_up_in_float32(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    half = named_dtype(dtype, np)
    a, b = (matrix(s, half, o, 1) for s, o in (((6, 9), "F"), ((9, 4), "C")))
    for kind in {"float32", dtype}:
        out = np.zeros((6, 4), named_dtype(kind, np))
        multiply(a, b, out)
        expected = a.astype("float32") @ b.astype("float32")
        np.testing.assert_allclose(
            out.astype("float32"), expected.astype(out.dtype).astype("float32"), rtol=1e-6
        )


def test_single_precision_is_tf32_only_where_it_may_be():
    for dtype, fast, expected in [
        ("float32", False, cublas.COMPUTE_FLOAT32), ("float32", True, cublas.COMPUTE_TF32),
        ("float64", True, cublas.COMPUTE_FLOAT64), ("float16", True, cublas.COMPUTE_FLOAT32),
    ]:  # fmt: skip
        a = np.ones((2, 2), dtype)
        asked = Mock()
        call_gemm(asked, 0, gemm(a, a, a), [0, 0, 0], fast)
        assert asked.call_args.args[-2] == expected
        assert asked.call_args.args[8] == cublas.TYPES[dtype]


def test_what_it_cannot_read_is_refused():
    a, out = np.ones((4, 6)), np.zeros((4, 4))
    assert gemm(a[:, ::2], np.ones((3, 4)), out) is None  # a step along both axes
    assert gemm(np.broadcast_to(np.ones((1, 6)), (4, 6)), np.ones((6, 4)), out) is None
    assert gemm(a, np.ones((6, 4), "float32"), out) is None
    assert gemm(a, np.ones((6, 4)), out.T) is None  # results go row by row
    assert gemm(a.astype("float32"), np.ones((6, 4), "float32"), out.astype("float16")) is None
    assert gemm(a.astype("int64"), np.ones((6, 4), "int64"), out.astype("int64")) is None
    assert gemm(a[:0], np.ones((6, 4)), out[:0]) is None


class FakeArray:
    """A NumPy array as CuPy shows one."""

    def __init__(self, values):
        self.values = values
        self.shape, self.strides, self.dtype = values.shape, values.strides, values.dtype
        self.data = types.SimpleNamespace(ptr=values.ctypes.data)

    def astype(self, dtype, copy=True):
        return FakeArray(self.values.astype(dtype, copy=copy))


@pytest.fixture
def calls(monkeypatch):
    """Stand-ins for CuPy and nvmath-python; what they were asked for."""
    made = []

    def noted(name, answer=None):
        return lambda *given: made.append((name, *given)) or answer

    def noted_gemm(*given):
        made.append(("gemm", given[-2]))
        gemm_ex(*given)

    linalg = types.ModuleType("cupy._core._routines_linalg")
    linalg.COMPUTE_TYPE_TF32, linalg.now = 5, 0
    linalg.get_compute_type = lambda dtype: linalg.now
    stream = types.SimpleNamespace(ptr=11)
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(get_current_stream=lambda: stream)
    cupy.empty = lambda size, dtype: FakeArray(np.empty(1, dtype))

    def multiply(a, b, out):
        made.append(("matmul", str(a.values.dtype), str(b.values.dtype)))
        np.matmul(a.values, b.values, out=out.values)

    cupy.matmul = multiply
    own = types.ModuleType("nvmath.bindings.cublas")
    own.create, own.gemm_ex = noted("create", HANDLE), noted_gemm
    for name in ("destroy", "set_stream", "set_workspace", "set_math_mode", "set_atomics_mode"):
        setattr(own, name, noted(name))
    for module in (cupy, linalg, own):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return types.SimpleNamespace(made=made, linalg=linalg, own=own)


def multiply_by(blas, dtype="float32"):
    a, b = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(dtype)
    out = np.zeros((3, 3), "float32")
    start = blas.bind(FakeArray(a), FakeArray(b.T), FakeArray(out))
    np.testing.assert_array_equal(out, 0)
    start()
    np.testing.assert_allclose(out, a.astype("float32") @ b.T.astype("float32"), rtol=1e-6)
    return start


def test_a_handle_of_our_own_has_a_workspace_and_fixed_settings(calls):
    blas = cublas.Blas(contextlib.nullcontext())
    assert blas.no_graph == ""
    assert calls.made == [
        ("create",), ("set_math_mode", HANDLE, 16), ("set_atomics_mode", HANDLE, 0),
    ]  # fmt: skip
    calls.made.clear()
    start = multiply_by(blas)
    place = blas.workspace.data.ptr
    assert calls.made == [
        ("set_stream", HANDLE, 11), ("set_workspace", HANDLE, place, 32 * 2**20),
        ("gemm", cublas.COMPUTE_FLOAT32),
    ]  # fmt: skip
    calls.linalg.now = calls.linalg.COMPUTE_TYPE_TF32
    start()
    assert calls.made[-1] == ("gemm", cublas.COMPUTE_TF32)
    del start, blas
    gc.collect()
    assert calls.made[-1] == ("destroy", HANDLE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_without_nvmath_cupy_multiplies_and_no_graph_records_it(dtype, calls, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", None)
    blas = cublas.Blas(contextlib.nullcontext())
    assert 'pip install "xpnn[graphs13]"' in blas.no_graph
    multiply_by(blas, dtype)
    assert calls.made == [("matmul", "float32", "float32")]


def test_an_nvmath_that_finds_no_cublas_is_said_and_done_without(calls, caplog):
    def create():
        raise RuntimeError("libcublas.so.13 is not there")

    calls.own.create = create
    blas = cublas.Blas(contextlib.nullcontext())
    assert "nvmath-python has no cuBLAS: RuntimeError: libcublas" in blas.no_graph
    assert "libcublas" in caplog.text
    multiply_by(blas)


def test_numbers_and_arguments_are_nvidias():
    bindings = pytest.importorskip(
        "nvmath.bindings.cublas", reason="nvmath-python has NVIDIA's own numbers"
    )
    assert int(bindings.ComputeType.COMPUTE_32F) == cublas.COMPUTE_FLOAT32
    assert int(bindings.ComputeType.COMPUTE_64F) == cublas.COMPUTE_FLOAT64
    assert int(bindings.ComputeType.COMPUTE_32F_FAST_TF32) == cublas.COMPUTE_TF32
    assert int(bindings.Math.DISALLOW_REDUCED_PRECISION_REDUCTION) == cublas._NO_16_BIT_SUMS
    assert int(bindings.AtomicsMode.NOT_ALLOWED) == cublas._NO_ATOMICS
    assert [int(bindings.Operation.N), int(bindings.Operation.T)] == [0, 1]
    assert int(bindings.GemmAlgo.DFALT) == -1
    given = bindings.gemm_ex.__doc__.partition("(")[2].partition(")")[0]
    names = [part.split()[-1] for part in given.split(", ")]
    ours = list(gemm_ex.__code__.co_varnames[: gemm_ex.__code__.co_argcount])
    assert names == [{"compute": "compute_type"}.get(n, n) for n in ours]
