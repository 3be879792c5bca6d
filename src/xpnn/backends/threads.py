"""How many threads BLAS and OpenMP use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from xpnn.backends.settings import ProcessSetting

WORTH = 64  # steps from which on the change, some 50 us, pays


@lru_cache(maxsize=1)
def _libraries(modules: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """List libraries that have one number of threads, and those with one for each thread.

    Those that are loaded; the number of imported `modules` says when to look again.
    """
    from threadpoolctl import ThreadpoolController

    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for library in ThreadpoolController().lib_controllers:
        # What threadpoolctl sets of OpenMP, of BLAS built on it, and of MKL is the thread's own.
        openmp = "openmp" in (library.user_api, getattr(library, "threading_layer", ""))
        found = own if openmp or library.internal_api == "mkl" else shared
        found[library.filepath] = library
    return shared, own


def _read(own: bool = False) -> dict[str, int]:
    libraries = _libraries(len(sys.modules))[own]
    return {path: library.get_num_threads() or 0 for path, library in libraries.items()}


def _write(numbers: dict[str, int], own: bool = False) -> None:
    libraries = _libraries(len(sys.modules))[own]
    for path, number in numbers.items():
        library = libraries.get(path)
        if library is None or not number:
            continue
        # threadpoolctl lets one thread alone set OpenBLAS, until told that this thread is done.
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        library.set_num_threads(number)
        clear(force=False)


def _fewest(before: dict[str, int], requests: Sequence[int]) -> dict[str, int]:
    return {path: min(number, *requests) for path, number in before.items()}


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
    before = _read(own=True)
    with _BLAS.hold(most):
        try:
            _write(_fewest(before, [most]), own=True)
            yield
        finally:
            _write(before, own=True)
