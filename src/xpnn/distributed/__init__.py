"""Training on several processes that MPI started: each takes its part of every batch."""

from xpnn.distributed.group import (
    MPIOptions,
    ProcessGroup,
    RankError,
    check_single_process,
    process_group,
    shard_bounds,
    started_by_mpi,
)
from xpnn.distributed.shard import Shard, ShardedWindows

__all__ = [
    "MPIOptions", "ProcessGroup", "RankError", "Shard", "ShardedWindows", "check_single_process",
    "process_group", "shard_bounds", "started_by_mpi",
]  # fmt: skip
