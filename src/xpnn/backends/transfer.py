"""Where host and device meet: every copy between them is made here, and nowhere else.

What comes from a user goes through `as_array`, what goes to a device through `to_device`, what
comes back through `to_host`. Tensors that require gradients are detached on the way: xpnn
computes gradients itself, and an array that it returns is part of no graph.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.dispatch import (
    device_of,
    dtype_name,
    is_array,
    is_floating,
    namespace,
    placement,
)
from xpnn.backends.dlpack import from_dlpack, view_as
from xpnn.backends.errors import InputError
from xpnn.backends.libraries import device_name, library_name, on_device
from xpnn.backends.types import Array, ArrayLike, Copy, Device, DType, Namespace


def as_array(name: str, x: ArrayLike, like: Array | None = None) -> Array:
    """Turn an argument into an array of numbers; pass on what is one.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    x : array_like
        An array of any library, an object that shares its memory through DLPack (see
        `xpnn.backends.dlpack`) or has ``__array__``, a number, or nested lists of numbers.
    like : array, optional
        Array that `x` is used with. What is no array yet becomes one of its library, on
        its device and, where both hold floats, in its dtype; an array of another library that
        is on the same GPU is viewed through its library. Default: a NumPy array.

    Returns
    -------
    array
        `x` itself where it is an array, or else with its memory where that is possible.

    Raises
    ------
    TypeError
        `x` holds something else than numbers, or rows of different lengths.
    """
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


def array_of(x: ArrayLike, xp: Namespace | None = None, device: Device = None) -> Array:
    """Pass an array on; make one of what shares its memory, of numbers and of lists."""
    if is_array(x) and not isinstance(x, numpy.generic):
        return x
    found = from_dlpack(x, xp, device)
    return numpy.asarray(x) if found is None else found


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
    if kind in "biuf" or dtype_name(found.dtype) == "bfloat16":
        return _detached(found)
    odd: list[Any] = []
    if host and found is not x:  # of lists the first such value says more
        odd = [v for v in found.ravel().tolist() if not isinstance(v, int | float)]
    what = f"holds {odd[0]!r}" if odd else f"has dtype {found.dtype}"
    raise TypeError(f"{name} {what}; expected numbers")


def _detached(x: Array) -> Array:
    """Take a tensor out of its graph, which would else keep all that was computed with it."""
    return x.detach() if array_api_compat.is_torch_array(x) and x.requires_grad else x


def to_host(x: ArrayLike) -> Any:
    """Copy an array to the host as NumPy (no copy where it is there already).

    Takes an array of any library on any device, and anything that `numpy.asarray` takes.
    bfloat16 comes as float32, which NumPy itself knows.
    """
    if isinstance(x, numpy.ndarray) and x.dtype.kind != "V":  # ml_dtypes' bfloat16
        return x
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


def to_device(
    x: ArrayLike,
    xp: Namespace,
    device: Device = None,
    dtype: DType = None,
    *,
    copy: Copy = True,
) -> Array:
    """Copy host values, or another library's array, to a device.

    An array that is on a device of `xp` already, or on the same kind of GPU, does not go through
    the host: it is copied where it is, or from device to device. Everything else does.

    Parameters
    ----------
    x : array_like
        Numbers, NumPy array, array of any library, or an object that shares its memory.
    xp : module
        Namespace of the result.
    device : object, optional
        Device in that library's spelling; default, where `x` is if it is an array of that
        library, else the library's own default.
    dtype : dtype, optional
        Dtype of the result; default, that of `x`, but 32 bits in place of 64 where the device
        has no 64-bit numbers.
    copy : {True, None}, default True
        None copies only where that is needed: an array that is there already, and in that
        dtype (for NumPy in C order, too), is passed on.

    Returns
    -------
    array
        Shares no memory with `x`, unless `copy` is None.

    Raises
    ------
    InputError
        The device has no 64-bit integers, and `x` holds one that needs them.
    """
    x = _detached(array_of(x, xp, device))
    if library_name(xp) == "numpy":
        make = numpy.asarray if copy is None else numpy.array
        return make(to_host(x), dtype=dtype, order="C")
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
        direct = _copy_between_devices(x, xp, device, dtype)
        if direct is not None:
            return direct
    # Converting on the host keeps float64 away from devices that cannot hold it.
    name = None if dtype is None or dtype_name(dtype) == "bfloat16" else dtype_name(dtype)
    with on_device(device):
        kwargs = {} if device is None else {"device": device}
        return xp.asarray(numpy.array(to_host(x), dtype=name, order="C"), dtype=dtype, **kwargs)


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


def _copy_between_devices(x: Array, xp: Namespace, device: Device, dtype: DType) -> Array | None:
    """Copy an array without the host; None where there is no such way."""
    if namespace(x=x) is xp:
        return _copy_to(x, device, dtype)
    view = view_as(x, xp, device)
    if view is None:
        return None
    found = _copy_to(view, device, dtype)
    _synchronize(found)
    return found


def _synchronize(x: Array) -> None:
    """Wait for a copy: the allocator of the copied memory's owner does not know of it."""
    if array_api_compat.is_cupy_array(x):
        with x.device:
            importlib.import_module("cupy").cuda.get_current_stream().synchronize()
    elif array_api_compat.is_torch_array(x) and x.device.type == "cuda":
        importlib.import_module("torch").cuda.current_stream(x.device).synchronize()
    elif array_api_compat.is_jax_array(x):
        x.block_until_ready()


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


def to_float(x: Array) -> float:
    """Read a 0-d array; on a GPU this waits until everything before it is done."""
    return float(to_host(x))


def scalar(value: float, xp: Namespace, device: Device, dtype: DType) -> Array:
    """Make a 0-d array of a Python number on a device."""
    with on_device(device):
        return xp.asarray(value, dtype=dtype, device=device)


def send(values: Any, target: Array, stream: Any = None) -> None:
    """Queue a copy of a NumPy array to one of CuPy, whose GPU is current.

    Pinned memory has to stay as it is until the copy is done.
    """
    target.set(values, stream=stream)
