"""Library, device and dtype of the arguments of a call.

These look-ups cost about a microsecond an array, so a call makes them once, from
outside, and hands `xp` on to every formula.
"""

from __future__ import annotations

import importlib
from functools import cache

import array_api_compat
import numpy

from xpnn.backends.errors import BackendUnavailableError, InputError, MixedArraysError
from xpnn.backends.libraries import device_name, library_name, on_device
from xpnn.backends.types import Array, Device, DType, Namespace

HOST_NAMESPACE: Namespace = array_api_compat.array_namespace(numpy.empty(0))
"""NumPy as the standard has it."""

_HALF = frozenset({"float16", "bfloat16"})


def is_array(x: object) -> bool:
    """Whether `x` is an array of a library that follows the standard, with its values there.

    Dask's arrays are computed when asked for: to xpnn they are objects with ``__array__``.
    """
    if hasattr(x, "__array_namespace__"):
        return True
    return array_api_compat.is_array_api_obj(x) and not array_api_compat.is_dask_array(x)


def _namespace_of(x: Array) -> Namespace:
    if type(x) is numpy.ndarray:  # the usual one, at a tenth of the time
        return HOST_NAMESPACE
    own = getattr(x, "__array_namespace__", None)
    # NumPy's and CuPy's own namespaces differ from the standard in places; the compat
    # layer mends them. Every other array with the method is taken at its word.
    if own is not None and not array_api_compat.is_array_api_obj(x):
        return own()
    return array_api_compat.array_namespace(x)


def device_of(x: Array) -> Device:
    """Return the device that `x` is on (None inside a JAX trace, where there is none yet)."""
    return "cpu" if type(x) is numpy.ndarray else array_api_compat.device(x)


def namespace(**arrays: Array | None) -> Namespace:
    """Return the one array library of the named arguments, of which None is ignored.

    Raises
    ------
    TypeError
        An argument is not an array, or all are None.
    MixedArraysError
        Two arguments belong to different libraries.
    """
    found: Namespace = None
    first = ""
    for name, x in arrays.items():
        if x is None:
            continue
        if type(x) is not numpy.ndarray and not is_array(x):
            raise TypeError(
                f"{name} is a {type(x).__name__}; expected an array of a library that follows "
                "the array API standard (NumPy, CuPy, PyTorch, JAX, ...)"
            )
        xp = _namespace_of(x)
        if found is None:
            found, first = xp, name
        elif xp is not found:
            raise MixedArraysError(
                f"{first} is an array of {library_name(found)} and {name} of {library_name(xp)}; "
                "expected arrays of one library"
            )
    if found is None:
        raise TypeError(f"none of {', '.join(arrays)} is an array")
    return found


def placement(**arrays: Array | None) -> tuple[Namespace, Device]:
    """Return the one library and the one device of the named arguments; None is ignored.

    Raises
    ------
    TypeError
        An argument is not an array, or all are None.
    MixedArraysError
        Two arguments belong to different libraries or devices.
    """
    xp = namespace(**arrays)
    first, device = "", None
    for name, x in arrays.items():
        other = None if x is None else device_of(x)
        if other is None:  # not given, or on no device yet: inside a JAX trace
            continue
        if device is None:
            first, device = name, other
        elif other != device:
            raise MixedArraysError(
                f"{first} is on device {device_name(device)} and {name} on "
                f"{device_name(other)}; expected arrays on one device"
            )
    return xp, device


@cache
def _default_float(xp: Namespace) -> DType:
    return xp.__array_namespace_info__().default_dtypes()["real floating"]


def default_float(xp: Namespace, device: Device = None) -> DType:
    """Return the dtype that the library gives to a Python float on `device`."""
    if device is None:
        return _default_float(xp)
    return xp.__array_namespace_info__().default_dtypes(device=device)["real floating"]


@cache
def _is_floating(dtype: DType, xp: Namespace) -> bool:
    return dtype_name(dtype) in _HALF or bool(xp.isdtype(dtype, "real floating"))


def is_floating(x: Array, xp: Namespace) -> bool:
    """Whether `x` holds real floating-point numbers."""
    return _is_floating(x.dtype, xp)


def as_floating(x: Array, xp: Namespace, dtype: DType = None) -> Array:
    """Convert integers and booleans to `dtype` (default: the library's); floats keep theirs."""
    if is_floating(x, xp):
        return x
    device = device_of(x)
    with on_device(device):
        return xp.astype(x, dtype if dtype is not None else default_float(xp, device))


def dtype_name(dtype: DType) -> str:
    """Return the name of a dtype without its library: ``float32``."""
    # The library goes into the key too: dtypes of different libraries must not be compared.
    return _dtype_name(type(dtype).__module__, dtype)


@cache
def _dtype_name(library: str, dtype: DType) -> str:
    name = getattr(dtype, "__name__", None) or str(dtype)
    return name.rpartition(".")[2]


def is_half(dtype: DType) -> bool:
    """Whether `dtype` is a 16-bit float, whose range or precision needs care."""
    return dtype_name(dtype) in _HALF


def is_storage_only(dtype: DType, xp: Namespace) -> bool:
    """Whether a library holds `dtype` without operations for it: PyTorch's wide unsigned ones."""
    return library_name(xp) == "torch" and dtype_name(dtype) in ("uint16", "uint32", "uint64")


def named_dtype(name: str, xp: Namespace) -> DType:
    """Return a library's dtype by its name; bfloat16 of NumPy and CuPy is ml_dtypes'.

    Raises
    ------
    BackendUnavailableError
        ml_dtypes is not installed; the message says what installs it.
    ValueError
        The library has no such dtype, or JAX has switched it off.
    """
    library = library_name(xp)
    if name == "bfloat16" and library in ("numpy", "cupy"):
        try:
            return numpy.dtype(importlib.import_module("ml_dtypes").bfloat16)
        except ImportError:
            raise BackendUnavailableError(
                f"bfloat16 on {library} needs ml_dtypes, which is not installed. Install it "
                'with: python -m pip install "xpnn[bfloat16]"'
            ) from None
    found = getattr(xp, name, None)
    if found is None:
        raise InputError(f"dtype={name!r} is not a dtype of {library}")
    # JAX gives float32 in its place, with a warning, unless float64 is switched on.
    if library == "jax" and name == "float64" and dtype_name(_default_float(xp)) != "float64":
        raise InputError(
            "dtype='float64' is switched off in jax; set the environment variable "
            "JAX_ENABLE_X64=1, or call jax.config.update('jax_enable_x64', True) at the start"
        )
    return found


def largest_of(dtype: DType, xp: Namespace) -> float:
    """Return the largest finite number of a floating dtype."""
    # NumPy's finfo does not know ml_dtypes' bfloat16.
    if dtype_name(dtype) == "bfloat16":
        return float.fromhex("0x1.fep127")
    return float(xp.finfo(dtype).max)
