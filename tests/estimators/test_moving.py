"""Where a model computes, moving it there and back, and pickles of it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from xpnn import MLPClassifier, MLPRegressor, backends, select
from xpnn.backends import BackendUnavailableError, device_name, dtype_name, to_host
from xpnn.optimizers import SGD, CosineWarmup, chain, clip_by_global_norm
from xpnn.training import host_rows, network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(1)
X = GENERATOR.normal(size=(64, 4))
VALUES = X @ GENERATOR.normal(size=(4, 3))
LABELS = VALUES.argmax(axis=1)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 64)
COMMON = {"hidden_layer_sizes": (6,), "random_state": 1, "max_iter": 3, "batch_size": 16}
RECIPES = {
    "adam": {},
    "dropout": {"dropout": 0.3, "solver": "sgd"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25},
    "a scorer": {"early_stopping": True, "monitor": "neg_log_loss", "validation_fraction": 0.25},
    "lbfgs": {"solver": "lbfgs"},
}


def weights(model):
    return [to_host(w) for w in [*model.coefs_, *model.intercepts_]]


def fit(x=X, **options):
    return MLPClassifier(**COMMON | options).fit(x, LABELS, sample_weight=WEIGHT)


def assert_same(model, expected, rtol=1e-9):
    for a, b in zip(weights(model), weights(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def is_on(array, backend):
    found = backends.backend_of(array)
    return (found.name, found.device) == (backend.name, backend.device)


def place(backend):
    return {"backend": backend.name, "device": device_name(backend.device)}


# backend= and device=


@pytest.mark.parametrize("name", RECIPES)
def test_rows_on_the_host_are_moved(name, backend64):
    model, expected = fit(**RECIPES[name], **place(backend64)), fit(**RECIPES[name])
    assert is_on(model.coefs_[0], backend64)
    assert_same(model, expected)
    scores = [getattr(m, "validation_scores_", None) or [] for m in (model, expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)
    assert len(scores[0]) == (3 if "early_stopping" in RECIPES[name] else 0)
    for method in ("predict", "predict_proba", "transform"):
        found = getattr(model, method)(X)
        assert isinstance(found, np.ndarray)  # they come back to where the rows are
        np.testing.assert_allclose(found, getattr(expected, method)(X), rtol=1e-9)


def test_sparse_rows_are_moved_batch_by_batch(backend64):
    model = fit(csr_array(np.where(X > 0, X, 0)), **place(backend64))
    expected = fit(np.where(X > 0, X, 0))
    assert_same(model, expected)
    found = model.predict_proba(csr_array(X))
    np.testing.assert_allclose(found, expected.predict_proba(X), rtol=1e-9)


def test_rows_of_another_library_are_moved_and_results_moved_back(use_library):
    use_library("torch")
    use_library("array_api_strict")
    torch = select("torch", dtype="float64")
    model = fit(torch.asarray(X), backend="array_api_strict", device="device1")
    assert is_on(model.coefs_[0], select("array_api_strict", "device1"))
    assert is_on(model.predict_proba(torch.asarray(X)), torch)
    assert_same(model, fit())


def test_a_device_alone_means_that_of_the_rows_library(use_library):
    use_library("array_api_strict")
    near, far = select("array_api_strict"), select("array_api_strict", "device1")
    model = fit(near.asarray(X, "float64"), device="device1")
    assert is_on(model.coefs_[0], far)
    for method in ("predict", "transform", "predict_proba"):
        assert is_on(getattr(model, method)(near.asarray(X)), near)
    with pytest.raises(ValueError, match="device='cuda:0' is not a device of numpy"):
        fit(device="cuda:0")


def test_float64_rows_for_a_device_without_float64(use_library):
    use_library("array_api_strict")
    model = fit(backend="array_api_strict", device="no_float64")
    assert dtype_name(model.coefs_[0].dtype) == "float32"
    assert_same(model, fit(), rtol=1e-4)


def test_labels_that_the_device_cannot_hold(use_library):
    """They are float64, which it has not: on the host they come out, there as float32."""
    use_library("array_api_strict")
    there = select("array_api_strict", "no_float64", "float32")
    labels = np.array([-1.0, 2.0, 5.0])[LABELS]
    model = MLPClassifier(**COMMON, backend="array_api_strict", device="no_float64")
    found = model.fit(X, labels).predict(X)
    assert found.dtype == "float64"
    same = MLPClassifier(**COMMON).fit(there.asarray(X), labels).predict(there.asarray(X))
    assert is_on(same, there)
    assert dtype_name(same.dtype) == "float32"
    np.testing.assert_array_equal(to_host(same), found)


def test_partial_fit_goes_on_where_the_model_is(backend64):
    model, expected = MLPClassifier(**COMMON, **place(backend64)), MLPClassifier(**COMMON)
    for _ in range(3):
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
        expected.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert_same(model, expected)
    model.to("numpy").partial_fit(X, LABELS)
    assert_same(model, expected.partial_fit(X, LABELS))
    assert isinstance(model.coefs_[0], np.ndarray)


# Rows that a GPU has no room for


@pytest.fixture
def no_room(monkeypatch):
    """A library's device takes no rows as a whole; tells the columns that stayed outside."""
    made = []
    table = host_rows.HostTable

    class Counting(table):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("xpnn.estimators.inputs.HostTable", Counting)
    monkeypatch.setattr("xpnn.estimators.inputs.fits", lambda size, xp, device: False)
    monkeypatch.setattr("xpnn.training.host_rows.CHUNK", 10)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECIPES)
