"""Choosing a backend: an array library, one of its devices and a dtype."""

from __future__ import annotations

import os
from dataclasses import dataclass

from xpnn.backends.errors import BackendUnavailableError, InputError
from xpnn.backends.libraries import (
    DTYPES,
    LIBRARIES,
    Device,
    DType,
    default_float,
    device_name,
    dtype_name,
    memory_of,
    named_dtype,
)
from xpnn.backends.transfer import Backend


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
    hint = ""
    if device is None and os.environ.get("XPNN_DEVICE"):
        device, hint = os.environ["XPNN_DEVICE"], " (from XPNN_DEVICE)"
    try:
        if name == "auto":
            name = _library_for(device)
        library = LIBRARIES[name]
        xp = library.load()
        # Device objects go through their names too: another library's is refused so.
        found = library.device(None if device is None else device_name(device))
    except ValueError as error:
        raise InputError(f"{error}{hint}") from None
    if dtype is None:
        return Backend(name, xp, found, default_float(xp, found))
    wanted = dtype if isinstance(dtype, str) else dtype_name(dtype)
    if wanted not in DTYPES:
        raise InputError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    return Backend(name, xp, found, named_dtype(wanted, xp))


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
