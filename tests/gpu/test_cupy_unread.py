"""Nobody waits for the GPU while an epoch's steps run."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
from gpus import MARKS

import unread
from xpnn import MLPClassifier, Network, select
from xpnn.data import BlockShuffle, stream
from xpnn.functional import LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import (
    Adam,
    CosineWarmup,
    chain,
    clip_by_global_norm,
)
from xpnn.training.step import CompiledStep

pytestmark = MARKS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(45, 4))
LABELS = RNG.integers(3, size=45)
VALUES = RNG.uniform(0.1, 2.0, (45, 3))
TARGETS = {"multiclass": LABELS, "binary": (VALUES > 1) * 1.0, "regression": VALUES}
LAYERS = (6, "relu", Dropout(0.2), 3)
ENGINES = ("auto", "native")


@pytest.fixture
def epochs(monkeypatch):
    import cupy

    found = unread.Epochs(monkeypatch)
    found.forbid_reads("cupy", cupy.ndarray)
    # `Device.synchronize` cannot be replaced: `test_an_epoch_is_queued_...` sees that one too.
    found.forbid(cupy.cuda.Stream, "synchronize")
    return found


@pytest.fixture
def here():
    return select("cupy", dtype="float32")


def fit(here, loss="softmax_cross_entropy", **options):
    t = here.asarray(TARGETS[LOSSES[loss].kind])
    network = Network(4, list(LAYERS), seed=0, loss=loss)
    return network.fit(here.asarray(X), t, **{"epochs": 3, "batch_size": 16} | options)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_reads(loss, engine, here, epochs):
    weight = here.asarray(RNG.uniform(0.5, 2.0, 45))
    fit(here, loss, sample_weight=weight, engine=engine)
    assert epochs.count == 3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options",
    [
        {"validation_fraction": 0.2, "early_stopping": 1},
        {"compute_dtype": "float16"},
        {"gradient_accumulation_steps": 2},
        {
            "optimizer": chain(clip_by_global_norm(0.5), Adam(CosineWarmup(0.01, warmup=1))),
            "l2": 0.01,
        },
    ],
    ids=lambda options: ", ".join(options),
)
def test_no_option_reads(options, engine, here, epochs):
    fit(here, engine=engine, **options)
    assert epochs.count >= 2


@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True, "dropout": 0.2},
        {"class_weight": "balanced", "clip_norm": 0.5},
        {"compute_dtype": "float16"},
    ],
    ids=lambda options: ", ".join(options),
)
def test_no_estimator_reads(options, here, epochs):
    model = MLPClassifier((6,), max_iter=3, batch_size=16, random_state=0, **options)
    model.fit(here.asarray(X), LABELS)
    assert epochs.count == 3


@pytest.mark.parametrize("share", ["0", "1"])
def test_rows_from_the_host_are_sent_and_nothing_comes_back(share, epochs, monkeypatch):
    monkeypatch.setenv("XPNN_DEVICE_SHARE", share)
    options = {"max_iter": 3, "batch_size": 16, "random_state": 0, "backend": "cupy"}
    MLPClassifier((6,), **options).fit(X, LABELS)
    MLPClassifier((6,), **options).fit(stream(X, LABELS, shuffle=BlockShuffle(16, 3)))
    network = Network(4, list(LAYERS), seed=0, backend=select("cupy", dtype="float32"))
    network.fit(stream(X, LABELS, shuffle=BlockShuffle(16, 3)), epochs=2, batch_size=8)
    assert epochs.count > 6


class Gate:
    """Holds the current stream from an epoch's first step until its last is queued."""

    def __init__(self, monkeypatch):
        import cupy
        import cupyx

        self.cupy, self.calls, self.waited = cupy, 0, []
        # CUDA may wait for the GPU where a pool grows: this one is large enough at once.
        kept = [cupyx.empty_pinned(1 << size, "uint8") for size in range(9, 14) for _ in range(32)]
        del kept
        monkeypatch.setattr(CompiledStep, "run", self._held(CompiledStep.run))

    def _held(self, function):
        @functools.wraps(function)
        def held(*args, **kwargs):
            self.calls += 1
            if self.calls <= 2:  # kernels and memory are made in the first two
                return function(*args, **kwargs)
            opened = threading.Event()
            self.cupy.cuda.get_current_stream().launch_host_func(
                lambda _: self.waited.append(opened.wait(30)), None
            )
            try:
                return function(*args, **kwargs)
            finally:
                opened.set()

        return held


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("estimator", [False, True])
@pytest.mark.parametrize("own_stream", [False, True])
def test_an_epoch_is_queued_while_the_gpu_has_not_begun(
    own_stream, estimator, engine, here, monkeypatch
):
    """Anything that waits for the GPU, by whatever name, waits for the gate."""
    gate = Gate(monkeypatch)
    null = gate.cupy.cuda.Stream.null
    with gate.cupy.cuda.Stream(non_blocking=True) if own_stream else null:
        if estimator:
            options = {"max_iter": 4, "batch_size": 16, "random_state": 0, "engine": engine}
            MLPClassifier((6,), **options).fit(here.asarray(X), LABELS)
        else:
            fit(here, epochs=4, engine=engine)
        gate.cupy.cuda.get_current_stream().synchronize()
    assert gate.waited == [True, True]  # opened by its end, and not by the clock
