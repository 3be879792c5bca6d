"""One work on one device, and what that device is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from xpnn.backends import on_device
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.ceilings import measure_ceilings
from xpnn.bench.gpu.fits import estimator, time98
from xpnn.bench.gpu.ours import placed
from xpnn.bench.gpu.within import Deadline, reason_of, with_ratios
from xpnn.bench.gpu.works import Found, large, predict, small
from xpnn.bench.peers import installed
from xpnn.bench.rounds import SkipError
from xpnn.bench.workloads import WORKLOADS

WORKS: dict[str, Callable[[Asked, Deadline], Found]] = {
    "mnist": partial(small, WORKLOADS[0]),
    "tabular": partial(small, WORKLOADS[2]),
    "large": large,
    "estimator": estimator,
    "predict": predict,
    "time98": time98,
}
_ASKED_OF_SMI = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm",
                 "clocks.mem", "power.limit", "temperature.gpu")  # fmt: skip


def smi(index: int) -> dict[str, str]:
    """What nvidia-smi says of a GPU; empty where it is not there or does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    words = [tool, f"--id={index}", f"--query-gpu={','.join(_ASKED_OF_SMI)}", "--format=csv"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [line.split(", ") for line in done.stdout.strip().splitlines()]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]):
        return {}
    return dict(zip(_ASKED_OF_SMI, lines[1], strict=False))


def describe_device(asked: Asked) -> dict[str, Any]:
    """Name, driver and CUDA versions of the device, as far as anybody tells them."""
    if not asked.cuda:
        return {"device": "cpu"}
    index = int(asked.device.partition(":")[2] or 0)
    found: dict[str, Any] = {"device": asked.device, "nvidia_smi": smi(index)}
    try:
        cupy = installed("cupy")
        runtime = cupy.cuda.runtime
        found |= {"cupy": cupy.__version__, "cuda_runtime": runtime.runtimeGetVersion()}
        found |= {"cuda_of_driver": runtime.driverGetVersion()}
        properties = runtime.getDeviceProperties(index)
        found |= {
            "name": properties["name"].decode(), "memory_bytes": properties["totalGlobalMem"],
            "multiprocessors": properties["multiProcessorCount"],
            "l2_bytes": properties["l2CacheSize"],
            "compute_capability": f"{properties['major']}.{properties['minor']}",
        }  # fmt: skip
    except Exception as error:  # what was measured is worth more than what this says
        found["cupy_error"] = reason_of(error)
    try:
        torch = installed("torch")
        found |= {"torch": torch.__version__, "torch_cuda": torch.version.cuda}
    except SkipError as error:
        found["torch_error"] = str(error)
    return found


def work_on(name: str, asked: Asked) -> dict[str, Any]:
    """Measure one work.

    Parameters
    ----------
    name : str
        A key of `WORKS`, or ``ceilings``.
    asked : Asked
        How; its `seconds` begin now.

    Returns
    -------
    dict
        Plain values.
    """
    deadline = Deadline(asked.seconds)
    try:
        place = placed(asked)
        place.wait()
        scope = on_device(place.backend.device)
    except SkipError:  # PyTorch's part can still be measured, and the table says the reason
        scope = nullcontext()
    with scope:
        if name == "ceilings":
            record: dict[str, Any] = {"ceilings": measure_ceilings(asked, deadline)}
        else:
            found = WORKS[name](asked, deadline)
            found.timings = with_ratios(found.timings)
            record = {"name": name, **found.record()}
        return {**record, "device": describe_device(asked)}
