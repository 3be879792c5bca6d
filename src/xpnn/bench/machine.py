"""The machine under a measurement: what it is, and how many of its cores take part."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
PACKAGES = (
    "xpnn", "numpy", "scipy", "scikit-learn", "torch", "skorch", "jax", "jaxlib", "numba",
    "cupy-cuda12x", "cupy-cuda13x", "ml_dtypes", "triton",
)  # fmt: skip


def cpu_model() -> str:
    """Name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Processor"):
                return value.strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.stdout.strip():
            return found.stdout.strip()
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """Processor, cores and system."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    """Versions of Python and of what takes part, where installed."""
    # It imports much, and `xpnn --help` imports this module.
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _one_per_core(cpus: list[int]) -> list[int]:
    """Order logical processors so that the first ones are cores of their own."""
    first: list[int] = []
    others: list[int] = []
    seen: set[str] = set()
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text().strip() if path.exists() else str(cpu)
        (others if core in seen else first).append(cpu)
        seen.add(core)
    return first + others


def limit_threads(threads: int) -> None:
    """Let this process use so many cores; to be called before NumPy is imported.

    The libraries read their number of threads when they are imported. JAX has no such
    setting and takes a thread for each processor that it may run on, so on Linux the
    process is also bound to that many processors.

    Parameters
    ----------
    threads : int
        At least 1.

    Raises
    ------
    RuntimeError
        NumPy has been imported already.
    """
    if "numpy" in sys.modules:
        raise RuntimeError("NumPy is imported already; its number of threads is fixed by now")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if threads < len(usable):
            os.sched_setaffinity(0, _one_per_core(usable)[:threads])
    # What is compared is the CPU, in float32, which is JAX's own default.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_ENABLE_X64"] = "0"
