"""The estimators on every array library: where they compute, moving them, pickles of them."""

import copy
import pickle
import sys
from functools import cache

import numpy as np
import pytest
import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from small import COMMON, COUNTS, LABELS, SCORES, SEVERAL, WEIGHT, X, assert_same_bytes, is_on

from xpnn import MLPClassifier, MLPRegressor, backends, select
from xpnn.backends import device_name, dtype_name, to_host
from xpnn.optimizers import SGD, CosineWarmup, chain, clip_by_global_norm
from xpnn.training import host_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Batches of one size, of which JAX compiles each; "counts" has a smaller last one.
EVEN = COMMON | {"batch_size": 10}
TASKS = {
    "two classes, adam": (MLPClassifier, SEVERAL[:, 0], {}),
    "several classes, sgd": (
        MLPClassifier, LABELS, {"solver": "sgd", "learning_rate": "invscaling", "alpha": 0.1},
    ),
    "several labels": (MLPClassifier, SEVERAL.astype(int), {"activation": "tanh"}),
    "early stopping": (
        MLPClassifier, LABELS, {"early_stopping": True, "validation_fraction": 0.25, "tol": 0.2,
                                "n_iter_no_change": 1, "max_iter": 9},
    ),
    "hinge, dropout": (MLPClassifier, LABELS, {"loss": "hinge", "dropout": 0.3, "clip_norm": 0.5}),
    "a value, decay": (MLPRegressor, SCORES[:, 0], {"weight_decay": 0.1, "activation": "logistic"}),
    "several values": (MLPRegressor, SCORES, {"hidden_layer_sizes": (5, 4), "solver": "sgd"}),
    "counts": (MLPRegressor, COUNTS, {"loss": "poisson", "batch_size": 25}),
}  # fmt: skip
METHODS = ["predict", "predict_proba", "predict_log_proba", "transform"]


def train(name, x, **options):
    make, y, own = TASKS[name]
    return make(**EVEN | own | options).fit(x, y, sample_weight=WEIGHT)


@cache
def reference(name, **options):
    """What NumPy makes of it; nobody may change it."""
    return train(name, X, **options)


READY = {}


def trained(name, backend):
    """A model on a library, trained once; nobody may change it."""
    key = name, backend.name, dtype_name(backend.dtype)
    if key not in READY:
        READY[key] = train(name, backend.asarray(X))
    return READY[key]


@pytest.mark.parametrize("name", TASKS)
def test_a_fit_ends_where_numpys_does_and_results_are_where_the_rows_are(
    name, backend, assert_close
):
    model, expected, x = trained(name, backend), reference(name), backend.asarray(X)
    for found, values in zip(small.weights(model), small.weights(expected), strict=True):
        assert_close(found, values, backend)
    rel = 1e-3 if dtype_name(backend.dtype) == "float32" else 1e-9
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=rel)
    assert model.validation_loss_curve_ == pytest.approx(expected.validation_loss_curve_, rel=rel)
    assert (model.n_iter_, model.t_) == (expected.n_iter_, expected.t_)
    y = TASKS[name][1]
    assert model.score(x, y) == pytest.approx(expected.score(X, y), rel=rel)
    predicted = model.predict(x)
    assert is_on(predicted, backend)
    if isinstance(model, MLPClassifier):
        assert_array_equal(to_host(predicted), expected.predict(X))
    for method in METHODS[1:]:
        if hasattr(expected, method):
            found = getattr(model, method)(backend.asarray(X[:7]))
            assert_close(found, getattr(expected, method)(X[:7]), backend)


@pytest.mark.parametrize("name", ["several classes, sgd", "several labels", "several values"])
def test_lbfgs_ends_where_numpys_does(name, backend64, assert_close):
    options = {"solver": "lbfgs", "learning_rate": "constant", "max_iter": 6}
    model, expected = train(name, backend64.asarray(X), **options), reference(name, **options)
    for found, values in zip(small.weights(model), small.weights(expected), strict=True):
        assert_close(found, values, backend64)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], [-2, 7, 30]])
def test_labels_may_be_anything(names, backend64):
    """Numbers come out where the rows are, words on the host."""
    x, names = backend64.asarray(X), np.array(names)
    model = MLPClassifier(**EVEN).fit(x, names[LABELS], sample_weight=WEIGHT)
    assert is_on(model.coefs_[0], backend64)
    found = model.predict(x)
    assert isinstance(found, np.ndarray) if names.dtype.kind == "U" else is_on(found, backend64)
    codes = MLPClassifier(**EVEN).fit(X, LABELS, sample_weight=WEIGHT).predict(X)
    assert_array_equal(to_host(found), names[codes])
    assert model.score(x, names[LABELS]) == np.mean(codes == LABELS)


