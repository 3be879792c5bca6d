"""Reports every few epochs: the same training, looked at less often."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import to_host
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, InverseScaling
from xpnn.training import EarlyStopping

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
T = (X @ RNG.normal(size=(3, 2))).argmax(axis=1)
TRAININGS = {
    "all rows at once": {"batch_size": None, "optimizer": SGD(0.1)},
    "all rows, Adam": {"batch_size": None, "optimizer": Adam(0.05)},
    "all rows, changing rate": {"batch_size": None, "optimizer": SGD(InverseScaling(0.1))},
    "batches": {"batch_size": 7, "optimizer": Adam(0.05)},
    "weights": {"batch_size": 7, "optimizer": SGD(0.1), "sample_weight": np.arange(1.0, 25.0)},
}


def train(backend, layers, **options):
    network = Network(3, layers, seed=1)
    options = {
        k: backend.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    history = network.fit(
        backend.asarray(X), backend.asarray(T), **{"epochs": 7, "seed": 2} | options
    )
    return to_host(network.theta), history


@pytest.mark.parametrize("layers", [[4, "tanh", 2], [4, "tanh", Dropout(0.3), 2]], ids=len)
@pytest.mark.parametrize("name", TRAININGS)
def test_the_training_is_the_same(name, layers, backend, assert_close):
    theta, whole = train(backend, layers, **TRAININGS[name])
    again, some = train(backend, layers, report_every=3, **TRAININGS[name])
    assert_close(backend.asarray(again), theta, backend)
    assert some.epoch == [3, 6, 7]
    assert some.epochs == whole.epochs == 7
    assert whole.epoch == whole.numbers == list(range(1, 8))
    assert some.loss == pytest.approx([whole.loss[i - 1] for i in some.epoch], rel=1e-4)
    assert some.learning_rate == [whole.learning_rate[i - 1] for i in some.epoch]
    assert len(some.seconds) == 3


def test_callbacks_and_early_stopping_hear_of_reports_only(backend64):
    heard = []
    _, history = train(
        backend64, [2], epochs=100, report_every=10,
        early_stopping=EarlyStopping(2, min_delta=1e9, monitor="loss"),
        callbacks=[lambda run: heard.append(run.history.epochs)],
    )  # fmt: skip
    assert heard == history.epoch == [10, 20, 30]
    assert history.best_epoch == 10
    assert history.stopped == "early stopping"


@pytest.mark.parametrize("engine", ["auto", "plan", "kernels", "pure"])
def test_tensors_on_the_cpu_train_in_their_own_memory(engine, use_library):
    """PyTorch's are NumPy's to the last bit, and what the user gave stays as it was."""
    use_library("torch")
    if engine == "kernels":
        pytest.importorskip("numba", reason="kernels need Numba")
    import torch

    x, t = torch.from_numpy(X.copy()), torch.from_numpy(T.copy())
    network, twin = (Network(3, [4, "tanh", 2], seed=1) for _ in range(2))
    network.fit(x, t, epochs=5, batch_size=7, seed=2, engine=engine)
    twin.fit(X, T, epochs=5, batch_size=7, seed=2, engine=engine)
    assert isinstance(network.theta, torch.Tensor)
    assert isinstance(network.scores(x), torch.Tensor)
    if engine == "pure":
        np.testing.assert_allclose(network.theta.numpy(), twin.theta, rtol=1e-12)
    else:
        np.testing.assert_array_equal(network.theta.numpy(), twin.theta)
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(t.numpy(), T)
