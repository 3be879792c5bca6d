"""No call keeps anything of its caller's arrays alive, and memory does not grow with the calls."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from small_models import FEATURES, KINDS, fit, learn_more, make, rows, targets

from xpnn import Network
from xpnn.data import stream

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ESTIMATORS = KINDS[1:]


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

    def assert_let_go(self):
        gc.collect()
        assert sum(ref() is not None for ref in self.watched) == 0


@pytest.fixture(params=["numpy", "torch"])
def lend(request, use_library):
    use_library(request.param)
    return Lent(request.param)


def trained(kind, lend, n=64, more=None, **options):
    """A model that has seen lent rows."""
    x = rows(n)
    return fit(make(kind, **options), lend(x), lend(targets(kind, x)), **(more or {}))


@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch", "jax"])
@pytest.mark.parametrize("kind", KINDS)
def test_fit_keeps_nothing(kind, library, use_library):
    use_library(library)
    lend = Lent(library)
    model = trained(kind, lend)
    lend.assert_let_go()
    model.predict(lend(rows()))
    lend.assert_let_go()


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_other_solvers_and_early_stopping_keep_nothing(kind, solver, lend):
    options = {"solver": solver, "early_stopping": solver == "sgd"}
    model = trained(kind, lend, more={"sample_weight": lend(np.ones(64))}, **options)
    lend.assert_let_go()
    assert model.n_iter_ > 0


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_partial_fit_keeps_nothing(kind, lend):
    x, model = rows(), make(kind)
    for n in (20, 30, 20):
        learn_more(model, lend(x[:n]), lend(targets(kind, x[:n])))
    lend.assert_let_go()


CALLS = [
    *(("Network", call) for call in ("predict", "predict_proba", "scores", "evaluate")),
    *(("MLPClassifier", call) for call in ("predict", "predict_proba", "score")),
    *(("MLPRegressor", call) for call in ("predict", "score")),
]


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_predicting_keeps_nothing(kind, call, lend):
    x, model = rows(40), trained(kind, lend, 40)
    arguments = (x, targets(kind, x)) if call in ("score", "evaluate") else (x,)
    for _ in range(3):
        getattr(model, call)(*(lend(a) for a in arguments))
        lend.assert_let_go()


def test_predicting_many_rows_keeps_nothing(lend):
    model = trained("MLPClassifier", lend, hidden_layer_sizes=(512,))
    model.predict(lend(rows(10_000)))  # in parts
    lend.assert_let_go()


@pytest.mark.parametrize("kind", KINDS)
def test_streams_keep_nothing(kind):
    x, lend = rows(), Lent("numpy")
    source = stream(lend(x), lend(targets(kind, x)), weight=lend(np.ones(len(x))))
    model = fit(make(kind), source, None)
    del source
    lend.assert_let_go()
    model.predict(stream(lend(x)))
    lend.assert_let_go()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_search_keeps_nothing(kind):
    x, lend = rows(), Lent("numpy")
    search = GridSearchCV(make(kind), {"hidden_layer_sizes": [(4,), (5,)]}, cv=2)
    search.fit(lend(x), lend(targets(kind, x)))
    search.predict(lend(x))
    lend.assert_let_go()


@pytest.mark.parametrize("kind", KINDS)
def test_validation_data_is_let_go(kind):
    x, lend = rows(24, seed=1), Lent("numpy")
    model = trained(kind, lend, more={"X_val": lend(x), "y_val": lend(targets(kind, x))})
    lend.assert_let_go()
    assert model.predict(x).shape == (24,)


SIZES = [int(n) for n in np.random.default_rng(0).permutation(np.arange(20, 44))]
WARM = 6
SLACK = 700_000  # bytes; what is kept for one size is from 50,000 to 400,000


def growth(call):
    """Bytes that are there after many sizes, beyond those after the first few."""
    tracemalloc.start()
    try:
        for n in SIZES[:WARM]:
            call(n)
        gc.collect()
        first, _ = tracemalloc.get_traced_memory()
        for n in SIZES[WARM:]:
            call(n)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["learn more", "predict", "train anew"])
def test_memory_does_not_grow_with_the_sizes(kind, call):
    """Parameters weigh enough for copies of them to be seen."""
    x = rows(max(SIZES))
    y = targets(kind, x)
    if kind == "Network":
        model = Network(FEATURES, [1000, "relu", 3], seed=0)
    else:
        model = make(kind, hidden_layer_sizes=(1000,))
    if call == "predict":
        fit(model, x, y)
    calls = {
        "learn more": lambda n: learn_more(model, x[:n], y[:n]),
        "predict": lambda n: [model.predict(x[:n]) for _ in range(2)],
        "train anew": lambda n: fit(model, x[:n], y[:n]),
    }
    assert growth(calls[call]) < SLACK
