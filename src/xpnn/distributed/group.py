"""The processes that train together: how they begin, what they exchange, and how they end.

Every operation begins with `ProcessGroup.barrier`, where the ranks compare a few numbers: so
an error on one rank is raised on all of them wherever they are, ranks that do different things
are told so, and one that does not come is named. It costs some microseconds. Nothing blocks
inside MPI, since any rank may stop in the middle of an operation.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from xpnn.backends import (
    Array,
    HostGenerator,
    MissingExtraError,
    device_name,
    device_of,
    generator_state,
    host,
    library_name,
    limit_threads,
    placement,
    restore_generator,
    status,
    to_device,
    to_host,
)

log = logging.getLogger("xpnn.distributed")

TRANSPORTS = ("auto", "nccl", "cuda-aware", "staged")
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_SPINS = 2000  # tests of a request before a rank lets other processes have its core
_ASK, _PRESENT = 71, 72  # tags
_LISTEN = 3.0  # seconds in which a rank that waits too will have answered
_FORWARDING = 0.3  # seconds in which what a rank has printed will have reached the terminal


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
        GPU memory, or staged through host memory. 'auto' uses NCCL where it is installed
        and each rank has a GPU of its own, otherwise host memory.

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


# Beginning and end of the processes


def started_by_mpi() -> int:
    """Number of processes that ``mpiexec`` or ``srun`` started together, 1 if neither did."""
    for name in _SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    # srun starts processes without mpiexec, and sets this for a job's single commands, too.
    if "PMIX_RANK" in os.environ or "PMI_RANK" in os.environ:
        return int(os.environ.get("SLURM_NTASKS", "1"))
    return 1


_groups: dict[MPIOptions, ProcessGroup] = {}
_world: list[Any] = []  # the communicator: one for all trainings, as MPI has few


def process_group(
    distributed: str | MPIOptions | None, deterministic: bool = False
) -> ProcessGroup | None:
    """The processes to train on for ``'mpi'`` or its options; None for None, and for one only.

    Raises
    ------
    ValueError
        `distributed` is something else, or there are several processes and `deterministic` is
        True.
    ImportError
        MPI is not installed.
    """
    if distributed is None:
        return None
    options = MPIOptions() if distributed == "mpi" else distributed
    if not isinstance(options, MPIOptions):
        raise ValueError(f"distributed is {options!r}; expected None, 'mpi' or MPIOptions(...)")
    if not _world:
        _world.append(_communicator(options.timeout))
    if _world[0].Get_size() == 1:
        return None
    if deterministic:
        raise ValueError(
            "deterministic is True, and the batches are sharded over processes, whose sums "
            "have no fixed order on every machine; expected one process"
        )
    if options not in _groups:
        _groups[options] = ProcessGroup(options, _world[0])
    return _groups[options]


def _communicator(timeout: float) -> Any:
    """Make a communicator of all ranks for ourselves, as soon as all of them are there."""
    running = "mpi4py.MPI" in sys.modules
    if not running:  # the import waits for all ranks without a limit of its own
        faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # no mpi4py; no MPI library
        raise MissingExtraError(
            f"distributed='mpi' needs mpi4py and an MPI library ({error}). Load your cluster's "
            'MPI, or install one with: python -m pip install "xpnn[mpi]"'
        ) from error
    finally:
        if not running:
            faulthandler.cancel_dump_traceback_later()
    comm, request = mpi.COMM_WORLD.Idup()
    end = time.monotonic() + timeout
    who = f"rank {mpi.COMM_WORLD.Get_rank()} of {mpi.COMM_WORLD.Get_size()}"
    try:
        while not request.Test():
            time.sleep(0.0005)
            if time.monotonic() > end:
                _end_job(f"{who} has waited {timeout:g} s for all others to begin a training")
    except KeyboardInterrupt:  # the others would wait for a rank that goes
        _end_job(f"{who} was interrupted in: waiting for all others to begin a training")
    return comm


def _end_job(text: str) -> None:
    """Print why, and end all processes of the job."""
    print(f"xpnn: {text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    time.sleep(_FORWARDING)  # else mpiexec may end before it has read that
    # That of another communicator ends the processes of this host only, with MPICH 5.0.
    importlib.import_module("mpi4py.MPI").COMM_WORLD.Abort(1)


# What they do together


def shard_bounds(rows: int, rank: int, size: int) -> tuple[int, int]:
    """Start and stop of a rank's rows: as even as can be, the first ranks have one more."""
    each, left = divmod(rows, size)
    start = rank * each + min(rank, left)
    return start, start + each + (rank < left)


