"""The engine: makes a pure step fast without knowing any formula.

`compile_step` is the seam. It hands JAX's steps to `jax.jit` (a compiler for pure array
functions that JAX brings along); on the other libraries the pure step runs as it is.
"""

from xpnn.engine.compile import compile_step

__all__ = ["compile_step"]
