"""Training on several processes that MPI started: each takes its part of every batch."""

from xpnn.distributed.group import (
    MPIOptions,
    ProcessGroup,
    RankError,
    process_group,
    shard_bounds,
    started_by_mpi,
)
from xpnn.distributed.shard import Shard, ShardedWindows

__all__ = [
    "MPIOptions", "ProcessGroup", "RankError", "Shard", "ShardedWindows",
    "process_group", "shard_bounds", "started_by_mpi",
]  # fmt: skip
