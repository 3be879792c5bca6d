"""The processes that train together, and what they say to each other.

Whatever all of them do at once begins with `Group.meet`: a few numbers are compared, so that
a process that failed can say so to the others, wherever they are, and one that does not
come is missed. That costs some microseconds; so nobody waits for ever, and MPI is left in
order.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any
from zlib import crc32

from xpnn.backends import (
    Array,
    HostGenerator,
    generator_state,
    host,
    limit_threads,
    placement,
    restore_generator,
    to_device,
    to_host,
)
from xpnn.distributed.missing import Roll, end_job, end_job_on_errors
from xpnn.distributed.settings import MPI, RankError, as_settings
from xpnn.distributed.share import share_of
from xpnn.distributed.sums import sums_of

log = logging.getLogger("xpnn.distributed")

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


def _mpi(timeout: float) -> Any:
    """Import MPI, which starts it; that waits for all processes, without an end of its own."""
    started = "mpi4py.MPI" in sys.modules
    if not started:
        faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        return importlib.import_module("mpi4py.MPI")
    except ImportError as error:
        raise ImportError(
            "distributed='mpi' needs mpi4py and an MPI; install them with: "
            'python -m pip install "xpnn[mpi]"'
        ) from error
    except RuntimeError as error:  # mpi4py is there, and finds no library
        raise ImportError(
            f"mpi4py finds no MPI library: {error}. Load your cluster's MPI, or install one "
            'with: python -m pip install "xpnn[mpi]"'
        ) from error
    finally:
        if not started:
            faulthandler.cancel_dump_traceback_later()


@cache
def _world(settings: MPI) -> Group:
    return Group(settings, _mpi(settings.timeout).COMM_WORLD)


def as_group(distributed: str | MPI | None) -> Group | None:
    """Find the processes that a user means; None where training is not distributed.

    Parameters
    ----------
    distributed : {'mpi'}, MPI or None
        What the user gave.

    Returns
    -------
    Group or None

    Raises
    ------
    ValueError
        It is something else.
    ImportError
        MPI is not installed.
    """
    settings = as_settings(distributed)
    return None if settings is None else _world(settings)


class Group:
    """The processes of one training.

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
    seconds : float
        Time spent in sums, waiting for others included.
    sums : int
        Number of sums.
    """

    def __init__(self, settings: MPI, comm: Any = None) -> None:
        self.settings, self.rank, self.size = settings, 0, 1
        self.local_rank, self.local_size = 0, 1
        self.seconds, self.sums = 0.0, 0
        self.comm: Any = None
        if comm is None or comm.Get_size() == 1:
            return
        self.mpi = _mpi(settings.timeout)
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.comm = self._copied(comm)
        local = self.comm.Split_type(self.mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = local.Get_rank(), local.Get_size()
        local.Free()
        self.roll = Roll(self.comm.Dup(), settings.timeout)
        self._mine, self._all = host.zeros(3, host.int64), host.zeros(3, host.int64)
        self._adder: Any = None
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
        self._wait(request, what, patient)
        self._done += 1
        lowest = int(self._all[0])
        if lowest < self.size:
            told = None if failed is None else f"{type(failed).__name__}: {failed}"
            text = self.comm.bcast(told, root=lowest)
            if failed is None:
                raise _told(RankError(f"rank {lowest} of {self.size} failed: {text}"))
        elif self._all[1] != -self._all[2]:
            does = self.comm.allgather(f"{what} {amount}" if amount else what)
            listed = ", ".join(f"rank {rank}: {text}" for rank, text in enumerate(does))
            raise _told(
                RankError(
                    f"the ranks do not do the same ({listed}); all of them need the same data and "
                    "the same options"
                )
            )

    def _wait(self, request: Any, what: str, patient: bool) -> None:
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
            if self.size > 1 and not getattr(error, "_xpnn_told", False):
                self.meet("end", failed=_told(error))
            raise

    def _threads(self) -> AbstractContextManager[Any]:
        """Share the machine's cores out among its processes."""
        if self.local_size == 1:
            return nullcontext()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return limit_threads(max((cores or 1) // self.local_size, 1))

    # Saying something

    def from_first(self, value: Any, *, patient: bool = False) -> Any:
        """Hand out what rank 0 has.

        Parameters
        ----------
        value : object
            Of rank 0; others may give anything. Small: it is pickled.
        patient : bool, default False
            Whether rank 0 may take long to come.
        """
        if self.size == 1:
            return value
        self.meet("take what rank 0 has", patient=patient)
        return self.comm.bcast(value if self.first else None, root=0)

    def by_first(self, function: Callable[[], Any]) -> Any:
        """Let rank 0 do something that may take long, and hand out what it returns."""
        return self.from_first(function() if self.first else None, patient=True)

    def everybodys(self, value: Any) -> list[Any]:
        """Collect a small value of each process."""
        if self.size == 1:
            return [value]
        self.meet("compare")
        found: list[Any] = self.comm.allgather(value)
        return found

    def same(self, array: Array) -> Array:
        """Hand out an array of rank 0 to where each process has its own of that kind."""
        if self.size == 1:
            return array
        values = host.array(to_host(array), order="C")
        self.meet("share an array", values.nbytes)
        self.comm.Bcast(_bytes(values), root=0)
        xp, device = placement(x=array)
        return to_device(values, xp, device, array.dtype)

    def same_generator(self, source: HostGenerator) -> None:
        """Bring a generator to where that of rank 0 is."""
        state = self.from_first(generator_state(source) if self.first else None)
        if not self.first:
            restore_generator(source, state)

    def check_given(self, given: dict[str, str]) -> None:
        """Make sure that all processes were given the same, described.

        Raises
        ------
        ValueError
            Names what differs, on all of them.
        """
        for rank, other in enumerate(self.everybodys(given)):
            differs = [name for name in given if given[name] != other.get(name)]
            if differs:
                name = differs[0]
                raise _told(
                    ValueError(
                        f"rank {self.rank} was given other arguments than rank {rank}: {name} is "
                        f"{given[name]}, there it is {other.get(name)}. All ranks need the same"
                    )
                )

    def check_same(self, array: Array, what: str) -> None:
        """Make sure that an array is the same everywhere, to the last bit.

        Raises
        ------
        RankError
            It is not.
        """
        if self.size > 1:
            values = host.ascontiguousarray(to_host(array))
            self.meet(f"compare {what}", crc32(_bytes(values)))

    # Adding up

    def __call__(self, vector: Array) -> Array:
        """Add up a vector over all processes; see `xpnn.engine.Exchange`."""
        if self.size == 1:
            return vector
        begin = time.perf_counter()
        self.meet("add up", int(vector.shape[0]))
        found = self._sums(vector)(vector)
        self.seconds += time.perf_counter() - begin
        self.sums += 1
        return found

    def into(self, vector: Any, out: Any) -> None:
        """Add up NumPy vectors into another one; see `xpnn.engine.Exchange`."""
        if self.size == 1:
            host.copyto(out, vector)
            return
        begin = time.perf_counter()
        self.meet("add up", len(vector))
        self.comm.Allreduce(vector, out)
        self.seconds += time.perf_counter() - begin
        self.sums += 1

    def totals(self, numbers: list[float]) -> list[float]:
        """Add up a few numbers, in float64."""
        if self.size == 1:
            return numbers
        self.meet("add up numbers", len(numbers))
        found = host.asarray(numbers, host.float64)
        self.comm.Allreduce(self.mpi.IN_PLACE, found)
        return [float(n) for n in found]

    def swap(self, out: Any, sizes: list[int], into: Any, room: list[int]) -> None:
        """Send each process its rows, and take those from each.

        Parameters
        ----------
        out, into : numpy.ndarray
            Rows, those for or from each process together.
        sizes, room : list of int
            Bytes for and from each.
        """
        self.meet("exchange rows")
        self.comm.Alltoallv([_bytes(out), sizes], [_bytes(into), room])

    def _sums(self, vector: Array) -> Any:
        if self._adder is None or not self._adder.fits(vector):
            self._adder = sums_of(self, vector)
            if self.first:
                log.info("sums of %s travel %s", type(vector).__module__, self._adder.text)
        return self._adder

    def rows(self, function: Callable[[Array], Array], x: Array) -> Array:
        """Apply a function of rows, each process to its part, and put the results together.

        Parameters
        ----------
        function : callable
            ``function(x)`` of shape (n, ...) gives an array of shape (n, ...).
        x : array, shape (n, ...)
            The same everywhere.

        Returns
        -------
        array, shape (n, ...)
            Where `x` is; the same everywhere.
        """
        count = int(x.shape[0])
        if self.size == 1 or count < self.size:
            return function(x)
        first, last = share_of(count, self.rank, self.size)
        own = function(x[first:last, ...])
        values = host.ascontiguousarray(to_host(own))
        self.meet("put rows together", count)
        shape, each = values.shape[1:], values[0].nbytes
        whole = host.empty((count, *shape), values.dtype)
        spans = [share_of(count, rank, self.size) for rank in range(self.size)]
        sizes = [(stop - start) * each for start, stop in spans]
        self.comm.Allgatherv(_bytes(values), [_bytes(whole), sizes])
        xp, device = placement(x=own)
        return to_device(whole, xp, device, own.dtype)


def _told(error: BaseException) -> BaseException:
    """Mark an error that the other processes know of."""
    error._xpnn_told = True  # type: ignore[attr-defined]
    return error


def _bytes(array: Any) -> Any:
    """The bytes of a C-contiguous array."""
    return array.reshape(-1).view(host.uint8)
