"""How sums of arrays that are not NumPy's travel from process to process."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from xpnn.distributed.group import Group


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
        values = host.array(to_host(vector), order="C")
        self.group.wait(self.group.comm.Iallreduce(self.group.mpi.IN_PLACE, values), "add up")
        return to_device(values, self.xp, self.device, vector.dtype)


class PinnedSums(HostSums):
    """A GPU's arrays through pinned memory of the host, kept from sum to sum."""

    text = "through pinned memory of the host"

    def __init__(self, group: Group, like: Array) -> None:
        super().__init__(group, like)
        self.pair = PinnedPair(like)

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        values = self.pair.down(vector)
        self.group.wait(self.group.comm.Iallreduce(self.group.mpi.IN_PLACE, values), "add up")
        return self.pair.up(vector)


class AwareSums(HostSums):
    """An MPI that takes GPU memory as it is."""

    text = "through the MPI, which takes GPU memory"

    def __call__(self, vector: Array) -> Array:
        """Add up."""
        found = self.xp.zeros_like(vector)
        with self.device:
            self.device.synchronize()  # MPI knows nothing of streams
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
