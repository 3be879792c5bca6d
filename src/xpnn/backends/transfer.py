"""Where host and device meet: every copy between them is made here, and nowhere else."""

from __future__ import annotations

import importlib
from typing import Any

import array_api_compat
import numpy

from xpnn.backends.dispatch import as_array, dtype_name, is_array, is_floating, placement
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
    if array_api_compat.is_torch_array(x):
        x = x.detach()
        if dtype_name(x.dtype) == "bfloat16":
            x = x.float()
        return x.cpu().numpy()
    if array_api_compat.is_cupy_array(x):
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

    Parameters
    ----------
    values : array_like
        Numbers, NumPy array, or array of any library.
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
    host = to_host(values)
    if dtype is None and host.dtype == numpy.int64:
        integer = xp.__array_namespace_info__().default_dtypes(device=device)["integral"]
        dtype = integer if dtype_name(integer) != "int64" else None
    if dtype is not None:
        # Converting on the host keeps float64 away from devices that cannot hold it.
        name = dtype_name(dtype)
        if name != "bfloat16":
            host = host.astype(name)
    with on_device(device):
        kwargs = {} if device is None else {"device": device}
        return xp.asarray(numpy.array(host, order="C"), dtype=dtype, **kwargs)


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
        An array of any library, a number, or nested lists of numbers.
    like : array
        Gives lists their library and device.

    Returns
    -------
    array

    Raises
    ------
    TypeError
        As in `as_array`.
    """
    made = as_array(name, x)
    if is_array(x) and not isinstance(x, numpy.generic):
        return made
    xp, device = placement(like=like)
    # A device that has no float64 must not be handed one.
    floats = made.dtype.kind == "f" and is_floating(like, xp)
    return to_device(made, xp, device, like.dtype if floats else None)


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
