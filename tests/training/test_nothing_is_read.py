"""An epoch reads values on the host as often with many steps as with few: at its report only."""

from __future__ import annotations

import numpy as np
import pytest

import unread
from xpnn import MLPClassifier, MLPRegressor, Network, select
from xpnn.data import BlockShuffle, stream
from xpnn.functional import LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, CosineWarmup, add_decayed_weights, chain, clip_by_global_norm

strict = pytest.importorskip("array_api_strict")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
LABELS = RNG.integers(3, size=90)
VALUES = RNG.uniform(0.1, 2.0, (90, 3))
WEIGHT = RNG.uniform(0.5, 2.0, 90)
TARGETS = {"multiclass": LABELS, "binary": (VALUES > 1) * 1.0, "regression": VALUES}
FEW, MANY = 40, 7  # rows of a batch: the last one is smaller, also of 80 % of the rows


@pytest.fixture
def reads(monkeypatch):
    return unread.Reads(monkeypatch, "array_api_strict", type(strict.zeros(1)))


@pytest.fixture
def torch_reads(monkeypatch, use_library):
    use_library("torch")
    import torch

    return unread.Reads(monkeypatch, "torch", torch.Tensor)


@pytest.fixture
def device():
    return select("array_api_strict", "device1", "float64")


LAYERS = (6, "relu", Dropout(0.2), 3)


def fit(device, layers=LAYERS, loss="softmax_cross_entropy", **options):
    network = Network(4, list(layers), seed=0, loss=loss)
    x, t = device.asarray(X), device.asarray(TARGETS[LOSSES[loss].kind])
    history = network.fit(x, t, **{"epochs": 3, "batch_size": MANY} | options)
    assert history.epochs == options.get("epochs", 3)


@pytest.mark.parametrize(
    "options",
    [
        *({"loss": loss} for loss in LOSSES),
        {"validation_fraction": 0.2},
        {"validation_fraction": 0.2, "early_stopping": 4},
        {"report_every": 3},
        {"l2": 0.01, "shuffle": False},
        {"gradient_accumulation_steps": 2},
        {"optimizer": Adam(CosineWarmup(0.01, warmup=1))},
        {
            "optimizer": chain(
                clip_by_global_norm(0.5), chain(add_decayed_weights(0.01), SGD(0.1, momentum=0.9))
            )
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_no_option_reads(options, weighted, device, reads):
    if weighted:
        options = options | {"sample_weight": device.asarray(WEIGHT)}
    sizes = (None, FEW, MANY)
    whole, few, many = (reads.during(fit, device, batch_size=b, **options) for b in sizes)
    assert many == few == whole > 0


def test_a_report_reads_little(device, reads):
    """The loss and the total of the weights, whether weights are finite, and two figures."""
    x, t, weight = (device.asarray(a) for a in (X, LABELS, WEIGHT))
    options = {"sample_weight": weight, "X_val": x[:5, :], "y_val": t[:5], "l2": 1e-3}
    four, five = (reads.during(fit, device, epochs=n, **options) for n in (4, 5))
    # Each is copied to the CPU device, and read there by NumPy.
    assert five - four <= 5 * 2


@pytest.mark.parametrize("weighted", [False, True])
def test_a_source_reads_nothing(weighted, device, reads):
    """With more windows neither."""

    def train(rows, batch_size):
        network = Network(4, [6, "tanh", 3], seed=0, backend=device)
        weight = WEIGHT[:rows] if weighted else None
        source = stream(X[:rows], LABELS[:rows], weight=weight, shuffle=BlockShuffle(11, 2))
        network.fit(source, epochs=2, batch_size=batch_size, X_val=stream(X[:45], LABELS[:45]))

    few, many, long = (reads.during(train, *how) for how in ((45, 15), (45, 7), (90, 7)))
    assert long == many == few > 0


COMMON = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
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
@pytest.mark.parametrize("validated", [False, True])
def test_no_estimator_reads(name, validated, device, reads):
    make, y, options = ESTIMATORS[name]
    x = device.asarray(X)
    weight = None if options.get("class_weight") else WEIGHT
    validation = {"X_val": device.asarray(X[:9]), "y_val": y[:9]} if validated else {}

    def train(batch_size):
        model = make(**COMMON | options, batch_size=batch_size)
        assert model.fit(x, y, sample_weight=weight, **validation).n_iter_ == 3

    assert reads.during(train, MANY) == reads.during(train, FEW) > 0


def test_no_estimator_reads_of_a_source(reads):
    def train(rows, batch_size):
        model = MLPClassifier(
            **COMMON, batch_size=batch_size, backend="array_api_strict", device="device1"
        )
        model.fit(stream(X[:rows], LABELS[:rows], shuffle=BlockShuffle(11, 3)))

    few, many, long = (reads.during(train, *how) for how in ((45, 15), (45, 7), (90, 7)))
    assert long == many == few > 0


@pytest.mark.parametrize("compute_dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("estimator", [False, True])
def test_mixed_precision_reads_nothing(compute_dtype, estimator, torch_reads):
    """The scale of the loss, and the steps that it skips, are the device's own affair."""
    backend = select("torch", dtype="float32")
    x = backend.asarray(X)

    def train(batch_size):
        if not estimator:
            return fit(backend, compute_dtype=compute_dtype, batch_size=batch_size)
        model = MLPClassifier(**COMMON, compute_dtype=compute_dtype, batch_size=batch_size)
        return model.fit(x, LABELS)

    assert torch_reads.during(train, MANY) == torch_reads.during(train, FEW) > 0


def test_the_count_sees_a_layer_that_reads(device, reads):
    options = {"layers": (6, unread.Peeking(), 3), "epochs": 1}
    few, many = (reads.during(fit, device, batch_size=size, **options) for size in (FEW, MANY))
    assert many == few + 13 - 3  # batches


def test_the_count_sees_torch_too(torch_reads):
    options = {"layers": (6, unread.Peeking(), 3), "epochs": 1, "engine": "pure"}
    backend = select("torch", dtype="float32")
    few, many = (torch_reads.during(fit, backend, batch_size=b, **options) for b in (FEW, MANY))
    assert many == few + 13 - 3
