"""Choosing how an update runs."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

from xpnn.backends import (
    BackendUnavailableError,
    Device,
    DType,
    Namespace,
    dtype_name,
    feeder_for,
    host,
    host_view,
    library_name,
    to_device,
)
from xpnn.engine.run_numpy import NumpyRunner
from xpnn.engine.run_pure import HostRows, Names, PureRunner, Update, on_host
from xpnn.engine.trees import leaves, map_tree

Runner = Any
"""A `PureRunner`, or another one with its methods."""

MODES = ("auto", "plan", "kernels", "pure")


# Compiling a step's kernels takes some seconds, the first time on a machine; they save
# about a nanosecond for each parameter or state element and step, and some 50 us a step.
_WORTH = 1e9

# A plan saves a step some 80 us (networks of a few thousand parameters) to 1.5 ms (of 700,000),
# and takes 9 to 150 ms to make: some 100 to 200 steps pay for it. A training that is known to
# take more makes it at once, one of which nobody knows (`partial_fit`) after so many steps.
PURE_STEPS = 200
LONG = 200


def numba_is_there() -> bool:
    """Whether Numba is installed; imports nothing."""
    return importlib.util.find_spec("numba") is not None


def _worth_kernels(carry: Any, steps: int) -> bool:
    elements = sum(math.prod(leaf.shape) for leaf in leaves(carry))
    return steps * (elements + 50_000) > _WORTH and numba_is_there()


def _seen_by_numpy(carry: Any, columns: Any) -> Any:
    """Look at PyTorch's tensors on the CPU as NumPy's arrays; None where that is not possible.

    They are the same memory, and the replay is faster than PyTorch's own steps, which allocate
    every result: MNIST's 784-100-10 takes a third of the time of a module with autograd and
    fused Adam. Half precision, which NumPy computes number by number, stays with PyTorch.
    """
    if on_host(columns) or dtype_name(carry[0].dtype) not in ("float32", "float64"):
        return None
    views = map_tree(host_view, (carry, columns))
    return views if len(leaves(views)) == len(leaves((carry, columns))) else None


def make_runner(
    make_update: Callable[[Namespace], Update],
    carry: Any,
    columns: Any,
    *,
    xp: Namespace,
    device: Device,
    dtype: DType,
    steps: int = 0,
    mode: str = "auto",
    names: Names | None = None,
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
    steps : int, default 0
        Steps that the training will take, as far as is known.
    mode : {'auto', 'plan', 'kernels', 'pure'}, default 'auto'
        How updates of NumPy's arrays, and of PyTorch's on the CPU, run: replayed as NumPy
        calls ('plan'), the same with compiled kernels ('kernels', needs Numba), or with
        kernels where Numba is installed and the training is long enough to pay for
        compiling them ('auto'). On CuPy 'kernels' makes CUDA kernels and graphs; 'auto'
        does too, and runs the update as it is where CUDA refuses them. 'pure' calls it as it
        is on every library.
    names : pair of sequences of str, optional
        What the parts of the carry and the columns are called in `Plan.describe`.

    Returns
    -------
    Runner
        Has `run`, `theta`, and `reason`, which says where the pure update is run as it is.
    """
    if mode not in MODES:
        raise ValueError(f"engine={mode!r} is not known; expected one of {', '.join(MODES)}")
    name = library_name(xp)
    if mode == "kernels" and name != "cupy" and not numba_is_there():
        raise BackendUnavailableError(
            "engine='kernels' needs Numba, which is not installed. Install it with: "
            'python -m pip install numba  (extra "fast")'
        )
    views = (carry, columns) if name == "numpy" else None
    if name == "torch" and mode != "pure":
        views = _seen_by_numpy(carry, columns)
    if views is not None and mode != "pure":
        long = mode != "auto" or steps >= LONG
        return NumpyRunner(
            make_update, *views, host.dtype(dtype_name(dtype)),
            kernels=mode == "kernels" or (mode == "auto" and long and _worth_kernels(carry, steps)),
            names=names,
            pure_steps=0 if long else PURE_STEPS,
            hand_out=None if name == "numpy" else lambda a: to_device(a, xp, device),
        )  # fmt: skip
    feeder = feeder_for(xp, device) if on_host(columns) else None
    if mode in ("auto", "kernels") and name == "cupy":
        from xpnn.backends.cuda import CupyDevice
        from xpnn.engine.cuda.run import CudaRunner

        return CudaRunner(
            make_update, carry, columns, xp, device, dtype, CupyDevice(device), names,
            careful=mode == "auto", feeder=feeder,
        )  # fmt: skip
    if mode != "pure" and name == "jax" and not on_host(columns):
        from xpnn.engine.run_jax import JaxRunner

        return JaxRunner(make_update(xp), carry, columns, xp, device, dtype)
    return PureRunner(make_update(xp), carry, columns, xp, device, dtype, feeder)


def set_data(runner: Runner, columns: tuple[Any, ...]) -> None:
    """Hand a runner other data, of the same dtypes and trailing shapes, and in the same place.

    There may be any number of rows. Nothing but None lets go of what was handed in before.
    """
    if isinstance(runner, NumpyRunner):
        if runner.hand_out is not None:  # it sees PyTorch's tensors as NumPy's arrays
            columns = map_tree(lambda c: c if isinstance(c, HostRows) else host_view(c), columns)
        if runner.replay is not None and not leaves(columns):
            runner.replay.forget_data()
    runner.columns = columns
