"""The estimators learn from sources as from arrays."""

import threading

import numpy as np
import pytest
from small import COMMON, COUNTS, LABELS, SCORES, SEVERAL, TWO, WEIGHT, X, assert_same_bytes

from xpnn import Callback, MLPClassifier, MLPRegressor
from xpnn.backends import dtype_name
from xpnn.data import BlockShuffle, stream
from xpnn.optimizers import CosineWarmup

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ORDERED = COMMON | {"shuffle": False, "batch_size": 7}
WORDS = np.array(["no", "maybe", "yes"])[LABELS]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


def small(*data, block=3, buffer=3, seed=None, **options):
    return stream(*data, shuffle=BlockShuffle(block, buffer, seed), **options)


SOURCE = small(X, LABELS)


def fit(x, y=None, weight=None, X_val=None, y_val=None, callbacks=(), **options):
    model = MLPClassifier(**ORDERED | options)
    return model.fit(x, y, weight, X_val=X_val, y_val=y_val, callbacks=callbacks)


CASES = {
    "labels": (MLPClassifier, LABELS, {}),
    "two": (MLPClassifier, TWO, {}),
    "small integers": (MLPClassifier, TWO.astype("int8"), {}),
    "words": (MLPClassifier, WORDS, {}),
    "several": (MLPClassifier, SEVERAL, {}),
    "sgd": (MLPClassifier, LABELS, {"solver": "sgd", "learning_rate": "invscaling"}),
    "schedule": (MLPClassifier, LABELS, {"learning_rate": CosineWarmup(0.01, warmup=3)}),
    "dropout": (MLPClassifier, LABELS, {"dropout": 0.3}),
    "balanced": (MLPClassifier, LABELS, {"class_weight": "balanced"}),
    "class weights": (MLPClassifier, LABELS, {"class_weight": {0: 2.0, 1: 0.5}}),
    "one by one": (MLPClassifier, LABELS, {"batch_size": 1}),
    "all at once": (MLPClassifier, LABELS, {"batch_size": 40}),
    "float32": (MLPClassifier, LABELS, {"dtype": "float32"}),
    "values": (MLPRegressor, SCORES, {}),
    "one value": (MLPRegressor, SCORES[:, 0], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_rows_in_order_give_the_same_bytes(name):
    kind, y, options = CASES[name]
    expected = kind(**ORDERED | options).fit(X, y)
    found = kind(**ORDERED | options).fit(small(X, y))
    assert_same_bytes(found, expected)
    assert found.loss_curve_ == expected.loss_curve_
    assert (found.t_, found.n_outputs_) == (expected.t_, expected.n_outputs_)
    predicted = found.predict(small(X))
    np.testing.assert_array_equal(predicted, expected.predict(X))
    assert predicted.dtype == expected.predict(X).dtype
    assert found.score(small(X, y)) == pytest.approx(expected.score(X, y))
    assert found.transform(small(X)).shape == (40, 6)
    if kind is MLPClassifier:
        np.testing.assert_array_equal(found.classes_, expected.classes_)
        assert found.classes_.dtype == expected.classes_.dtype
        proba = found.predict_proba(small(X))
        np.testing.assert_allclose(proba, expected.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("given", [None, "balanced", {0: 2.0}])
def test_weights_of_rows(given):
    source = small(X, LABELS, weight=WEIGHT)
    expected, found = fit(X, LABELS, WEIGHT, class_weight=given), fit(source, class_weight=given)
    assert_same_bytes(found, expected)
    assert found.score(source) == pytest.approx(expected.score(X, LABELS, WEIGHT))


def test_classes_may_be_given():
    found = fit(small(X, LABELS, classes=[0, 1, 2, 3]))
    assert found.classes_.tolist() == [0, 1, 2, 3]
    assert found.predict_proba(small(X)).shape == (40, 4)
    with pytest.raises(ValueError, match="`y` has classes not in"):
        fit(small(X, LABELS, classes=[0, 1]))


def batches():
    for start in range(0, 40, 9):
        yield X[start : start + 9], LABELS[start : start + 9]


@pytest.mark.parametrize("make", [lambda: small(batches()), lambda: small(batches), lambda: SOURCE])
def test_partial_fit(make):
    expected, found = MLPClassifier(**ORDERED), MLPClassifier(**ORDERED)
    for _ in range(3):
        expected.partial_fit(X, LABELS, classes=[0, 1, 2])
        found.partial_fit(make(), classes=[0, 1, 2])
    assert_same_bytes(found, expected)
    assert found.loss_curve_ == expected.loss_curve_
    assert found.t_ == expected.t_ == 120


def test_partial_fit_takes_the_source_s_classes():
    found = MLPClassifier(**ORDERED).partial_fit(small(X, WORDS, classes=np.unique(WORDS)))
    assert found.classes_.tolist() == ["maybe", "no", "yes"]
    several = MLPClassifier(**ORDERED).partial_fit(small(X, SEVERAL), classes=[0, 1, 2])
    assert several.predict(small(X)).shape == (40, 3)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier(**ORDERED).partial_fit(SOURCE)


def test_a_warm_start_goes_on():
    expected, found = (MLPClassifier(**ORDERED, warm_start=True) for _ in range(2))
    for _ in range(2):
        expected.fit(X, LABELS)
        found.fit(SOURCE)
    assert_same_bytes(found, expected)
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        found.fit(small(X, TWO))


@pytest.mark.parametrize("monitor", ["score", "loss"])
@pytest.mark.parametrize("y", [LABELS, SCORES], ids=["classes", "values"])
def test_early_stopping_on_a_source(monitor, y):
    kind = MLPClassifier if y.ndim == 1 else MLPRegressor
    options = ORDERED | {"early_stopping": True, "monitor": monitor, "max_iter": 30}
    options |= {"learning_rate_init": 0.2, "n_iter_no_change": 3}
    expected = kind(**options).fit(X[:28], y[:28], X_val=X[28:], y_val=y[28:])
    found = kind(**options).fit(small(X[:28], y[:28]), X_val=small(X[28:], y[28:]))
    assert found.stopped_
    assert found.n_iter_ == expected.n_iter_ < 30
    assert found.validation_scores_ == pytest.approx(expected.validation_scores_)
    assert found.validation_loss_curve_ == pytest.approx(expected.validation_loss_curve_)
    assert_same_bytes(found, expected)


class Watch(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, run):
        self.seen.append((run.batch, run.batch_loss))
        if len(self.seen) == 10:
            run.stop("enough")


def test_callbacks():
    one, two = Watch(), Watch()
    expected, found = fit(X, LABELS, callbacks=one), fit(SOURCE, callbacks=two)
    assert one.seen == two.seen
    assert [number for number, _ in two.seen] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert found.t_ == expected.t_ == 40 + 28
    assert_same_bytes(found, expected)


def test_the_seed_decides():
    def curve(random_state, own=None):
        model = MLPClassifier(**COMMON | {"random_state": random_state})
        return model.fit(small(X, LABELS, seed=own)).loss_curve_

    assert curve(1) == curve(1) != curve(2)
    assert curve(1, own=1) != curve(1, own=2)


def test_every_library(backend):
    if backend.name == "array_api_strict":
        pytest.skip("its devices cannot be named again")
    options = COMMON | {"dtype": dtype_name(backend.dtype), "shuffle": False}
    expected = MLPClassifier(**options).fit(X, LABELS)
    found = MLPClassifier(**options, backend=backend.name).fit(small(X, LABELS, block=16))
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-4)
    labels = found.predict(small(X))
    assert isinstance(labels, np.ndarray)
    np.testing.assert_array_equal(labels, expected.predict(X))
    assert found.score(SOURCE) == expected.score(X, LABELS)


def put(array, value):
    """A copy with another 21st row."""
    array = np.array(array)
    array[20] = value
    return array


BAD = [
    (lambda: fit(SOURCE, LABELS), "y is given beside a source"),
    (lambda: fit(SOURCE, None, WEIGHT), "sample_weight is given beside a"),
    (lambda: fit(SOURCE, solver="lbfgs"), "solver='lbfgs' looks at all rows at"),
    (lambda: fit(SOURCE, early_stopping=True), "sets no rows of a source apart; give"),
    (lambda: fit(small(batches())), "gone through once, and 3 epochs were asked"),
    (lambda: fit(small(batches()), max_iter=1), r"say stream\(..., classes=\[...\]\)"),
    (lambda: fit(small(X)), "x has no targets"),
    (lambda: fit(small(X, SCORES[:, 0])), "Unknown label type: continuous"),
    (lambda: fit(small(put(X, np.nan), LABELS)), "rows 14 to 20: Input X contains NaN, infinity"),
    (
        lambda: MLPRegressor(**ORDERED).fit(small(X, put(SCORES, np.inf))),
        "rows 14 to 20: Input y contains NaN or infinity",
    ),
    (
        lambda: MLPRegressor(**ORDERED, loss="poisson").fit(small(X, put(COUNTS, -1.0))),
        "y holds values below 0; loss='poisson' needs counts",
    ),
    (lambda: fit(small(X, LABELS, weight=put(WEIGHT, -1.0))), "Negative values"),
    (lambda: fit(small(X, LABELS, weight=put(WEIGHT, np.nan))), "NaN"),
    (lambda: fit(small(X, LABELS, weight=put(WEIGHT, np.inf))), "infinity"),
    (
        lambda: fit(SOURCE, early_stopping=True, monitor="f1_macro", X_val=SOURCE),
        "monitor is 'f1_macro'; on validation rows from a source it can be 'score' or 'loss'",
    ),
    (lambda: fit(SOURCE).predict(small(X[:, :3])), "X has 3 features, but MLPClassifier is exp"),
    (lambda: fit(X, LABELS, X_val=small(X[:, :3], LABELS)), "X has 3 features, but MLPClassifier"),
    (
        lambda: fit(X, LABELS, X_val=SOURCE, y_val=LABELS),
        "y_val is given beside a source, which brings its own",
    ),
    (lambda: fit(X), "requires y to be passed, but the target y is None"),
    (lambda: fit(X, LABELS).score(SOURCE, LABELS), "y is given beside a source"),
    (lambda: MLPClassifier().predict(small(X)), "is not fitted yet"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
