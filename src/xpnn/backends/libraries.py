"""What xpnn knows about each array library: how to import and install it, and its devices.

Nothing is imported before somebody asks for that library.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from xpnn.backends.errors import BackendUnavailableError, InputError
from xpnn.backends.types import Device, Namespace


@dataclass(frozen=True)
class Library:
    """One array library.

    Parameters
    ----------
    name : str
        Its name for `xpnn.backends.select`, and that of its package.
    namespace : str
        Module that follows the array API standard for this library.
    package : str
        What pip installs.
    devices : callable
        Returns the devices that can be used, by name; raises `BackendUnavailableError` where
        there is none.
    """

    name: str
    namespace: str
    package: str
    devices: Callable[[], dict[str, Device]]

    @property
    def install(self) -> str:
        """Command that installs it."""
        return f"python -m pip install {self.package}"

    def installed(self) -> bool:
        """Whether the package is there; imports nothing."""
        return importlib.util.find_spec(self.name) is not None

    def load(self) -> Namespace:
        """Import the library and return its namespace; a BackendUnavailableError if that fails."""
        if not self.installed():
            raise BackendUnavailableError(
                f"{self.name} cannot be used: the package is not installed. "
                f"Install it with: {self.install}"
            )
        try:
            return importlib.import_module(self.namespace)
        except Exception as error:
            raise BackendUnavailableError(
                f"{self.name} cannot be used: importing it failed with "
                f"{type(error).__name__}: {error}"
            ) from error

    def version(self) -> str:
        """Version of the installed package."""
        return str(importlib.import_module(self.name).__version__)

    def device(self, name: str | None = None) -> Device:
        """Return the device of a name such as ``cuda:1`` (or ``cuda``); default, the first."""
        known = self.devices()
        if name is None:
            return next(iter(known.values()))
        for wanted in (name, f"{name}:0", f"{name.upper()}_DEVICE"):  # the last: array-api-strict's
            if wanted in known:
                return known[wanted]
        raise InputError(
            f"device={name!r} is not a device of {self.name}; it has: {', '.join(known)}"
        )


def _cupy_devices() -> dict[str, Device]:
    """Return the CUDA devices that CuPy sees; an error says whether driver or GPU is missing."""
    cupy, runtime = (importlib.import_module(name) for name in ("cupy", "cupy.cuda.runtime"))
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        # cudaErrorNoDevice comes with a working driver; every other answer means that
        # the driver is absent or too old for this CuPy.
        if "NoDevice" not in str(error):
            raise BackendUnavailableError(
                "cupy cannot be used: the NVIDIA driver is missing or too old "
                f"({error}). CuPy is installed; install or update the driver."
            ) from error
        count = 0
    if count == 0:
        raise BackendUnavailableError(
            "cupy cannot be used: there is no GPU on this machine (or CUDA_VISIBLE_DEVICES "
            "hides it). CuPy and the driver are installed."
        )
    return {f"cuda:{i}": cupy.cuda.Device(i) for i in range(count)}


def _torch_devices() -> dict[str, Device]:
    torch = importlib.import_module("torch")
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return {name: torch.device(name) for name in names}


def _jax_devices() -> dict[str, Device]:
    jax = importlib.import_module("jax")
    devices = list(jax.devices())
    devices += jax.devices("cpu") if jax.default_backend() != "cpu" else []
    return {device_name(device): device for device in devices}


def _strict_devices() -> dict[str, Device]:
    strict = importlib.import_module("array_api_strict")
    return {device_name(device): device for device in strict.__array_namespace_info__().devices()}


_NUMPY = Library("numpy", "array_api_compat.numpy", "numpy", lambda: {"cpu": "cpu"})
_CUPY = Library(
    "cupy",
    "array_api_compat.cupy",
    '"cupy-cuda13x[ctk]"  (extra "cuda13"; or cuda12)',
    _cupy_devices,
)
_TORCH = Library("torch", "array_api_compat.torch", 'torch  (extra "torch")', _torch_devices)
_JAX = Library("jax", "jax.numpy", 'jax  (extra "jax")', _jax_devices)
_STRICT = Library(
    "array_api_strict", "array_api_strict", 'array-api-strict  (extra "strict")', _strict_devices
)

LIBRARIES = {library.name: library for library in (_NUMPY, _CUPY, _TORCH, _JAX, _STRICT)}


@cache
def library_name(xp: Namespace) -> str:
    """Name, as in `LIBRARIES`, of the library that a namespace belongs to."""
    module: str = getattr(xp, "__name__", type(xp).__name__)
    return module.removeprefix("array_api_compat.").partition(".")[0]


def device_name(device: Device) -> str:
    """Name of a device as a user would type it: ``cpu``, ``cuda:1``, ``device1``."""
    if device is None or isinstance(device, str):
        return device or "cpu"
    kind = type(device).__module__.split(".")[0]
    if kind == "cupy":
        return f"cuda:{device.id}"
    if kind == "array_api_strict":
        return str(device).split("'")[1]
    if kind.startswith("jax"):
        platform = "cuda" if device.platform in ("gpu", "cuda") else device.platform
        return f"{platform}:{device.id}"
    return str(device)


_CURRENT: dict[str, Callable[[Device], AbstractContextManager[Any]]] = {
    "cupy": lambda device: device
}


def on_device(device: Device) -> AbstractContextManager[Any]:
    """Make a device current, for CuPy: its new arrays go there, whatever its inputs are on.

    The other libraries follow their inputs and need nothing.
    """
    enter = _CURRENT.get(type(device).__module__.split(".")[0])
    return nullcontext() if enter is None else enter(device)


def memory_of(name: str, device: str) -> int | None:
    """Memory of a device in bytes, or None where the library does not say."""
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if name == "cupy":
            return int(importlib.import_module("cupy").cuda.Device(index).mem_info[1])
        if name == "torch":
            return int(importlib.import_module("torch").cuda.mem_get_info(index)[1])
        return None
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def jit(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Compile a pure function with the library's own compiler, where it has one."""
    if name == "jax":
        return importlib.import_module("jax").jit(function)
    return function


def epoch_scan(update: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``update(carry, sums, (*columns, noise, rate)) -> (carry, sums)`` with JAX.

    Returns a scan over batches, ``scan(carry, sums, columns, indices, rates, noise) -> (carry,
    sums)``, with `indices` of shape (steps, rows), `rates` (steps,) and noise stacked along a
    new first axis. The memory of `carry` and `sums` is used again for the result.
    """
    jax = importlib.import_module("jax")

    def scan(carry: Any, sums: Any, columns: Any, indices: Any, rates: Any, noise: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            rows, rate, drawn = batch
            picked = tuple(None if c is None else c[rows] for c in columns)
            return update(*state, (*picked, drawn, rate)), None

        return jax.lax.scan(step, (carry, sums), (indices, rates, noise))[0]

    return jax.jit(scan, donate_argnums=(0, 1))
