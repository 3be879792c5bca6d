"""Where arrays are, and how they get elsewhere: every copy between host and device is made here.

What comes from a user goes through `as_array`, what goes to a device through `to_device`, what
comes back through `to_host`. Tensors that require gradients are detached on the way: xpnn
computes gradients itself, and an array that it returns is part of no graph.

Memory that is no array of a known library is taken without a copy, through DLPack:

- Memory on the host of an object of no library that xpnn knows becomes a NumPy array.
- Memory on a GPU of such an object becomes an array of the library that the network or model is
  in; where that is on no GPU, or there is none yet, of CuPy, and without CuPy of PyTorch.
- An array of a known library that is on the same GPU as a network of another becomes one of the
  network's library. Everywhere else two libraries in one call are an error.

A library that imports memory through DLPack gives its current stream to the one that owns it,
which lets that stream wait for its own; nothing waits on the host. Where the two use different
streams, the owner's array has to be kept until the results are used: its library does not know
who still reads. `select(...).asarray` copies, and waits for the copy.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.errors import BackendUnavailableError, InputError
from xpnn.backends.libraries import (
    DTYPES,
    HOST_NAMESPACE,
    LIBRARIES,
    Array,
    ArrayLike,
    Copy,
    Device,
    DType,
    Namespace,
    default_float,
    device_name,
    device_of,
    dtype_name,
    is_array,
    is_floating,
    library_name,
    named_dtype,
    namespace,
    on_device,
    placement,
)


@dataclass(frozen=True)
class Backend:
    """An array library, one of its devices, and the dtype to compute in.

    Parameters
    ----------
    name : str
        Name of the library.
    xp : module
        Its array API namespace.
    device, dtype : object
        Device and floating dtype, as the library has them.
    """

    name: str
    xp: Namespace
    device: Device
    dtype: DType

    def asarray(
        self, values: ArrayLike, dtype: DType | str | None = None, *, copy: Copy = True
    ) -> Array:
        """Copy values to this backend's device.

        Parameters
        ----------
        values : array_like
            Numbers, NumPy array, array of any library, or an object that shares its memory
            through DLPack. What is on a GPU already does not go through the host.
        dtype : dtype or str, optional
            Default: floating values take the backend's dtype, others keep theirs.
        copy : {True, None}, default True
            None passes on an array that is there already in that dtype.

        Returns
        -------
        array
        """
        values = array_of(values, self.xp, self.device)
        if dtype is None and dtype_name(values.dtype).startswith(("float", "bfloat")):
            dtype = self.dtype
        elif isinstance(dtype, str):
            dtype = named_dtype(dtype, self.xp)
        return to_device(values, self.xp, self.device, dtype, copy=copy)

    def to_host(self, x: Array) -> Any:
        """Copy an array to the host as NumPy."""
        return to_host(x)

    @property
    def version(self) -> str:
        """Version of the library."""
        return LIBRARIES[self.name].version()

    def describe(self) -> str:
        """One line for a person: library, version, device and dtype."""
        return f"{self.name} {self.version} on {device_name(self.device)}, {dtype_name(self.dtype)}"

    def __repr__(self) -> str:
        return (
            f"Backend({self.name!r}, device={device_name(self.device)!r}, "
            f"dtype={dtype_name(self.dtype)!r})"
        )


@cache
def _host_backend(dtype: DType) -> Backend:
    floating = dtype_name(dtype) in DTYPES
    return Backend("numpy", HOST_NAMESPACE, "cpu", dtype if floating else numpy.dtype("float64"))


def backend_of(x: Array) -> Backend:
    """Return the library, device and dtype of an array, which is an error if it is none.

    The dtype is the library's default float where `x` does not hold floats.
    """
    if type(x) is numpy.ndarray:
        return _host_backend(x.dtype)
    xp, device = placement(x=x)
    floating = dtype_name(x.dtype) in DTYPES
    return Backend(library_name(xp), xp, device, x.dtype if floating else default_float(xp, device))


# From the user


def as_array(name: str, x: ArrayLike, like: Array | None = None) -> Array:
    """Turn an argument, of this name in errors, into an array of numbers; pass on what is one.

    `x` is an array of any library, an object that shares its memory through DLPack or has
    ``__array__``, a number, or nested lists of numbers. What is no array yet becomes one of
    NumPy's or, with an array `like` that it is used with, one of its library, on its device and,
    where both hold floats, in its dtype: with the memory of `x` where that is possible. An array
    of another library that is on the same GPU as `like` is viewed through its library.

    A TypeError where `x` holds something else than numbers, or rows of different lengths.
    """
    if type(x) is numpy.ndarray and x.dtype.kind in _NUMBERS:
        return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    if like is None or isinstance(x, numpy.ndarray) or type(x) is type(like):
        return _numbers(name, x)
    xp, device = placement(like=like)
    found = _numbers(name, x, xp, device)
    if isinstance(found, numpy.ndarray):
        # A device that has no float64 must not be handed one.
        floats = found.dtype.kind == "f" and is_floating(like, xp)
        return to_device(found, xp, device, like.dtype if floats else None, copy=None)
    if namespace(x=found) is xp:
        return found
    view = view_as(found, xp, device, same_device=True)
    return found if view is None else view


_NUMBERS = "biuf"  # kinds of NumPy's dtypes, and first letters of all libraries'


def _numbers(name: str, x: ArrayLike, xp: Namespace | None = None, device: Device = None) -> Array:
    """Make an array of an argument, and check that it holds numbers."""
    try:
        found = array_of(x, xp, device)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    except ValueError as error:
        raise TypeError(f"{name} is not a rectangular table of numbers: {error}") from None
    host = isinstance(found, numpy.ndarray)
    if host and type(found) is not numpy.ndarray:
        if numpy.ma.is_masked(found):
            raise TypeError(f"{name} has masked values; expected a number in every place")
        found = found.view(numpy.ndarray)  # the rules of subclasses (matrix) are their own
    # ml_dtypes' bfloat16 has kind "V" but counts as a number.
    kind = found.dtype.kind if host else dtype_name(found.dtype)[0]
    if kind in _NUMBERS or dtype_name(found.dtype) == "bfloat16":
        return found
    odd: list[Any] = []
    if host and found is not x:  # of lists the first such value says more
        odd = [v for v in found.ravel().tolist() if not isinstance(v, int | float)]
    what = f"holds {odd[0]!r}" if odd else f"has dtype {found.dtype}"
    raise TypeError(f"{name} {what}; expected numbers")


def array_of(x: ArrayLike, xp: Namespace | None = None, device: Device = None) -> Array:
    """Pass an array on; make one of what shares its memory, of numbers and of lists.

    A tensor leaves its graph, which would else keep all that was computed with it.
    """
    if is_array(x) and not isinstance(x, numpy.generic):
        return x.detach() if array_api_compat.is_torch_array(x) and x.requires_grad else x
    found = from_dlpack(x, xp, device)
    return numpy.asarray(x) if found is None else found


# To the host


def to_host(x: ArrayLike) -> Any:
    """Copy an array to the host as NumPy (no copy where it is there already).

    Takes an array of any library on any device, and anything that `numpy.asarray` takes.
    bfloat16 comes as float32, which NumPy itself knows.
    """
    if isinstance(x, numpy.ndarray) and x.dtype.kind != "V":  # ml_dtypes' bfloat16
        return x
    if not isinstance(x, numpy.generic):
        x = array_of(x)
    if array_api_compat.is_torch_array(x):
        x = x.detach()
        if dtype_name(x.dtype) == "bfloat16":
            x = x.float()
        return x.cpu().numpy()
    if array_api_compat.is_cupy_array(x):
        with x.device:  # the stream that is current there made it
            x = x.get()
    elif type(x).__module__.startswith("array_api_strict"):
        x = x.to_device(importlib.import_module("array_api_strict").Device("CPU_DEVICE"))
    host = numpy.asarray(x)
    return host.astype(numpy.float32) if dtype_name(host.dtype) == "bfloat16" else host


def to_float(x: Array) -> float:
    """Read a 0-d array; on a GPU this waits until everything before it is done."""
    return float(to_host(x))


def host_view(x: Array) -> Any:
    """View an array's memory through NumPy, where NumPy can.

    None for memory on a device, for PyTorch's bfloat16, and for libraries whose arrays never
    change.
    """
    if isinstance(x, numpy.ndarray):
        return x
    if not array_api_compat.is_torch_array(x) or x.device.type != "cpu":
        return None
    return None if dtype_name(x.dtype) == "bfloat16" else x.detach().numpy()


# To a device


def to_device(
    x: ArrayLike, xp: Namespace, device: Device = None, dtype: DType = None, *, copy: Copy = True
) -> Array:
    """Copy host values, or another library's array, to a device.

    An array that is on a device of `xp` already, or on the same kind of GPU, does not go through
    the host: it is copied where it is, or from device to device. Everything else does: numbers,
    NumPy arrays, arrays of any library, objects that share their memory.

    `device` is by default where `x` is if it is an array of that library, else the library's own
    default; `dtype` that of `x`, but 32 bits in place of 64 where the device has no 64-bit
    numbers. With ``copy=None`` an array that is there already, and in that dtype (for NumPy in C
    order, too), is passed on; else the result shares no memory with `x`.

    An InputError where the device has no 64-bit integers, and `x` holds one that needs them.
    """
    if library_name(xp) == "numpy":
        make = numpy.asarray if copy is None else numpy.array
        return make(to_host(x), dtype=dtype, order="C")
    x = array_of(x, xp, device)
    own = not isinstance(x, numpy.ndarray) and namespace(x=x) is xp
    if own and device is None:
        device = device_of(x)
    if own and copy is None and device_of(x) == device:
        if dtype is None or dtype_name(dtype) == dtype_name(x.dtype):
            return x
        with on_device(device):
            return xp.astype(x, dtype)
    if dtype is None:
        dtype = _narrow_dtype(x, xp, device)
    if device is not None and not isinstance(x, numpy.ndarray):
        view = x if own else view_as(x, xp, device)
        found = None if view is None else _copy_to(view, device, dtype)
        if found is not None:
            return found if own else _synchronized(found)
    # Converting on the host keeps float64 away from devices that cannot hold it.
    name = None if dtype is None or dtype_name(dtype) == "bfloat16" else dtype_name(dtype)
    with on_device(device):
        values = numpy.array(to_host(x), dtype=name, order="C")
        return xp.asarray(values, dtype=dtype, device=device)


def scalar(value: float, xp: Namespace, device: Device, dtype: DType) -> Array:
    """Make a 0-d array of a Python number on a device."""
    with on_device(device):
        return xp.asarray(value, dtype=dtype, device=device)


def send(values: Any, target: Array, stream: Any = None) -> None:
    """Queue a copy of a NumPy array to one of CuPy, whose GPU is current.

    Pinned memory has to stay as it is until the copy is done.
    """
    target.set(values, stream=stream)


_NARROW = {"int64": "int32", "uint64": "uint32", "float64": "float32"}


def _narrow_dtype(x: Array, xp: Namespace, device: Device) -> DType | None:
    """Return the dtype with 32 bits where a device knows that and not the 64 bits of `x`.

    Integers that would become others are an error.
    """
    narrow = _NARROW.get(dtype_name(x.dtype))
    if narrow is None:
        return None
    known = xp.__array_namespace_info__().dtypes(device=device)
    if narrow not in known or dtype_name(x.dtype) in known:
        return None
    if narrow != "float32" and math.prod(x.shape):
        host, limits = to_host(x), numpy.iinfo(narrow)
        odd = host.min() if host.min() < limits.min else host.max()
        if odd < limits.min or odd > limits.max:
            raise InputError(
                f"{odd} does not fit into {narrow}, the largest integers of {library_name(xp)} on "
                f"{device_name(device)}; expected integers from {limits.min} to {limits.max}"
            )
    return known[narrow]


def _copy_to(x: Array, device: Device, dtype: DType = None) -> Array | None:
    """Copy an array to a device of its own library, in C order, converted before it travels.

    None where the library is none of those whose way is known.
    """
    if array_api_compat.is_torch_array(x):
        order = importlib.import_module("torch").contiguous_format
        return x.to(device=device, dtype=dtype or x.dtype, copy=True, memory_format=order)
    if array_api_compat.is_cupy_array(x):
        return _copy_to_gpu(x, device, dtype)
    if array_api_compat.is_jax_array(x):
        jax = importlib.import_module("jax")
        return jax.device_put(jax.numpy.array(x, dtype=dtype, copy=True), device)
    if type(x).__module__.startswith("array_api_strict"):
        xp = x.__array_namespace__()
        with on_device(x.device):
            return xp.astype(x, dtype or x.dtype, copy=True).to_device(device)
    return None


def _copy_to_gpu(x: Array, device: Device, dtype: DType) -> Array:
    cupy = importlib.import_module("cupy")
    if x.device == device:
        with device:
            return cupy.array(x, dtype=dtype, copy=True, order="C")
    # Streams of two GPUs know nothing of each other: the copy waits for what makes `x`, and
    # the memory of `x` for the copy.
    with x.device:
        x = cupy.ascontiguousarray(x if dtype is None else x.astype(dtype, copy=False))
        source = cupy.cuda.get_current_stream()
        made = source.record()
    with device:
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(made)
        found = cupy.empty(x.shape, x.dtype)
        found.data.copy_from_device_async(x.data, x.nbytes, stream)
        copied = stream.record()
    with x.device:
        source.wait_event(copied)
    return found


def _synchronized(x: Array) -> Array:
    """Wait for a copy: the allocator of the copied memory's owner does not know of it."""
    if array_api_compat.is_cupy_array(x):
        with x.device:
            importlib.import_module("cupy").cuda.get_current_stream().synchronize()
    elif array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        importlib.import_module("torch").cuda.current_stream(x.device).synchronize()
    elif array_api_compat.is_jax_array(x):
        x.block_until_ready()
    return x


