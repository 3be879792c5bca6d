"""How vectors are reduced over the ranks, by array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.backends import (
    Array,
    device_of,
    host,
    library_name,
    namespace,
    placement,
    to_device,
    to_host,
)
from xpnn.backends.cuda import NcclRing

AllReduce = Callable[[Array], Array]


def transport_for(group: Any, like: Array) -> tuple[str, AllReduce]:
    """Choose how vectors of an array's library and device are reduced; all ranks do it alike.

    Parameters
    ----------
    group : ProcessGroup
        The one that asks, which imports this.
    like : array
        Of the library and on the device of the vectors.

    Returns
    -------
    text : str
        How, for the log.
    all_reduce : callable
        ``all_reduce(vector)`` returns the sum over all ranks as a new array on the same device.

    Raises
    ------
    RuntimeError
        NCCL was asked for and is not installed, or two ranks share a GPU.
    """

    def through_host(vector: Array) -> Array:
        xp, device = placement(x=vector)
        values = host.ascontiguousarray(to_host(vector))
        found = host.empty_like(values)
        group.into(values, found)
        return to_device(found, xp, device, vector.dtype)

    def cuda_aware(vector: Array) -> Array:
        found, device = namespace(x=vector).empty_like(vector), device_of(vector)
        with device:
            device.synchronize()  # MPI knows nothing of streams
        group.into(vector, found)
        return found

    asked = group.options.transport
    if asked == "staged" or library_name(namespace(x=like)) != "cupy":
        return "through host memory", through_host
    if asked == "cuda-aware":
        return "by a CUDA-aware MPI", cuda_aware
    ranks = group.all_gather((NcclRing.place(like), NcclRing.missing()))
    shared = "two ranks have the same GPU" if len(dict(ranks)) < group.size else ""
    reason = next((missing for _, missing in ranks if missing), shared)
    if not reason:
        return "by NCCL", _nccl(group, like)
    if asked == "nccl":
        raise RuntimeError(
            f"transport='nccl' cannot be used: {reason}. Give each rank a GPU of its own "
            'and install NCCL: python -m pip install "xpnn[nccl13]" (for CUDA 12: nccl12)'
        )
    return f"through host memory ({reason})", through_host


def _nccl(group: Any, like: Array) -> AllReduce:
    unique_id = group.broadcast(NcclRing.new_id() if group.is_main else None)
    ring = NcclRing(group.size, unique_id, group.rank, like)

    def all_reduce(vector: Array) -> Array:
        group.barrier("all_reduce", len(vector))
        return ring.sum(vector)

    return all_reduce
