"""The same bits in every run: which libraries do so anyhow, which are told, which cannot say."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from xpnn.backends.libraries import library_name
from xpnn.backends.types import Device, Namespace

_CUBLAS = (":4096:8", ":16:8")
_XLA = "--xla_gpu_deterministic_ops=true"


def same_bits(xp: Namespace, device: Device) -> AbstractContextManager[Any]:
    """Hold while the same operations are to give the same bits in every run.

    - NumPy and array-api-strict do, with one version of BLAS and as many threads.
    - So does CuPy on one GPU: kernels of `xpnn.engine` add up in a fixed order and without
      atomic additions, CUB's reductions are the same from run to run, and cuBLAS is while one
      stream is active, or with a workspace of its own, which it has with nvmath-python.
    - PyTorch is told to, and raises an error where it has no such way.
    - JAX does on the CPU; on a GPU it has to be told before it starts.

    Parameters
    ----------
    xp : module
        Namespace of the library. PyTorch's setting holds for the whole process, and is what
        it was before at the end.
    device : object
        Where the arrays are.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError
        The library does not promise it; says what makes it do so, if anything.
    """
    name = library_name(xp)
    if name in ("numpy", "array_api_strict", "cupy"):
        return nullcontext()
    if name == "torch":
        _check_torch(device)
        return _torch()
    if name == "jax":
        _check_jax(device)
        return nullcontext()
    raise ValueError(
        f"deterministic is True, and {name} is not known to give the same bits in every run; "
        "expected arrays of NumPy, CuPy, PyTorch, JAX or array-api-strict"
    )


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


@contextmanager
def _torch() -> Generator[None]:
    torch = importlib.import_module("torch")
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
