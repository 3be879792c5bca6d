"""No value is read on the host while an epoch's steps run: every read raises there."""

from __future__ import annotations

import numpy as np
import pytest

import unread
from xpnn import MLPClassifier, MLPRegressor, Network, select
from xpnn.data import BlockShuffle, stream
from xpnn.functional import LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    CosineWarmup,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)

strict = pytest.importorskip("array_api_strict")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(45, 4))
LABELS = RNG.integers(3, size=45)
VALUES = RNG.uniform(0.1, 2.0, (45, 3))
TARGETS = {"multiclass": LABELS, "binary": (VALUES > 1) * 1.0, "regression": VALUES}


@pytest.fixture
def epochs(monkeypatch):
    found = unread.Epochs(monkeypatch)
    found.forbid_reads("array_api_strict", type(strict.zeros(1)))
    return found


@pytest.fixture
def device():
    return select("array_api_strict", "device1", "float64")


LAYERS = (6, "relu", Dropout(0.2), 3)


def fit(device, epochs, layers=LAYERS, loss=None, **options):
    rule = LOSSES[loss or "softmax_cross_entropy"]
    t = device.asarray(TARGETS[rule.kind])
    x = device.asarray(X)
    network = Network(4, list(layers), seed=0, loss=loss or "softmax_cross_entropy")
    history = network.fit(x, t, **{"epochs": 3, "batch_size": 8} | options)
    assert epochs.count >= 3
    return history


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_reads(loss, device, epochs):
    weight = device.asarray(RNG.uniform(0.5, 2.0, 45))
    assert len(fit(device, epochs, loss=loss, sample_weight=weight).loss) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"validation": 0.2},
        {"validation": 0.2, "early_stopping": 1},
        {"report_every": 3},
        {"l2": 0.01, "shuffle": False},
        {"batch_size": None},
        {"accumulate": 2},
        {"optimizer": Adam(CosineWarmup(0.01, warmup=1))},
        {
            "optimizer": chain(
                clip_by_global_norm(0.5), chain(add_decayed_weights(0.01), SGD(0.1, momentum=0.9))
            )
        },
    ],
    ids=lambda options: ", ".join(options),
)
def test_no_option_reads(options, device, epochs):
    fit(device, epochs, **options)


def test_the_check_sees_a_layer_that_reads(device, epochs):
    with pytest.raises(unread.ReadError, match="__float__ was called in an epoch"):
        fit(device, epochs, layers=(6, unread.Peeking(), 3))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_source_reads_nothing(weighted, device, epochs):
    weight = RNG.uniform(0.5, 2.0, 45) if weighted else None
    network = Network(4, [6, "tanh", 3], seed=0, backend=device)
    source = stream(X, LABELS, weight=weight, shuffle=BlockShuffle(11, 3))
    network.fit(source, epochs=2, batch_size=8, validation=stream(X, LABELS))
    assert epochs.count == 2


COMMON = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 8, "random_state": 0}
ESTIMATORS = {
    "adam": (MLPClassifier, LABELS, {}),
    "classes": (MLPClassifier, LABELS, {"class_weight": "balanced", "label_smoothing": 0.1}),
    "several labels": (MLPClassifier, (VALUES > 1).astype(int), {"solver": "sgd"}),
    "hinge": (MLPClassifier, (VALUES > 1).astype(int), {"loss": "hinge"}),
    "early stopping": (MLPClassifier, LABELS, {"early_stopping": True, "dropout": 0.2}),
    "a score": (MLPClassifier, LABELS, {"early_stopping": True, "monitor": "neg_log_loss"}),
    "clipped": (MLPRegressor, VALUES, {"clip_norm": 0.5, "weight_decay": 0.01}),
    "adaptive": (MLPRegressor, VALUES, {"solver": "sgd", "learning_rate": "adaptive"}),
    **{loss: (MLPRegressor, VALUES, {"loss": loss}) for loss in ("poisson", "huber")},
    "absolute": (MLPRegressor, VALUES, {"loss": "absolute_error"}),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_estimator_reads(name, held, device, epochs):
    make, y, options = ESTIMATORS[name]
    x = device.asarray(X)
    weight = None if options.get("class_weight") else RNG.uniform(0.5, 2.0, 45)
    held = (device.asarray(X[:9]), y[:9]) if held else None
    model = make(**COMMON | options).fit(x, y, sample_weight=weight, validation_data=held)
    assert epochs.count == model.n_iter_ == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_estimator_reads_of_a_source(device, epochs):
    model = MLPClassifier(**COMMON, backend="array_api_strict", device="device1")
    model.fit(stream(X, LABELS, shuffle=BlockShuffle(11, 3)))
    assert epochs.count > 3


@pytest.mark.parametrize("compute_dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("estimator", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mixed_precision_reads_nothing(compute_dtype, estimator, use_library, epochs):
    """The scale of the loss, and the steps that it skips, are the device's own affair."""
    use_library("torch")
    import torch

    epochs.forbid_reads("torch", torch.Tensor)
    backend = select("torch", dtype="float32")
    x = backend.asarray(X)
    if estimator:
        MLPClassifier(**COMMON, compute_dtype=compute_dtype).fit(x, LABELS)
    else:
        fit(backend, epochs, compute_dtype=compute_dtype)
    assert epochs.count == 3


def test_the_check_sees_torch_too(use_library, epochs):
    use_library("torch")
    import torch

    epochs.forbid_reads("torch", torch.Tensor)
    backend = select("torch", dtype="float32")
    with pytest.raises(unread.ReadError, match="__float__ was called in an epoch"):
        fit(backend, epochs, layers=(6, unread.Peeking(), 3), engine="pure")
