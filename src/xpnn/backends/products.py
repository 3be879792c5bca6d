"""Matrix products: how 16-bit floats add up, and how exactly float32 is multiplied."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from xpnn.backends.libraries import Array, Namespace, is_half, library_name
from xpnn.backends.settings import ProcessSetting

PRECISIONS = ("highest", "high", "medium")


def matmul(a: Array, b: Array, xp: Namespace) -> Array:
    """Matrix product ``a @ b`` of shapes (n, k) and (k, m); of 16-bit floats in float32.

    The product of two 16-bit floats is exact in float32, and the sums are float32's: a
    sum kept in 16 bits loses its small terms, and float16's ends at 65504. GPUs multiply so
    in their tensor cores, and CuPy and PyTorch on CUDA round the result to 16 bits once on the
    way; a CPU widens first, which is also faster there, as its BLAS knows no 16-bit floats
    (PyTorch's float16 took 25 times as long).
    """
    halves = is_half(a.dtype), is_half(b.dtype)
    if not any(halves):
        return xp.matmul(a, b)
    name = library_name(xp)
    if all(halves) and name == "jax":
        return xp.matmul(a, b, preferred_element_type=xp.float32)
    if all(halves) and (name == "cupy" or (name == "torch" and a.device.type == "cuda")):
        return xp.astype(xp.matmul(a, b), xp.float32)
    wide = [xp.astype(x, xp.float32) if half else x for x, half in zip((a, b), halves, strict=True)]
    return xp.matmul(*wide)


def check_precision(precision: Any) -> None:
    """Raise a ValueError for what is not one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")


def matmul_precision(precision: str, xp: Namespace) -> AbstractContextManager[Any]:
    """Set how exactly a library may multiply float32 matrices, for the length of a scope.

    'highest' is float32 throughout, also where a library would do less by itself (JAX on a
    GPU) or is set so elsewhere. 'high' allows TensorFloat-32, with 10 bits after the point,
    'medium' bfloat16, with 7; sums stay float32. Both only permit less: a library or device
    that has nothing faster multiplies in float32. NumPy and array-api-strict always do, CuPy
    takes TensorFloat-32 for both, GPUs before NVIDIA's Ampere have neither.

    JAX's setting holds for the thread. PyTorch's and CuPy's hold for the whole process: where
    scopes of several threads overlap, products have the highest precision that one of them asks
    for. At the end of the last scope the setting is what it was before the first.
    """
    check_precision(precision)
    name = library_name(xp)
    if name == "jax":
        names = {"highest": "float32", "high": "tensorfloat32", "medium": "bfloat16"}
        scope: AbstractContextManager[Any]
        scope = importlib.import_module("jax").default_matmul_precision(names[precision])
        return scope
    setting = _SETTINGS.get(name)
    return nullcontext() if setting is None else setting.hold(precision)


def _strictest(requests: Sequence[str]) -> str:
    return min(requests, key=PRECISIONS.index)


def _cupy_linalg() -> Any:
    return importlib.import_module("cupy._core._routines_linalg")


def cupy_takes_tf32() -> bool:
    """Whether CuPy multiplies float32 by TensorFloat-32; there is no public way to ask."""
    linalg = _cupy_linalg()
    return bool(linalg.get_compute_type("float32") == linalg.COMPUTE_TYPE_TF32)


def _cupy_combine(before: dict[str, Any], requests: Sequence[str]) -> dict[str, Any]:
    linalg, exact = _cupy_linalg(), _strictest(requests) == "highest"
    return {"float32": linalg.COMPUTE_TYPE_DEFAULT if exact else linalg.COMPUTE_TYPE_TF32}


_HALF_SUMS = tuple(f"allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16"))


def _torch_read() -> dict[str, Any]:
    torch = importlib.import_module("torch")
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    state = {name: getattr(cuda, name) for name in _HALF_SUMS}
    try:
        return state | {"both": torch.get_float32_matmul_precision()}
    except RuntimeError:  # each device has been set by PyTorch's newer settings
        return state | {"cuda": cuda.fp32_precision, "cpu": cpu.fp32_precision}


def _torch_write(state: dict[str, Any]) -> None:
    torch = importlib.import_module("torch")
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    for name in _HALF_SUMS:
        setattr(cuda, name, state[name])
    if "both" in state:
        torch.set_float32_matmul_precision(state["both"])
    else:
        cuda.fp32_precision, cpu.fp32_precision = state["cuda"], state["cpu"]


def _torch_combine(before: dict[str, Any], requests: Sequence[str]) -> dict[str, Any]:
    precision = _strictest(requests)
    # cuBLAS may else add parts of a sum of 16-bit products up in 16 bits.
    state: dict[str, Any] = dict.fromkeys(_HALF_SUMS, False)
    if "both" in before:
        return state | {"both": precision}
    kind = {"highest": "ieee", "high": "tf32", "medium": "bf16"}[precision]
    return state | {"cpu": kind, "cuda": "tf32" if kind == "bf16" else kind}  # CUDA has no bf16


_SETTINGS: dict[str, ProcessSetting[str]] = {
    "cupy": ProcessSetting(
        lambda: {"float32": _cupy_linalg().get_compute_type("float32")},
        lambda state: _cupy_linalg().set_compute_type("float32", state["float32"]),
        _cupy_combine,
    ),
    "torch": ProcessSetting(_torch_read, _torch_write, _torch_combine),
}