class ProcessGroup:
    """Two processes or more that train together: all call the same methods in the same order.

    `comm` is an mpi4py communicator that nothing else uses. Arrays above `max_message_bytes`
    travel in several messages: MPI-3 libraries count in 32 bits.
    """

    def __init__(self, options: MPIOptions, comm: Any, *, max_message_bytes: int = 2**30) -> None:
        self.options, self.max_message_bytes = options, max_message_bytes
        self._comm, self._mpi = comm, importlib.import_module("mpi4py.MPI")
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._error_known = False
        self._rings: dict[str, Any] = {}  # by the name of a GPU
        machines = self.all_gather(platform.node())
        self._local_size = machines.count(machines[self.rank])
        self._local_rank = machines[: self.rank].count(machines[self.rank])

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints, writes files and calls callbacks."""
        return self.rank == 0

    def device(self, backend: str | None) -> str | None:
        """A GPU for this process, such as ``"cuda:1"``: each one on a machine gets the next.

        None where `backend`, the name of an array library, is None or has no CUDA devices.
        """
        if backend is None:
            return None
        gpus = [name for name in status(backend).devices if name.startswith("cuda")]
        return gpus[self._local_rank % len(gpus)] if gpus else None

    # Waiting for each other

    @contextmanager
    def session(self) -> Iterator[None]:
        """Context that all ranks enter together: an error that one raises in it, all raise.

        BLAS threads are divided among the ranks on a machine as long as it lasts.
        """
        self._error_known = False
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = limit_threads(max((cores or 1) // self._local_size, 1))
        try:
            with threads if self._local_size > 1 else nullcontext():
                yield
                self.barrier("end of the training")
        except BaseException as error:
            if not self._error_known:
                self.barrier("end of the training", error=error)
            raise

    def barrier(
        self,
        what: str,
        amount: int = 0,
        *,
        forever: bool = False,
        error: BaseException | None = None,
    ) -> None:
        """Wait until all ranks are here, before the operation `what`.

        `amount` is something about it that is the same on all ranks, such as a length; `error`
        says why this rank does not go on. `forever` is for what may last longer than the timeout:
        another rank reads a file, say. A RankError where another rank failed, or does something
        else.
        """
        own = crc32(f"{what} {amount}".encode())
        mine = host.asarray([self.size if error is None else self.rank, own, -own], host.int64)
        least = host.empty_like(mine)
        self._wait(self._comm.Iallreduce(mine, least, self._mpi.MIN), what, forever)
        failed = int(least[0])
        self._error_known = failed < self.size or bool(least[1] != -least[2])
        if failed < self.size:
            text = self._broadcast(f"{type(error).__name__}: {error}".encode(), failed).decode()
            if error is None:
                raise RankError(f"rank {failed} of {self.size} failed: {text}")
        elif self._error_known:
            text = (f"{what} {amount}" if amount else what).encode()
            does = [self._broadcast(text, rank).decode() for rank in range(self.size)]
            listed = ", ".join(f"rank {rank}: {own}" for rank, own in enumerate(does))
            raise RankError(
                f"the ranks do not do the same ({listed}); all of them need the same data and "
                "the same options"
            )

    def _wait(self, request: Any, what: str, forever: bool = False) -> None:
        """Wait for an operation, and end the job if a rank does not come."""
        spins, begin, timeout = 0, 0.0, self.options.timeout
        try:
            while not request.Test():
                spins += 1
                if spins < _SPINS:
                    continue
                now = time.monotonic()
                begin = begin or now
                time.sleep(0.0 if now - begin < 0.01 else 0.0002)
                self._answer()
                if not forever and now - begin > timeout:
                    ranks = ", ".join(map(str, self._missing_ranks()))
                    _end_job(
                        f"rank {self.rank} of {self.size} has waited {timeout:g} s in: {what}; "
                        + (f"missing: rank {ranks}" if ranks else "all ranks answer")
                    )
        except KeyboardInterrupt:
            # The others are in this operation: nobody can leave it and go on.
            _end_job(f"rank {self.rank} of {self.size} was interrupted in: {what}")

    def _answer(self) -> list[int]:
        """Tell the ranks that ask that this one is present; return who asked."""
        asked = self._received(_ASK)
        for rank in asked:
            self._comm.Isend(b"", rank, _PRESENT).Free()  # an empty message has no buffer to keep
        return asked

    def _received(self, tag: int) -> list[int]:
        """Take the empty messages that have come; return their ranks."""
        ranks, status = [], self._mpi.Status()
        while self._comm.Iprobe(tag=tag):
            self._comm.Recv(bytearray(), self._mpi.ANY_SOURCE, tag, status)
            ranks.append(int(status.Get_source()))
        return ranks

    def _missing_ranks(self) -> list[int]:
        """Ask all ranks, and return those that do not answer: they do not wait for anything."""
        silent = set(range(self.size)) - {self.rank}
        for other in silent:
            self._comm.Isend(b"", other, _ASK).Free()
        end, asked = time.monotonic() + _LISTEN, [self.rank]
        while silent and time.monotonic() < end:
            asked += self._answer()
            silent -= set(self._received(_PRESENT))
            time.sleep(0.001)
        if min(asked) < self.rank:  # several ask at once: the lowest reports, and must not miss any
            time.sleep(2 * _LISTEN)
        return sorted(silent)

    # Objects

    def broadcast(self, value: Any, *, wait_forever: bool = False) -> Any:
        """Return the value that rank 0 gives, pickled; `wait_forever` for what may last."""
        data = pickle.dumps(value, 5) if self.is_main else b""
        self.barrier("broadcast", forever=wait_forever)
        found = self._broadcast(data, 0)
        return value if self.is_main else pickle.loads(found)

    def broadcast_from_main(self, function: Callable[[], Any]) -> Any:
        """Call a function on rank 0, however long it takes, and return its value on all ranks."""
        return self.broadcast(function() if self.is_main else None, wait_forever=True)

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, pickled."""
        data = pickle.dumps(value, 5)
        self.barrier("all_gather")
        return [pickle.loads(self._broadcast(data, rank)) for rank in range(self.size)]

    def all_to_all(self, values: list[Any]) -> list[Any]:
        """Send a value to each rank, and return those from each; they are pickled."""
        data = [pickle.dumps(value, 5) for value in values]
        self.barrier("all_to_all")
        sizes = host.asarray([len(one) for one in data], host.int64)
        coming = host.empty_like(sizes)
        self._wait(self._comm.Ialltoall(sizes, coming), "all_to_all")
        buffers = [bytearray(int(size)) for size in coming]
        requests = [
            start(message, rank)
            for start, parts in ((self._comm.Irecv, buffers), (self._comm.Isend, data))
            for rank, part in enumerate(parts)
            for message in self._messages(part)
        ]
        for request in requests:
            self._wait(request, "all_to_all")
        return [pickle.loads(buffer) for buffer in buffers]

    def _broadcast(self, data: bytes, root: int) -> Any:
        """Return the bytes of one rank; after a barrier, so that nothing may fail in between."""
        size = host.asarray([len(data)], host.int64)
        self._wait(self._comm.Ibcast(size, root), "broadcast")
        buffer = data if self.rank == root else bytearray(int(size[0]))
        for message in self._messages(buffer):
            self._wait(self._comm.Ibcast(message, root), "broadcast")
        return buffer

    def _messages(self, buffer: Any) -> Iterator[Any]:
        for start in range(0, len(buffer), self.max_message_bytes):
            part = memoryview(buffer)[start : start + self.max_message_bytes]
            yield [part, self._mpi.BYTE]

    def broadcast_generator(self, rng: HostGenerator) -> None:
        """Set a generator to the state that it has on rank 0."""
        state = self.broadcast(generator_state(rng) if self.is_main else None)
        if not self.is_main:
            restore_generator(rng, state)

    def check_same_options(self, options: dict[str, str]) -> None:
        """Raise a ValueError that names an option which is not that of rank 0."""
        for name, value in self.broadcast(options).items():
            if options.get(name) != value:
                raise ValueError(
                    f"rank {self.rank} was given other arguments than rank 0: {name} is "
                    f"{options.get(name)}, there it is {value}; expected the same on all ranks"
                )

    # Arrays

    def all_reduce(self, vector: Array) -> Array:
        """Return the sum of a vector over all ranks, as an array of its library and device."""
        xp, device = placement(x=vector)
        if library_name(xp) == "cupy" and self.options.transport == "cuda-aware":
            found = xp.empty_like(vector)
            with device:
                device.synchronize()  # MPI knows nothing of streams
            self.into(vector, found)
            return found
        ring = self._nccl_ring(vector) if library_name(xp) == "cupy" else None
        if ring is not None:
            self.barrier("all_reduce", len(vector))
            return ring.sum(vector)
        values = host.ascontiguousarray(to_host(vector))
        found = host.empty_like(values)
        self.into(values, found)
        return to_device(found, xp, device, vector.dtype)

    __call__ = all_reduce  # `xpnn.engine.Exchange`

    def into(self, vector: Any, out: Any) -> None:
        """Write the sum of a vector of NumPy over all ranks into `out`, or into itself.

        Both are C-contiguous; they may also be CuPy's where MPI accepts GPU memory.
        """
        self.barrier("all_reduce", len(vector))
        step = max(self.max_message_bytes // vector.dtype.itemsize, 1)
        for start in range(0, len(vector), step):
            part = slice(start, start + step)
            given = self._mpi.IN_PLACE if out is vector else vector[part]
            self._wait(self._comm.Iallreduce(given, out[part]), "all_reduce")

    def _nccl_ring(self, like: Array) -> Any:
        """Connect the ranks' GPUs at the first time; None where sums go through host memory."""
        name, asked = device_name(device_of(like)), self.options.transport
        if asked == "staged" or name in self._rings:
            return self._rings.get(name)
        from xpnn.backends.cuda import NcclRing

        ranks = self.all_gather((NcclRing.place(like), NcclRing.missing()))
        shared = "two ranks have the same GPU" if len(dict(ranks)) < self.size else ""
        reason = next((missing for _, missing in ranks if missing), shared)
        if reason and asked == "nccl":
            raise RuntimeError(
                f"transport='nccl' cannot be used: {reason}. Give each rank a GPU of its own "
                'and install NCCL: python -m pip install "xpnn[nccl13]" (for CUDA 12: nccl12)'
            )
        ring = None
        if not reason:
            unique_id = self.broadcast(NcclRing.new_id() if self.is_main else None)
            ring = NcclRing(self.size, unique_id, self.rank, like)
        if self.is_main:
            how = f"through host memory ({reason})" if reason else "by NCCL"
            log.info("arrays of cupy are reduced %s", how)
        self._rings[name] = ring
        return ring

    def all_reduce_numbers(self, numbers: list[float]) -> list[float]:
        """Return the sums of a few numbers over all ranks, added in float64."""
        return [float(n) for n in self.all_reduce(host.asarray(numbers, host.float64))]

    def broadcast_array(self, array: Array) -> Array:
        """Return the array of rank 0, with the library, device and dtype of one's own."""
        values = self.broadcast(to_host(array) if self.is_main else None)
        xp, device = placement(x=array)
        return to_device(values, xp, device, array.dtype)

    def check_same_array(self, array: Array, what: str) -> None:
        """Raise a RankError where an array has not the bits that it has on rank 0."""
        checksum = crc32(host.ascontiguousarray(to_host(array)).tobytes())
        if self.broadcast(checksum) != checksum:
            raise RankError(
                f"the {what} of rank {self.rank} are no longer those of rank 0. The ranks need the "
                "same processors and the same versions of all packages"
            )

    def map_rows(self, function: Callable[[Array], Array], x: Array) -> Array:
        """Return ``function(x)``, of which each rank computes some rows, on all ranks.

        `x` is the same on all ranks; the function gives a row for each of its rows.
        """
        count = int(x.shape[0])
        if count < self.size:
            return function(x)
        own = function(x[slice(*shard_bounds(count, self.rank, self.size)), ...])
        xp, device = placement(x=own)
        values = host.concatenate(self.all_gather(to_host(own)))
        return to_device(values, xp, device, own.dtype)
