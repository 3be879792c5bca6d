"""Comparing every library and device with NumPy's float64: `xpnn check` and the tests."""

from xpnn.checks.agreement import Finding, check_backend, check_device
from xpnn.checks.tolerance import deviation, rounding_bound, tolerance

__all__ = ["Finding", "check_backend", "check_device", "deviation", "rounding_bound", "tolerance"]