def test_targets_and_weights_may_be_on_the_host_or_beside_the_rows(backend64):
    x, name = backend64.asarray(X), "several classes, sgd"
    y, weight = backend64.asarray(LABELS), backend64.asarray(WEIGHT)
    there = MLPClassifier(**EVEN | TASKS[name][2]).fit(x, y, sample_weight=weight)
    assert_same_bytes(there, trained(name, backend64))
    assert there.score(x, y) == trained(name, backend64).score(x, LABELS)


@pytest.mark.parametrize("name", ["hinge, dropout", "early stopping", "several values"])
def test_the_same_fit_gives_the_same_bytes(name, backend64):
    first, second = trained(name, backend64), train(name, backend64.asarray(X))
    assert_same_bytes(first, second)
    assert first.loss_curve_ == second.loss_curve_


@pytest.mark.parametrize("values", [np.round(3 * X).astype("int64"), X > 0], ids=["int", "bool"])
def test_integers_and_booleans_become_floats(values, backend64):
    x = backend64.asarray(values, values.dtype.name)
    model = MLPClassifier(**EVEN).fit(x, LABELS)
    default = backends.default_float(backend64.xp, backend64.device)
    assert dtype_name(model.coefs_[0].dtype) == dtype_name(default)
    assert is_on(model.predict_proba(x), backend64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_to_be_asked_for(dtype, use_library):
    use_library("torch")
    x = select("torch", dtype=dtype).asarray(X)
    for asked, expected in ((None, "float32"), ("float16", "float16"), ("float64", "float64")):
        model = MLPClassifier(**EVEN, dtype=asked).fit(x, LABELS)
        assert dtype_name(model.coefs_[0].dtype) == expected
        wide = "float64" if asked == "float64" else "float32"  # probabilities never are half
        assert dtype_name(model.predict_proba(x).dtype) == wide


def test_a_dtype_that_the_library_has_not(use_library):
    use_library("array_api_strict")
    there = select("array_api_strict").asarray(X)
    for x, options in ((there, {}), (X, {"backend": "array_api_strict"})):
        with pytest.raises(ValueError, match="dtype='float16' is not a dtype of array_api_strict"):
            MLPClassifier(**EVEN, **options, dtype="float16").fit(x, LABELS)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.where(np.arange(4) == 2, np.nan, X), "Input X contains NaN"),
        (np.where(np.arange(4) == 2, np.inf, X), "Input X contains NaN, infinity"),
        (X[0], "Expected 2D array, got 1D array instead"),
        (X[:0], r"Found array with 0 sample\(s\)"),
    ],
)
def test_rows_are_checked_on_every_library(x, message, backend64):
    if backend64.name == "numpy":
        pytest.skip("scikit-learn checks NumPy's")
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**EVEN).fit(backend64.asarray(x), LABELS[: len(x)])
    model = trained("several classes, sgd", backend64)
    with pytest.raises(ValueError, match=message):
        model.predict(backend64.asarray(x))


