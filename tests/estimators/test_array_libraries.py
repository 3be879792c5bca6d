"""The estimators on every array library: what comes in as one goes out as one."""

import copy
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from small import COMMON, COUNTS, LABELS, SCORES, SEVERAL, WEIGHT, X, assert_same_bytes, is_on
from small import weights as weights_of

from xpnn import MLPClassifier, MLPRegressor, backends, select
from xpnn.backends import dtype_name, to_host

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
    for found, values in zip(weights_of(model), weights_of(expected), strict=True):
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
        np.testing.assert_array_equal(to_host(predicted), expected.predict(X))
    for method in METHODS[1:]:
        if hasattr(expected, method):
            found = getattr(model, method)(backend.asarray(X[:7]))
            assert_close(found, getattr(expected, method)(X[:7]), backend)


@pytest.mark.parametrize("name", ["several classes, sgd", "several labels", "several values"])
def test_lbfgs_ends_where_numpys_does(name, backend64, assert_close):
    options = {"solver": "lbfgs", "learning_rate": "constant", "max_iter": 6}
    model, expected = train(name, backend64.asarray(X), **options), reference(name, **options)
    for found, values in zip(weights_of(model), weights_of(expected), strict=True):
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
    np.testing.assert_array_equal(to_host(found), names[codes])
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
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-9)


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
