"""The engine: makes a pure update fast without knowing any formula.

It calls the update once with tracing arrays (`trace`), puts operations together (`fuse`) and
plans memory (`memory`, `plan`). On NumPy steps are then native code (`native`, `llvm`) or calls
with output buffers, on CuPy kernels in CUDA graphs (`cuda`); on JAX an epoch is one compiled
scan. Elsewhere, and where control flow depends on data, the pure update runs as it is.
"""

from xpnn.engine.compile import (
    MODES,
    Runner,
    make_runner,
    set_data,
)
from xpnn.engine.predict import Predictor
from xpnn.engine.run_numpy import NumpyRunner
from xpnn.engine.run_pure import HostRows
from xpnn.engine.trace import Exchange, UnknownOperationError, across

__all__ = [
    "MODES",
    "Exchange",
    "HostRows",
    "NumpyRunner",
    "Predictor",
    "Runner",
    "UnknownOperationError",
    "across",
    "make_runner",
    "set_data",
]
