"""The estimators inside scikit-learn's tools."""

import inspect
import io
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from beside_sklearn import kind, pair, problem
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import xpnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FAST = {"max_iter": 12, "hidden_layer_sizes": (4,)}
SPACE = {"learning_rate_init": [1e-3, 1e-2, 1e-1], "activation": ["tanh", "relu"]}


def calibrated(m, x, y, **options):
    m.set_params(learning_rate_init=0.05)
    model = CalibratedClassifierCV(m, cv=3, **options).fit(x, y)
    assert model.score(x, y) > 0.6
    return model.predict_proba(x)


def scored(m, x, y, scoring=None):
    return cross_val_score(m, x, y, cv=3, scoring=scoring)


# What each tool makes of a model; for these tasks.
TOOLS = {
    "pipeline": lambda m, x, y: (
        make_pipeline(StandardScaler(), m).fit(100.0 * x, y).predict(100.0 * x)
    ),
    "scores": scored,
    "predictions": lambda m, x, y: cross_val_predict(m, x, y, cv=3),
    "random search": lambda m, x, y: (
        RandomizedSearchCV(m, SPACE, n_iter=3, cv=2, random_state=0)
        .fit(x, y).cv_results_["mean_test_score"]
    ),
    "learning curve": lambda m, x, y: learning_curve(m, x, y, cv=2, train_sizes=[0.5, 1.0])[1],
    "roc_auc": lambda m, x, y: scored(m, x, y, "roc_auc"),
    "neg_log_loss": lambda m, x, y: scored(m, x, y, "neg_log_loss"),
    "f1": lambda m, x, y: scored(m, x, y, "f1"),
    "average_precision": lambda m, x, y: scored(m, x, y, "average_precision"),
    "sigmoids of folds": calibrated,
    "a sigmoid": lambda m, x, y: calibrated(m, x, y, ensemble=False),
    "steps of folds": lambda m, x, y: calibrated(m, x, y, method="isotonic"),
    "steps": lambda m, x, y: calibrated(m, x, y, method="isotonic", ensemble=False),
    "bagging": lambda m, x, y: (
        BaggingClassifier(m, n_estimators=3, random_state=0, max_samples=0.9)
        .fit(x, y).predict_proba(x)
    ),
    "voting": lambda m, x, y: (
        VotingClassifier([("a", m), ("b", clone(m))], voting="soft").fit(x, y).predict_proba(x)
    ),
    "several outputs": lambda m, x, y: MultiOutputRegressor(m).fit(x, y).predict(x),
    "stacking": lambda m, x, y: (
        StackingRegressor([("net", m)], Ridge(), cv=3).fit(x, y[:, 0]).predict(x)
    ),
    "importance": lambda m, x, y: (
        permutation_importance(m.fit(x, y), x, y, n_repeats=2, random_state=0).importances
    ),
}  # fmt: skip
MANY = ("multiclass", "multilabel", "values", "counts")
TASKS = dict.fromkeys(TOOLS, ("binary",)) | {"pipeline": ("words", "values")}
TASKS |= dict.fromkeys(("scores", "predictions"), MANY)
TASKS |= dict.fromkeys(("bagging", "voting"), ("words",))
TASKS |= dict.fromkeys(("several outputs", "stacking", "importance"), ("several values",))


@pytest.mark.parametrize(("tool", "task"), [(tool, task) for tool in TOOLS for task in TASKS[tool]])
def test_a_tool_makes_the_same_of_both(tool, task):
    x, y = problem(task, rows=90)
    expected, found = (TOOLS[tool](model, x, y) for model in pair(task, **FAST))
    assert len(np.unique(found)) > 1
    if found.dtype.kind == "f":
        assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    else:
        assert_array_equal(found, expected)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("task", ["multiclass", "values"])
def test_grid_search(task, jobs, monkeypatch):
    # Joblib's processes have none of the filters of this one.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    x, y = problem(task, rows=60)
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(3,), (4, 2)], "solver": ["adam", "lbfgs"]}
    theirs, ours = (
        GridSearchCV(model, grid, cv=3, n_jobs=jobs).fit(x, y) for model in pair(task, max_iter=8)
    )
    assert ours.best_params_ == theirs.best_params_
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-6, atol=1e-9)
    assert len(set(ours.cv_results_["mean_test_score"])) > 2
    assert ours.best_estimator_.score(x, y) == ours.score(x, y)


