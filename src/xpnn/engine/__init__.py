"""The engine: makes a pure update fast without knowing any formula.

It calls the update once with tracing arrays, plans buffers, and replays the plan: on NumPy
as bound calls with output buffers. On JAX an epoch becomes one compiled scan. Elsewhere,
and where it lacks a rule for an operation, the pure update runs as it is.
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
