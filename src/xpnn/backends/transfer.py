"""Where host and device meet: every copy between them is made here, and nowhere else."""

from __future__ import annotations

import importlib
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.dispatch import (
    as_array,
    device_of,
    dtype_name,
    is_array,
    is_floating,
    namespace,
    placement,
)
from xpnn.backends.exchange import adopt, fresh, look, settle
from xpnn.backends.libraries import LIBRARIES, on_device
from xpnn.backends.types import Array, ArrayLike, Device, DType, Namespace


def to_host(x: ArrayLike) -> Any:
    """Copy an array to the host as NumPy (no copy where it is there already).

    Parameters
    ----------
    x : array_like
        Array of any library on any device, or anything `numpy.asarray` takes.

    Returns
    -------
    numpy.ndarray
        The values; bfloat16 comes as float32, which NumPy can hold.
    """
    if isinstance(x, numpy.ndarray):
        return x
    if not is_array(x):
        seen = adopt(x)
        x = x if seen is None else seen
    if array_api_compat.is_torch_array(x):
        x = x.detach()
        if dtype_name(x.dtype) == "bfloat16":
            x = x.float()
        return x.cpu().numpy()
    if array_api_compat.is_cupy_array(x):
        with x.device:  # the stream that is current there made it
            return x.get()
    if type(x).__module__.startswith("array_api_strict"):
        return numpy.asarray(x.to_device(LIBRARIES["array_api_strict"].device("cpu")))
    host = numpy.asarray(x)
    return host.astype(numpy.float32) if dtype_name(host.dtype) == "bfloat16" else host


def host_view(x: Array) -> Any:
    """Look at an array's memory through NumPy, where NumPy can.

    Parameters
    ----------
    x : array
        Array of any library.

    Returns
    -------
    numpy.ndarray or None
        Shares its memory with `x`. None for memory on a device, for bfloat16, and for
        libraries whose arrays never change.
    """
    if isinstance(x, numpy.ndarray):
        return x
    if not array_api_compat.is_torch_array(x) or x.device.type != "cpu":
        return None
    return None if dtype_name(x.dtype) == "bfloat16" else x.detach().numpy()


def to_device(
    values: ArrayLike, xp: Namespace, device: Device = None, dtype: DType = None
) -> Array:
    """Copy host values, or another library's array, to a device.

    An array that is on a device of `xp` already, or on the same kind of GPU, does not go through
    the host: it is copied where it is, or from device to device. Everything else does.

    Parameters
    ----------
    values : array_like
        Numbers, NumPy array, array of any library, or an object that shares its memory.
    xp : module
        Namespace of the result.
    device : object, optional
        Device in that library's spelling; default, the library's own default.
    dtype : dtype, optional
        Dtype of the result; default, that of `values`, but the device's default integer
        for int64 where it has no 64-bit integers.

    Returns
    -------
    array
        An array that shares no memory with `values`.
    """
    if not is_array(values):
        seen = adopt(values, xp, device)
        values = values if seen is None else seen
    if device is not None and is_array(values):
        direct = _direct(values, xp, device, dtype)
        if direct is not None:
            return direct
    host = to_host(values)
    dtype = _dtype_for(host, xp, device) if dtype is None else dtype
    if dtype is not None:
        # Converting on the host keeps float64 away from devices that cannot hold it.
        name = dtype_name(dtype)
        if name != "bfloat16":
            host = host.astype(name)
    with on_device(device):
        kwargs = {} if device is None else {"device": device}
        return xp.asarray(numpy.array(host, order="C"), dtype=dtype, **kwargs)


def _dtype_for(x: Array, xp: Namespace, device: Device) -> DType:
    """Default integer of a device that has no 64-bit integers, for those; else None."""
    if dtype_name(x.dtype) != "int64":
        return None
    integer = xp.__array_namespace_info__().default_dtypes(device=device)["integral"]
    return integer if dtype_name(integer) != "int64" else None


def _direct(x: Array, xp: Namespace, device: Device, dtype: DType) -> Array | None:
    """Copy an array without the host; None where there is no such way."""
    if isinstance(x, numpy.ndarray | numpy.generic):
        return None
    dtype = _dtype_for(x, xp, device) if dtype is None else dtype
    if array_api_compat.is_torch_array(x):
        x = x.detach()
    if namespace(values=x) is xp:
        return fresh(x, device, dtype)
    seen = look(x, xp, device)
    if seen is None:
        return None
    found = fresh(seen, device, dtype)
    settle(found)
    return found


def to_float(x: Array) -> float:
    """Read a 0-d array; on a GPU this waits until everything before it is done."""
    return float(to_host(x))


def scalar(value: float, xp: Namespace, device: Device, dtype: DType) -> Array:
    """Make a 0-d array of a Python number on a device."""
    with on_device(device):
        return xp.asarray(value, dtype=dtype, device=device)


def as_array_like(name: str, x: ArrayLike, like: Array) -> Array:
    """Pass an array on, and make numbers in lists an array where `like` lives.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    x : array_like
        An array of any library, an object that shares its memory, a number, or nested lists
        of numbers.
    like : array
        Gives lists their library and device; an array of another library that is on the same
        GPU is seen through its library.

    Returns
    -------
    array

    Raises
    ------
    TypeError
        As in `as_array`.
    """
    if is_array(x) and not isinstance(x, numpy.generic):
        return _beside(as_array(name, x), like)
    xp, device = placement(like=like)
    made = as_array(name, x, xp, device)
    if not isinstance(made, numpy.ndarray):
        return _beside(made, like)
    # A device that has no float64 must not be handed one.
    floats = made.dtype.kind == "f" and is_floating(like, xp)
    return to_device(made, xp, device, like.dtype if floats else None)


def _beside(x: Array, like: Array) -> Array:
    """See an array through the library of another that is on the same GPU."""
    if type(x) is type(like) or isinstance(x, numpy.ndarray):
        return x
    xp = namespace(like=like)
    if namespace(x=x) is xp:
        return x
    plain = x.detach() if array_api_compat.is_torch_array(x) else x
    seen = look(plain, xp, device_of(like), here=True)
    return x if seen is None else seen


def send(values: Any, place: Array, stream: Any = None) -> None:
    """Queue a copy from the host to an array of CuPy, whose GPU is current.

    Parameters
    ----------
    values : numpy.ndarray
        Of the shape and dtype of `place`. What lies in pinned memory has to stay as it is
        until the copy is done.
    place : cupy.ndarray
        Where to.
    stream : cupy.cuda.Stream, optional
        Default: the current one.
    """
    place.set(values, stream=stream)


class PinnedPair:
    """Room on the host that a GPU copies to and from without a detour.

    Parameters
    ----------
    like : cupy.ndarray
        What is to be copied.
    """

    def __init__(self, like: Array) -> None:
        self.room = importlib.import_module("cupyx").empty_pinned(like.shape, like.dtype)

    def down(self, array: Array) -> Any:
        """Copy to the host, and wait until it is there; NumPy's array of that memory."""
        array.get(out=self.room)
        return self.room

    def up(self, like: Array) -> Array:
        """Copy what is in the room to the GPU of `like`."""
        with like.device:
            found = importlib.import_module("cupy").empty_like(like)
            found.set(self.room)
            # The room is written again in the next sum.
            found.device.synchronize()
        return found
