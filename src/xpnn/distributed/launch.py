"""How MPI's processes begin and end together, and which of them are missing."""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
import time
from typing import Any

from xpnn.backends import MissingExtraError

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_ASK, _PRESENT = 71, 72  # tags
_LISTEN = 3.0  # seconds in which a rank that waits too will have answered
_world: list[Any] = []  # the communicator: one for all trainings, as MPI has few


def started_by_mpi() -> int:
    """Number of processes that ``mpiexec`` or ``srun`` started together, 1 if neither did."""
    for name in _SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    # srun starts processes without mpiexec, and sets this for a job's single commands, too.
    if "PMIX_RANK" in os.environ or "PMI_RANK" in os.environ:
        return int(os.environ.get("SLURM_NTASKS", "1"))
    return 1


def load_mpi(timeout: float) -> Any:
    """Import mpi4py's MPI, which waits for all ranks without a limit of its own."""
    running = "mpi4py.MPI" in sys.modules
    if not running:
        faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        return importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # no mpi4py; no MPI library
        raise MissingExtraError(
            f"distributed='mpi' needs mpi4py and an MPI library ({error}). Load your cluster's "
            'MPI, or install one with: python -m pip install "xpnn[mpi]"'
        ) from error
    finally:
        if not running:
            faulthandler.cancel_dump_traceback_later()


def world(timeout: float) -> Any:
    """Our own communicator of all ranks, as soon as all of them are there."""
    mpi = load_mpi(timeout)
    if not _world:
        comm, request = mpi.COMM_WORLD.Idup()
        end = time.monotonic() + timeout
        while not request.Test():
            time.sleep(0.0005)
            if time.monotonic() > end:
                rank, size = mpi.COMM_WORLD.Get_rank(), mpi.COMM_WORLD.Get_size()
                waited = f"{timeout:g} s for all others to begin a training"
                end_job(f"rank {rank} of {size} has waited {waited}")
        _world.append(comm)
    return _world[0]


def end_job(text: str) -> None:
    """Print why, and end all processes of the job."""
    print(f"xpnn: {text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # That of another communicator ends the processes of this host only, with MPICH 5.0.
    importlib.import_module("mpi4py.MPI").COMM_WORLD.Abort(1)


def answer(comm: Any) -> list[int]:
    """Tell the ranks that ask that this one is present; return who asked."""
    asked = []
    while comm.Iprobe(tag=_ASK):
        asked.append(_receive(comm, _ASK))
        comm.Isend(b"", asked[-1], _PRESENT).Free()  # an empty message has no buffer to keep
    return asked


def missing_ranks(comm: Any) -> list[int]:
    """Ask all ranks, and return those that do not answer: they do not wait for anything."""
    rank = comm.Get_rank()
    silent = set(range(comm.Get_size())) - {rank}
    for other in silent:
        comm.Isend(b"", other, _ASK).Free()
    end, asked = time.monotonic() + _LISTEN, [rank]
    while silent and time.monotonic() < end:
        asked += answer(comm)
        while comm.Iprobe(tag=_PRESENT):
            silent.discard(_receive(comm, _PRESENT))
        time.sleep(0.001)
    if min(asked) < rank:  # several ask at once: the lowest reports, and must not miss others
        time.sleep(2 * _LISTEN)
    return sorted(silent)


def _receive(comm: Any, tag: int) -> int:
    mpi = importlib.import_module("mpi4py.MPI")
    status = mpi.Status()
    comm.Recv(bytearray(), mpi.ANY_SOURCE, tag, status)
    return int(status.Get_source())
