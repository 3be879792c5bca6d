"""Options of training on several processes."""

from __future__ import annotations

from dataclasses import dataclass

TRANSPORTS = ("auto", "nccl", "cuda-aware", "staged")


class RankError(RuntimeError):
    """Another process of the same training failed or diverged; the message names its rank."""


@dataclass(frozen=True)
class MPIOptions:
    """Options of ``distributed="mpi"``.

    An error that is raised inside a training is raised on all ranks. To end the job at once
    when a script raises an error between two trainings, start it with mpi4py's own runner:
    ``mpiexec -n 4 python -m mpi4py script.py``. Otherwise the other ranks wait for `timeout`.

    Parameters
    ----------
    timeout : float, default 300
        Seconds that a rank waits for the others in one operation before it ends the job and
        names the ranks that are missing.
    transport : {'auto', 'nccl', 'cuda-aware', 'staged'}, default 'auto'
        How CuPy arrays are reduced over the ranks: by NCCL, by an MPI library that accepts
        GPU memory, or staged through pinned host memory. 'auto' uses NCCL where it is
        installed and each rank has a GPU of its own, otherwise pinned host memory.

    Raises
    ------
    ValueError
        An argument is out of range.
    """

    timeout: float = 300.0
    transport: str = "auto"

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout!r}; expected seconds above 0")
        if self.transport not in TRANSPORTS:
            raise ValueError(
                f"transport is {self.transport!r}; expected one of {', '.join(TRANSPORTS)}"
            )
