"""Training: an epoch beside the bare matrix products, the peers, and this library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpnn.bench.by_hand import NumpyByHand, bare_products
from xpnn.bench.command import Settings
from xpnn.bench.library import VARIANTS, Epochs, Variant
from xpnn.bench.peers import (
    jax_scan_epoch,
    jax_steps_epoch,
    sklearn_epoch,
    torch_compiled_epoch,
    torch_epoch,
)
from xpnn.bench.rounds import Comparison, Contender, SkipError, Work, measure
from xpnn.bench.workloads import BETA1, BETA2, EPS, RATE, WORKLOADS, Workload
from xpnn.layers import LayerSpec
from xpnn.optimizers import Adam
from xpnn.training import Network

ROUNDS = 7


def _library_epoch(work: Workload, x: Any, t: Any, variant: Variant) -> Work:
    rows, labels = variant.arrays(x, t)
    layers: list[LayerSpec] = [s for width in work.widths[1:-1] for s in (width, "relu")]
    network = Network(work.widths[0], [*layers, work.widths[-1]], seed=0)
    adam = Adam(RATE, BETA1, BETA2, EPS)
    options = {"batch_size": work.batch, "optimizer": adam, **variant.fit_options()}
    if variant.backend == "torch":
        # A second thread that calls PyTorch has OpenMP threads of its own, and with more of
        # them than cores every wait of PyTorch's own contenders becomes a sleep: they took
        # three times as long. So here it is a whole fit each time, planning included.
        return lambda: network.fit(rows, labels, epochs=1, **options)
    return Epochs(network, rows, labels, **options)


def contenders(work: Workload, x: Any, t: Any, settings: Settings) -> list[Contender]:
    """List everybody for a workload, the floor first."""

    def compiled() -> Work:
        if settings.tiny or settings.quick:
            raise SkipError("left out: compiling takes longer than the rest")
        return torch_compiled_epoch(work, x, t, settings.threads)

    listed = [
        Contender("floor", lambda: bare_products(work, x)),
        Contender("NumPy by hand", lambda: NumpyByHand(work, x, t).epoch),
        Contender("scikit-learn MLPClassifier", lambda: sklearn_epoch(work, x, t)),
        Contender("PyTorch eager, fused Adam", lambda: torch_epoch(work, x, t, settings.threads)),
        Contender("PyTorch torch.compile, fused Adam", compiled),
        Contender("JAX jit, a step", lambda: jax_steps_epoch(work, x, t)),
        Contender("JAX jit, an epoch in one scan", lambda: jax_scan_epoch(work, x, t)),
    ]
    for variant in VARIANTS:
        listed.append(
            Contender(variant.name, lambda v=variant: _library_epoch(work, x, t, v))  # type: ignore[misc]
        )
    return listed


def compare(settings: Settings) -> Iterator[Comparison]:
    """Yield a comparison for each workload."""
    for whole in WORKLOADS:
        if not settings.wants(whole.name):
            continue
        work = whole.tiny() if settings.tiny else whole
        x, t = work.data(settings.data)
        real = settings.data is not None and work.name == "mnist"
        yield measure(
            work.name,
            f"one epoch: {work.describe()}",
            contenders(work, x, t, settings),
            settings.count(ROUNDS),
            note="floor: the epoch's matrix products alone. "
            + ("Data: MNIST." if real else "Data: random."),
        )
