"""Choosing how an update runs."""

from __future__ import annotations

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
from xpnn.engine.llvm import llvm_is_there
from xpnn.engine.run_numpy import NumpyRunner
from xpnn.engine.run_pure import HostRows, Names, PureRunner, Update, on_host
from xpnn.engine.trees import leaves, map_tree

Runner = Any
"""A `PureRunner`, or another one with its methods."""

MODES = ("auto", "planned", "native", "pure")


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
    mode : {'auto', 'planned', 'native', 'pure'}, default 'auto'
        How updates of NumPy's arrays, and of PyTorch's on the CPU, run: as calls of NumPy on
        memory that is planned once ('planned'), as native code ('native', needs llvmlite), as
        they are ('pure'), or 'auto': as they are until one of the others pays. All of them give
        the same bytes. On CuPy 'auto' and 'native' make CUDA kernels and graphs, and run the
        update as it is where CUDA refuses them, which 'native' warns of. On JAX an epoch is one
        compiled scan, except for 'pure'. On other libraries every update runs as it is.
    names : pair of sequences of str, optional
        What the parts of the carry and the columns are called in `Plan.describe`.

    Returns
    -------
    Runner
        Has `run`, `theta`, and `engine`, which says how steps ran.
    """
    if mode not in MODES:
        raise ValueError(f"engine={mode!r} is not known; expected one of {', '.join(MODES)}")
    name = library_name(xp)
    views = (carry, columns) if name == "numpy" else None
    if name == "torch" and mode != "pure":
        views = _seen_by_numpy(carry, columns)
    if views is not None and mode != "pure":
        if mode == "native" and not llvm_is_there():
            raise BackendUnavailableError(
                "engine='native' needs llvmlite, which is not installed. Install it with: "
                "python -m pip install llvmlite"
            )
        return NumpyRunner(
            make_update, *views, host.dtype(dtype_name(dtype)), mode, steps, names,
            hand_out=None if name == "numpy" else lambda a: to_device(a, xp, device),
        )  # fmt: skip
    feeder = feeder_for(xp, device) if on_host(columns) else None
    if mode in ("auto", "native") and name == "cupy":
        from xpnn.backends.cuda import CupyDevice
        from xpnn.engine.cuda.run import CudaRunner

        return CudaRunner(
            make_update, carry, columns, xp, device, dtype, CupyDevice(device), names,
            asked_for=mode == "native", feeder=feeder,
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
        if not leaves(columns):
            runner.forget_data()
    runner.columns = columns
