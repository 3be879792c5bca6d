"""The processes that train together, and what they say to each other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from zlib import crc32

from xpnn.backends import (
    Array,
    HostGenerator,
    generator_state,
    host,
    placement,
    restore_generator,
    status,
    to_device,
    to_host,
)
from xpnn.distributed.meeting import Meeting, load_mpi, told
from xpnn.distributed.settings import MPI, RankError, as_settings
from xpnn.distributed.share import share_of
from xpnn.distributed.sums import SharedSums, sums_of

log = logging.getLogger("xpnn.distributed")


@cache
def _world(settings: MPI) -> Group:
    return Group(settings, load_mpi(settings.timeout).COMM_WORLD)


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


def check_alone(deterministic: bool, group: Group | None) -> None:
    """Make sure that nobody is promised the same bits of sums over several processes.

    Raises
    ------
    ValueError
        `deterministic` is True, and there is more than one process.
    """
    if deterministic and group is not None and group.size > 1:
        raise ValueError(
            "deterministic is True, and the batches are shared out among processes, whose "
            "sums come in no fixed order on every machine; expected one process"
        )


class Group(Meeting):
    """The processes of one training.

    Parameters
    ----------
    settings, comm
        As in `Meeting`.

    Attributes
    ----------
    seconds : float
        Time spent in sums, waiting for others included.
    sums : int
        Number of sums.
    """

    def __init__(self, settings: MPI, comm: Any = None) -> None:
        super().__init__(settings, comm)
        self.seconds, self.sums = 0.0, 0
        self._adder: Any = None
        self._shared: dict[Any, SharedSums] = {}

    def device(self, backend: str | None) -> str | None:
        """Choose a GPU for this process: each process of a machine has the next one.

        Parameters
        ----------
        backend : str or None
            Name of the library that is to compute.

        Returns
        -------
        str or None
            Such as ``"cuda:1"``; None where the library's own choice will do.
        """
        if self.size == 1 or backend is None:
            return None
        gpus = [name for name in status(backend).devices if name.startswith("cuda")]
        return gpus[self.local_rank % len(gpus)] if gpus else None

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
        return self.tell(value if self.first else None, 0)

    def by_first(self, function: Callable[[], Any]) -> Any:
        """Let rank 0 do something that may take long, and hand out what it returns."""
        return self.from_first(function() if self.first else None, patient=True)

    def everybodys(self, value: Any) -> list[Any]:
        """Collect a small value of each process."""
        if self.size == 1:
            return [value]
        self.meet("compare")
        return self.collect(value)

    def same(self, array: Array) -> Array:
        """Hand out an array of rank 0 to where each process has its own of that kind."""
        if self.size == 1:
            return array
        values = host.array(to_host(array), order="C")
        self.meet("share an array", values.nbytes)
        self.wait(self.comm.Ibcast(_bytes(values), 0), "share an array")
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
                raise told(
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
            sums = self.everybodys(crc32(_bytes(values)))
            other = next((rank for rank in range(self.size) if sums[rank] != sums[0]), None)
            if other is not None:
                raise told(
                    RankError(
                        f"the {what} of rank {other} are no longer those of rank 0. The ranks "
                        "need the same processors and the same versions of all packages"
                    )
                )

    @contextmanager
    def lent(self, arrays: list[Any]) -> Iterator[list[Any]]:
        """Hand out host arrays of rank 0, which lie once in the memory of each machine.

        Parameters
        ----------
        arrays : list of numpy.ndarray or None
            Of rank 0; the others give as many, whatever they are.

        Yields
        ------
        list of numpy.ndarray or None
            To be read only, and not after the end of the block.
        """
        if self.size == 1:
            yield arrays
            return
        kinds = self.from_first(
            [None if a is None else (a.shape, a.dtype, a if a.dtype.hasobject else None)
             for a in arrays] if self.first else None,
            patient=True,
        )  # fmt: skip
        heads = self.comm.Split(0 if self.local_rank == 0 else self.mpi.UNDEFINED, self.rank)
        found, windows = [], []
        for given, kind in zip(arrays, kinds, strict=True):
            if kind is None or kind[2] is not None:
                found.append(None if kind is None else kind[2])
                continue
            shape, dtype = kind[:2]
            size = dtype.itemsize * math.prod(shape)
            own = size if self.local_rank == 0 else 0
            window = self.mpi.Win.Allocate_shared(own, dtype.itemsize, comm=self.local)
            windows.append(window)
            memory, _ = window.Shared_query(0)
            place = host.ndarray(shape, dtype, memory)
            if self.first:
                host.copyto(place, given)
            if self.local_rank == 0:
                self.wait(heads.Ibcast(_bytes(place), 0), "share rows")
            found.append(place)
        if self.local_rank == 0:
            heads.Free()
        self.meet("take what lies in shared memory")
        yield found
        self.meet("give shared memory back")
        for window in windows:
            window.Free()

    # Adding up

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.size == 1

    def __call__(self, vector: Array) -> Array:
        """Add up a vector over all processes; see `xpnn.engine.Exchange`."""
        if self.alone:
            return vector
        begin = time.perf_counter()
        found = self._sums(vector)(vector)
        self.seconds += time.perf_counter() - begin
        self.sums += 1
        return found

    def into(self, vector: Any, out: Any) -> None:
        """Add up NumPy vectors into another one; see `xpnn.engine.Exchange`."""
        if self.alone:
            host.copyto(out, vector)
            return
        begin = time.perf_counter()
        self.add(vector, out)
        self.seconds += time.perf_counter() - begin
        self.sums += 1

    def add(self, vector: Any, out: Any) -> None:
        """Add up host vectors of all processes into another one, or into themselves."""
        if self.local_size == self.size:
            key = (len(vector), vector.dtype)
            if key not in self._shared:
                self.meet("make room", key[0])
                self._shared[key] = SharedSums(self, *key)
            self._shared[key].add(vector, out)
            return
        self.meet("add up", len(vector))
        given = self.mpi.IN_PLACE if out is vector else vector
        self.wait(self.comm.Iallreduce(given, out), "add up")

    def totals(self, numbers: list[float]) -> list[float]:
        """Add up a few numbers, in float64."""
        if self.size == 1:
            return numbers
        self.meet("add up numbers", len(numbers))
        found = host.asarray(numbers, host.float64)
        self.wait(self.comm.Iallreduce(self.mpi.IN_PLACE, found), "add up numbers")
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
        request = self.comm.Ialltoallv([_bytes(out), sizes], [_bytes(into), room])
        self.wait(request, "exchange rows")

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
        request = self.comm.Iallgatherv(_bytes(values), [_bytes(whole), sizes])
        self.wait(request, "put rows together")
        xp, device = placement(x=own)
        return to_device(whole, xp, device, own.dtype)


def _bytes(array: Any) -> Any:
    """The bytes of a C-contiguous array."""
    return array.reshape(-1).view(host.uint8)
