"""The estimators inside scikit-learn's tools."""

from __future__ import annotations

import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn
from beside_sklearn import kind, pair, problem, quietly
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
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
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import xpnn

FAST = {"max_iter": 12, "hidden_layer_sizes": (4,)}


def frame_of(library, x, names=("length", "width", "height", "weight")):
    """A data frame, or a skip that says which library is missing."""
    frames = pytest.importorskip(library)
    return frames.DataFrame({name: x[:, i] for i, name in enumerate(names)})


@pytest.fixture(autouse=True)
def _ignore_convergence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@pytest.mark.parametrize("task", ["words", "values"])
def test_pipeline(task):
    x, y = problem(task)
    found = [
        make_pipeline(StandardScaler(), model).fit(100.0 * x, y).predict(100.0 * x)
        for model in pair(task, **FAST)
    ]
    if task == "words":
        np.testing.assert_array_equal(found[1], found[0])
    else:
        np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert len(np.unique(found[1])) > 1


def test_a_model_in_the_middle_of_a_pipeline_hands_its_hidden_layer_on():
    x, y = problem("values")
    chain = make_pipeline(xpnn.MLPRegressor(random_state=0, **FAST), Ridge()).fit(x, y)
    hidden = chain[0].transform(x)
    assert hidden.shape == (40, 4)
    np.testing.assert_allclose(
        hidden, np.maximum(x @ chain[0].coefs_[0] + chain[0].intercepts_[0], 0.0)
    )
    np.testing.assert_allclose(chain.predict(x), chain[1].predict(hidden))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("task", ["multiclass", "values"])
def test_grid_search(task, jobs, monkeypatch):
    # Joblib's processes have none of the filters of this one.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    x, y = problem(task, rows=60)
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(3,), (4, 2)], "solver": ["adam", "lbfgs"]}
    searches = [
        GridSearchCV(model, grid, cv=3, n_jobs=jobs).fit(x, y)
        for model in pair(task, max_iter=8)
    ]  # fmt: skip
    assert searches[1].best_params_ == searches[0].best_params_
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(
            searches[1].cv_results_[name], searches[0].cv_results_[name], rtol=1e-6, atol=1e-9
        )
    assert len(set(searches[1].cv_results_["mean_test_score"])) > 2
    assert searches[1].best_estimator_.score(x, y) == searches[1].score(x, y)


def test_randomized_search_and_learning_curve():
    x, y = problem("binary", rows=60)
    theirs, ours = pair("binary", **FAST)
    space = {"learning_rate_init": [1e-3, 1e-2, 1e-1], "activation": ["tanh", "relu"]}
    found = [
        RandomizedSearchCV(m, space, n_iter=3, cv=2, random_state=0).fit(x, y)
        for m in (theirs, ours)
    ]
    assert found[1].best_params_ == found[0].best_params_
    sizes, train, _ = learning_curve(ours, x, y, cv=2, train_sizes=[0.5, 1.0])
    assert list(sizes) == [15, 30]
    np.testing.assert_allclose(train, learning_curve(theirs, x, y, cv=2, train_sizes=[0.5, 1.0])[1])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "values", "counts"])
def test_cross_validation(task):
    x, y = problem(task, rows=60)
    theirs, ours = pair(task, **FAST)
    scores = cross_val_score(ours, x, y, cv=3)
    np.testing.assert_allclose(scores, cross_val_score(theirs, x, y, cv=3), rtol=1e-9)
    assert np.ptp(scores) > 0
    expected = cross_val_predict(theirs, x, y, cv=3)
    np.testing.assert_allclose(cross_val_predict(ours, x, y, cv=3), expected, rtol=1e-9)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "f1", "average_precision"])
def test_scorers(scoring):
    x, y = problem("binary", rows=60)
    theirs, ours = pair("binary", max_iter=30)
    np.testing.assert_allclose(
        cross_val_score(ours, x, y, cv=3, scoring=scoring),
        cross_val_score(theirs, x, y, cv=3, scoring=scoring),
        rtol=1e-9,
    )


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(method, ensemble):
    x, y = problem("binary", rows=90)
    model = xpnn.MLPClassifier(random_state=0, learning_rate_init=0.05, **FAST)
    calibrated = CalibratedClassifierCV(model, method=method, cv=3, ensemble=ensemble).fit(x, y)
    proba = calibrated.predict_proba(x)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)
    assert calibrated.score(x, y) > 0.6
    theirs = MLPClassifier(random_state=0, learning_rate_init=0.05, **FAST)
    expected = CalibratedClassifierCV(theirs, method=method, cv=3, ensemble=ensemble).fit(x, y)
    np.testing.assert_allclose(proba, expected.predict_proba(x), rtol=1e-6)


