"""xpnn as a contender: its ways to run, and trainings that go epoch by epoch."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from xpnn.backends import BackendUnavailableError, select
from xpnn.bench.peers import installed
from xpnn.bench.rounds import SkipError
from xpnn.training import Callback, Network, Run
from xpnn.training import fit as fit_function


@dataclass(frozen=True)
class Variant:
    """A way to run the library.

    Parameters
    ----------
    name : str
        For the table.
    backend : str, default 'numpy'
        The array library.
    options : mapping
        For `Network.fit`.
    needs : str, default ''
        A module without which it is left out.
    """

    name: str
    backend: str = "numpy"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    needs: str = ""

    def arrays(self, *arrays: Any) -> list[Any]:
        """Bring arrays to the variant's library, or leave it out."""
        try:
            chosen = select(self.backend)
        except BackendUnavailableError as error:
            raise SkipError(str(error)) from error
        return [chosen.xp.asarray(array) for array in arrays]

    def fit_options(self) -> dict[str, Any]:
        """Return the options, or leave the variant out where it cannot run."""
        if self.needs:
            installed(self.needs)
        for name in self.options:
            if name not in inspect.signature(fit_function).parameters:
                raise SkipError(f"this version's fit has no option {name!r}")
        return dict(self.options)


# Named outright: 'auto' takes kernels where Numba is installed and the training is long.
NUMPY = Variant("xpnn", options=MappingProxyType({"engine": "plan"}))
KERNELS = Variant(
    "xpnn, extra 'fast' (Numba)", options=MappingProxyType({"engine": "kernels"}), needs="numba"
)
PURE = Variant("xpnn, engine='pure'", options=MappingProxyType({"engine": "pure"}))
JAX = Variant("xpnn on JAX", backend="jax")
TORCH = Variant(
    "xpnn on PyTorch, 'fast'", "torch", MappingProxyType({"engine": "kernels"}), needs="numba"
)
VARIANTS = (NUMPY, KERNELS, PURE, JAX, TORCH)
ENDLESS = 10**9  # epochs of a training that ends when it is told to


class _Turns(Callback):
    """Hold a training at the start of each epoch until it is let go."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.over = False

    def on_start(self, run: Run) -> None:
        """Wait for the first turn."""
        self.go.acquire()

    def on_epoch(self, run: Run) -> str | None:
        """Hand the turn back and wait for the next one."""
        self.done.release()
        self.go.acquire()
        return "enough" if self.over else None


class Held:
    """One long training that goes on by an epoch with each call.

    A call of `fit` for each epoch would plan the step anew and lose the optimizer's state,
    which no training of several epochs does. So the training runs in a thread of its own,
    which stands still between two calls.

    Parameters
    ----------
    train : callable
        ``train(callback)`` trains for `ENDLESS` epochs with that callback.
    """

    def __init__(self, train: Callable[[Callback], Any]) -> None:
        self.turns = _Turns()
        self.error: BaseException | None = None
        # A daemon: a benchmark that is interrupted does not wait for it.
        self.thread = threading.Thread(target=self._run, args=(train,), daemon=True)
        self.thread.start()

    def _run(self, train: Callable[[Callback], Any]) -> None:
        try:
            train(self.turns)
        except BaseException as error:  # raised again in the caller's thread
            self.error = error
        finally:
            self.turns.done.release()

    def __call__(self) -> None:
        """Train for one epoch."""
        self.turns.go.release()
        self.turns.done.acquire()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """End the training."""
        self.turns.over = True
        self.turns.go.release()
        self.thread.join()


class Epochs(Held):
    """A network's training, epoch by epoch.

    Parameters
    ----------
    network : Network
        What is trained.
    x, t : array
        Data.
    **options
        For `Network.fit`.
    """

    def __init__(self, network: Network, x: Any, t: Any, **options: Any) -> None:
        super().__init__(
            lambda turns: network.fit(x, t, epochs=ENDLESS, callbacks=[turns], **options)
        )
