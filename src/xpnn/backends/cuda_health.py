"""Why a GPU cannot be used here, in one sentence."""

from __future__ import annotations

import importlib
import os

from xpnn.backends.errors import BackendUnavailableError
from xpnn.backends.libraries import LIBRARIES, on_device
from xpnn.backends.select import select
from xpnn.backends.transfer import to_float

_VARIABLES = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")


def diagnose_cuda(device: str | None = None) -> str:
    """Say why CuPy cannot compute on a GPU (such as ``cuda:1``; default, the first), in one line.

    Looks, in this order, for the package, a driver that is new enough, a GPU, and the right
    result of a sum, for which CuPy compiles a kernel and copies a number back; empty where that
    came out right. What a container may lack is in docker/README.md.
    """
    try:
        LIBRARIES["cupy"].load()
        runtime = importlib.import_module("cupy").cuda.runtime
        own, needed = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
        if own and own // 1000 < needed // 1000:
            return (
                f"the NVIDIA driver is too old: it knows CUDA {own // 1000}.{own % 1000 // 10} "
                f"and this CuPy needs CUDA {needed // 1000}; install a newer driver, or CuPy for "
                f"CUDA {own // 1000} (extra 'cuda{own // 1000}')"
            )
        backend = select("cupy", device, "float32")
        with on_device(backend.device):
            found = to_float(backend.xp.sum(backend.asarray([1.0, 2.0, 4.0])))
    except (ValueError, BackendUnavailableError) as error:
        given = [f"{name} is {os.environ[name]!r}" for name in _VARIABLES if name in os.environ]
        return f"{error}{'; ' if given else ''}{' and '.join(given)}"
    except Exception as error:  # of whatever class the library that fails has
        first = str(error).strip().partition("\n")[0]
        return f"the GPU is there, but a sum on it failed with {type(error).__name__}: {first}"
    return "" if found == 7.0 else f"the GPU computes wrongly: 1 + 2 + 4 gave {found}"