# Memory of one library as an array of another

HOST, CUDA = 1, 2
# DLPack's device types: host, CUDA, pinned host memory, memory that CUDA manages.
_KINDS = {1: HOST, 2: CUDA, 3: HOST, 13: CUDA}
# Kinds of memory that libraries share in place; on the host NumPy's view is as short a way.
SHARED = frozenset({CUDA})
# What an object that cannot be exported, or a library that cannot take it, raises.
_REFUSED = (BufferError, TypeError, ValueError, RuntimeError, NotImplementedError)


def from_dlpack(x: object, xp: Namespace | None = None, device: Device = None) -> Array | None:
    """Make an array of the memory of an object that is of no known library, without a copy.

    `x` has ``__dlpack__``, ``__cuda_array_interface__``, or the ``to_cupy`` of cuDF's columns and
    frames; None for everything else, and for what NumPy can make an array of by itself. `xp` and
    `device` are what to prefer for memory on a GPU.

    A TypeError where the memory is neither on the host nor on a CUDA GPU, or cannot be shared; a
    BackendUnavailableError where it is on a GPU, and neither CuPy nor PyTorch is installed.
    """
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
    current: Any = on_device(x.device)  # CuPy and PyTorch want it so while they export
    if array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        current = importlib.import_module("torch").cuda.device(x.device)
    try:
        with current:
            return xp.from_dlpack(_exportable(x, xp))
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


def _exportable(x: Array, xp: Namespace) -> Array:
    """Convert what another library's DLPack cannot take.

    A bfloat16 that NumPy or CuPy does not know is widened to float32. What is not in C order is
    copied: JAX knows no strides, PyTorch no negative ones.
    """
    own = array_api_compat.array_namespace(x)
    if "bfloat16" in str(x.dtype) and {"numpy", "cupy"} & {library_name(own), library_name(xp)}:
        x = own.astype(x, own.float32)
    if array_api_compat.is_torch_array(x):
        return x.contiguous()
    if array_api_compat.is_cupy_array(x):
        return importlib.import_module("cupy").ascontiguousarray(x)
    return numpy.ascontiguousarray(x) if isinstance(x, numpy.ndarray) else x