def test_calibration_of_a_hinge_loss_takes_its_scores():
    x, y = problem("binary", rows=90)
    model = xpnn.MLPClassifier(random_state=0, max_iter=60, loss="hinge")
    assert not hasattr(model, "predict_proba")
    assert_allclose(calibrated(model, x, y).sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_are_scikit_learns_and_then_new_ones(name):
    makes = [getattr(module, name) for module in (sklearn.neural_network, xpnn)]
    theirs, ours = (inspect.signature(make).parameters for make in makes)
    for key, other in theirs.items():
        assert (ours[key].default, ours[key].kind) == (other.default, other.kind)
    in_order = [key for key, p in theirs.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert list(ours)[: len(in_order)] == in_order
    new = [p for key, p in ours.items() if key not in theirs]
    assert {p.kind for p in new} == {inspect.Parameter.KEYWORD_ONLY}
    assert len(new) >= 10
    args = ((7, 3), "tanh") if name == "MLPClassifier" else ("poisson", (7, 3), "tanh")
    expected, found = (make(*args).get_params() for make in makes)
    assert {name: found[name] for name in expected} == expected
    with pytest.raises(TypeError, match="positional argument"):
        makes[1](*args, "adam")


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("again", [pickled, dumped])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("task", ["words", "multilabel", "values"])
def test_saved_models_predict_the_same_and_go_on(task, solver, again):
    x, y = problem(task)
    model = pair(task, solver=solver, **FAST)[1]
    assert again(model).get_params() == model.get_params()  # not fitted
    other = again(model.fit(x, y))
    assert_array_equal(other.predict(x), model.predict(x))
    assert all(hasattr(other, name) for name in ("coefs_", "n_iter_", "loss_"))
    if solver != "lbfgs":
        for one in (model, other):
            one.partial_fit(x, y)
        assert_array_equal(other.coefs_[0], model.coefs_[0])
        assert other.loss_curve_ == model.loss_curve_
    other.coefs_[0][:] = 0.0
    assert np.any(model.coefs_[0] != 0.0)


def test_read_only_weights_of_a_memory_map_are_used(tmp_path):
    x, y = problem("values")
    model = pair("values", **FAST)[1].fit(x, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert_array_equal(mapped.predict(x), model.predict(x))
    mapped.partial_fit(x, y)
    assert np.any(mapped.predict(x) != model.predict(x))


# Frames


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("task", ["words", "values"])
def test_frames_in_and_out(task, library):
    frames = pytest.importorskip(library)
    x, y = problem(task)
    names = ["length", "width", "height", "weight"]
    rows = frames.DataFrame(dict(zip(names, x.T, strict=True)))
    targets = frames.Series("target", y) if library == "polars" else frames.Series(y, name="target")
    model = pair(task, **FAST)[1].set_output(transform=library).fit(rows, targets)
    plain = pair(task, **FAST)[1].fit(x, y)
    assert_array_equal(model.feature_names_in_, np.array(names, dtype=object))
    assert_array_equal(model.predict(rows), plain.predict(x))
    hidden = model.transform(rows)
    assert type(hidden).__module__.split(".")[0] == library
    assert_array_equal(np.asarray(hidden), plain.transform(x))
    prefix = kind(task).lower()
    assert list(hidden.columns) == [f"{prefix}{i}" for i in range(4)]
    assert list(model.get_feature_names_out()) == list(hidden.columns)
    two = clone(model).set_params(hidden_layer_sizes=(6, 3)).fit(rows, y)
    for layer, width in ((0, 6), (1, 3)):
        columns = two.transform(rows, layer=layer).columns
        assert list(columns) == [f"{prefix}{i}" for i in range(width)]


def test_frames_of_several_types_and_integers_count():
    pandas = pytest.importorskip("pandas")
    x, y = problem("values")
    rows = pandas.DataFrame(
        {"a": x[:, 0].astype(np.float32), "b": (x[:, 1] > 0), "c": np.arange(40)}
    )
    expected, found = (model.fit(rows, y).predict(rows) for model in pair("values", **FAST))
    assert_allclose(found, expected, rtol=1e-9)


def test_weights_are_routed_through_a_pipeline():
    x, y = problem("binary", rows=60)
    weight = np.linspace(0.1, 3.0, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        scores, coefs = [], []
        for model in pair("binary", **FAST):
            model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            chain = Pipeline([("same", FunctionTransformer()), ("net", model)])
            chain.fit(x, y, sample_weight=weight)
            coefs.append(chain[-1].coefs_[0])
            scores.append(cross_val_score(chain, x, y, cv=3, params={"sample_weight": weight}))
        assert_allclose(coefs[1], coefs[0], rtol=1e-6)
        assert_allclose(scores[1], scores[0], rtol=1e-9)
        plain = xpnn.MLPClassifier(random_state=0, **FAST).fit(x, y)
        assert np.any(plain.coefs_[0] != coefs[1])
        plain.set_partial_fit_request(classes=True, sample_weight=True)
        refusing = Pipeline([("net", xpnn.MLPClassifier(random_state=0, **FAST))])
        text = r"\[sample_weight\] are passed but are not explicitly"
        with pytest.raises(ValueError, match=text):
            refusing.fit(x, y, sample_weight=weight)


@pytest.mark.parametrize("task", ["words", "values"])
def test_tags_are_scikit_learns_and_more(task):
    theirs, ours = (m.__sklearn_tags__() for m in pair(task))
    for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.input_tags == theirs.input_tags
    assert ours.input_tags.sparse
    assert ours.array_api_support is True
