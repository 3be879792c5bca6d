"""Choosing a backend: an array library, one of its devices and a dtype."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from xpnn.backends.dispatch import default_float, device_of, dtype_name, is_array, namespace
from xpnn.backends.errors import BackendUnavailableError, InputError
from xpnn.backends.exchange import adopt
from xpnn.backends.libraries import LIBRARIES, device_name, library_name, memory_of
from xpnn.backends.transfer import to_device, to_host
from xpnn.backends.types import Array, ArrayLike, Device, DType, Namespace

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
    device : object
        Device in the library's own spelling.
    dtype : dtype
        Floating dtype of the library.
    """

    name: str
    xp: Namespace
    device: Device
    dtype: DType

    def asarray(self, values: ArrayLike, dtype: DType = None) -> Array:
        """Copy values to this backend's device.

        Parameters
        ----------
        values : array_like
            Numbers, NumPy array, array of any library, or an object that shares its memory
            through DLPack. What is on a GPU already does not go through the host.
        dtype : dtype or str, optional
            Default: floating values take the backend's dtype, others keep theirs.

        Returns
        -------
        array
        """
        if not is_array(values):
            seen = adopt(values, self.xp, self.device)
            values = to_host(values) if seen is None else seen
        if dtype is None and dtype_name(values.dtype).startswith(("float", "bfloat")):
            dtype = self.dtype
        elif isinstance(dtype, str):
            dtype = getattr(self.xp, dtype)
        return to_device(values, self.xp, self.device, dtype)

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

    Parameters
    ----------
    name : str
        Name of the library.
    usable : bool
        Whether `select` would accept it.
    version : str or None
        Version, where it is installed.
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
    """Look whether one library can be used on this machine.

    Parameters
    ----------
    name : {'numpy', 'cupy', 'torch', 'jax', 'array_api_strict'}
        The library.

    Returns
    -------
    LibraryStatus
    """
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
    """Look which array libraries can be used on this machine.

    Returns
    -------
    list of LibraryStatus
        One for each library that xpnn knows; what is not installed is not imported.
    """
    return [status(name) for name in LIBRARIES]


def _automatic(device: str | None) -> str:
    """CuPy where it works, else NumPy; a device named by the caller decides."""
    if device is not None:
        return "numpy" if device == "cpu" else "cupy"
    if LIBRARIES["cupy"].installed() and status("cupy").usable:
        return "cupy"
    return "numpy"


def _dtype(name: str, xp: Namespace, device: Device, dtype: DType | str | None) -> DType:
    if dtype is None:
        return default_float(xp, device)
    wanted = dtype if isinstance(dtype, str) else dtype_name(dtype)
    if wanted not in DTYPES:
        raise InputError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    found = getattr(xp, wanted, None)
    if found is None:
        raise InputError(f"dtype={wanted!r} is not a dtype of {name}")
    # JAX hands back float32 with a warning when float64 is not enabled: ask first.
    if name == "jax" and wanted == "float64" and dtype_name(default_float(xp)) != "float64":
        raise InputError(
            "dtype='float64' is switched off in jax; set the environment variable "
            "JAX_ENABLE_X64=1, or call jax.config.update('jax_enable_x64', True) at the start"
        )
    return found


def select(
    name: str = "auto", device: Device | str | None = None, dtype: DType | str | None = None
) -> Backend:
    """Choose an array library, a device and a dtype.

    Parameters
    ----------
    name : {'auto', 'numpy', 'cupy', 'torch', 'jax', 'array_api_strict'}, default 'auto'
        'auto' takes the environment variable ``XPNN_BACKEND`` where it is set, else CuPy
        where it works, else NumPy.
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
    if name == "auto":
        name = _automatic(device if isinstance(device, str) else None)
    library = LIBRARIES[name]
    xp = library.load()
    if device is None:
        device = library.devices()[0]
    try:
        # Device objects go through their names too: another library's is refused so.
        device = library.device(device_name(device))
    except ValueError as error:
        hint = " (from XPNN_DEVICE)" if from_environment else ""
        raise InputError(f"{error}{hint}") from None
    return Backend(name, xp, device, _dtype(name, xp, device, dtype))


def backend_of(x: Array) -> Backend:
    """Backend that an array belongs to: its library, device and (floating) dtype.

    Parameters
    ----------
    x : array
        Array of a library that xpnn knows.

    Returns
    -------
    Backend
        With the library's default float where `x` does not hold floats.

    Raises
    ------
    TypeError
        `x` is not an array.
    """
    xp = namespace(x=x)
    device = device_of(x)
    floating = dtype_name(x.dtype) in DTYPES
    return Backend(library_name(xp), xp, device, x.dtype if floating else default_float(xp, device))
