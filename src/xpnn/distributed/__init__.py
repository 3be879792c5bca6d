"""Training on several processes that MPI started: each takes its part of every batch."""

from xpnn.distributed.group import ProcessGroup, check_single_process, process_group
from xpnn.distributed.launch import started_by_mpi
from xpnn.distributed.options import MPIOptions, RankError
from xpnn.distributed.shard import BatchShard, Shard, shard_bounds
from xpnn.distributed.windows import ShardedWindows

__all__ = [
    "BatchShard",
    "MPIOptions",
    "ProcessGroup",
    "RankError",
    "Shard",
    "ShardedWindows",
    "check_single_process",
    "process_group",
    "shard_bounds",
    "started_by_mpi",
]
