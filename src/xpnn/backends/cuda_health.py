"""Why a GPU cannot be used here, in one sentence that says what to do."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpnn.backends.errors import BackendUnavailableError
from xpnn.backends.libraries import LIBRARIES, on_device
from xpnn.backends.select import select
from xpnn.backends.transfer import to_float

_DRIVERS = {12: "525", 13: "580"}  # the first that runs a CUDA version
_NOT_GIVEN = ("", "void", "none")


@dataclass(frozen=True)
class Surroundings:
    """What can be seen of a GPU from a process.

    Parameters
    ----------
    devices : Path
        Folder with the system's devices.
    driver : Path
        Where the kernel's driver says its version; in a container too.
    environment : mapping
        The process's variables.
    load : callable
        Loads a shared library; raises `OSError` where there is none.
    container : bool
        Whether this is a container of Docker or Podman.
    """

    devices: Path = Path("/dev")
    driver: Path = Path("/proc/driver/nvidia/version")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    load: Callable[[str], Any] = ctypes.CDLL
    container: bool = field(
        default_factory=lambda: any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv")))
    )

    def nodes(self) -> list[str]:
        """Names of the devices that stand for GPUs."""
        found = [*self.devices.glob("nvidia[0-9]*"), *self.devices.glob("dxg")]
        return sorted(path.name for path in found)

    def host_driver(self) -> str:
        """Version of the kernel's driver; empty where there is none."""
        try:
            text = self.driver.read_text()
        except OSError:
            return ""
        found = re.search(r"Module.*?\s(\d+\.[\d.]+)", text)
        return found[1] if found else "of unknown version"

    def visible(self) -> str:
        """What the variables say of which GPUs are to be seen."""
        names = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
        return " and ".join(
            f"{n} is {self.environment[n]!r}" for n in names if n in self.environment
        )


def cuda_trouble(device: str | None = None, seen: Surroundings | None = None) -> str:
    """Say why CuPy cannot compute on a GPU here.

    Parameters
    ----------
    device : str, optional
        Such as ``cuda:1``; default, the first.
    seen : Surroundings, optional
        What to look at; default, this machine.

    Returns
    -------
    str
        Empty where a sum on the GPU came out right.
    """
    seen = seen or Surroundings()
    try:
        LIBRARIES["cupy"].load()
    except BackendUnavailableError as error:
        return str(error)
    return _driver_trouble(seen) or _count_trouble(seen) or _sum_trouble(device)


def _driver_trouble(seen: Surroundings) -> str:
    """Look for the driver's library."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        seen.load("libcuda.so.1")
    except OSError:
        pass
    else:
        return ""
    version, given = seen.host_driver(), seen.environment.get("NVIDIA_VISIBLE_DEVICES")
    if seen.nodes():
        wanted = seen.environment.get("NVIDIA_DRIVER_CAPABILITIES")
        hint = f"; NVIDIA_DRIVER_CAPABILITIES is {wanted!r}" if wanted else ""
        return (
            f"the driver's library libcuda.so.1 is missing, though /dev/{seen.nodes()[0]} is "
            "there: install the NVIDIA driver's compute libraries, or give the container the "
            f"capability 'compute' (NVIDIA_DRIVER_CAPABILITIES=compute,utility){hint}"
        )
    if seen.container and given is not None and given.strip() in _NOT_GIVEN:
        return (
            f"this container was told to see no GPU: NVIDIA_VISIBLE_DEVICES is {given!r}; expected "
            "all, or numbers of GPUs"
        )
    if seen.container:
        host = f"the host has the driver {version}" if version else "the host has no NVIDIA driver"
        todo = "" if version else "install the driver on the host, then "
        return (
            f"no GPU reaches this container, and {host}: {todo}install the NVIDIA Container "
            "Toolkit on the host, run 'nvidia-ctk runtime configure --runtime=docker', restart "
            "Docker, and start the container with --gpus all"
        )
    if version:
        return (
            f"the kernel has the NVIDIA driver {version}, but neither /dev/nvidia0 nor "
            "libcuda.so.1 is there: install the rest of the driver, or run 'nvidia-modprobe'"
        )
    return (
        "there is no NVIDIA driver: neither /dev/nvidia0 nor libcuda.so.1 is there; install driver "
        f"{_DRIVERS[12]} or newer (CUDA 12) or {_DRIVERS[13]} or newer (CUDA 13)"
    )


def _count_trouble(seen: Surroundings) -> str:
    """Ask the driver for its CUDA version and its GPUs."""
    runtime = importlib.import_module("cupy").cuda.runtime
    try:
        own, needed = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
        if own and own // 1000 < needed // 1000:
            major = needed // 1000
            least = _DRIVERS.get(major, "newer")
            version = seen.host_driver()
            return (
                f"the NVIDIA driver{f' {version}' if version else ''} is too old: it knows CUDA "
                f"{own // 1000}.{own % 1000 // 10} and this CuPy needs CUDA {major}; install "
                f"driver {least} or newer, or CuPy for CUDA {own // 1000} (extra "
                f"'cuda{own // 1000}', image with XPNN_CUDA={own // 1000})"
            )
        count, error = int(runtime.getDeviceCount()), ""
    except Exception as found:  # of CuPy's own classes, by whatever is wrong
        count, error = 0, str(found).strip().partition("\n")[0]
    if count:
        return ""
    said = seen.visible()
    if error and "NoDevice" not in error and "InvalidDevice" not in error:
        return (
            f"the driver does not start: {error}{f'; {said}' if said else ''}. Look at "
            "'nvidia-smi' on the host; a driver that was updated needs a restart"
        )
    there = ", ".join(f"/dev/{name}" for name in seen.nodes()) or "no GPU's device"
    return f"no GPU is visible, and {there} is there" + (
        f"; {said}, which may name a GPU that is not there: expected numbers from 0" if said else ""
    )


def _sum_trouble(device: str | None) -> str:
    """Compute something, which compiles a kernel and brings its result back."""
    try:
        here = select("cupy", device, "float32")
        with on_device(here.device):
            found = to_float(here.xp.sum(here.asarray([1.0, 2.0, 4.0])))
    except (ValueError, BackendUnavailableError) as error:
        return str(error)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        return f"the GPU is there, but a sum on it failed with {type(error).__name__}: {first}"
    return "" if found == 7.0 else f"the GPU computes wrongly: 1 + 2 + 4 gave {found}"
