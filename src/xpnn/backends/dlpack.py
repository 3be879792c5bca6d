"""Memory of one library as an array of another, without a copy.

- Memory on the host of an object of no library that xpnn knows becomes a NumPy array.
- Memory on a GPU of such an object becomes an array of the library that the network or model is
  in; where that is on no GPU, or there is none yet, of CuPy, and without CuPy of PyTorch.
- An array of a known library that is on the same GPU as a network of another becomes one of the
  network's library. Everywhere else two libraries in one call are an error.

Results are arrays of the library that read the data. All of them have ``__dlpack__``
themselves: ``torch.from_dlpack(network.predict(x))`` copies nothing.

Streams: a library that imports memory through DLPack gives its current stream to the one that
owns it, which lets that stream wait for its own; nothing waits on the host. Where the two use
different streams, the owner's array has to be kept until the results are used: its library
does not know who still reads. `select(...).asarray` copies, and waits for the copy.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.errors import BackendUnavailableError
from xpnn.backends.libraries import LIBRARIES, device_name, library_name
from xpnn.backends.types import Array, Device, Namespace

HOST, CUDA = 1, 2
# DLPack's device types: host, CUDA, pinned host memory, memory that CUDA manages.
_KINDS = {1: HOST, 2: CUDA, 3: HOST, 13: CUDA}
# Kinds of memory that libraries share in place; on the host NumPy's view is as short a way.
SHARED = frozenset({CUDA})
# What an object that cannot be exported, or a library that cannot take it, raises.
_REFUSED = (BufferError, TypeError, ValueError, RuntimeError, NotImplementedError)


def from_dlpack(x: object, xp: Namespace | None = None, device: Device = None) -> Array | None:
    """Make an array of the memory of an object that is of no known library.

    Parameters
    ----------
    x : object
        With ``__dlpack__``, ``__cuda_array_interface__``, or the ``to_cupy`` of cuDF's columns
        and frames.
    xp, device : optional
        Library and device to prefer for memory on a GPU.

    Returns
    -------
    array or None
        Shares its memory with `x`; None for everything else, and for what NumPy can make an
        array of by itself.

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
        found = _location(x)
        if found is None:
            if not hasattr(own, "__cuda_array_interface__"):
                return None
            return _importers(xp, device)[1](x)
        if found[0] == HOST:
            # What makes NumPy arrays by itself may do more than show its memory.
            return None if hasattr(own, "__array__") else numpy.from_dlpack(x)  # type: ignore[arg-type]
        if found[0] == CUDA:
            return _importers(xp, device)[0](x)
    except BackendUnavailableError:
        raise
    except _REFUSED as error:
        if "cudaError" in str(error):  # the GPU has failed, and not the object
            raise
        raise TypeError(f"a {own.__name__} cannot share its memory: {error}") from error
    raise TypeError(
        f"a {own.__name__} has memory on a device of DLPack's type "
        f"{x.__dlpack_device__()[0]}; expected the host or a CUDA GPU"  # type: ignore[attr-defined]
    )


def view_as(x: Array, xp: Namespace, device: Device, same_device: bool = False) -> Array | None:
    """View an array through another library, where both are on the same kind of device.

    The view is on the device of `x`, and of its memory (in C order; a bfloat16 that the other
    does not know in float32). None where only the way through the host is left or, with
    `same_device`, where `x` is not on that very device.
    """
    found = _location(x)
    if found is None or found[0] not in SHARED or found[0] != _kind_of(device):
        return None
    if same_device and found[1] != int(device_name(device).partition(":")[2] or 0):
        return None
    try:
        with _exporting(x):
            return xp.from_dlpack(_compact(_known_to_both(x, xp)))
    except _REFUSED:
        return None


def _location(x: object) -> tuple[int, int] | None:
    """Return kind and number of the device of some memory; None where `x` does not say."""
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


def _importers(xp: Namespace | None, device: Device) -> tuple[Any, Any]:
    """Return a library's functions for DLPack, and for CUDA's array interface."""
    name = "" if xp is None or _kind_of(device) != CUDA else library_name(xp)
    if name not in ("cupy", "torch", "jax"):
        name = next((n for n in ("cupy", "torch") if LIBRARIES[n].installed()), "cupy")
    library = LIBRARIES[name].load()
    if name == "jax":  # knows no array interface
        return library.from_dlpack, lambda x: library.from_dlpack(_importers(None, None)[1](x))
    return library.from_dlpack, library.as_tensor if name == "torch" else library.asarray


def _exporting(x: Array) -> AbstractContextManager[Any]:
    """Make the GPU of an array current, which CuPy and PyTorch want while they export it."""
    if array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        return importlib.import_module("torch").cuda.device(x.device)
    return x.device if array_api_compat.is_cupy_array(x) else nullcontext()


def _compact(x: Array) -> Array:
    """Copy to C order where needed: JAX knows no strides, PyTorch no negative ones."""
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
