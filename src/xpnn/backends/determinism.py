"""Deterministic results: which libraries have them anyhow, and what switches them on."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from xpnn.backends.libraries import library_name
from xpnn.backends.settings import ProcessSetting
from xpnn.backends.types import Device, Namespace

_CUBLAS = (":4096:8", ":16:8")
_XLA = "--xla_gpu_deterministic_ops=true"


def deterministic_mode(xp: Namespace, device: Device) -> AbstractContextManager[None]:
    """Make the same operations give the same bits in every run, for the length of a scope.

    - NumPy and array-api-strict do, with one version of BLAS and as many threads.
    - So does CuPy on one GPU: kernels of `xpnn.engine` add up in a fixed order and without
      atomic additions, CUB's reductions are the same from run to run, and cuBLAS is while one
      stream is active, or with a workspace of its own, which it has with nvmath-python.
    - PyTorch is switched to deterministic algorithms, and raises an error where it has none.
    - JAX does on the CPU; on a GPU a flag is needed before the process begins.

    PyTorch's setting holds for the whole process: it is on while a scope of any thread asks for
    it, and then what it was before.

    Raises
    ------
    ValueError
        The library does not promise it; says what makes it do so, if anything.
    """
    name = library_name(xp)
    if name == "torch":
        _check_torch(device)
        return _TORCH.hold(True)
    if name == "jax":
        _check_jax(device)
    elif name not in ("numpy", "array_api_strict", "cupy"):
        raise ValueError(
            f"deterministic is True, and {name} is not known to give the same bits in every run; "
            "expected arrays of NumPy, CuPy, PyTorch, JAX or array-api-strict"
        )
    return nullcontext()


def _check_torch(device: Device) -> None:
    given = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if getattr(device, "type", "cpu") == "cuda" and given not in _CUBLAS:
        raise ValueError(
            f"deterministic is True, and CUBLAS_WORKSPACE_CONFIG is {given!r}; PyTorch on CUDA "
            f"expects it to be {_CUBLAS[0]!r}, set before the process begins"
        )


def _check_jax(device: Device) -> None:
    given = os.environ.get("XLA_FLAGS", "")
    if getattr(device, "platform", "cpu") in ("gpu", "cuda", "rocm") and _XLA not in given:
        raise ValueError(
            f"deterministic is True, and XLA_FLAGS is {given!r}; JAX on a GPU expects {_XLA!r} "
            "in it, set before the process begins"
        )


def _read() -> dict[str, bool]:
    torch: Any = importlib.import_module("torch")
    enabled = torch.are_deterministic_algorithms_enabled()
    return {"mode": enabled, "warn_only": torch.is_deterministic_algorithms_warn_only_enabled()}


def _write(state: dict[str, bool]) -> None:
    importlib.import_module("torch").use_deterministic_algorithms(**state)


_TORCH = ProcessSetting[bool](_read, _write, lambda *_: {"mode": True, "warn_only": False})
