"""Waiting for each other.

Whatever all of them do at once begins with `Meeting.meet`: a few numbers are compared, so that
a process that failed can say so to the others, wherever they are, and one that does not
come is missed. That costs some microseconds; so nobody waits for ever, and MPI is left in
order.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from typing import Any
from zlib import crc32

from xpnn.backends import MissingExtraError, host, limit_threads
from xpnn.distributed.missing import Roll, end_job, end_job_on_errors
from xpnn.distributed.settings import MPI, RankError

_QUICK = 2000  # looks at a request before a process lets others have its core
_COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def started_by_mpi() -> int:
    """Count the processes that `mpiexec` started together; 1 where it did not start this one."""
    for name in _COUNTS:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    # srun starts without mpiexec, and sets this for a job's single commands, too.
    if "PMIX_RANK" in os.environ or "PMI_RANK" in os.environ:
        return int(os.environ.get("SLURM_NTASKS", "1"))
    return 1


def load_mpi(timeout: float) -> Any:
    """Import MPI, which starts it; that waits for all processes, without an end of its own."""
    running = "mpi4py.MPI" in sys.modules
    if not running:
        faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        return importlib.import_module("mpi4py.MPI")
    except ImportError as error:
        raise MissingExtraError(
            "distributed='mpi' needs mpi4py and an MPI; install them with: "
            'python -m pip install "xpnn[mpi]"'
        ) from error
    except RuntimeError as error:  # mpi4py is there, and finds no library
        raise MissingExtraError(
            f"mpi4py finds no MPI library: {error}. Load your cluster's MPI, or install one "
            'with: python -m pip install "xpnn[mpi]"'
        ) from error
    finally:
        if not running:
            faulthandler.cancel_dump_traceback_later()


class Meeting:
    """Processes that can wait for each other.

    Parameters
    ----------
    settings : MPI
        How long to wait, and how sums of GPU arrays travel.
    comm : mpi4py.MPI.Comm, optional
        Default: this process alone.

    Attributes
    ----------
    rank, size : int
        Number of this process, and number of all.
    """

    def __init__(self, settings: MPI, comm: Any = None) -> None:
        self.settings, self.rank, self.size = settings, 0, 1
        self.local_rank, self.local_size = 0, 1
        self.comm: Any = None
        if comm is None or comm.Get_size() == 1:
            return
        self.mpi = load_mpi(settings.timeout)
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.comm = self._copied(comm)
        self.local = self.comm.Split_type(self.mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = self.local.Get_rank(), self.local.Get_size()
        self.roll = Roll(self.comm.Dup(), settings.timeout)
        self._mine, self._all = host.zeros(3, host.int64), host.zeros(3, host.int64)
        self._done = 0
        end_job_on_errors(self.comm, self.rank)

    def _copied(self, comm: Any) -> Any:
        """Make room of one's own among the processes, as soon as all are there."""
        copy, request = comm.Idup()
        end = time.monotonic() + self.settings.timeout
        while not request.Test():
            time.sleep(0.0005)
            if time.monotonic() > end:
                waited = f"{self.settings.timeout:g} s for all others to begin a training"
                end_job(comm, f"rank {self.rank} of {self.size} has waited {waited}")
        return copy

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: prints, writes, calls callbacks."""
        return self.rank == 0

    # Being together

    def meet(self, what: str, amount: int = 0, *, patient: bool = False,
             failed: BaseException | None = None) -> None:  # fmt: skip
        """Wait until all processes are here.

        Parameters
        ----------
        what : str
            What they are about to do together.
        amount : int, default 0
            Something about it that has to be the same everywhere.
        patient : bool, default False
            Whether to wait as long as it takes: another one reads a file, say.
        failed : Exception, optional
            Why this process does not go on.

        Raises
        ------
        RankError
            Another one failed, or does something else.
        """
        if self.size == 1:
            return
        own = crc32(f"{what} {amount}".encode())
        self._mine[:] = self.size if failed is None else self.rank, own, -own
        request = self.comm.Iallreduce(self._mine, self._all, self.mpi.MIN)
        self.wait(request, what, patient)
        self._done += 1
        lowest = int(self._all[0])
        if lowest < self.size:
            cause = None if failed is None else f"{type(failed).__name__}: {failed}"
            text = self.tell(cause, lowest)
            if failed is None:
                raise told(RankError(f"rank {lowest} of {self.size} failed: {text}"))
        elif self._all[1] != -self._all[2]:
            does = self.collect(f"{what} {amount}" if amount else what)
            listed = ", ".join(f"rank {rank}: {text}" for rank, text in enumerate(does))
            raise told(
                RankError(
                    f"the ranks do not do the same ({listed}); all of them need the same data and "
                    "the same options"
                )
            )

    def tell(self, value: Any, root: int) -> Any:
        """Hand out a small value of one process, pickled; after `meet`."""
        data = pickle.dumps(value) if self.rank == root else b""
        size = host.asarray([len(data)])
        self.wait(self.comm.Ibcast(size, root), "hear how much there is")
        room = bytearray(data) if self.rank == root else bytearray(int(size[0]))
        self.wait(self.comm.Ibcast(room, root), "hear something")
        return pickle.loads(room)

    def collect(self, value: Any) -> list[Any]:
        """Hand out a small value of each process, pickled; after `meet`."""
        data = pickle.dumps(value)
        sizes = host.zeros(self.size, host.int64)
        self.wait(self.comm.Iallgather(host.asarray([len(data)]), sizes), "count")
        room = bytearray(int(sizes.sum()))
        spec = [room, [int(n) for n in sizes], self.mpi.BYTE]
        self.wait(self.comm.Iallgatherv([data, self.mpi.BYTE], spec), "collect")
        ends = list(accumulate(int(n) for n in sizes))
        return [pickle.loads(room[end - int(n) : end]) for n, end in zip(sizes, ends, strict=True)]

    def wait(self, request: Any, what: str, patient: bool = False) -> None:
        """Wait for all others' part in something; end the job where one does not come.

        Nothing here blocks within MPI: a process may be stopped in the middle of a sum.

        Parameters
        ----------
        request : mpi4py.MPI.Request
            What was begun.
        what : str
            For the error.
        patient : bool, default False
            As in `meet`.
        """
        looks, begin = 0, 0.0
        while not request.Test():
            looks += 1
            if looks < _QUICK:
                continue
            now = time.monotonic()
            begin = begin or now
            time.sleep(0.0 if now - begin < 0.01 else 0.0002)
            self.roll.answer()
            if not patient and now - begin > self.settings.timeout:
                missing = self.roll.call()
                end_job(
                    self.comm,
                    f"rank {self.rank} of {self.size} has waited {self.settings.timeout:g} s to "
                    f"{what} (after {self._done:,} meetings); "
                    + (f"missing: rank {', '.join(map(str, missing))}" if missing
                       else "all ranks answer, yet they do not meet"),
                )  # fmt: skip

    @contextmanager
    def together(self) -> Iterator[None]:
        """What all processes go through; if one raises in it, all do."""
        try:
            with self._threads():
                yield
                self.meet("end")
        except BaseException as error:
            if self.size > 1 and not _is_told(error):
                self.meet("end", failed=told(error))
            raise

    def _threads(self) -> AbstractContextManager[Any]:
        """Share the machine's cores out among its processes."""
        if self.local_size == 1:
            return nullcontext()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return limit_threads(max((cores or 1) // self.local_size, 1))


def told(error: BaseException) -> BaseException:
    """Mark an error that the other processes know of."""
    error._xpnn_told = True  # type: ignore[attr-defined]
    return error


def _is_told(error: BaseException | None) -> bool:
    """Whether the others know of an error, or of the one that it was made from."""
    while error is not None:
        if getattr(error, "_xpnn_told", False):
            return True
        error = error.__cause__ or error.__context__
    return False
