"""Errors of array libraries and devices, in plain words."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class InputError(ValueError):
    """What the user handed in cannot be used; the message says what came and what is expected.

    Base of the library's errors about input: files, tables, names of backends. The command
    line prints such an error in one line and ends with exit code 2; any other exception is a
    defect, and shows where it happened.
    """


class MissingExtraError(ImportError):
    """A package that is not installed; the message says which extra of xpnn installs it."""


class BackendUnavailableError(RuntimeError):
    """An array library, or a device of it, cannot be used on this machine."""


class MixedArraysError(ValueError):
    """Two arguments of one call belong to different array libraries or devices."""


class DeviceMemoryError(MemoryError):
    """A device is out of memory."""


class DeviceLostError(RuntimeError):
    """A device can be used no more by this process."""


@contextmanager
def device_errors(model_state: str) -> Iterator[None]:
    """Explain a device's errors, and free its memory.

    A DeviceMemoryError says what is free and what needs less, a DeviceLostError that the device
    can be used no more. Messages end in `model_state`: what has become of the model.
    """
    try:
        yield
    except Exception as error:
        first = str(error).strip().partition("\n")[0].rstrip(".")
        if _is_out_of_memory(error):
            _clear_own_frames(error)
            raise DeviceMemoryError(
                f"the device is out of memory: {first}{_free_memory(_library(error))}. A "
                "smaller batch_size needs less, gradient_accumulation_steps=N less for the same "
                f"batch, and rows from xpnn.data.stream(...) stay on the host; {model_state}"
            ) from error
        if _is_lost(error):
            raise DeviceLostError(
                f"the device can be used no more: {first}. Begin a new process, and resume from "
                f"the last checkpoint; {model_state}"
            ) from error
        raise


def is_refusal(error: BaseException) -> bool:
    """Whether CUDA refused what it was asked for, and can still do something else.

    That is an error of CuPy, of CUDA's compiler or of cuBLAS, but for those that say that
    there is no memory, or no device any more.
    """
    return _library(error) in _CUDA and not _is_out_of_memory(error) and not _is_lost(error)


_CUDA = ("cupy", "nvmath", "cuda")
_LIBRARIES = ("numpy", "cupy", "torch", "jax", "array_api_strict")
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
# Raised not by CuPy's pool, but by CUDA for a kernel, a graph or a handle.
_NO_MEMORY = re.compile(
    r"cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
)


def _library(error: BaseException) -> str:
    module = type(error).__module__.partition(".")[0]
    return {"cupy_backends": "cupy", "jaxlib": "jax"}.get(module, module)


def _is_out_of_memory(error: BaseException) -> bool:
    library = _library(error)
    if library == "jax":
        return "RESOURCE_EXHAUSTED" in str(error)
    if library in _CUDA and _NO_MEMORY.search(str(error)):
        return True
    return library in ("cupy", "torch") and type(error).__name__ == "OutOfMemoryError"


def _is_lost(error: BaseException) -> bool:
    return (
        isinstance(error, RuntimeError)
        and _library(error) in (*_CUDA, "torch", "jax", "builtins")
        and _LOST.search(str(error)) is not None
    )


def _clear_own_frames(error: BaseException) -> None:
    """Let go of the arrays in frames of ours and of the array libraries; the user's stay whole."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "xpnn")  # generated code is of no module
        if module.partition(".")[0] in ("xpnn", *_LIBRARIES):
            with suppress(RuntimeError):  # the frame still runs
                frame.clear()


def _free_memory(library: str) -> str:
    """Empty a library's pool of what no array holds; say what the current device has then."""
    module: Any = sys.modules.get(library)
    try:
        if library == "cupy":
            module.get_default_memory_pool().free_all_blocks()
            free, total = module.cuda.runtime.memGetInfo()
        elif library == "torch":
            module.cuda.empty_cache()
            free, total = module.cuda.mem_get_info()
        else:
            return ""
    except Exception:  # a device that fails may answer with any error
        return ""
    return f", {free / 2**30:.2f} of {total / 2**30:.2f} GiB are free"
