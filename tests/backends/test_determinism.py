"""The same bits in every run, or an error that says what is missing."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier, Network, select
from xpnn.backends import deterministic_mode, settings, to_host
from xpnn.estimators import mlp
from xpnn.layers import Dropout
from xpnn.training import Callback, trainer

X = np.random.default_rng(0).normal(size=(60, 5))
LABELS = (X[:, 0] > 0).astype("int64")


def test_two_trainings_end_with_the_same_bits(backend):
    thetas = []
    for _ in range(2):
        network = Network(5, [16, "gelu", Dropout(0.2), 2], seed=0)
        network.fit(
            backend.asarray(X), backend.asarray(LABELS, "int64"), epochs=3, batch_size=16,
            deterministic=True,
        )  # fmt: skip
        thetas.append(to_host(network.theta))
    np.testing.assert_array_equal(*thetas)


@pytest.fixture
def held(monkeypatch):
    """Notes that the promise begins and ends, in networks and in estimators."""
    noted = []

    @contextmanager
    def holds(xp, device):
        noted.append(True)
        yield
        noted.append(False)

    monkeypatch.setattr(mlp, "deterministic_mode", holds)
    monkeypatch.setattr(trainer, "deterministic_mode", holds)
    return noted


def test_a_network_holds_while_it_learns(held):
    told = []

    class Tell(Callback):
        def on_epoch_end(self, run):
            told.append(list(held))

    options = {"epochs": 2, "callbacks": [Tell()]}
    for deterministic in (False, True):
        Network(5, [4, "tanh", 2], seed=0).fit(X, LABELS, deterministic=deterministic, **options)
    assert told == [[], [], [True], [True]]
    assert held == [True, False]


def test_estimators_hold_while_they_learn(held):
    told = []
    for options in ({}, {"solver": "lbfgs"}):
        model = MLPClassifier((4,), max_iter=2, random_state=0, deterministic=True, **options)
        look = {} if options else {"callbacks": [lambda run: told.append(held[-1])]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, LABELS, **look)
    assert held == [True, False, True, False]
    assert told == [True, True]
    with pytest.raises(ValueError, match="'deterministic' parameter of MLPClassifier must be an"):
        MLPClassifier(deterministic="yes").fit(X, LABELS)


def test_pytorch_is_told_and_left_as_it_was(use_library):
    use_library("torch")
    torch = pytest.importorskip("torch", reason="PyTorch is what is told")
    here = select("torch", dtype="float32")
    for before, warns in [(False, False), (True, True)]:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        try:
            with deterministic_mode(here.xp, here.device):
                assert torch.are_deterministic_algorithms_enabled()
                assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert torch.are_deterministic_algorithms_enabled() == before
            assert torch.is_deterministic_algorithms_warn_only_enabled() == warns
        finally:
            torch.use_deterministic_algorithms(False)


def test_gpus_of_other_libraries_have_to_be_told_before(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    name = "torch"
    monkeypatch.setattr(settings, "library_name", lambda xp: name)
    with pytest.raises(ValueError, match=r"CUBLAS_WORKSPACE_CONFIG is None; .*':4096:8'"):
        deterministic_mode(None, SimpleNamespace(type="cuda"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    deterministic_mode(None, SimpleNamespace(type="cuda"))
    name = "jax"
    with pytest.raises(ValueError, match="XLA_FLAGS is '--xla_something=1'; JAX on a GPU expects"):
        deterministic_mode(None, SimpleNamespace(platform="gpu"))
    deterministic_mode(None, SimpleNamespace(platform="cpu"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1 --xla_gpu_deterministic_ops=true")
    deterministic_mode(None, SimpleNamespace(platform="gpu"))


def test_a_library_that_promises_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(settings, "library_name", lambda xp: "dask")
    with pytest.raises(ValueError, match="dask is not known to give the same bits"):
        deterministic_mode(None, None)