def test_batch_by_batch_ends_where_at_once_ends(name, dtype, no_room, use_library):
    use_library("torch")
    model = fit(backend="torch", dtype=dtype, **RECIPES[name])
    before = len(no_room)
    proba, hidden = model.predict_proba(X), model.transform(X)
    assert isinstance(proba, np.ndarray)
    assert before > 0
    assert len(no_room) - before == 2
    expected = fit(X.astype(dtype), **RECIPES[name])
    assert_same(model, expected, rtol=1e-9 if dtype == "float64" else 1e-3)
    same = MLPClassifier.predict_proba(expected, X.astype(dtype))
    np.testing.assert_allclose(proba, same, rtol=1e-9 if dtype == "float64" else 1e-3)
    assert hidden.shape == (64, 6)


def test_a_sum_of_errors_batch_by_batch(no_room, use_library):
    use_library("torch")
    options = COMMON | {"solver": "lbfgs", "loss": "sum_squared_errors", "alpha": 0.1}
    model = MLPRegressor(**options, backend="torch").fit(X, VALUES, sample_weight=WEIGHT)
    expected = MLPRegressor(**options).fit(X, VALUES, sample_weight=WEIGHT)
    assert no_room
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)
    assert_same(model, expected, rtol=1e-6)


def test_a_table_gives_its_rows_and_copies_nothing_else():
    table = host_rows.HostTable(X, "float32")
    assert (table.shape, table.nbytes, len(table), table.ndim) == ((64, 4), 1024, 64, 2)
    numbers = np.array([4, 1, 30])
    np.testing.assert_array_equal(table.take(numbers), X[numbers].astype("float32"))
    some = table.pick(numbers)
    assert some.table is X
    assert some.shape == (3, 4)
    np.testing.assert_array_equal(some[1:, ...], X[[1, 30]].astype("float32"))
    np.testing.assert_array_equal(some.pick(np.array([2]))[:], X[[30]].astype("float32"))
    place = np.empty((2, 4), "float32")
    assert some.take(np.array([2, 0]), 0, place) is place
    np.testing.assert_array_equal(place, X[[30, 4]].astype("float32"))


@pytest.mark.parametrize(
    ("device", "memory", "room"),
    [("cuda:0", 400, True), ("cuda:0", 396, False), ("cuda:1", None, True), ("cpu", 1, True)],
)
def test_what_fits_a_gpu(device, memory, room, monkeypatch):
    """A quarter of its memory may be rows; a CPU has what the rows were in already."""
    asked = []
    monkeypatch.setattr(host_rows, "memory_of", lambda *which: asked.append(which) or memory)
    assert host_rows.fits(100, np, device) is room
    assert asked == ([("numpy", device)] if device != "cpu" else [])


# to()


@pytest.mark.parametrize("name", RECIPES)
def test_there_and_back(name, backend64, assert_close):
    expected = fit(**RECIPES[name])
    model = fit(**RECIPES[name])
    assert model.to(backend64.name, device_name(backend64.device)) is model
    x = backend64.asarray(X)
    assert_close(model.predict_proba(x), expected.predict_proba(X), backend64)
    assert_close(model.transform(x), expected.transform(X), backend64)
    assert model.score(x, LABELS) == expected.score(X, LABELS)
    model.to("numpy")
    for a, b in zip(weights(model), weights(expected), strict=True):
        assert a.tobytes() == b.tobytes()
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.3},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {
            "optimizer": chain(
                clip_by_global_norm(0.5), SGD(CosineWarmup(0.1, warmup=1), momentum=0.5)
            )
        },
    ],
    ids=["adam", "dropout", "invscaling", "own optimizer"],
)
def test_partial_fit_goes_on_after_each_move(options, backend64):
    """Optimizer state, step count and rates come along."""
    model, expected = (MLPClassifier(**COMMON | options) for _ in range(2))
    for _ in range(5):
        expected.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.to(backend64.name, device_name(backend64.device))
    for _ in range(2):
        model.partial_fit(backend64.asarray(X), LABELS)
    assert is_on(model.coefs_[0], backend64)
    model.to("numpy").partial_fit(X, LABELS)
    model.to("numpy").partial_fit(X, LABELS)
    assert_same(model, expected)
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-9)
    assert model.t_ == expected.t_ == 320


