"""xpnn as a contender on one device: `Network.fit`, the estimator, prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import BackendUnavailableError, select
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.library import Epochs
from xpnn.bench.peers import installed
from xpnn.bench.rounds import SkipError, Work
from xpnn.bench.workloads import BETA1, BETA2, EPS, RATE, Workload
from xpnn.layers import LayerSpec
from xpnn.optimizers import Adam
from xpnn.training import Network

ENGINES = ("kernels", "auto")
LEFT_OUT = "left out: --quick prepares nothing that takes long"


def named(engine: str) -> str:
    """Name of this library with an engine, for the table."""
    return f"xpnn, engine={engine!r}"


OURS = tuple(named(engine) for engine in ENGINES)


@dataclass(frozen=True)
class Place:
    """Where this library runs, and how to wait for it."""

    backend: Any
    wait: Callable[[], None]


def placed(asked: Asked, engine: str = "auto") -> Place:
    """Find the device.

    Raises
    ------
    SkipError
        It, or what the engine needs, is not there.
    """
    try:
        backend = select(asked.backend, asked.device, "float32")
    except (BackendUnavailableError, ValueError) as error:
        raise SkipError(str(error)) from error
    if engine == "kernels" and not asked.cuda:
        installed("numba")
    return Place(backend, backend.device.synchronize if asked.cuda else lambda: None)


def network_of(widths: tuple[int, ...]) -> Network:
    """Make a network with ReLU between its layers."""
    layers: list[LayerSpec] = [s for width in widths[1:-1] for s in (width, "relu")]
    return Network(widths[0], [*layers, widths[-1]], seed=0)


def epochs(
    work: Workload, x: Any, t: Any, asked: Asked, engine: str, half: str | None = None
) -> Work:
    """One long `Network.fit` that goes on by an epoch with each call.

    An epoch ends by reading its loss, which waits for the device.
    """
    put = placed(asked, engine).backend.asarray
    return Epochs(
        network_of(work.widths), put(x), put(t), batch_size=work.batch, engine=engine,
        optimizer=Adam(RATE, BETA1, BETA2, EPS), compute_dtype=half,
    )  # fmt: skip


def predictor(widths: tuple[int, ...], x: Any, asked: Asked) -> Work:
    """`Network.predict` of rows that are on the device."""
    place = placed(asked)
    rows, network = place.backend.asarray(x), network_of(widths)
    network.to(asked.backend, asked.device, dtype="float32")

    def predict() -> Any:
        labels = network.predict(rows)
        place.wait()
        return labels

    return predict


def estimator_options(work: Workload, asked: Asked, epochs: int, engine: str) -> dict[str, Any]:
    """Parameters of `MLPClassifier` for a workload on the device."""
    placed(asked, engine)
    return {
        "hidden_layer_sizes": work.widths[1:-1], "batch_size": work.batch, "alpha": 0.0,
        "max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs, "random_state": 0,
        "backend": asked.backend, "device": asked.device, "engine": engine,
    }  # fmt: skip


class Clock:
    """Seconds of a training, and the accuracy after each epoch, which is not counted.

    Parameters
    ----------
    score : callable
        Gives the accuracy.
    """

    def __init__(self, score: Callable[[], float]) -> None:
        self.score = score
        self.points: list[tuple[float, float]] = []
        self.not_counted = 0.0
        self.began = time.perf_counter()

    def epoch(self) -> None:
        """Note the end of an epoch, for which the device has been waited."""
        now = time.perf_counter()
        self.points.append((now - self.began - self.not_counted, self.score()))
        self.not_counted += time.perf_counter() - now
