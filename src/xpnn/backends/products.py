"""Matrix products of 16-bit floats that add up in float32, on every library."""

from __future__ import annotations

from xpnn.backends.dispatch import is_half
from xpnn.backends.libraries import library_name
from xpnn.backends.types import Array, Namespace


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
