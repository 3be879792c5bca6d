"""The array libraries: their devices and dtypes, and which of them an array belongs to.

Nothing is imported before somebody asks for that library. A look-up costs about a microsecond,
so a call makes it once, from outside, and hands `xp` on to every formula.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy

from xpnn.backends.errors import BackendUnavailableError, InputError, MixedArraysError

# The standard defines behaviour, not classes: to a type checker these are `Any`, and their names
# say to a reader what is meant.
Array: TypeAlias = Any  # of any library that follows the array API standard
ArrayLike: TypeAlias = Any  # an `Array`, or nested lists of numbers, which become a NumPy array
Namespace: TypeAlias = Any  # the functions of one array library, called `xp` throughout
Device: TypeAlias = Any  # as its library spells it; None where the library has only one
DType: TypeAlias = Any  # a data type object of one array library
HostGenerator: TypeAlias = Any  # a `numpy.random.Generator` (or the legacy `RandomState`)
Copy: TypeAlias = Literal[True] | None  # always, or only where needed (None), as in the standard

HOST_NAMESPACE: Namespace = array_api_compat.array_namespace(numpy.empty(0))  # standard NumPy
DTYPES = ("float16", "bfloat16", "float32", "float64")


# What can be installed


@dataclass(frozen=True)
class Library:
    """One array library.

    `namespace` is its module that follows the standard, `package` what pip installs. `devices()`
    returns the devices that can be used by name; a BackendUnavailableError where there is none.
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


LIBRARIES = {
    "numpy": Library("numpy", "array_api_compat.numpy", "numpy", lambda: {"cpu": "cpu"}),
    "cupy": Library(
        "cupy",
        "array_api_compat.cupy",
        '"cupy-cuda13x[ctk]"  (extra "cuda13"; or cuda12)',
        _cupy_devices,
    ),
    "torch": Library("torch", "array_api_compat.torch", 'torch  (extra "torch")', _torch_devices),
    "jax": Library("jax", "jax.numpy", 'jax  (extra "jax")', _jax_devices),
    "array_api_strict": Library(
        "array_api_strict",
        "array_api_strict",
        'array-api-strict  (extra "strict")',
        _strict_devices,
    ),
}


@cache
def library_name(xp: Namespace) -> str:
    """Name, as in `LIBRARIES`, of the library that a namespace belongs to."""
    module: str = getattr(xp, "__name__", type(xp).__name__)
    return module.removeprefix("array_api_compat.").partition(".")[0]


def jit(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Compile a pure function with the library's own compiler, where it has one."""
    return importlib.import_module("jax").jit(function) if name == "jax" else function


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


# Devices


def device_of(x: Array) -> Device:
    """Return the device that `x` is on (None inside a JAX trace, where there is none yet)."""
    return "cpu" if type(x) is numpy.ndarray else array_api_compat.device(x)


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
    """Memory of a library's device in bytes, or None where the library does not say."""
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


# Arrays


def is_array(x: object) -> bool:
    """Whether `x` is an array of a library that follows the standard, with its values there.

    Dask's arrays are computed when asked for: to xpnn they are objects with ``__array__``.
    """
    if hasattr(x, "__array_namespace__"):
        return True
    return array_api_compat.is_array_api_obj(x) and not array_api_compat.is_dask_array(x)


def _namespace_of(name: str, x: Array) -> Namespace:
    if not is_array(x):
        raise TypeError(
            f"{name} is a {type(x).__name__}; expected an array of a library that follows "
            "the array API standard (NumPy, CuPy, PyTorch, JAX, ...)"
        )
    # NumPy's and CuPy's own namespaces differ from the standard in places; the compat
    # layer mends them. Every other array with the method is taken at its word.
    own = getattr(x, "__array_namespace__", None)
    if own is not None and not array_api_compat.is_array_api_obj(x):
        return own()
    return array_api_compat.array_namespace(x)


def namespace(**arrays: Array | None) -> Namespace:
    """Return the one array library of the named arguments, of which None is ignored.

    A TypeError where one is no array, or all are None; a MixedArraysError where two belong to
    different libraries.
    """
    found: Namespace = None
    first = ""
    for name, x in arrays.items():
        if x is None:
            continue
        # NumPy's, the usual ones, at a tenth of the time.
        xp = HOST_NAMESPACE if type(x) is numpy.ndarray else _namespace_of(name, x)
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
    """Return the one library and the one device of the named arguments, as `namespace` does."""
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


# Dtypes. They are cached by class too: those of two libraries may have one hash, but must not be
# compared.


@lru_cache(maxsize=None, typed=True)
def dtype_name(dtype: DType) -> str:
    """Return the name of a dtype without its library: ``float32``."""
    name = getattr(dtype, "__name__", None) or str(dtype)
    return name.rpartition(".")[2]


@lru_cache(maxsize=None, typed=True)
def is_half(dtype: DType) -> bool:
    """Whether `dtype` is a 16-bit float, whose range or precision needs care."""
    return dtype_name(dtype) in ("float16", "bfloat16")


@cache
def _is_floating(dtype: DType, xp: Namespace) -> bool:
    return is_half(dtype) or bool(xp.isdtype(dtype, "real floating"))


def is_floating(x: Array, xp: Namespace) -> bool:
    """Whether `x` holds real floating-point numbers."""
    return _is_floating(x.dtype, xp)


def is_storage_only(dtype: DType, xp: Namespace) -> bool:
    """Whether a library holds `dtype` without operations for it: PyTorch's wide unsigned ones."""
    return library_name(xp) == "torch" and dtype_name(dtype) in ("uint16", "uint32", "uint64")


def default_float(xp: Namespace, device: Device = None) -> DType:
    """Return the dtype that the library gives to a Python float on `device`."""
    return xp.__array_namespace_info__().default_dtypes(device=device)["real floating"]


def as_floating(x: Array, xp: Namespace, dtype: DType = None) -> Array:
    """Convert integers and booleans to `dtype` (default: the library's); floats keep theirs."""
    if is_floating(x, xp):
        return x
    device = device_of(x)
    with on_device(device):
        return xp.astype(x, dtype if dtype is not None else default_float(xp, device))


def named_dtype(name: str, xp: Namespace) -> DType:
    """Return a library's dtype by its name; bfloat16 of NumPy and CuPy is ml_dtypes'.

    A BackendUnavailableError where that is not installed; an InputError where the library has no
    such dtype, or JAX has switched it off.
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
    if library == "jax" and name == "float64" and dtype_name(default_float(xp)) != "float64":
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
