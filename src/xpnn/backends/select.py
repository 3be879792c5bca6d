"""Choosing a backend: an array library, one of its devices and a dtype."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy

from xpnn.backends.dispatch import (
    HOST_NAMESPACE,
    default_float,
    device_of,
    dtype_name,
    named_dtype,
    namespace,
)
from xpnn.backends.errors import BackendUnavailableError, InputError
from xpnn.backends.libraries import LIBRARIES, device_name, library_name, memory_of
from xpnn.backends.transfer import array_of, to_device, to_host
from xpnn.backends.types import Array, ArrayLike, Copy, Device, DType, Namespace

DTYPES = ("float16", "bfloat16", "float32", "float64")


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


@dataclass(frozen=True)
class LibraryStatus:
    """Whether one library can be used here, and with what.

    Attributes
    ----------
    name, version : str
        Of the library; the version is None where it is not installed.
    usable : bool
        Whether `select` would accept it.
    devices : dict of str to (int or None)
        Memory in bytes of each device (None: the library does not say).
    reason : str
        Why it cannot be used; empty where it can.
    install : str
        Command that installs it.
    """

    name: str
    usable: bool
    version: str | None
    devices: dict[str, int | None]
    reason: str
    install: str


def status(name: str) -> LibraryStatus:
    """Return whether one library, by its name for `select`, can be used on this machine."""
    library = LIBRARIES[name]
    version = None
    try:
        library.load()
        version = library.version()
        devices = {device: memory_of(name, device) for device in library.devices()}
    except BackendUnavailableError as error:
        return LibraryStatus(name, False, version, {}, str(error), library.install)
    return LibraryStatus(name, True, version, devices, "", library.install)


def available() -> list[LibraryStatus]:
    """Return for each array library that xpnn knows whether it can be used on this machine.

    What is not installed is not imported.
    """
    return [status(name) for name in LIBRARIES]


def _library_for(device: Device | str | None) -> str:
    """Name the library that 'auto' means: CuPy where it works, else NumPy.

    A device decides where one is named: the first library that has it, a device object's own.
    """
    if device is None:
        return "cupy" if LIBRARIES["cupy"].installed() and status("cupy").usable else "numpy"
    if not isinstance(device, str):
        package = type(device).__module__.partition(".")[0]
        return {"jaxlib": "jax"}.get(package, package)
    if device == "cpu":
        return "numpy"
    if device.partition(":")[0] == "cuda":
        return "cupy"
    known = {name: status(name).devices for name in LIBRARIES if LIBRARIES[name].installed()}
    for name, devices in known.items():
        if device in devices:
            return name
    listed = "; ".join(f"{name}: {', '.join(found)}" for name, found in known.items() if found)
    raise InputError(f"device={device!r} is not a device of any library here; they have: {listed}")


def _dtype(xp: Namespace, device: Device, dtype: DType | str | None) -> DType:
    if dtype is None:
        return default_float(xp, device)
    wanted = dtype if isinstance(dtype, str) else dtype_name(dtype)
    if wanted not in DTYPES:
        raise InputError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    return named_dtype(wanted, xp)


def select(
    name: str = "auto", device: Device | str | None = None, dtype: DType | str | None = None
) -> Backend:
    """Choose an array library, a device and a dtype.

    Parameters
    ----------
    name : {'auto', 'numpy', 'cupy', 'torch', 'jax', 'array_api_strict'}, default 'auto'
        'auto' takes the environment variable ``XPNN_BACKEND`` where it is set, else the
        library that has the device where one is named, else CuPy where it works, else NumPy.
    device : str or object, optional
        Name as the library spells it (``'cpu'``, ``'cuda:1'``, ``'device1'``) or its own
        device object. Default: the environment variable ``XPNN_DEVICE``, else the
        library's default.
    dtype : str or dtype, optional
        'float16', 'bfloat16', 'float32' or 'float64'. Default: the library's default float.

    Returns
    -------
    Backend

    Raises
    ------
    ValueError
        The name, the device or the dtype is not known.
    BackendUnavailableError
        The library cannot be used here; the message says why and what installs it.

    Examples
    --------
    >>> from xpnn.backends import select
    >>> select("numpy", dtype="float32")
    Backend('numpy', device='cpu', dtype='float32')
    """
    origin = "name"
    if name == "auto" and os.environ.get("XPNN_BACKEND"):
        name, origin = os.environ["XPNN_BACKEND"], "XPNN_BACKEND"
    if name != "auto" and name not in LIBRARIES:
        raise InputError(
            f"{origin}={name!r} is not a backend; expected auto, {', '.join(LIBRARIES)}"
        )
    from_environment = device is None and bool(os.environ.get("XPNN_DEVICE"))
    if from_environment:
        device = os.environ["XPNN_DEVICE"]
    try:
        if name == "auto":
            name = _library_for(device)
        library = LIBRARIES[name]
        xp = library.load()
        # Device objects go through their names too: another library's is refused so.
        found = library.device(None if device is None else device_name(device))
    except ValueError as error:
        hint = " (from XPNN_DEVICE)" if from_environment else ""
        raise InputError(f"{error}{hint}") from None
    return Backend(name, xp, found, _dtype(xp, found, dtype))


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
    xp = namespace(x=x)
    device = device_of(x)
    floating = dtype_name(x.dtype) in DTYPES
    return Backend(library_name(xp), xp, device, x.dtype if floating else default_float(xp, device))
