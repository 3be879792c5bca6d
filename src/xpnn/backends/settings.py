"""Settings that hold for the whole process, changed for a while by several threads at once.

Code that saves such a setting, changes it and restores it goes wrong where two threads do so in
the order "A enters, B enters, A leaves, B leaves": B saved what A had set, and restores that for
good. Every such setting of xpnn therefore goes through `ProcessSetting`. (NumPy's `errstate` and
JAX's precision belong to one thread each, and need none of this.)
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from xpnn.backends.libraries import Device, Namespace, library_name

Request = TypeVar("Request")


class ProcessSetting(Generic[Request]):
    """A process-wide setting that any number of overlapping scopes may ask to change.

    While there is a scope, the setting is what ``combine(before, requests)`` makes of all
    requests, which has to satisfy each of them; when the last scope ends, in whatever order and
    whether by an error or not, it is again what it was before the first one. Where other code
    has changed it in the meantime, that change stays. ``read()`` returns the values by name,
    ``write(state)`` changes them.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[[dict[str, Any]], None],
        combine: Callable[[dict[str, Any], Sequence[Request]], dict[str, Any]],
    ) -> None:
        self._read, self._write, self._combine = read, write, combine
        # Reentrant: the garbage collector may end a scope while this thread enters another.
        self._lock = threading.RLock()
        self._requests: dict[object, Request] = {}  # by scope
        self._before: dict[str, Any] = {}
        self._written: dict[str, Any] = {}

    @contextmanager
    def hold(self, request: Request) -> Iterator[None]:
        """Keep to a request until the end of the scope, at least."""
        scope = object()
        try:
            with self._lock:
                if not self._requests:
                    self._before = self._read()
                self._requests[scope] = request
                self._apply()
            yield
        finally:
            with self._lock:
                if scope in self._requests:
                    self._leave(scope)

    def _leave(self, scope: object) -> None:
        now = self._read()
        changed_by_others = any(now.get(name) != value for name, value in self._written.items())
        del self._requests[scope]
        if self._requests or not changed_by_others:
            self._apply()

    def _apply(self) -> None:
        state = self._before
        if self._requests:
            state = self._combine(state, list(self._requests.values()))
        self._written = {}  # what an error leaves half written is nobody's change
        self._write(state)
        now = self._read()
        self._written = {name: now.get(name) for name in state}


# Threads of BLAS and OpenMP

WORTH = 64  # steps from which on the change, some 50 us, pays


@lru_cache(maxsize=1)
def _pools(modules: int) -> tuple[dict[str, Any], dict[str, Any]]:
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


def _read_threads(own: bool = False) -> dict[str, int]:
    pools = _pools(len(sys.modules))[own]
    return {path: library.get_num_threads() or 0 for path, library in pools.items()}


def _write_threads(numbers: dict[str, int], own: bool = False) -> None:
    pools = _pools(len(sys.modules))[own]
    for path, number in numbers.items():
        library = pools.get(path)
        if library is None or not number:
            continue
        # threadpoolctl lets one thread alone set OpenBLAS, until told that this thread is done.
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        library.set_num_threads(number)
        clear(force=False)


def _fewest(before: dict[str, int], requests: Sequence[int]) -> dict[str, int]:
    return {path: min(number, *requests) for path, number in before.items()}


_BLAS = ProcessSetting(_read_threads, _write_threads, _fewest)


@contextmanager
def limit_threads(most: int) -> Iterator[None]:
    """Keep BLAS and OpenMP to a number of threads, where they have more.

    OpenBLAS has one number for the process. Where scopes of several threads overlap, it is the
    smallest of their limits; when the last of them ends, what it was before the first. OpenMP
    and MKL count for each thread, and only the calling one is limited.
    """
    before = _read_threads(own=True)
    with _BLAS.hold(most):
        try:
            _write_threads(_fewest(before, [most]), own=True)
            yield
        finally:
            _write_threads(before, own=True)


def rounding() -> str:
    """Say what the last digits of NumPy's matrix products depend on."""
    shared, own = _pools(len(sys.modules))
    found = [f"NumPy {version('numpy')}"]
    for path, library in {**shared, **own}.items():
        if library.user_api == "blas" and "numpy" in path:
            kernels = getattr(library, "architecture", "")
            threads = library.get_num_threads()
            found.append(f"{library.internal_api} {library.version} {kernels} on {threads} threads")
    return ", ".join(found)


def threads_for(size: int, steps: int) -> AbstractContextManager[None]:
    """Keep BLAS to one thread where its operations are on vectors: batches of `size` 1.

    NumPy and SciPy bring a BLAS each, with threads of their own that go on spinning for a
    while after each call. A step of one row calls both, hundreds of times in a millisecond's
    reach: the threads then fight for the cores. On two cores one thread was measured to take
    80 us for a record of the digit tutorial, two 120 us. The perceptron's rows are such steps
    too. `steps` is the number of steps that are about to run.
    """
    return nullcontext() if size > 1 or steps < WORTH else limit_threads(1)


# Deterministic results

_CUBLAS = (":4096:8", ":16:8")
_XLA = "--xla_gpu_deterministic_ops=true"


def _read_determinism() -> dict[str, bool]:
    torch: Any = importlib.import_module("torch")
    enabled = torch.are_deterministic_algorithms_enabled()
    return {"mode": enabled, "warn_only": torch.is_deterministic_algorithms_warn_only_enabled()}


def _write_determinism(state: dict[str, bool]) -> None:
    importlib.import_module("torch").use_deterministic_algorithms(**state)


_DETERMINISM = ProcessSetting[bool](
    _read_determinism, _write_determinism, lambda *_: {"mode": True, "warn_only": False}
)


def deterministic_mode(xp: Namespace, device: Device) -> AbstractContextManager[None]:
    """Make the same operations give the same bits in every run, for the length of a scope.

    - NumPy and array-api-strict do, with one version of BLAS and as many threads.
    - So does CuPy on one GPU: kernels of `xpnn.engine` add up in a fixed order and without
      atomic additions, CUB's reductions are the same from run to run, and cuBLAS is while one
      stream is active, or with a workspace of its own, which it has with nvmath-python.
    - PyTorch is switched to deterministic algorithms, and raises an error where it has none.
    - JAX does on the CPU; on a GPU a flag is needed before the process begins.

    PyTorch's setting holds for the whole process: it is on while a scope of any thread asks for
    it, and then what it was before. A ValueError where the library does not promise it says
    what makes it do so, if anything.
    """
    name = library_name(xp)
    if name == "torch":
        given = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
        if getattr(device, "type", "cpu") == "cuda" and given not in _CUBLAS:
            raise ValueError(
                f"deterministic is True, and CUBLAS_WORKSPACE_CONFIG is {given!r}; PyTorch on "
                f"CUDA expects it to be {_CUBLAS[0]!r}, set before the process begins"
            )
        return _DETERMINISM.hold(True)
    if name == "jax":
        given = os.environ.get("XLA_FLAGS", "")
        if getattr(device, "platform", "cpu") in ("gpu", "cuda", "rocm") and _XLA not in given:
            raise ValueError(
                f"deterministic is True, and XLA_FLAGS is {given!r}; JAX on a GPU expects "
                f"{_XLA!r} in it, set before the process begins"
            )
    elif name not in ("numpy", "array_api_strict", "cupy"):
        raise ValueError(
            f"deterministic is True, and {name} is not known to give the same bits in every run; "
            "expected arrays of NumPy, CuPy, PyTorch, JAX or array-api-strict"
        )
    return nullcontext()
