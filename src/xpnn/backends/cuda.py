"""A GPU's memory, kernels and graphs, through CuPy.

The engine needs no more than `CupyDevice` has; the tests replace it by a class that does the
same on the host, with the kernels compiled by its compiler.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from xpnn.backends.cublas import Blas
from xpnn.backends.libraries import Array, Device
from xpnn.backends.transfer import send


class CupyDevice:
    """One GPU.

    Everything goes to the stream that is current, so it is in order with what the user
    does there; memory comes from CuPy's pool.
    """

    def __init__(self, device: Device) -> None:
        self.cupy = importlib.import_module("cupy")
        self.device = device

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Make an uninitialised array."""
        with self.device:
            return self.cupy.empty(shape, dtype)

    def put(self, values: Any, place: Array) -> None:
        """Copy from the host, in order with what is queued; `values` may change afterwards."""
        with self.device:
            send(values, place, self.cupy.cuda.get_current_stream())

    def copy(self, array: Array, place: Array) -> None:
        """Copy between arrays of one shape and dtype."""
        with self.device:
            self.cupy.copyto(place, array)

    def address(self, array: Array) -> int:
        """Where an array begins."""
        return int(array.data.ptr)

    def view(
        self, raw: Array, offset: int, shape: tuple[int, ...], dtype: Any, strides: Sequence[int]
    ) -> Array:
        """View memory, which is kept alive, as an array; offset and strides are in bytes."""
        return self.cupy.ndarray(shape, dtype, memptr=raw.data + offset, strides=tuple(strides))

    @cached_property
    def blas(self) -> Blas:
        """CuBLAS on this GPU."""
        return Blas(self.device)

    def compile(self, source: str) -> Callable[..., Callable[[], None]]:
        """Compile kernels; the result makes a function that starts one of them.

        Products and sums stay two roundings, as on the host: only ``fma`` is one.
        """
        with self.device:
            module = self.cupy.RawModule(code=source, options=("-std=c++17", "--fmad=false"))
            module.compile()

        def bind(name: str, blocks: int, threads: int, arrays: list[Array]) -> Callable[[], None]:
            kernel, arguments = module.get_function(name), tuple(arrays)
            return lambda: kernel((blocks,), (threads,), arguments)

        return bind

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record launches as a CUDA graph, which starts them all at once.

        `work` launches kernels on the current stream, and does nothing else. The result starts
        the graph on the stream that is current then.
        """
        stream = self.cupy.cuda.Stream(non_blocking=True)
        with self.device, stream:
            stream.begin_capture()
            try:
                work()
            finally:
                graph = stream.end_capture()

        def start(kept: Callable[[], None] = work) -> None:
            graph.launch()  # it knows addresses only: `kept` holds the memory

        return start


class NcclRing:
    """GPUs that add up a vector among themselves: this process is `rank` of `size`.

    `unique` is what `new_id` gave to one of the processes; `like` is an array on this one's GPU.
    """

    def __init__(self, size: int, unique: Any, rank: int, like: Array) -> None:
        self.cupy = importlib.import_module("cupy")
        nccl = importlib.import_module("cupy.cuda.nccl")
        self.kinds = {"f": nccl.NCCL_FLOAT32, "d": nccl.NCCL_FLOAT64, "e": nccl.NCCL_FLOAT16}
        self.add = nccl.NCCL_SUM
        with like.device:
            self.ring = nccl.NcclCommunicator(size, unique, rank)

    @staticmethod
    def missing() -> str:
        """Say why NCCL cannot be used; empty where it can."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy warns of what is said here
            try:
                nccl = importlib.import_module("cupy.cuda.nccl")
                if not nccl.available:
                    return "NCCL is not installed"
                nccl.get_version()
            except (ImportError, AttributeError, RuntimeError) as error:
                return f"NCCL is not there: {error}"
        return ""

    @staticmethod
    def new_id() -> Any:
        """Make what the processes of one ring know each other by."""
        return importlib.import_module("cupy.cuda.nccl").get_unique_id()

    @staticmethod
    def place(array: Array) -> str:
        """Name the GPU of an array, different from all others of all machines."""
        runtime = importlib.import_module("cupy").cuda.runtime
        found = runtime.getDeviceProperties(array.device.id)
        return f"{found.get('uuid', b'')!r} {found.get('pciBusID')} {os.uname().nodename}"

    def sum(self, vector: Array) -> Array:
        """Add up over all GPUs; queued on the current stream like everything else."""
        with vector.device:
            source = self.cupy.ascontiguousarray(vector)
            found = self.cupy.empty_like(source)
            stream = self.cupy.cuda.get_current_stream()
            self.ring.allReduce(
                source.data.ptr, found.data.ptr, source.size, self.kinds[source.dtype.char],
                self.add, stream.ptr,
            )  # fmt: skip
        return found
