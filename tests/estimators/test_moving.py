"""Where a model computes, moving it there and back, and pickles of it."""

import copy
import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from small import COMMON, LABELS, SCORES, WEIGHT, X, assert_same_bytes, is_on, pairs_of_weights

from xpnn import MLPClassifier, MLPRegressor, select
from xpnn.backends import device_name, dtype_name, to_host
from xpnn.optimizers import SGD, CosineWarmup, chain, clip_by_global_norm
from xpnn.training import host_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EVEN = COMMON | {"batch_size": 10}  # batches of one size, of which JAX compiles each
RECIPES = {
    "adam": {},
    "dropout": {"dropout": 0.3, "solver": "sgd"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25},
    "a scorer": {"early_stopping": True, "monitor": "neg_log_loss", "validation_fraction": 0.25},
    "lbfgs": {"solver": "lbfgs"},
}


def fit(x=X, **options):
    return MLPClassifier(**EVEN | options).fit(x, LABELS, sample_weight=WEIGHT)


def assert_same(model, expected, rtol=1e-9):
    for a, b in pairs_of_weights(model, expected):
        assert_allclose(a, b, rtol=rtol, atol=rtol)


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
        assert_allclose(found, getattr(expected, method)(X), rtol=1e-9)


def test_sparse_rows_are_moved_batch_by_batch(backend64):
    model = fit(csr_array(np.where(X > 0, X, 0)), **place(backend64))
    expected = fit(np.where(X > 0, X, 0))
    assert_same(model, expected)
    found = model.predict_proba(csr_array(X))
    assert_allclose(found, expected.predict_proba(X), rtol=1e-9)


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
    found = MLPClassifier(**EVEN, **place(there)).fit(X, labels).predict(X)
    assert found.dtype == "float64"
    same = MLPClassifier(**EVEN).fit(there.asarray(X), labels).predict(there.asarray(X))
    assert is_on(same, there)
    assert dtype_name(same.dtype) == "float32"
    assert_array_equal(to_host(same), found)


def test_partial_fit_goes_on_where_the_model_is(backend64):
    model, expected = MLPClassifier(**EVEN, **place(backend64)), MLPClassifier(**EVEN)
    for one in (model, expected) * 3:
        one.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert_same(model, expected)
    model.to("numpy").partial_fit(X, LABELS)
    assert_same(model, expected.partial_fit(X, LABELS))
    assert isinstance(model.coefs_[0], np.ndarray)


# Rows that a GPU has no room for


@pytest.fixture
def no_room(monkeypatch):
    """No device has room for rows as a whole; tells how often one was asked."""
    asked = []
    monkeypatch.setattr("xpnn.estimators.inputs.fits", lambda size, *_: asked.append(size))
    return asked


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECIPES)
def test_batch_by_batch_ends_where_at_once_ends(name, dtype, no_room, use_library):
    use_library("torch")
    model = fit(backend="torch", dtype=dtype, **RECIPES[name])
    expected = fit(X.astype(dtype), **RECIPES[name])
    rtol, before = 1e-9 if dtype == "float64" else 1e-3, len(no_room)
    assert before > 0
    many = np.tile(X, (120, 1))  # more than go through at once
    proba, hidden = model.predict_proba(many), model.transform(X)
    assert isinstance(proba, np.ndarray)
    assert len(no_room) - before == 2
    assert_same(model, expected, rtol)
    assert_allclose(proba, expected.predict_proba(many.astype(dtype)), rtol=rtol)
    assert_allclose(hidden, expected.transform(X.astype(dtype)), rtol=rtol, atol=rtol)


def test_a_sum_of_errors_batch_by_batch(no_room, use_library):
    use_library("torch")
    options = EVEN | {"solver": "lbfgs", "loss": "sum_squared_errors", "alpha": 0.1}
    model = MLPRegressor(**options, backend="torch").fit(X, SCORES, sample_weight=WEIGHT)
    expected = MLPRegressor(**options).fit(X, SCORES, sample_weight=WEIGHT)
    assert no_room
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)
    assert_same(model, expected, rtol=1e-6)


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
    model, expected = fit(**RECIPES[name]), fit(**RECIPES[name])
    assert model.to(backend64.name, device_name(backend64.device)) is model
    x = backend64.asarray(X)
    assert_close(model.predict_proba(x), expected.predict_proba(X), backend64)
    assert_close(model.transform(x), expected.transform(X), backend64)
    assert model.score(x, LABELS) == expected.score(X, LABELS)
    model.to("numpy")
    assert_same_bytes(model, expected)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


CLIPPED = chain(clip_by_global_norm(0.5), SGD(CosineWarmup(0.1, warmup=1), momentum=0.5))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.3},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"optimizer": CLIPPED},
    ],
    ids=["adam", "dropout", "invscaling", "own optimizer"],
)
def test_partial_fit_goes_on_after_each_move(options, backend64):
    """Optimizer state, step count and rates come along."""
    model, expected = (MLPClassifier(**EVEN | options) for _ in range(2))
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
    assert model.t_ == expected.t_ == 200


