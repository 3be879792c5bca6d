"""Matrix products of 16-bit floats that add up in float32, on every library."""

from __future__ import annotations

from xpnn.backends.dispatch import is_half
from xpnn.backends.libraries import library_name
from xpnn.backends.types import Array, Namespace


def matmul(a: Array, b: Array, xp: Namespace) -> Array:
    """Matrix product ``a @ b``; of 16-bit floats in float32.

    The product of two 16-bit floats is exact in float32, and the sums are float32's: a
    sum kept in 16 bits loses its small terms, and float16's ends at 65504. GPUs multiply so
    in their tensor cores; a CPU widens first, which is also faster there, as its BLAS knows
    no 16-bit floats (PyTorch's float16 took 25 times as long).

    Parameters
    ----------
    a, b : array, shapes (n, k) and (k, m)
        Factors.
    xp : module
        Their namespace.

    Returns
    -------
    array, shape (n, m)
        In their dtype, in float32 in place of 16 bits. Products of CuPy and of PyTorch on CUDA
        have been rounded to 16 bits once, after the sum, on the way.
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
