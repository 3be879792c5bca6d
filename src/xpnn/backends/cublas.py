"""Matrix products by cuBLAS, from views of memory to the arguments of ``cublasGemmEx``.

cuBLAS reads matrices column by column. Memory that holds a matrix row by row holds its
transpose column by column, so ``out = a @ b`` is asked for as ``out.T = b.T @ a.T``.
"""

from __future__ import annotations

import importlib
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from xpnn.backends.libraries import Array, Device

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


@dataclass(frozen=True)
class Gemm:
    """What ``cublasGemmEx`` is called with, but for addresses.

    `first` and `second`: whether the memory of `b`, then that of `a`, is transposed, and its
    leading dimension. `sizes`: columns and rows of the result, and length of the sums. `leading`:
    leading dimension of the result. `types`: of `b`, `a` and the result.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    sizes: tuple[int, int, int]
    leading: int
    types: tuple[int, int, int]

    def compute_type(self, fast: bool) -> int:
        """Choose what sums are added up in; `fast` allows TensorFloat-32 for float32."""
        if self.types[0] == TYPES["float64"]:
            return COMPUTE_FLOAT64
        return COMPUTE_TF32 if fast and self.types[0] == TYPES["float32"] else COMPUTE_FLOAT32

    def call(
        self, gemm_ex: Callable[..., Any], handle: int, a: int, b: int, out: int, fast: bool
    ) -> None:
        """Call ``cublasGemmEx``, as CuPy and nvmath-python both have it, with addresses."""
        compute = self.compute_type(fast)
        factors = _FACTORS["float64" if compute == COMPUTE_FLOAT64 else "float32"]
        one, zero = factors.ctypes.data, factors.ctypes.data + factors.itemsize
        gemm_ex(
            handle, self.first[0], self.second[0], *self.sizes, one, b, self.types[0],
            self.first[1], a, self.types[1], self.second[1], zero, out, self.types[2],
            self.leading, compute, _DEFAULT,
        )  # fmt: skip


def gemm(a: Any, b: Any, out: Any) -> Gemm | None:
    """Describe ``out = a @ b`` of matrices for cuBLAS; None where it cannot read them in place.

    Shapes, strides and dtypes count: all of one float dtype, or `out` in float32 where that has
    16 bits.
    """
    kinds = tuple(str(x.dtype) for x in (b, a, out))
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
    return Gemm(first, second, sizes, third[1], (one, two, three))


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
    16 bits, no atomic additions. CuPy's wrapper, the way without, refuses to be recorded:
    `no_graph` says why a graph cannot record its products, and is empty where it can.
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

    def _ready(self) -> tuple[Callable[..., Any], int]:
        """Return ``cublasGemmEx`` and a handle that is on the current stream."""
        if self.own is None:
            wrapper = importlib.import_module("cupy_backends.cuda.libs.cublas")
            return wrapper.gemmEx, self.cupy.cuda.device.get_cublas_handle()
        stream = self.cupy.cuda.get_current_stream().ptr
        self.own.set_stream(self.handle, stream)  # which takes the workspace away
        self.own.set_workspace(self.handle, self.workspace.data.ptr, _WORKSPACE)
        return self.own.gemm_ex, self.handle

    def bind(self, a: Array, b: Array, out: Array) -> Callable[[], None]:
        """Make a function that does ``out = a @ b``.

        TensorFloat-32 is used while CuPy is told to; see `matmul_precision`.
        """
        of = gemm(a, b, out)
        if of is None:
            raise ValueError(f"cuBLAS cannot multiply {a.shape} and {b.shape} as they lie")
        linalg = importlib.import_module("cupy._core._routines_linalg")
        addresses = (a.data.ptr, b.data.ptr, out.data.ptr)

        def multiply(kept: tuple[Array, ...] = (a, b, out)) -> None:
            fast = linalg.get_compute_type("float32") == linalg.COMPUTE_TYPE_TF32
            with self.device:
                of.call(*self._ready(), *addresses, fast)

        return multiply
