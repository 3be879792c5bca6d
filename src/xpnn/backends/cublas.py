"""Matrix products by cuBLAS, from views of memory to the arguments of ``cublasGemmEx``.

cuBLAS reads matrices column by column. Memory that holds a matrix row by row holds its
transpose column by column, so ``out = a @ b`` is asked for as ``out.T = b.T @ a.T``.
"""

from __future__ import annotations

import importlib
import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnn.backends.libraries import Array, Device
from xpnn.backends.products import cupy_takes_tf32

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
"""``cudaDataType_t`` of dtypes."""

COMPUTE_FLOAT32, COMPUTE_FLOAT64, COMPUTE_TF32 = 68, 70, 77  # cublasComputeType_t
_DEFAULT = -1  # cublasGemmAlgo_t: cuBLAS chooses
_MOST = 2**31 - 1
_NO_16_BIT_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION
_NO_ATOMICS = 0
_WORKSPACE = 32 * 2**20  # what NVIDIA recommends for its largest GPUs
# The numbers 1 and 0 that scale a product: cuBLAS reads them at their addresses, in the dtype of
# the sums.
_FACTORS = {kind: numpy.asarray([1.0, 0.0], kind) for kind in ("float32", "float64")}

log = logging.getLogger("xpnn.backends")

NO_GRAPH = (
    "cuBLAS's products join a CUDA graph with nvmath-python, which is not installed "
    '(pip install "xpnn[graphs13]", or graphs12)'
)


def gemm(a: Any, b: Any, out: Any) -> tuple[int, ...] | None:
    """Describe ``out = a @ b`` of matrices for cuBLAS; None where it cannot read them in place.

    Shapes, strides and dtypes count: all of one float dtype, or `out` in float32 where that has
    16 bits. Returned are, of `b`, then of `a`, whether its memory is transposed, then the
    result's columns and rows and the length of the sums, and of `b`, `a` and the result the
    dtype and the leading dimension.
    """
    kinds = [str(x.dtype) for x in (b, a, out)]
    first, second, third = _as_read(b), _as_read(a), _as_read(out)
    if first is None or second is None or third is None or third[0]:
        return None
    halves = kinds[0] in ("float16", "bfloat16") and kinds[2] == "float32"
    if kinds[0] != kinds[1] or not (kinds[2] == kinds[0] or halves) or kinds[0] not in TYPES:
        return None
    sizes = (out.shape[1], out.shape[0], a.shape[1])
    if not 0 < min(sizes) <= max(*sizes, first[1], second[1], third[1]) <= _MOST:
        return None
    one, two, three = (TYPES[kind] for kind in kinds)
    return (first[0], second[0], *sizes, one, first[1], two, second[1], three, third[1])


def call_gemm(
    gemm_ex: Callable[..., Any], handle: int, of: tuple[int, ...], places: Sequence[int], fast: bool
) -> None:
    """Call nvmath-python's ``cublasGemmEx``; `places` are the addresses of a, b and the result.

    Sums are added up in the dtype of the operands, those of 16 bits in float32; `fast` allows
    TensorFloat-32 for float32.
    """
    wide = of[5] == TYPES["float64"]
    compute = COMPUTE_TF32 if fast and of[5] == TYPES["float32"] else COMPUTE_FLOAT32
    factors = _FACTORS["float64" if wide else "float32"]
    one, zero = factors.ctypes.data, factors.ctypes.data + factors.itemsize
    a, b, out = places
    gemm_ex(
        handle, *of[:5], one, b, *of[5:7], a, *of[7:9], zero, out, *of[9:],
        COMPUTE_FLOAT64 if wide else compute, _DEFAULT,
    )  # fmt: skip


def _as_read(x: Any) -> tuple[int, int] | None:
    """Return whether cuBLAS reads the transpose of what it needs, and the leading dimension."""
    rows, columns = x.shape
    if any(s % x.dtype.itemsize for s in x.strides):
        return None
    down, along = (s // x.dtype.itemsize for s in x.strides)
    if (along == 1 or columns == 1) and (rows == 1 or down >= columns):
        return 0, columns if rows == 1 else down
    if (down == 1 or rows == 1) and (columns == 1 or along >= rows):
        return 1, rows if columns == 1 else along
    return None


class Blas:
    """cuBLAS on one GPU, on the stream that is current.

    Through nvmath-python it has a handle, a workspace and settings of its own: no sums in
    16 bits, no atomic additions. CuPy's products, the way without, refuse to be recorded:
    `no_graph` says why a graph cannot record them, and is empty where it can.
    """

    def __init__(self, device: Device) -> None:
        self.cupy, self.device = importlib.import_module("cupy"), device
        self.own: Any = None
        self.no_graph = NO_GRAPH
        try:
            own: Any = importlib.import_module("nvmath.bindings.cublas")
            with device:
                self.handle = int(own.create())
        except ModuleNotFoundError:
            return
        except Exception as error:
            # nvmath-python is there, but not the libraries that it needs.
            self.no_graph = f"nvmath-python has no cuBLAS: {type(error).__name__}: {error}"
            log.warning(self.no_graph)
            return
        self.own, self.no_graph = own, ""
        # Not at the end of the process, when CUDA may be gone already.
        weakref.finalize(self, own.destroy, self.handle).atexit = False
        own.set_math_mode(self.handle, _NO_16_BIT_SUMS)
        own.set_atomics_mode(self.handle, _NO_ATOMICS)
        with device:
            self.workspace = self.cupy.empty(_WORKSPACE, "uint8")

    def bind(self, a: Array, b: Array, out: Array) -> Callable[[], None]:
        """Make a function that does ``out = a @ b``.

        TensorFloat-32 is used while CuPy is told to; see `matmul_precision`.
        """
        of, addresses = gemm(a, b, out), (a.data.ptr, b.data.ptr, out.data.ptr)
        if of is None:
            raise ValueError(f"cuBLAS cannot multiply {a.shape} and {b.shape} as they lie")

        def by_cupy() -> None:
            with self.device:  # 16 bits are widened: CuPy would round the result to 16 bits
                self.cupy.matmul(*(x.astype(out.dtype, copy=False) for x in (a, b)), out=out)

        def by_nvmath(kept: tuple[Array, ...] = (a, b, out)) -> None:
            with self.device:
                # A stream takes the workspace away.
                self.own.set_stream(self.handle, self.cupy.cuda.get_current_stream().ptr)
                self.own.set_workspace(self.handle, self.workspace.data.ptr, _WORKSPACE)
                call_gemm(self.own.gemm_ex, self.handle, of, addresses, cupy_takes_tf32())

        return by_cupy if self.own is None else by_nvmath
