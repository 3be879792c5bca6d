"""What a user says about training on several processes."""

from __future__ import annotations

from dataclasses import dataclass

TRANSPORTS = ("auto", "nccl", "cuda-aware", "staged")


class RankError(RuntimeError):
    """Another process of the same training failed, or drifted away; the message names it."""


@dataclass(frozen=True)
class MPI:
    """Train on all processes that ``mpiexec`` started.

    Parameters
    ----------
    timeout : float, default 300
        Seconds that a process waits for the others in a step before it ends the job and
        says who did not come.
    transport : {'auto', 'nccl', 'cuda-aware', 'staged'}, default 'auto'
        How sums of CuPy arrays travel: over NCCL; through an MPI that takes GPU memory;
        or through pinned memory of the host. 'auto' takes NCCL where it is there and each
        process has a GPU of its own, else the host.

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


def as_settings(given: str | MPI | None) -> MPI | None:
    """Make settings of ``"mpi"``; pass settings and None on.

    Raises
    ------
    ValueError
        It is something else.
    """
    if given is None or isinstance(given, MPI):
        return given
    if given == "mpi":
        return MPI()
    raise ValueError(f"distributed is {given!r}; expected None, 'mpi' or an MPI(...)")
