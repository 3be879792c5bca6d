"""The processes that train together, and what they exchange.

Every operation begins with `ProcessGroup.barrier`, where the ranks compare a few numbers: so
an error on one rank is raised on all of them wherever they are, ranks that do different things
are told so, and one that does not come is named. It costs some microseconds.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from zlib import crc32

from xpnn.backends import (
    Array,
    HostGenerator,
    device_of,
    generator_state,
    host,
    library_name,
    limit_threads,
    namespace,
    placement,
    restore_generator,
    status,
    to_device,
    to_host,
)
from xpnn.distributed.launch import answer, end_job, load_mpi, missing_ranks, world
from xpnn.distributed.options import MPIOptions, RankError
from xpnn.distributed.shard import shard_bounds
from xpnn.distributed.transports import AllReduce, transport_for

log = logging.getLogger("xpnn.distributed")

_SPINS = 2000  # tests of a request before a rank lets other processes have its core
_groups: dict[MPIOptions, ProcessGroup] = {}


def process_group(distributed: str | MPIOptions | None) -> ProcessGroup | None:
    """The processes to train on for ``'mpi'`` or its options; None for None.

    Raises
    ------
    ValueError
        `distributed` is something else.
    ImportError
        MPI is not installed.
    """
    if distributed is None:
        return None
    options = MPIOptions() if distributed == "mpi" else distributed
    if not isinstance(options, MPIOptions):
        raise ValueError(f"distributed is {options!r}; expected None, 'mpi' or MPIOptions(...)")
    if options not in _groups:
        _groups[options] = ProcessGroup(options, world(options.timeout))
    return _groups[options]


def check_single_process(deterministic: bool, group: ProcessGroup | None) -> None:
    """Raise a ValueError where `deterministic` is True for several processes."""
    if deterministic and group is not None and not group.single_process:
        raise ValueError(
            "deterministic is True, and the batches are sharded over processes, whose sums "
            "have no fixed order on every machine; expected one process"
        )


class ProcessGroup:
    """The processes of one training. All of them call the same methods in the same order.

    Parameters
    ----------
    options : MPIOptions, optional
        How long to wait, and how GPU arrays are reduced.
    comm : mpi4py.MPI.Comm, optional
        Used for nothing else. Default: this process only.
    max_message_bytes : int, default 2**30
        Larger arrays travel in several messages: MPI-3 libraries count in 32 bits.

    Attributes
    ----------
    rank, size : int
        Rank of this process, number of processes.
    """

    def __init__(
        self,
        options: MPIOptions | None = None,
        comm: Any = None,
        *,
        max_message_bytes: int = 2**30,
    ) -> None:
        self.options = MPIOptions() if options is None else options
        self.max_message_bytes = max_message_bytes
        self.rank, self.size = 0, 1
        self._error_known = False
        self._transport: tuple[Any, AllReduce] | None = None
        if comm is not None:
            self._comm, self._mpi = comm, load_mpi(self.options.timeout)
            self.rank, self.size = comm.Get_rank(), comm.Get_size()
        machines = self.all_gather(platform.node())
        self._local_size = machines.count(machines[self.rank])
        self._local_rank = machines[: self.rank].count(machines[self.rank])

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints, writes files and calls callbacks."""
        return self.rank == 0

    @property
    def single_process(self) -> bool:
        """Whether there is one process only."""
        return self.size == 1

    def device(self, backend: str | None) -> str | None:
        """A GPU for this process, such as ``"cuda:1"``: each one on a machine gets the next.

        None where `backend`, the name of an array library, is None or has no CUDA devices.
        """
        if self.single_process or backend is None:
            return None
        gpus = [name for name in status(backend).devices if name.startswith("cuda")]
        return gpus[self._local_rank % len(gpus)] if gpus else None

    # Waiting for each other

    @contextmanager
    def session(self) -> Iterator[None]:
        """Context that all ranks enter together: an error that one raises in it, all raise.

        BLAS threads are divided among the ranks on a machine as long as it lasts.
        """
        if self.single_process:
            yield
            return
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
        wait_forever: bool = False,
        error: BaseException | None = None,
    ) -> None:
        """Wait until all ranks are here.

        Parameters
        ----------
        what : str
            The operation that follows.
        amount : int, default 0
            Something about it that is the same on all ranks, such as a length.
        wait_forever : bool, default False
            Whether the timeout does not count, since another rank reads a file, say.
        error : BaseException, optional
            Why this rank does not go on.

        Raises
        ------
        RankError
            Another rank failed, or does something else.
        """
        if self.single_process:
            return
        own = crc32(f"{what} {amount}".encode())
        mine = host.asarray([self.size if error is None else self.rank, own, -own], host.int64)
        least = host.empty_like(mine)
        self._wait(self._comm.Iallreduce(mine, least, self._mpi.MIN), what, wait_forever)
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
        """Wait for an operation, and end the job if a rank does not come.

        Nothing blocks inside MPI, since any rank may stop in the middle of an operation.
        """
        spins, begin, timeout = 0, 0.0, self.options.timeout
        try:
            while not request.Test():
                spins += 1
                if spins < _SPINS:
                    continue
                now = time.monotonic()
                begin = begin or now
                time.sleep(0.0 if now - begin < 0.01 else 0.0002)
                answer(self._comm)
                if not forever and now - begin > timeout:
                    ranks = ", ".join(map(str, missing_ranks(self._comm)))
                    end_job(
                        f"rank {self.rank} of {self.size} has waited {timeout:g} s in: {what}; "
                        + (f"missing: rank {ranks}" if ranks else "all ranks answer")
                    )
        except KeyboardInterrupt:
            # The others are in this operation: nobody can leave it and go on.
            end_job(f"rank {self.rank} of {self.size} was interrupted in: {what}")

    # Objects

    def broadcast(self, value: Any, *, wait_forever: bool = False) -> Any:
        """Return the value that rank 0 gives, pickled; `wait_forever` as in `barrier`."""
        if self.single_process:
            return value
        data = pickle.dumps(value, 5) if self.is_main else b""
        self.barrier("broadcast", wait_forever=wait_forever)
        found = self._broadcast(data, 0)
        return value if self.is_main else pickle.loads(found)

    def broadcast_from_main(self, function: Callable[[], Any]) -> Any:
        """Call a function on rank 0, however long it takes, and return its value on all ranks."""
        return self.broadcast(function() if self.is_main else None, wait_forever=True)

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, pickled."""
        if self.single_process:
            return [value]
        data = pickle.dumps(value, 5)
        self.barrier("all_gather")
        return [pickle.loads(self._broadcast(data, rank)) for rank in range(self.size)]

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

    def _broadcast(self, data: bytes, root: int) -> Any:
        """Return the bytes of one rank; after a barrier, so that nothing may fail in between."""
        size = host.asarray([len(data)], host.int64)
        self._wait(self._comm.Ibcast(size, root), "broadcast")
        buffer = data if self.rank == root else bytearray(int(size[0]))
        for message in self._messages(buffer):
            self._wait(self._comm.Ibcast(message, root), "broadcast")
        return buffer

    # Arrays

    def all_reduce(self, vector: Array) -> Array:
        """Return the sum of a vector over all ranks, as an array of its library and device."""
        if self.single_process:
            return vector
        kind = (library_name(namespace(x=vector)), device_of(vector))
        if self._transport is None or self._transport[0] != kind:
            text, function = transport_for(self, vector)
            self._transport = kind, function
            if self.is_main:
                log.info("arrays of %s are reduced %s", kind[0], text)
        return self._transport[1](vector)

    __call__ = all_reduce  # `xpnn.engine.Exchange`

    def into(self, vector: Any, out: Any) -> None:
        """Write the sum of a vector of NumPy over all ranks into `out`, or into itself.

        Both are C-contiguous; they may also be CuPy's where MPI accepts GPU memory.
        """
        if self.single_process:
            host.copyto(out, vector)
            return
        self.barrier("all_reduce", len(vector))
        step = max(self.max_message_bytes // vector.dtype.itemsize, 1)
        for start in range(0, len(vector), step):
            part = slice(start, start + step)
            given = self._mpi.IN_PLACE if out is vector else vector[part]
            self._wait(self._comm.Iallreduce(given, out[part]), "all_reduce")

    def all_reduce_numbers(self, numbers: list[float]) -> list[float]:
        """Return the sums of a few numbers over all ranks, added in float64."""
        return [float(n) for n in self.all_reduce(host.asarray(numbers, host.float64))]

    def broadcast_array(self, array: Array) -> Array:
        """Return the array of rank 0, with the library, device and dtype of one's own."""
        if self.single_process:
            return array
        values = self.broadcast(to_host(array) if self.is_main else None)
        xp, device = placement(x=array)
        return to_device(values, xp, device, array.dtype)

    def check_same_array(self, array: Array, what: str) -> None:
        """Raise a RankError where an array has not the bits that it has on rank 0."""
        if self.single_process:
            return
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
        if self.single_process or count < self.size:
            return function(x)
        own = function(x[slice(*shard_bounds(count, self.rank, self.size)), ...])
        xp, device = placement(x=own)
        values = host.concatenate(self.all_gather(to_host(own)))
        return to_device(values, xp, device, own.dtype)

    def all_to_all(self, values: list[Any]) -> list[Any]:
        """Send a value to each rank, and return those from each; they are pickled."""
        if self.single_process:
            return values
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

    def _messages(self, buffer: Any) -> Iterator[Any]:
        for start in range(0, len(buffer), self.max_message_bytes):
            part = memoryview(buffer)[start : start + self.max_message_bytes]
            yield [part, self._mpi.BYTE]
