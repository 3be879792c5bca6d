"""What xpnn knows about each array library: how to find, import, place and install it.

Every import of an array library happens in this module (and in `special`, which looks
up the error function), and only when somebody asks for that library.
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
        Name used by `xpnn.backends.select`.
    package : str
        Top-level module whose presence says that the library is installed.
    namespace : str
        Module that follows the array API standard for this library.
    install : str
        Command that installs it.
    devices : callable
        Returns the names of the devices that can be used; raises
        `BackendUnavailableError` where there is none.
    device : callable
        Turns the name of a device into the library's own device object.
    """

    name: str
    package: str
    namespace: str
    install: str
    devices: Callable[[], list[str]]
    device: Callable[[str], Device]

    def installed(self) -> bool:
        """Whether the package is there; imports nothing."""
        return importlib.util.find_spec(self.package) is not None

    def load(self) -> Namespace:
        """Import the library and return its array API namespace.

        Raises
        ------
        BackendUnavailableError
            The package is not installed, or importing it failed.
        """
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
        return str(importlib.import_module(self.package).__version__)


def _index(name: str, kind: str, count: int, library: str) -> int:
    """Number behind the colon of a device's name such as ``cuda:1``."""
    head, _, tail = name.partition(":")
    if head != kind or (tail and not tail.isdigit()) or int(tail or 0) >= count:
        known = ", ".join(f"{kind}:{i}" for i in range(count)) or "none"
        raise InputError(f"device={name!r} is not a device of {library}; it has: {known}")
    return int(tail or 0)


def _cpu_only(name: str) -> Device:
    if name != "cpu":
        raise InputError(f"device={name!r} is not a device of numpy; it has: cpu")
    return "cpu"


def cuda_device_count() -> int:
    """Count the CUDA devices that CuPy sees.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    BackendUnavailableError
        Says which is missing: the package, the NVIDIA driver, or the GPU.
    """
    library = LIBRARIES["cupy"]
    library.load()
    runtime = importlib.import_module("cupy.cuda.runtime")
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        # cudaErrorNoDevice comes with a working driver; every other answer means that
        # the driver is absent or too old for this CuPy.
        if "NoDevice" in str(error):
            count = 0
        else:
            raise BackendUnavailableError(
                "cupy cannot be used: the NVIDIA driver is missing or too old "
                f"({error}). CuPy is installed; install or update the driver."
            ) from error
    if count == 0:
        raise BackendUnavailableError(
            "cupy cannot be used: there is no GPU on this machine (or CUDA_VISIBLE_DEVICES "
            "hides it). CuPy and the driver are installed."
        )
    return count


def _cupy_devices() -> list[str]:
    return [f"cuda:{i}" for i in range(cuda_device_count())]


def _cupy_device(name: str) -> Device:
    count = cuda_device_count()
    return importlib.import_module("cupy").cuda.Device(_index(name, "cuda", count, "cupy"))


def _torch_devices() -> list[str]:
    torch = importlib.import_module("torch")
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def _torch_device(name: str) -> Device:
    torch = importlib.import_module("torch")
    known = _torch_devices()
    if (name if name != "cuda" else "cuda:0") not in known:
        raise InputError(
            f"device={name!r} is not a device of torch on this machine; it has: {', '.join(known)}"
        )
    return torch.device(name if name != "cuda" else "cuda:0")


def _jax_device_objects() -> dict[str, Device]:
    jax = importlib.import_module("jax")
    devices = list(jax.devices())
    if jax.default_backend() != "cpu":
        devices += jax.devices("cpu")
    named = {}
    for device in devices:
        platform = "cuda" if device.platform in ("gpu", "cuda") else device.platform
        named[f"{platform}:{device.id}"] = device
    return named


def _jax_device(name: str) -> Device:
    known = _jax_device_objects()
    for wanted in (name, f"{name}:0"):
        if wanted in known:
            return known[wanted]
    raise InputError(
        f"device={name!r} is not a device of jax on this machine; it has: {', '.join(known)}"
    )


def _strict_device(name: str) -> Device:
    strict = importlib.import_module("array_api_strict")
    try:
        return strict.Device("CPU_DEVICE" if name == "cpu" else name)
    except ValueError:
        raise InputError(
            f"device={name!r} is not a device of array_api_strict; it has: "
            + ", ".join(["cpu", *_strict_devices()])
        ) from None


def _strict_devices() -> list[str]:
    strict = importlib.import_module("array_api_strict")
    return [device_name(device) for device in strict.__array_namespace_info__().devices()]


LIBRARIES: dict[str, Library] = {
    library.name: library
    for library in (
        Library(
            "numpy",
            "numpy",
            "array_api_compat.numpy",
            "python -m pip install numpy",
            lambda: ["cpu"],
            _cpu_only,
        ),
        Library(
            "cupy",
            "cupy",
            "array_api_compat.cupy",
            'python -m pip install "cupy-cuda13x[ctk]"  (extra "cuda13"; or cuda12)',
            _cupy_devices,
            _cupy_device,
        ),
        Library(
            "torch",
            "torch",
            "array_api_compat.torch",
            'python -m pip install torch  (extra "torch")',
            _torch_devices,
            _torch_device,
        ),
        Library(
            "jax",
            "jax",
            "jax.numpy",
            'python -m pip install jax  (extra "jax")',
            lambda: list(_jax_device_objects()),
            _jax_device,
        ),
        Library(
            "array_api_strict",
            "array_api_strict",
            "array_api_strict",
            'python -m pip install array-api-strict  (extra "strict")',
            _strict_devices,
            _strict_device,
        ),
    )
}


@cache
def library_name(xp: Namespace) -> str:
    """Name, as in `LIBRARIES`, of the library that a namespace belongs to."""
    module = getattr(xp, "__name__", type(xp).__name__)
    parts = [part for part in module.split(".") if part != "array_api_compat"]
    return str(parts[0])


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


# What makes a device current, for libraries whose new arrays go there.
_CURRENT: dict[str, Callable[[Device], AbstractContextManager[Any]]] = {
    "cupy": lambda device: device
}


def on_device(device: Device) -> AbstractContextManager[Any]:
    """Context in which new arrays of CuPy land on `device`.

    CuPy creates arrays on the current device, whatever its inputs are on; the other
    libraries follow their inputs and need nothing.
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
    """Compile ``update`` with JAX into a scan over the batches of an epoch.

    Parameters
    ----------
    update : callable
        ``update(carry, sums, (*columns, noise, rate)) -> (carry, sums)``.

    Returns
    -------
    callable
        ``scan(carry, sums, columns, numbers, rates, noise) -> (carry, sums)`` with
        `numbers` of shape (steps, rows), `rates` (steps,) and noise stacked along a new
        first axis. The memory of `carry` and `sums` is used again for the result.
    """
    jax = importlib.import_module("jax")

    def scan(carry: Any, sums: Any, columns: Any, numbers: Any, rates: Any, noise: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            rows, rate, drawn = batch
            picked = tuple(None if c is None else c[rows] for c in columns)
            return update(*state, (*picked, drawn, rate)), None

        return jax.lax.scan(step, (carry, sums), (numbers, rates, noise))[0]

    return jax.jit(scan, donate_argnums=(0, 1))
