"""How sums of arrays that are not NumPy's travel from process to process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnn.backends import (
    Array,
    NcclRing,
    PinnedPair,
    device_of,
    dtype_name,
    host,
    library_name,
    namespace,
    to_device,
    to_host,
)
from xpnn.distributed.share import share_of

if TYPE_CHECKING:
    from xpnn.distributed.group import Group


class SharedSums:
    """Sums among processes of one machine, in memory that they share.

    Each adds up its part of all vectors, in the order of the ranks, and takes the other
    parts from the others: 0.75 of the time of an all-reduce by messages, which copies more
    (670,000 float32 of two processes, `benchmarks/scaling_mpi.py --rounds 5`).
    Two rooms take turns, as the slowest may still read the one when the fastest writes
    again.

    Parameters
    ----------
    group : Group
        The processes, all on one machine.
    length : int
        Of the vectors.
    dtype : dtype
        Of the vectors.
    """

    def __init__(self, group: Group, length: int, dtype: Any) -> None:
        self.group, self.turn = group, 0
        self.parts = [slice(*share_of(length, rank, group.size)) for rank in range(group.size)]
        self.rooms, self.windows = [], []
        for _ in range(2):
            size = length * dtype.itemsize
            window = group.mpi.Win.Allocate_shared(size, dtype.itemsize, comm=group.local)
            window.Lock_all()
            self.windows.append(window)
            self.rooms.append([
                host.ndarray((length,), dtype, window.Shared_query(rank)[0])
                for rank in range(group.size)
            ])  # fmt: skip

    def add(self, vector: Any, out: Any) -> None:
        """Add up vectors into another one; all processes are about to do so."""
        rooms, window = self.rooms[self.turn], self.windows[self.turn]
        self.turn = 1 - self.turn
        rank = self.group.rank
        own, mine = self.parts[rank], rooms[rank]
        host.copyto(mine, vector)
        window.Sync()
        self.group.meet("add up", len(vector))
        window.Sync()
        host.add(rooms[0][own], rooms[1][own], out=out[own])
        for room in rooms[2:]:
            out[own] += room[own]
        mine[own] = out[own]
        window.Sync()
        self.group.meet("take sums", len(vector))
        window.Sync()
        for room, part in zip(rooms, self.parts, strict=True):
            if part is not own:
                out[part] = room[part]


class HostSums:
    """Through the host: copied there, added up, copied back."""

    text = "through the host"

    def __init__(self, group: Group, like: Array) -> None:
        self.group, self.xp = group, namespace(x=like)
        self.kind = (library_name(self.xp), dtype_name(like.dtype), tuple(like.shape))
        self.device = device_of(like)

    def fits(self, vector: Array) -> bool:
        """Whether a vector is of the kind that this was made for."""
        xp = namespace(x=vector)
        kind = (library_name(xp), dtype_name(vector.dtype), tuple(vector.shape))
        return kind == self.kind and bool(device_of(vector) == self.device)

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        values = host.ascontiguousarray(to_host(vector))
        found = host.empty_like(values)
        self.group.add(values, found)
        return to_device(found, self.xp, self.device, vector.dtype)


class PinnedSums(HostSums):
    """A GPU's arrays through pinned memory of the host, kept from sum to sum."""

    text = "through pinned memory of the host"

    def __init__(self, group: Group, like: Array) -> None:
        super().__init__(group, like)
        self.pair = PinnedPair(like)

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        values = self.pair.down(vector)
        self.group.add(values, values)
        return self.pair.up(vector)


class AwareSums(HostSums):
    """An MPI that takes GPU memory as it is."""

    text = "through the MPI, which takes GPU memory"

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        found = self.xp.zeros_like(vector)
        with self.device:
            self.device.synchronize()  # MPI knows nothing of streams
        self.group.meet("add up", int(vector.shape[0]))
        self.group.wait(self.group.comm.Iallreduce(vector, found), "add up")
        return found


class NcclSums(HostSums):
    """NCCL, from GPU to GPU, on the stream that is current."""

    text = "over NCCL"

    def __init__(self, group: Group, like: Array) -> None:
        super().__init__(group, like)
        unique = group.tell(NcclRing.new_id() if group.first else None, 0)
        self.ring = NcclRing(group.size, unique, group.rank, like)

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        self.group.meet("add up", int(vector.shape[0]))
        return self.ring.sum(vector)


def sums_of(group: Group, like: Array) -> HostSums:
    """Choose how sums of such arrays travel; all processes choose the same.

    Parameters
    ----------
    group : Group
        The processes.
    like : array
        What is to be added up.

    Returns
    -------
    HostSums

    Raises
    ------
    RuntimeError
        NCCL was asked for and is not there, or two processes have one GPU.
    """
    asked = group.settings.transport
    if library_name(namespace(x=like)) != "cupy":
        return HostSums(group, like)
    if asked == "cuda-aware":
        return AwareSums(group, like)
    if asked == "staged":
        return PinnedSums(group, like)
    why = NcclRing.missing()
    places = group.collect((NcclRing.place(like), why))
    reasons = [why for _, why in places if why]
    if not reasons and len({place for place, _ in places}) < group.size:
        reasons = ["two processes have the same GPU"]
    if not reasons:
        return NcclSums(group, like)
    if asked == "nccl":
        raise RuntimeError(
            f"transport='nccl' cannot be used: {reasons[0]}. Give each process a GPU of its own "
            'and install NCCL: python -m pip install "xpnn[nccl13]" (for CUDA 12: nccl12)'
        )
    found = PinnedSums(group, like)
    found.text += f" ({reasons[0]})"
    return found