def test_the_best_weights_move_too(backend64):
    """They come back when the training stops, some epochs after the move."""
    options = EVEN | {"learning_rate_init": 0.4, "early_stopping": True, "n_iter_no_change": 3}
    model, since, moved = MLPClassifier(**options), 0, False
    while not getattr(model, "stopped_", False):
        put = backend64.asarray if moved else np.asarray
        model.partial_fit(
            put(X[:30]), LABELS[:30], classes=[0, 1, 2],
            X_val=put(X[30:]), y_val=LABELS[30:],
        )  # fmt: skip
        *before, score = model.validation_scores_
        since = since + 1 if before and score <= max(before) else 0
        if since == 2 and not moved:
            model.to(backend64.name, device_name(backend64.device))
            moved = True
    assert moved
    assert since >= 2
    assert is_on(model.coefs_[0], backend64)
    score = model.score(backend64.asarray(X[30:]), LABELS[30:])
    assert score == max(model.validation_scores_) > model.validation_scores_[-1]


def test_weights_that_the_user_assigned_move_too(backend64):
    model = fit()
    model.coefs_ = [w + 1.0 for w in model.coefs_]
    expected = model.predict_proba(X)
    model.to(backend64.name, device_name(backend64.device))
    assert_allclose(to_host(model.predict_proba(backend64.asarray(X))), expected)


def test_a_move_that_fails_leaves_the_model_as_it_was():
    model = fit()
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="='abacus' is not a backend"):
        model.to("abacus")
    with pytest.raises(ValueError, match="is not a device of numpy"):
        model.to("numpy", "cuda:7")
    assert_array_equal(model.predict_proba(X), before)
    with pytest.raises(ValueError, match="not fitted"):
        MLPClassifier().to("numpy")


# Pickles


def train_there(backend, **options):
    model = MLPClassifier(**EVEN | {"early_stopping": True, "tol": 0.0} | options)
    for _ in range(2):
        model.partial_fit(
            backend.asarray(X), LABELS, classes=[0, 1, 2],
            X_val=backend.asarray(X), y_val=LABELS,
        )  # fmt: skip
    return model


def test_a_pickle_comes_back_to_where_it_was(backend):
    model, x = train_there(backend), backend.asarray(X)
    again = pickle.loads(pickle.dumps(model))
    assert is_on(again.coefs_[0], backend)
    assert_same_bytes(again, model)
    assert_array_equal(to_host(again.predict_proba(x)), to_host(model.predict_proba(x)))
    for one in (again, model):
        one.partial_fit(x, LABELS, X_val=x, y_val=LABELS)
    assert_same_bytes(again, model)


def test_nothing_in_a_pickle_is_an_array_of_the_library(backend64):
    """So that it can be read where the library is not installed at all."""
    name = {"jax": "jaxlib", "array_api_strict": "array_api_strict"}.get(backend64.name)
    text = pickle.dumps(train_there(backend64), protocol=0).decode("latin-1")
    for word in {backend64.name, name or backend64.name} - {"numpy"}:
        assert f"c{word}" not in text


@pytest.mark.parametrize("missing", ["library", "device"])
def test_a_pickle_lands_on_numpy_where_it_cannot_go_back(missing, backend64, monkeypatch):
    if backend64.name == "numpy":
        pytest.skip("can always be used")
    model, x = train_there(backend64), backend64.asarray(X)
    expected, data = to_host(model.predict_proba(x)), pickle.dumps(model)
    where = device_name(backend64.device)
    if missing == "library":
        for module in (backend64.name, backend64.xp.__name__):
            monkeypatch.setitem(sys.modules, module, None)
    else:
        there, where = where, where[:-1] + "9"
        data = data.replace(there.encode(), where.encode())
    text = rf"the model was on {backend64.name} \({where}\).* it is on NumPy now: "
    with pytest.warns(UserWarning, match=text):
        again = pickle.loads(data)
    monkeypatch.undo()
    assert isinstance(again.coefs_[0], np.ndarray)
    assert_allclose(again.predict_proba(X), expected, rtol=1e-9)
    again.partial_fit(X, LABELS, X_val=X, y_val=LABELS)
    model.partial_fit(x, LABELS, X_val=x, y_val=LABELS)
    assert_same(again, model)


def test_copies_and_clones(backend64):
    model, x = train_there(backend64, optimizer=SGD(0.1, momentum=0.5)), backend64.asarray(X)
    again, untouched = copy.deepcopy(model), copy.deepcopy(model)
    assert is_on(again.coefs_[0], backend64)
    again.partial_fit(x, LABELS, X_val=x, y_val=LABELS)
    assert_same_bytes(model, untouched)
    with pytest.raises(AssertionError):
        assert_same_bytes(again, model)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "coefs_")