def test_calibration_of_a_hinge_loss_takes_its_scores():
    x, y = problem("binary", rows=90)
    model = xpnn.MLPClassifier(random_state=0, max_iter=60, loss="hinge", learning_rate_init=0.02)
    assert not hasattr(model, "predict_proba")
    calibrated = CalibratedClassifierCV(model, cv=3).fit(x, y)
    np.testing.assert_allclose(calibrated.predict_proba(x).sum(axis=1), 1.0)
    assert calibrated.score(x, y) > 0.6


def test_ensembles():
    x, y = problem("words", rows=60)
    proba = []
    for model in pair("words", **FAST):
        bag = BaggingClassifier(model, n_estimators=3, random_state=0, max_samples=0.9).fit(x, y)
        vote = VotingClassifier([("a", model), ("b", clone(model))], voting="soft").fit(x, y)
        proba.append((bag.predict_proba(x), vote.predict_proba(x)))
    np.testing.assert_allclose(proba[1][0], proba[0][0], rtol=1e-9)
    np.testing.assert_allclose(proba[1][1], proba[0][1], rtol=1e-9)


def test_more_meta_estimators():
    x, y = problem("several values")
    theirs, ours = pair("several values", **FAST)
    found = [MultiOutputRegressor(m).fit(x, y).predict(x) for m in (theirs, ours)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    found = [
        StackingRegressor([("net", m)], Ridge(), cv=3).fit(x, y[:, 0]).predict(x)
        for m in (theirs, ours)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    found = [
        permutation_importance(m.fit(x, y), x, y, n_repeats=2, random_state=0).importances
        for m in (theirs, ours)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("task", ["words", "values"])
def test_clone_and_parameters(task):
    model = pair(task, alpha=0.25, **FAST)[1]
    model.fit(*problem(task))
    twin = clone(model)
    assert not hasattr(twin, "coefs_")
    assert twin.get_params() == model.get_params()
    assert model.set_params(alpha=0.5, activation="tanh") is model
    assert model.get_params()["alpha"] == 0.5
    assert twin.alpha == 0.25
    with pytest.raises(ValueError, match="Invalid parameter 'alfa' for estimator MLP"):
        model.set_params(alfa=1.0)
    theirs = pair(task)[0].get_params()
    assert theirs.items() <= pair(task)[1].get_params().items()


@pytest.mark.parametrize("task", ["words", "values"])
def test_positional_and_default_parameters_are_scikit_learns(task):
    theirs, ours = (getattr(m, kind(task)) for m in (sklearn.neural_network, xpnn))
    for name, value in theirs().get_params().items():
        assert ours().get_params()[name] == value, name
    args = ((7, 3), "tanh") if task == "words" else ("poisson", (7, 3), "tanh")
    expected = theirs(*args).get_params()
    found = ours(*args).get_params()
    assert {name: found[name] for name in expected} == expected
    with pytest.raises(TypeError, match="positional argument"):
        ours(*args, "adam")


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
    model = pair(task, solver=solver, early_stopping=False, **FAST)[1].fit(x, y)
    expected = model.predict(x)
    other = again(model)
    np.testing.assert_array_equal(other.predict(x), expected)
    assert all(hasattr(other, name) for name in ("coefs_", "n_iter_", "loss_"))
    if solver != "lbfgs":
        for one in (model, other):
            one.partial_fit(x, y)
        np.testing.assert_array_equal(other.coefs_[0], model.coefs_[0])
        assert other.loss_curve_ == model.loss_curve_
    other.coefs_[0][:] = 0.0
    assert np.any(model.coefs_[0] != 0.0)


def test_models_that_are_not_fitted_are_saved_too():
    model = pair("words", alpha=0.5)[1]
    assert pickled(model).get_params() == model.get_params()


def test_read_only_weights_of_a_memory_map_are_used(tmp_path):
    x, y = problem("values")
    model = pair("values", **FAST)[1].fit(x, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(x), model.predict(x))
    mapped.partial_fit(x, y)
    assert np.any(mapped.predict(x) != model.predict(x))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("task", ["words", "values"])
def test_frames_in_and_out(task, library):
    x, y = problem(task)
    rows = frame_of(library, x)
    model = pair(task, **FAST)[1]
    plain = clone(model).fit(x, y)
    model.set_output(transform=library).fit(rows, y)
    names = ["length", "width", "height", "weight"]
    np.testing.assert_array_equal(model.feature_names_in_, np.array(names, dtype=object))
    np.testing.assert_array_equal(model.predict(rows), plain.predict(x))
    hidden = model.transform(rows)
    assert type(hidden).__module__.split(".")[0] == library
    prefix = kind(task).lower()
    assert list(hidden.columns) == [f"{prefix}{i}" for i in range(4)]
    assert list(model.get_feature_names_out()) == list(hidden.columns)
    np.testing.assert_array_equal(np.asarray(hidden), plain.transform(x))
    two = clone(model).set_params(hidden_layer_sizes=(6, 3)).fit(rows, y)
    assert list(two.transform(rows, layer=0).columns) == [f"{prefix}{i}" for i in range(6)]
    assert list(two.transform(rows).columns) == [f"{prefix}{i}" for i in range(3)]
    if library == "pandas":
        y = __import__("pandas").Series(y, name="target")
        np.testing.assert_array_equal(clone(model).fit(rows, y).predict(rows), plain.predict(x))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_feature_names_warn_and_raise_as_in_scikit_learn(library):
    x, y = problem("values")
    rows = frame_of(library, x)
    other = frame_of(library, x, ("length", "width", "height", "price"))
    said = []
    for model in pair("values", **FAST):
        quietly(model.fit, rows, y)
        with pytest.warns(UserWarning, match="does not have valid feature names") as caught:
            model.predict(x)
        with pytest.raises(ValueError, match="Feature names unseen at fit time") as error:
            model.predict(other)
        with pytest.raises(ValueError, match="should match those that were passed") as swapped:
            model.partial_fit(rows[["width", "length", "height", "weight"]], y)
        quietly(model.fit, x, y)
        assert not hasattr(model, "feature_names_in_")
        with pytest.warns(UserWarning, match="X has feature names, but MLPRegressor was") as late:
            model.predict(rows)
        said.append(
            [str(caught[0].message), str(error.value), str(swapped.value), str(late[0].message)]
        )
    assert said[1] == said[0]


def test_frames_of_several_types_and_integers_count():
    pandas = pytest.importorskip("pandas")
    x, y = problem("values")
    rows = pandas.DataFrame(
        {"a": x[:, 0].astype(np.float32), "b": (x[:, 1] > 0), "c": np.arange(40)}
    )
    found = [quietly(m.fit, rows, y).predict(rows) for m in pair("values", **FAST)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


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
        np.testing.assert_allclose(coefs[1], coefs[0], rtol=1e-6)
        np.testing.assert_allclose(scores[1], scores[0], rtol=1e-9)
        plain = xpnn.MLPClassifier(random_state=0, **FAST).fit(x, y)
        assert np.any(plain.coefs_[0] != coefs[1])
        plain.set_partial_fit_request(classes=True, sample_weight=True)
        refusing = Pipeline([("net", xpnn.MLPClassifier(random_state=0, **FAST))])
        with pytest.raises(
            ValueError, match=r"\[sample_weight\] are passed but are not explicitly"
        ):
            refusing.fit(x, y, sample_weight=weight)


@pytest.mark.parametrize("task", ["words", "values"])
def test_how_a_model_looks(task):
    theirs, ours = pair(task, alpha=0.5)
    assert repr(ours) == repr(theirs)
    html = ours._repr_html_()
    assert kind(task) in html
    assert "alpha" in html
    ours.fit(*problem(task))
    assert "fitted" in ours._repr_html_()
    assert is_classifier(ours) == is_classifier(theirs)
    assert is_regressor(ours) == is_regressor(theirs)


def test_tags_are_scikit_learns_and_more():
    for task in ("words", "values"):
        theirs, ours = (m.__sklearn_tags__() for m in pair(task))
        assert ours.estimator_type == theirs.estimator_type
        assert ours.classifier_tags == theirs.classifier_tags
        assert ours.regressor_tags == theirs.regressor_tags
        assert ours.target_tags == theirs.target_tags
        assert ours.input_tags == theirs.input_tags
        assert ours.array_api_support
