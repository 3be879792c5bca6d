"""No call keeps anything of its caller's arrays alive."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from small_models import KINDS, fit, learn_more, make, rows, targets

from xpnn import MLPClassifier, MLPRegressor, Network
from xpnn.data import stream

CALLS = [
    *(("Network", call) for call in ("predict", "predict_proba", "scores", "evaluate")),
    *(("MLPClassifier", call) for call in ("predict", "predict_proba", "score")),
    *(("MLPRegressor", call) for call in ("predict", "score")),
]


class Lent:
    """Arrays that a caller hands in, and lets go of again.

    The memory is watched, not only the object: a slice keeps its owner's memory alive, and a
    tensor made of it the storage.
    """

    def __init__(self, library):
        self.library, self.watched = library, []

    def __call__(self, values):
        owner = np.array(values)
        self.watched.append(weakref.ref(owner))
        if self.library == "numpy":
            return owner
        if self.library == "torch":
            import torch

            array = torch.from_numpy(owner)
        elif self.library == "jax":
            import jax.numpy as jnp

            array = jnp.from_dlpack(owner)
        else:
            import array_api_strict

            array = array_api_strict.from_dlpack(owner)
        self.watched.append(weakref.ref(array))
        return array

    def kept(self):
        """How many of them are still there."""
        gc.collect()
        return sum(ref() is not None for ref in self.watched)


@pytest.fixture(params=["numpy", "torch"])
def lend(request, use_library):
    use_library(request.param)
    return Lent(request.param)


@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch", "jax"])
@pytest.mark.parametrize("kind", KINDS)
def test_fit_keeps_nothing(kind, library, use_library):
    use_library(library)
    x, lend = rows(), Lent(library)
    model = fit(make(kind), lend(x), lend(targets(kind, x)))
    assert lend.kept() == 0
    model.predict(lend(x))
    assert lend.kept() == 0


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_other_solvers_and_early_stopping_keep_nothing(kind, solver, lend):
    x = rows()
    model = make(kind, solver=solver, early_stopping=solver == "sgd")
    fit(model, lend(x), lend(targets(kind, x)), sample_weight=lend(np.ones(len(x))))
    assert lend.kept() == 0


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_partial_fit_keeps_nothing(kind, lend):
    x = rows()
    model = make(kind)
    for n in (20, 30, 20):
        learn_more(model, lend(x[:n]), lend(targets(kind, x[:n])))
    assert lend.kept() == 0


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_predicting_keeps_nothing(kind, call, lend):
    x = rows(40)
    y = targets(kind, x)
    model = fit(make(kind), lend(x), lend(y))
    arguments = (x, y) if call in ("score", "evaluate") else (x,)
    for _ in range(3):
        getattr(model, call)(*(lend(a) for a in arguments))
        assert lend.kept() == 0


def test_predicting_many_rows_keeps_nothing(lend):
    x = rows(40)
    model = fit(make("MLPClassifier", hidden_layer_sizes=(512,)), lend(x), lend(targets("", x)))
    model.predict(lend(rows(10_000)))  # in parts
    assert lend.kept() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_streams_keep_nothing(kind):
    x = rows()
    y = targets(kind, x)
    lend = Lent("numpy")
    model = fit(make(kind), stream(lend(x), lend(y), weight=lend(np.ones(len(x)))), None)
    assert lend.kept() == 0
    model.predict(stream(lend(x)))
    assert lend.kept() == 0


@pytest.mark.parametrize("make_model", [MLPClassifier, MLPRegressor])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_keeps_nothing(make_model):
    x = rows()
    kind = make_model.__name__
    lend = Lent("numpy")
    search = GridSearchCV(make(kind), {"hidden_layer_sizes": [(4,), (5,)]}, cv=2)
    search.fit(lend(x), lend(targets(kind, x)))
    search.predict(lend(x))
    assert lend.kept() == 0


def test_validation_data_is_let_go():
    x = rows()
    lend = Lent("numpy")
    for kind in ("MLPClassifier", "MLPRegressor"):
        y = targets(kind, x)
        held = (lend(x[40:]), lend(y[40:]))
        fit(make(kind), lend(x[:40]), lend(y[:40]), X_val=held[0], y_val=held[1])
        del held
    network = make("Network")
    y = targets("Network", x)
    held = (lend(x[40:]), lend(y[40:]))
    assert isinstance(network, Network)
    network.fit(lend(x[:40]), lend(y[:40]), epochs=2, X_val=held[0], y_val=held[1])
    del held
    assert lend.kept() == 0