def test_a_wrong_number_of_features_and_rows(backend64):
    model = trained("several classes, sgd", backend64)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        model.predict(backend64.asarray(X[:, :3]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MLPClassifier(**EVEN).fit(backend64.asarray(X), LABELS[:-1])


# Rows that live elsewhere than those of `fit`

ELSEWHERE = {
    "NumPy's array": lambda x: x,
    "a list": lambda x: x.tolist(),
    "a frame": lambda x: pytest.importorskip("pandas").DataFrame(x),
    "a sparse matrix": csr_array,
    "another device": lambda x: select("array_api_strict").asarray(x),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_rows_that_live_elsewhere_are_refused(kind, method, use_library):
    use_library("array_api_strict")
    there = select("array_api_strict", "device1", "float64")
    model, x = copy.deepcopy(trained("several classes, sgd", there)), ELSEWHERE[kind](X)
    with pytest.raises(ValueError) as error:
        getattr(model, method)(x)
    text = str(error.value)
    assert f"MLPClassifier.{method}() must use the same namespace and the same device" in text
    where = ("numpy", "cpu")
    if kind == "another device":
        where = ("array_api_strict", "CPU_DEVICE")
    assert f"to{where}" in text
    expected = getattr(reference("several classes, sgd"), method)(X)
    found = getattr(model.to(*where), method)(x)
    assert_allclose(to_host(found), expected, rtol=1e-9)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_a_model_on_numpy_refuses_other_arrays(make, backend64):
    if backend64.name == "numpy":
        pytest.skip("is NumPy")
    model, x = make(**EVEN).fit(X, LABELS), backend64.asarray(X)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=rf"{make.__name__}\.predict\(\) must use the same name"):
        model.predict(x)
    with pytest.raises(ValueError, match=r"partial_fit\(\) must use the same namespace"):
        model.partial_fit(x, LABELS)
    with pytest.raises(ValueError, match=r"fit\(\) must use the same namespace"):
        model.set_params(warm_start=True).fit(x, LABELS)
    assert_same_bytes(model, before)
    model.set_params(warm_start=False).fit(x, LABELS)
    assert is_on(model.coefs_[0], backend64)


# With scikit-learn's dispatch switched on


def test_dispatch_changes_nothing(backend64, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    x = backend64.asarray(X)
    with config_context(array_api_dispatch=True):
        inside = train("early stopping", x)
        assert is_on(inside.predict(x), backend64)
        score = inside.score(x, LABELS)
    outside = trained("early stopping", backend64)
    assert score == outside.score(x, LABELS)
    assert_same_bytes(inside, outside)


@pytest.mark.parametrize(("name", "device"), [("torch", "cpu"), ("array_api_strict", "device1")])
def test_a_pipeline_goes_through_with_dispatch(
    name, device, use_library, assert_close, monkeypatch
):
    use_library(name)
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    there = select(name, device, "float64")
    expected = make_pipeline(MinMaxScaler(), MLPClassifier(**EVEN)).fit(X, LABELS)
    model = clone(expected)
    with config_context(array_api_dispatch=True):
        model.fit(there.asarray(X), there.asarray(LABELS))
        found = model.predict_proba(there.asarray(X))
    assert_close(found, expected.predict_proba(X), there)


# Where a model computes, moving it there and back

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
    for a, b in small.pairs_of_weights(model, expected):
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


def test_a_device_without_float64(use_library):
    """Labels are float64, which it has not: on the host they come out, there as float32."""
    use_library("array_api_strict")
    there = select("array_api_strict", "no_float64", "float32")
    labels = np.array([-1.0, 2.0, 5.0])[LABELS]
    model = MLPClassifier(**EVEN, **place(there)).fit(X, labels)
    assert dtype_name(model.coefs_[0].dtype) == "float32"
    assert_same(model, MLPClassifier(**EVEN).fit(X, labels), rtol=1e-4)
    assert model.predict(X).dtype == "float64"
    same = MLPClassifier(**EVEN).fit(there.asarray(X), labels).predict(there.asarray(X))
    assert is_on(same, there)
    assert dtype_name(same.dtype) == "float32"
    assert_array_equal(to_host(same), model.predict(X))


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


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RECIPES)
def test_batch_by_batch_ends_where_at_once_ends(name, dtype, library, no_room, use_library):
    use_library(library)
    model = fit(backend=library, dtype=dtype, **RECIPES[name])
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


def test_a_table_gives_its_rows_and_copies_nothing_else():
    table, indices = host_rows.HostTable(X, "float32"), np.array([4, 1, 30])
    assert (table.shape, table.nbytes, len(table), table.ndim) == ((40, 4), 640, 40, 2)
    assert_array_equal(table.take(indices), X[indices].astype("float32"))
    some = table.pick(indices)
    assert (some.table is X, some.shape) == (True, (3, 4))
    assert_array_equal(some[1:, ...], X[[1, 30]].astype("float32"))
    assert_array_equal(some.pick(np.array([2]))[:], X[[30]].astype("float32"))
    for dtype in ("float32", "float64"):
        out = np.empty((2, 4), dtype)
        assert some.take(np.array([2, 0]), 0, out) is out
        assert_array_equal(out, X[[30, 4]].astype(dtype), dtype)


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
    assert model.to(**place(backend64)) is model
    x = backend64.asarray(X)
    assert_close(model.predict_proba(x), expected.predict_proba(X), backend64)
    assert_close(model.transform(x), expected.transform(X), backend64)
    assert model.score(x, LABELS) == expected.score(X, LABELS)
    model.to("numpy")
    assert_same_bytes(model, expected)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


CLIPPED = chain(clip_by_global_norm(0.5), SGD(CosineWarmup(0.1, warmup=1), momentum=0.5))


GOING_ON = {
    "adam": {},
    "dropout": {"dropout": 0.3},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "own optimizer": {"optimizer": CLIPPED},
}


@pytest.mark.parametrize("name", GOING_ON)
def test_partial_fit_goes_on_after_each_move(name, backend64):
    """Optimizer state, step count and rates come along."""
    model, expected = (MLPClassifier(**EVEN | GOING_ON[name]) for _ in range(2))
    for _ in range(5):
        expected.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.to(**place(backend64))
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
            model.to(**place(backend64))
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
    found = model.to(**place(backend64)).predict_proba(backend64.asarray(X))
    assert_allclose(to_host(found), expected)


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


def test_copies(backend64):
    model, x = train_there(backend64, optimizer=SGD(0.1, momentum=0.5)), backend64.asarray(X)
    again, untouched = copy.deepcopy(model), copy.deepcopy(model)
    assert is_on(again.coefs_[0], backend64)
    again.partial_fit(x, LABELS, X_val=x, y_val=LABELS)
    assert_same_bytes(model, untouched)
    with pytest.raises(AssertionError):
        assert_same_bytes(again, model)
