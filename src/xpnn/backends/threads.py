"""How many threads BLAS and OpenMP use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from xpnn.backends.settings import ProcessSetting

WORTH = 64  # steps from which on the change, some 50 us, pays


@cache
def _libraries(for_process: bool) -> list[Any]:
    """List the loaded libraries that have one number of threads, or one for each thread."""
    from threadpoolctl import ThreadpoolController

    def is_for_process(library: Any) -> bool:
        # What threadpoolctl sets of OpenMP, of BLAS built on it, and of MKL is the thread's own.
        layer = getattr(library, "threading_layer", "")
        own = (library.user_api, library.internal_api == "mkl", layer == "openmp")
        return own == ("blas", False, False)

    found = ThreadpoolController().lib_controllers
    return [library for library in found if is_for_process(library) == for_process]


def _read(for_process: bool = True) -> list[int]:
    return [library.get_num_threads() or 0 for library in _libraries(for_process)]


def _write(numbers: list[int], for_process: bool = True) -> None:
    for library, number in zip(_libraries(for_process), numbers, strict=True):
        # threadpoolctl lets one thread alone set OpenBLAS, until told that this thread is done.
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        if number:
            library.set_num_threads(number)
        clear(force=False)


def _fewest(before: list[int], requests: Sequence[int]) -> list[int]:
    return [min(number, *requests) for number in before]


_BLAS = ProcessSetting(_read, _write, _fewest)


def threads_for(size: int, steps: int) -> AbstractContextManager[None]:
    """Keep BLAS to one thread where its operations are on vectors.

    NumPy and SciPy bring a BLAS each, with threads of their own that go on spinning for a
    while after each call. A step of one row calls both, hundreds of times in a millisecond's
    reach: the threads then fight for the cores. On two cores one thread was measured to take
    80 us for a record of the digit tutorial, two 120 us. The perceptron's rows are such steps
    too.

    `size` is the number of rows in a batch, `steps` that of the steps that are about to run.
    """
    return nullcontext() if size > 1 or steps < WORTH else limit_threads(1)


@contextmanager
def limit_threads(most: int) -> Iterator[None]:
    """Keep BLAS and OpenMP to a number of threads, where they have more.

    OpenBLAS has one number for the process. Where scopes of several threads overlap, it is the
    smallest of their limits; when the last of them ends, what it was before the first. OpenMP
    and MKL count for each thread, and only the calling one is limited.
    """
    before = _read(for_process=False)
    with _BLAS.hold(most):
        try:
            _write(_fewest(before, [most]), for_process=False)
            yield
        finally:
            _write(before, for_process=False)
