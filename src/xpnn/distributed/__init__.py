"""Training on several processes, which MPI starts and through which they talk."""

from xpnn.distributed.dealt import DealtWindows
from xpnn.distributed.group import Group, as_group, check_alone
from xpnn.distributed.meeting import started_by_mpi
from xpnn.distributed.settings import MPI, RankError
from xpnn.distributed.share import Share, share_of

__all__ = [
    "MPI",
    "DealtWindows",
    "Group",
    "RankError",
    "Share",
    "as_group",
    "check_alone",
    "share_of",
    "started_by_mpi",
]
