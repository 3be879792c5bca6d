"""A device that has no room, or is gone: said in words, and its memory given back."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpnn.backends.errors import DeviceLostError, DeviceMemoryError

# After these a process can do nothing more on the device.
_LOST = re.compile(
    r"cudaError(DevicesUnavailable|NoDevice|ECCUncorrectable|IllegalAddress|LaunchFailure"
    r"|LaunchTimeout|HardwareStackError|MisalignedAddress|NvlinkUncorrectable"
    r"|ContextIsDestroyed|IllegalInstruction|Assert)"
    r"|CUDA_ERROR_(NO_DEVICE|ECC_UNCORRECTABLE|ILLEGAL_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT"
    r"|HARDWARE_STACK_ERROR|MISALIGNED_ADDRESS|NVLINK_UNCORRECTABLE|CONTEXT_IS_DESTROYED"
    r"|ILLEGAL_INSTRUCTION|ASSERT)"
    r"|CUDA error: (an illegal memory access|unspecified launch failure|device-side assert"
    r"|uncorrectable ECC|no CUDA-capable device|all CUDA-capable devices are busy"
    r"|the launch timed out)"
)
# Not by CuPy's pool, but by CUDA for a kernel, a graph or a handle.
_NO_ROOM = re.compile(
    r"cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
)
_ASKED = re.compile(
    r"allocat(?:ing|e) ([\d,]+(?:\.\d+)?) ?(bytes|[KMGT]i?B)?", re.IGNORECASE
)  # fmt: skip


_CUDA = ("cupy", "nvmath", "cuda")


def _library(error: BaseException) -> str:
    module = type(error).__module__.partition(".")[0]
    return {"cupy_backends": "cupy", "jaxlib": "jax"}.get(module, module)


def _is_out_of_memory(error: BaseException) -> bool:
    if _library(error) == "jax":
        return "RESOURCE_EXHAUSTED" in str(error)
    if _library(error) in _CUDA and _NO_ROOM.search(str(error)):
        return True
    return _library(error) in ("cupy", "torch") and type(error).__name__ == "OutOfMemoryError"


def _is_lost(error: BaseException) -> bool:
    return (
        isinstance(error, RuntimeError)
        and _library(error) in (*_CUDA, "torch", "jax", "builtins")
        and _LOST.search(str(error)) is not None
    )


def _give_back(library: str) -> None:
    """Empty the pool of what no array holds any more; the pool itself stays."""
    module: Any = sys.modules.get(library)
    if library == "cupy" and module is not None:
        module.get_default_memory_pool().free_all_blocks()
    elif library == "torch" and module is not None and module.cuda.is_initialized():
        module.cuda.empty_cache()


def _free(library: str) -> str:
    """What is free on the current device, as text; empty where nobody says."""
    try:
        if library == "cupy":
            free, total = importlib.import_module("cupy").cuda.runtime.memGetInfo()
        elif library == "torch":
            free, total = importlib.import_module("torch").cuda.mem_get_info()
        else:
            return ""
    except Exception:  # a device that fails is asked what it has: any answer is a guess
        return ""
    return f", {_gib(free)} of {_gib(total)} are free"


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def _asked(text: str) -> str:
    found = _ASKED.search(text)
    if found is None:
        return "more was asked for than there is"
    number, unit = found[1].replace(",", ""), found[2] or "bytes"
    asked = _gib(float(number)) if unit.lower() == "bytes" else f"{number} {unit}"
    return f"{asked} were asked for"


def is_refusal(error: BaseException) -> bool:
    """Whether CUDA refused what it was asked for, and is fit for something else.

    That is an error of CuPy, of CUDA's compiler or of cuBLAS, but for those that say that
    there is no room, or no device any more.
    """
    mine = _library(error) in _CUDA
    return mine and not _is_out_of_memory(error) and not _is_lost(error)


@contextmanager
def device_errors(then: str) -> Iterator[None]:
    """Say in words what a device's errors mean, and give its memory back.

    Parameters
    ----------
    then : str
        What has become of the model.

    Raises
    ------
    DeviceMemoryError
        Something has no room: says what was asked for, what is free and what needs less.
    DeviceLostError
        The device can be used no more.
    """
    try:
        yield
    except Exception as error:
        library = _library(error)
        if _is_out_of_memory(error):
            # Else the frames of what failed would hold its arrays.
            traceback.clear_frames(error.__traceback__)
            asked = _asked(str(error))
            _give_back(library)
            raise DeviceMemoryError(
                f"the device has no room: {asked}{_free(library)}. A smaller batch_size needs "
                "less, accumulate=N less for the same batch, and rows from xpnn.data.stream(...) "
                f"stay on the host; {then}"
            ) from error
        if _is_lost(error):
            first = str(error).strip().partition("\n")[0]
            raise DeviceLostError(
                f"the device can be used no more: {first}. Begin a new process, and go on from "
                f"the last checkpoint; {then}"
            ) from error
        raise
