"""The estimators on every array library: what comes in as one goes out as one."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks, get_tags

from xpnn import MLPClassifier, MLPRegressor, backends, select
from xpnn.backends import dtype_name, to_host

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 4))
SCORES = X @ GENERATOR.normal(size=(4, 3))
LABELS, SEVERAL = SCORES.argmax(axis=1), (SCORES > 0).astype(int)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 64)

# Batches of one size, of which JAX compiles each; "counts" has a smaller last one.
COMMON = {"hidden_layer_sizes": (6,), "random_state": 1, "max_iter": 3, "batch_size": 16}
TASKS = {
    "two classes, adam": (MLPClassifier, SEVERAL[:, 0], {}),
    "several classes, sgd": (
        MLPClassifier, LABELS, {"solver": "sgd", "learning_rate": "invscaling", "alpha": 0.1},
    ),
    "several labels": (MLPClassifier, SEVERAL, {"activation": "tanh"}),
    "early stopping": (
        MLPClassifier, LABELS, {"early_stopping": True, "validation_fraction": 0.25, "tol": 0.2,
                                "n_iter_no_change": 1, "max_iter": 9},
    ),
    "hinge, dropout": (MLPClassifier, LABELS, {"loss": "hinge", "dropout": 0.3, "clip_norm": 0.5}),
    "a value, decay": (MLPRegressor, SCORES[:, 0], {"weight_decay": 0.1, "activation": "logistic"}),
    "several values": (MLPRegressor, SCORES, {"hidden_layer_sizes": (5, 4), "solver": "sgd"}),
    "counts": (MLPRegressor, np.floor(np.exp(SCORES)), {"loss": "poisson", "batch_size": 25}),
}  # fmt: skip


def train(name, x, weight=WEIGHT, **options):
    make, y, own = TASKS[name]
    return make(**COMMON | own | options).fit(x, y, sample_weight=weight)


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


def weights(model):
    return [*model.coefs_, *model.intercepts_]


def is_on(array, backend):
    found = backends.backend_of(array)
    return (found.name, found.device) == (backend.name, backend.device)


@pytest.mark.parametrize("name", TASKS)
def test_a_fit_ends_where_numpys_does(name, backend, assert_close):
    model, expected = trained(name, backend), reference(name)
    for found, values in zip(weights(model), weights(expected), strict=True):
        assert_close(found, values, backend)
    rel = 1e-3 if dtype_name(backend.dtype) == "float32" else 1e-9
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=rel)
    assert model.validation_loss_curve_ == pytest.approx(expected.validation_loss_curve_, rel=rel)
    assert (model.n_iter_, model.t_) == (expected.n_iter_, expected.t_)
    predicted = model.predict(backend.asarray(X))
    assert is_on(predicted, backend)
    assert model.score(backend.asarray(X), TASKS[name][1]) == pytest.approx(
        expected.score(X, TASKS[name][1]), rel=rel
    )


@pytest.mark.parametrize("name", ["several classes, sgd", "several labels", "several values"])
def test_lbfgs_ends_where_numpys_does(name, backend64, assert_close):
    options = {"solver": "lbfgs", "learning_rate": "constant", "max_iter": 6}
    model = train(name, backend64.asarray(X), **options)
    expected = reference(name, **options)
    for found, values in zip(weights(model), weights(expected), strict=True):
        assert_close(found, values, backend64)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)


@pytest.mark.parametrize("name", ["two classes, adam", "several classes, sgd", "several labels"])
def test_results_are_where_the_rows_are(name, backend, assert_close):
    model, expected = trained(name, backend), reference(name)
    x = backend.asarray(X[:7])
    for method in ("predict_proba", "predict_log_proba", "transform"):
        assert_close(getattr(model, method)(x), getattr(expected, method)(X[:7]), backend)
    np.testing.assert_array_equal(to_host(model.predict(x)), expected.predict(X[:7]))
    assert is_on(model.predict(x), backend)


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], [-2, 7, 30]])
def test_labels_may_be_anything(names, backend64):
    """Numbers come out where the rows are, words on the host."""
    x, names = backend64.asarray(X), np.array(names)
    model = MLPClassifier(**COMMON).fit(x, names[LABELS], sample_weight=WEIGHT)
    assert is_on(model.coefs_[0], backend64)
    found = model.predict(x)
    assert isinstance(found, np.ndarray) if names.dtype.kind == "U" else is_on(found, backend64)
    codes = train("several classes, sgd", X, **{"solver": "adam", "alpha": 1e-4}).predict(X)
    np.testing.assert_array_equal(to_host(found), names[codes])
    assert model.score(x, names[LABELS]) == np.mean(codes == LABELS)


def test_targets_and_weights_may_be_on_the_host_or_beside_the_rows(backend64):
    x, name = backend64.asarray(X), "several classes, sgd"
    there = MLPClassifier(**COMMON | TASKS[name][2]).fit(
        x, backend64.asarray(LABELS), sample_weight=backend64.asarray(WEIGHT)
    )
    on_host = trained(name, backend64)
    for a, b in zip(weights(there), weights(on_host), strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))
    assert there.score(x, backend64.asarray(LABELS)) == on_host.score(x, LABELS)


@pytest.mark.parametrize("name", ["hinge, dropout", "early stopping", "several values"])
def test_the_same_fit_gives_the_same_bytes(name, backend64):
    first, second = trained(name, backend64), train(name, backend64.asarray(X))
    for a, b in zip(weights(first), weights(second), strict=True):
        assert to_host(a).tobytes() == to_host(b).tobytes()
    assert first.loss_curve_ == second.loss_curve_


@pytest.mark.parametrize("values", [np.round(3 * X).astype("int64"), X > 0], ids=["int", "bool"])
def test_whole_numbers_and_answers_become_floats(values, backend64):
    x = backend64.asarray(values, values.dtype.name)
    model = MLPClassifier(**COMMON).fit(x, LABELS)
    default = backends.default_float(backend64.xp, backend64.device)
    assert dtype_name(model.coefs_[0].dtype) == dtype_name(default)
    assert is_on(model.predict_proba(x), backend64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_to_be_asked_for(dtype, use_library):
    use_library("torch")
    torch = select("torch", dtype=dtype)
    for asked, expected in ((None, "float32"), ("float16", "float16"), ("float64", "float64")):
        model = MLPClassifier(**COMMON, dtype=asked).fit(torch.asarray(X), LABELS)
        assert dtype_name(model.coefs_[0].dtype) == expected
        wide = "float64" if asked == "float64" else "float32"  # probabilities never are half
        assert dtype_name(model.predict_proba(torch.asarray(X)).dtype) == wide


def test_a_dtype_that_the_library_has_not(use_library):
    use_library("array_api_strict")
    x = select("array_api_strict").asarray(X)
    with pytest.raises(ValueError, match="dtype='float16' is not a dtype of array_api_strict"):
        MLPClassifier(**COMMON, dtype="float16").fit(x, LABELS)
    with pytest.raises(ValueError, match="dtype='float16' is not a dtype of array_api_strict"):
        MLPClassifier(**COMMON, dtype="float16", backend="array_api_strict").fit(X, LABELS)


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
        MLPClassifier(**COMMON).fit(backend64.asarray(x), LABELS[: len(x)])
    model = trained("several classes, sgd", backend64)
    with pytest.raises(ValueError, match=message):
        model.predict(backend64.asarray(x))


def test_a_wrong_number_of_features_and_rows(backend64):
    model = trained("several classes, sgd", backend64)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        model.predict(backend64.asarray(X[:, :3]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MLPClassifier(**COMMON).fit(backend64.asarray(X), LABELS[:-1])


# Rows that live elsewhere than those of `fit`


def frame(x):
    """A data frame, or a skip where there are none."""
    return pytest.importorskip("pandas").DataFrame(x)


METHODS = ["predict", "predict_proba", "predict_log_proba", "transform"]
ELSEWHERE = {
    "NumPy's array": lambda x: x,
    "a list": lambda x: x.tolist(),
    "a frame": frame,
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
    where = "array_api_strict', 'CPU_DEVICE" if kind == "another device" else "numpy', 'cpu"
    assert f"to('{where}')" in text
    library, device = where.split("', '")
    np.testing.assert_allclose(
        to_host(getattr(model.to(library, device), method)(x)),
        getattr(reference("several classes, sgd"), method)(X),
        rtol=1e-9,
    )


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_a_model_on_numpy_refuses_other_arrays(make, backend64):
    if backend64.name == "numpy":
        pytest.skip("is NumPy")
    model = make(**COMMON).fit(X, LABELS)
    with pytest.raises(ValueError, match=rf"{make.__name__}\.predict\(\) must use the same name"):
        model.predict(backend64.asarray(X))
    with pytest.raises(ValueError, match=r"partial_fit\(\) must use the same namespace"):
        model.partial_fit(backend64.asarray(X), LABELS)
    before = [w.tobytes() for w in weights(model)]
    with pytest.raises(ValueError, match=r"fit\(\) must use the same namespace"):
        model.set_params(warm_start=True).fit(backend64.asarray(X), LABELS)
    assert [w.tobytes() for w in weights(model)] == before
    model.set_params(warm_start=False).fit(backend64.asarray(X), LABELS)
    assert is_on(model.coefs_[0], backend64)


# With scikit-learn's dispatch switched on

CHECKS = [
    (make, check)
    for make in (MLPClassifier, MLPRegressor)
    for check in estimator_checks._yield_array_api_checks(make(max_iter=2))
]


def libraries_of(check):
    spaces = [getattr(value, "xp", value) for value in check.keywords.values()]
    known = (str(space).partition(".")[0] for space in spaces if space)
    return [name for name in known if name in backends.LIBRARIES]


def name_of(pair):
    return f"{pair[0].__name__}-{pair[1].func.__name__}-{'-'.join(libraries_of(pair[1]))}"


@pytest.mark.parametrize(("make", "check"), CHECKS, ids=map(name_of, CHECKS))
def test_scikit_learns_own_checks(make, check, use_library, monkeypatch):
    for name in libraries_of(check):
        use_library(name)
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(make.__name__, make(max_iter=2))
    assert libraries_of(check)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_tags_say_that_arrays_are_welcome(make):
    assert get_tags(make()).array_api_support is True
    assert get_tags(make()).input_tags.sparse is True


def test_dispatch_changes_nothing(backend64, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    x = backend64.asarray(X)
    with config_context(array_api_dispatch=True):
        inside = train("early stopping", x)
        assert is_on(inside.predict(x), backend64)
        score = inside.score(x, LABELS)
    outside = trained("early stopping", backend64)
    assert score == outside.score(x, LABELS)
    for a, b in zip(weights(inside), weights(outside), strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize(("name", "device"), [("torch", "cpu"), ("array_api_strict", "device1")])
def test_a_pipeline_goes_through_with_dispatch(
    name, device, use_library, assert_close, monkeypatch
):
    use_library(name)
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    there = select(name, device, "float64")
    expected = make_pipeline(MinMaxScaler(), MLPClassifier(**COMMON)).fit(X, LABELS)
    model = clone(expected)
    with config_context(array_api_dispatch=True):
        model.fit(there.asarray(X), there.asarray(LABELS))
        found = model.predict_proba(there.asarray(X))
    assert_close(found, expected.predict_proba(X), there)
