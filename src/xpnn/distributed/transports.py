"""How vectors are reduced over the ranks, by array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xpnn.backends import (
    Array,
    NcclRing,
    PinnedPair,
    device_of,
    host,
    library_name,
    namespace,
    placement,
    to_device,
    to_host,
)

if TYPE_CHECKING:
    from xpnn.distributed.group import ProcessGroup

AllReduce = Callable[[Array], Array]


def transport_for(group: ProcessGroup, like: Array) -> tuple[str, AllReduce]:
    """Choose how vectors of an array's library and device are reduced; all ranks do it alike.

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
    asked, reason = group.options.transport, ""
    if library_name(namespace(x=like)) != "cupy":
        return "through host memory", _through_host(group)
    if asked == "cuda-aware":
        return "by a CUDA-aware MPI", _cuda_aware(group)
    if asked != "staged":
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
    return f"through pinned host memory ({reason or 'as asked'})", _through_pinned(group)


def _through_host(group: ProcessGroup) -> AllReduce:
    def all_reduce(vector: Array) -> Array:
        xp, device = placement(x=vector)
        values = host.ascontiguousarray(to_host(vector))
        found = host.empty_like(values)
        group.into(values, found)
        return to_device(found, xp, device, vector.dtype)

    return all_reduce


def _through_pinned(group: ProcessGroup) -> AllReduce:
    pair: Any = None  # kept from step to step

    def all_reduce(vector: Array) -> Array:
        nonlocal pair
        if pair is None or (pair.room.shape, pair.room.dtype) != (vector.shape, vector.dtype):
            pair = PinnedPair(vector)
        values = pair.down(vector)
        group.into(values, values)
        return pair.up(vector)

    return all_reduce


def _cuda_aware(group: ProcessGroup) -> AllReduce:
    def all_reduce(vector: Array) -> Array:
        found, device = namespace(x=vector).empty_like(vector), device_of(vector)
        with device:
            device.synchronize()  # MPI knows nothing of streams
        group.into(vector, found)
        return found

    return all_reduce


def _nccl(group: ProcessGroup, like: Array) -> AllReduce:
    unique_id = group.broadcast(NcclRing.new_id() if group.is_main else None)
    ring = NcclRing(group.size, unique_id, group.rank, like)

    def all_reduce(vector: Array) -> Array:
        group.barrier("all_reduce", len(vector))
        return ring.sum(vector)

    return all_reduce
