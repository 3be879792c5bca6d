"""Running the cases on a library and comparing them with NumPy's float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from xpnn.backends import (
    Backend,
    backend_of,
    device_name,
    dtype_name,
    matmul_precision,
    on_device,
    select,
    to_host,
)
from xpnn.checks.cases import CASES
from xpnn.checks.tolerance import deviation

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Finding:
    """How far one case deviates on one backend."""

    library: str
    device: str
    dtype: str
    case: str  # a key of `CASES`
    worst: str  # the result that comes nearest to its bound, or passes it by most
    absolute: float  # its largest deviations
    relative: float
    allowed: float  # relative deviation that is allowed for it
    problem: str = ""  # an exception, or results on another library, device or dtype

    @property
    def passed(self) -> bool:
        """Whether the case agrees."""
        return not self.problem and self.relative <= self.allowed


@cache
def reference(case: str) -> dict[str, Any]:
    """Results of a case on NumPy in float64."""
    return {
        name: to_host(value)
        for name, value in CASES[case].compute(select("numpy", "cpu", "float64")).items()
    }


def _misplaced(value: Any, backend: Backend) -> str:
    own = backend_of(value)
    if own.name != backend.name or own.device != backend.device:
        return f"came out on {own.name} {device_name(own.device)}"
    if dtype_name(value.dtype) != dtype_name(backend.dtype):
        return f"came out as {dtype_name(value.dtype)}"
    return ""


def check_backend(backend: Backend) -> Iterator[Finding]:
    """Run every case on a backend: its library, device and dtype."""
    dtype = dtype_name(backend.dtype)
    where = (backend.name, device_name(backend.device), dtype)
    for name, case in CASES.items():
        try:
            # As in trainings: formulas are handed `xp`, and products are exact in float32.
            with on_device(backend.device), matmul_precision("highest", backend.xp):
                found = case.compute(backend)
        except Exception as error:  # what a library raises is a finding, not a crash
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            yield Finding(*where, name, "", 0.0, 0.0, case.bound("", dtype), text)
            continue
        distances, problem = {}, ""
        for result, expected in reference(name).items():
            absolute, relative = deviation(to_host(found[result]), expected)
            distances[result] = (absolute, relative, case.bound(result, dtype))
            place = _misplaced(found[result], backend)
            problem = problem or (place and f"{result} {place}")
        worst = max(distances, key=lambda result: distances[result][1] / distances[result][2])
        yield Finding(*where, name, worst, *distances[worst], problem)


def check_device(library: str, device: str) -> Iterator[Finding]:
    """Run every case on a named device of a library, in each dtype that it has."""
    for dtype in DTYPES:
        # array-api-strict's devices without 64 bits exist to refuse float64.
        if dtype == "float64" and device in ("no_float64", "no_x64", "mps"):
            continue
        try:
            backend = select(library, device, dtype)
        except ValueError as error:
            yield Finding(library, device, dtype, "select", "", 0.0, 0.0, 0.0, str(error))
            continue
        yield from check_backend(backend)
