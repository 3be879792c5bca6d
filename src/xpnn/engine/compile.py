"""Choosing how an update runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import Device, DType, Namespace, library_name
from xpnn.engine.run_jax import JaxRunner
from xpnn.engine.run_numpy import NumpyRunner
from xpnn.engine.run_pure import PureRunner, Update

Runner = PureRunner | NumpyRunner | JaxRunner

MODES = ("auto", "pure")


def make_runner(
    make_update: Callable[[Namespace], Update],
    carry: Any,
    columns: Any,
    *,
    xp: Namespace,
    device: Device,
    dtype: DType,
    mode: str = "auto",
) -> Runner:
    """Make a pure update as fast as the library of its arrays allows.

    Parameters
    ----------
    make_update : callable
        ``make_update(xp) -> update`` with ``update(carry, sums, batch) -> (carry, sums)``;
        `batch` is one tuple: the batch's part of each column, the noise, the rate. The
        update must be pure: no data-dependent control flow, no host synchronisation, no
        assignment into its arguments.
    carry : nested tuples of array
        What goes from step to step; its first array is the parameters.
    columns : tuple of array
        The data; all share their first axis. None stays None.
    xp, device
        Where the data is.
    dtype : dtype
        Dtype of rates and sums.
    mode : {'auto', 'pure'}, default 'auto'
        'pure' calls the update as it is, on every library.

    Returns
    -------
    Runner
        Has `run`, `theta`, and `reason`, which says where the pure update is run as it is.
    """
    if mode not in MODES:
        raise ValueError(f"engine={mode!r} is not known; expected one of {', '.join(MODES)}")
    name = library_name(xp)
    if mode == "auto" and name == "numpy":
        return NumpyRunner(make_update, carry, columns, xp, dtype)
    if mode == "auto" and name == "jax":
        return JaxRunner(make_update, carry, columns, xp, device, dtype)
    return PureRunner(make_update(xp), carry, columns, xp, device, dtype)
