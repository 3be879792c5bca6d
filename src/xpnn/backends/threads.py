"""How many threads BLAS uses while steps of one row run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

WORTH = 64  # steps from which on the change, some 50 us, pays


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def threads_for(size: int, steps: int) -> AbstractContextManager[Any]:
    """Keep BLAS to one thread where its operations are on vectors.

    NumPy and SciPy bring a BLAS each, with threads of their own that go on spinning for a
    while after each call. A step of one row calls both, hundreds of times in a millisecond's
    reach: the threads then fight for the cores. On two cores one thread was measured to take
    80 us for a record of the digit tutorial, two 120 us. The perceptron's rows are such steps
    too.

    Parameters
    ----------
    size : int
        Rows in a batch.
    steps : int
        Steps that are about to run.

    Returns
    -------
    context manager
        Holds for the whole process; the number from before comes back at its end.
    """
    if size > 1 or steps < WORTH:
        return nullcontext()
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited


@contextmanager
def limit_threads(most: int) -> Iterator[None]:
    """Keep BLAS and OpenMP to a number of threads, where they have more.

    Parameters
    ----------
    most : int
        Threads of each library.
    """
    found = _controller()
    limits = {
        library.prefix: min(most, library.num_threads)
        for library in found.lib_controllers
        if library.num_threads
    }
    with found.limit(limits=limits):
        yield
