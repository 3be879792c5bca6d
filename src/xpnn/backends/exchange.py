"""Memory seen through another library, without a copy.

Which library sees what:

- An object of no library that xpnn knows but with memory on the host (``__dlpack__``) is
  NumPy's.
- One with memory on a GPU (``__dlpack__``, ``__cuda_array_interface__``, or the ``to_cupy``
  of cuDF's columns and frames) is an array of the library that the network or model is in;
  where that is on no GPU, or there is none yet, of CuPy, and where CuPy is not installed of
  PyTorch.
- An array of a known library that is on the same GPU as a network of another is seen through
  the network's library. Everywhere else two libraries in one call stay an error.

Results are arrays of the library that saw the data. All of them have ``__dlpack__``
themselves: ``torch.from_dlpack(network.predict(x))`` copies nothing.

Streams: a library that sees memory through DLPack gives its current stream to the one that
owns it, which lets that stream wait for its own. What is computed on the current stream
afterwards is in order with what was queued before; nothing waits on the host. Where the two
use different streams, the owner's array has to be kept until the results are used: its
library does not know who still reads. `select(...).asarray` copies, and waits for the copy.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.errors import BackendUnavailableError
from xpnn.backends.libraries import LIBRARIES, device_name, library_name, on_device
from xpnn.backends.types import Array, Device, Namespace

HOST, CUDA = 1, 2
# DLPack's numbers: host, CUDA, pinned host memory, memory that CUDA manages.
_KINDS = {1: HOST, 2: CUDA, 3: HOST, 13: CUDA}
# Kinds of memory that go from library to library in place; on the host NumPy's view does it.
SHARED = frozenset({CUDA})
# What an object that cannot be exported, or a library that cannot take it, raises.
_REFUSED = (BufferError, TypeError, ValueError, RuntimeError, NotImplementedError)


def location(x: object) -> tuple[int, int] | None:
    """Find where memory is, as DLPack has it: kind and number; None where nobody says."""
    ask = getattr(x, "__dlpack_device__", None)
    if ask is None or not hasattr(x, "__dlpack__"):
        return None
    try:
        kind, index = ask()
    except _REFUSED:
        return None
    return _KINDS.get(int(kind), 0), int(index)


def _kind_of(device: Device) -> int:
    name = device_name(device).lower()
    return CUDA if name.startswith("cuda") else HOST if name.startswith("cpu") else 0


def adopt(x: object, xp: Namespace | None = None, device: Device = None) -> Array | None:
    """Look at an object of no known library through one of them.

    Parameters
    ----------
    x : object
        Anything.
    xp, device : optional
        Library and device to prefer for memory on a GPU.

    Returns
    -------
    array or None
        Of the same memory; None where the object offers none in a way of these, or NumPy
        can make an array of it by itself.

    Raises
    ------
    TypeError
        The memory is neither on the host nor on a CUDA GPU, or cannot be shared.
    BackendUnavailableError
        It is on a GPU, and neither CuPy nor PyTorch is installed.
    """
    if isinstance(x, list | tuple | int | float | numpy.generic | numpy.ndarray | None):
        return None
    own = type(x)
    try:
        if hasattr(own, "to_cupy"):
            return x.to_cupy()  # type: ignore[attr-defined]
        found = location(x)
        if found is None:
            if not hasattr(own, "__cuda_array_interface__"):
                return None
            return _library(xp, device)[1](x)
        if found[0] == HOST:
            # What makes NumPy arrays by itself may do more than show its memory.
            return None if hasattr(own, "__array__") else numpy.from_dlpack(x)  # type: ignore[arg-type]
        if found[0] == CUDA:
            return _library(xp, device)[0](x)
    except BackendUnavailableError:
        raise
    except _REFUSED as error:
        if "cudaError" in str(error):  # the GPU's trouble, and not the object's
            raise
        raise TypeError(f"a {own.__name__} cannot share its memory: {error}") from error
    raise TypeError(
        f"a {own.__name__} has memory on a device of DLPack's kind "
        f"{x.__dlpack_device__()[0]}; expected the host or a CUDA GPU"  # type: ignore[attr-defined]
    )


def _library(xp: Namespace | None, device: Device) -> tuple[Any, Any]:
    """What of a library sees DLPack's memory, and CUDA's array interface."""
    name = "" if xp is None or _kind_of(device) != CUDA else library_name(xp)
    if name not in ("cupy", "torch", "jax"):
        name = next((n for n in ("cupy", "torch") if LIBRARIES[n].installed()), "cupy")
    library = LIBRARIES[name].load()
    if name == "jax":  # knows no array interface
        return library.from_dlpack, lambda x: library.from_dlpack(_library(None, None)[1](x))
    return library.from_dlpack, library.as_tensor if name == "torch" else library.asarray


def _current(x: Array) -> AbstractContextManager[Any]:
    """Context in which a library exports an array: CuPy and PyTorch want its GPU to be current."""
    if array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        return importlib.import_module("torch").cuda.device(x.device)
    return x.device if array_api_compat.is_cupy_array(x) else nullcontext()


def _compact(x: Array) -> Array:
    """Bring rows into C order where they are: JAX knows no strides, PyTorch no negative ones."""
    if array_api_compat.is_torch_array(x):
        return x.contiguous()
    if array_api_compat.is_cupy_array(x):
        return importlib.import_module("cupy").ascontiguousarray(x)
    return numpy.ascontiguousarray(x) if isinstance(x, numpy.ndarray) else x


def _known_to_both(x: Array, xp: Namespace) -> Array:
    """Widen bfloat16, which NumPy's and CuPy's DLPack do not know, to float32."""
    own = array_api_compat.array_namespace(x)
    if "bfloat16" in str(x.dtype) and {"numpy", "cupy"} & {library_name(own), library_name(xp)}:
        return own.astype(x, own.float32)
    return x


def look(x: Array, xp: Namespace, device: Device, here: bool = False) -> Array | None:
    """Look at an array through another library, where both are on the same kind of device.

    Parameters
    ----------
    x : array
        Of a known library.
    xp, device
        The other library, and the device where its array is wanted.
    here : bool, default False
        Whether only memory of that very device will do.

    Returns
    -------
    array or None
        On the device of `x`, of the same memory (in C order and, in place of a bfloat16 that
        the other does not know, in float32). None where memory cannot be shared, and the
        way through the host is left: a NumPy array and a GPU, or a dtype or library
        without DLPack.
    """
    place = location(x)
    if place is None or place[0] not in SHARED or place[0] != _kind_of(device):
        return None
    if here and place[1] != int(device_name(device).partition(":")[2] or 0):
        return None
    try:
        with _current(x):
            return xp.from_dlpack(_compact(_known_to_both(x, xp)))
    except _REFUSED:
        return None


def settle(x: Array) -> None:
    """Wait for what made an array of another library's memory, which may be freed then.

    The owner's allocator does not know of a copy that is queued on this library's stream.
    """
    if array_api_compat.is_cupy_array(x):
        with x.device:
            importlib.import_module("cupy").cuda.get_current_stream().synchronize()
    elif array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        importlib.import_module("torch").cuda.current_stream(x.device).synchronize()
    elif array_api_compat.is_jax_array(x):
        x.block_until_ready()


def fresh(x: Array, device: Device, dtype: Any = None) -> Array | None:
    """Copy an array to a device of its own library, without the host.

    Parameters
    ----------
    x : array
        Of a known library.
    device : object
        Where to.
    dtype : dtype, optional
        Of the copy; numbers are converted before they travel.

    Returns
    -------
    array or None
        Memory of its own, in C order; None where the library is none of those whose way is
        known.
    """
    if array_api_compat.is_torch_array(x):
        order = importlib.import_module("torch").contiguous_format
        return x.to(device=device, dtype=dtype or x.dtype, copy=True, memory_format=order)
    if array_api_compat.is_cupy_array(x):
        return _fresh_cupy(x, device, dtype)
    if array_api_compat.is_jax_array(x):
        jax = importlib.import_module("jax")
        return jax.device_put(jax.numpy.array(x, dtype=dtype, copy=True), device)
    if type(x).__module__.startswith("array_api_strict"):
        xp = x.__array_namespace__()
        with on_device(x.device):
            return xp.astype(x, dtype or x.dtype, copy=True).to_device(device)
    return None


def _fresh_cupy(x: Array, device: Device, dtype: Any) -> Array:
    cupy = importlib.import_module("cupy")
    if x.device == device:
        with device:
            return cupy.array(x, dtype=dtype, copy=True, order="C")
    # Streams of two GPUs know nothing of each other: the copy waits for what makes `x`, and
    # the memory of `x` for the copy.
    with x.device:
        x = cupy.ascontiguousarray(x if dtype is None else x.astype(dtype, copy=False))
        there = cupy.cuda.get_current_stream()
        made = there.record()
    with device:
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(made)
        found = cupy.empty(x.shape, x.dtype)
        found.data.copy_from_device_async(x.data, x.nbytes, stream)
        copied = stream.record()
    with x.device:
        there.wait_event(copied)
    return found