def test_the_best_weights_move_too(backend64):
    """They come back when the training stops, some epochs after the move."""
    options = COMMON | {"learning_rate_init": 0.3, "early_stopping": True, "n_iter_no_change": 3}
    model, since, moved = MLPClassifier(**options), 0, False
    while not getattr(model, "stopped_", False):
        put = backend64.asarray if moved else np.asarray
        model.partial_fit(
            put(X[:48]), LABELS[:48], classes=[0, 1, 2],
            X_val=put(X[48:]), y_val=LABELS[48:],
        )  # fmt: skip
        *before, score = model.validation_scores_
        since = since + 1 if before and score <= max(before) else 0
        if since == 2 and not moved:
            model.to(backend64.name, device_name(backend64.device))
            moved = True
    assert moved
    assert since >= 2
    assert is_on(model.coefs_[0], backend64)
    score = model.score(backend64.asarray(X[48:]), LABELS[48:])
    assert score == max(model.validation_scores_) > model.validation_scores_[-1]


def test_weights_that_the_user_assigned_move_too(backend64):
    model = fit()
    model.coefs_ = [w + 1.0 for w in model.coefs_]
    expected = model.predict_proba(X)
    model.to(backend64.name, device_name(backend64.device))
    np.testing.assert_allclose(to_host(model.predict_proba(backend64.asarray(X))), expected)


def test_a_move_that_fails_leaves_the_model_as_it_was():
    model = fit()
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="='abacus' is not a backend"):
        model.to("abacus")
    with pytest.raises(ValueError, match="is not a device of numpy"):
        model.to("numpy", "cuda:7")
    np.testing.assert_array_equal(model.predict_proba(X), before)
    with pytest.raises(ValueError, match="not fitted"):
        MLPClassifier().to("numpy")


# Pickles


def train_there(backend, **options):
    model = MLPClassifier(**COMMON | {"early_stopping": True, "tol": 0.0} | options)
    for _ in range(2):
        model.partial_fit(
            backend.asarray(X), LABELS, classes=[0, 1, 2],
            X_val=backend.asarray(X), y_val=LABELS,
        )  # fmt: skip
    return model


def test_a_pickle_comes_back_to_where_it_was(backend):
    model = train_there(backend)
    again = pickle.loads(pickle.dumps(model))
    assert is_on(again.coefs_[0], backend)
    for a, b in zip(weights(again), weights(model), strict=True):
        assert a.tobytes() == b.tobytes()
    x = backend.asarray(X)
    np.testing.assert_array_equal(to_host(again.predict_proba(x)), to_host(model.predict_proba(x)))
    for one in (again, model):
        one.partial_fit(x, LABELS, X_val=x, y_val=LABELS)
    for a, b in zip(weights(again), weights(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_in_a_pickle_is_an_array_of_the_library(backend64):
    """So that it can be read where the library is not installed at all."""
    name = {"jax": "jaxlib", "array_api_strict": "array_api_strict"}.get(backend64.name)
    text = pickle.dumps(train_there(backend64), protocol=0).decode("latin-1")
    for word in {backend64.name, name or backend64.name} - {"numpy"}:
        assert f"c{word}" not in text


@pytest.mark.parametrize(
    "error",
    [
        BackendUnavailableError("the library cannot be used: there is no GPU"),
        ValueError("device='cuda:0' is not a device of the library on this machine"),
    ],
)
def test_a_pickle_lands_on_numpy_where_its_library_cannot_be_used(error, backend64, monkeypatch):
    model = train_there(backend64)
    expected = to_host(model.predict_proba(backend64.asarray(X)))
    data = pickle.dumps(model)
    if backend64.name == "numpy":
        pytest.skip("can always be used")

    def refuse(name, device, dtype):
        raise error

    monkeypatch.setattr(network, "select", refuse)
    where = f"{backend64.name} .{device_name(backend64.device)}."
    with pytest.warns(UserWarning, match=f"the model was on {where}.* it is on NumPy now: "):
        again = pickle.loads(data)
    assert isinstance(again.coefs_[0], np.ndarray)
    np.testing.assert_allclose(again.predict_proba(X), expected, rtol=1e-9)
    again.partial_fit(X, LABELS, X_val=X, y_val=LABELS)
    model.partial_fit(backend64.asarray(X), LABELS, X_val=backend64.asarray(X), y_val=LABELS)
    assert_same(again, model)


def test_copies_and_clones(backend64):
    model = train_there(backend64, optimizer=SGD(0.1, momentum=0.5))
    again = copy.deepcopy(model)
    assert is_on(again.coefs_[0], backend64)
    before = [w.copy() for w in weights(model)]
    again.partial_fit(backend64.asarray(X), LABELS, X_val=backend64.asarray(X), y_val=LABELS)
    for a, b in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "coefs_")
