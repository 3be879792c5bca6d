"""Pipelines and perceptrons as model files."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn import preprocessing
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, RobustScaler, StandardScaler

import sealing
import xpnn
from xpnn import MLPClassifier, MLPRegressor, Perceptron, backends
from xpnn.files import ModelFileError, read_record

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(60, 4))
LABELS = np.asarray(["no", "yes", "perhaps"])[np.abs(X[:, :3]).argmax(axis=1)]
VALUES = X @ GENERATOR.normal(size=4) + 3
HOLES = np.where(GENERATOR.random(X.shape) < 0.1, np.nan, X)
WORDS = GENERATOR.choice(["a", "b", "c", "d"], (60, 2), p=[0.4, 0.4, 0.15, 0.05]).astype(object)
COMMON = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}

QUANTILES = {"n_quantiles": 20, "output_distribution": "normal"}
STEPS = {
    "standard": (StandardScaler(), X),
    "without mean": (StandardScaler(with_mean=False), X),
    "range": (preprocessing.MinMaxScaler(clip=True), X),
    "largest": (preprocessing.MaxAbsScaler(), X),
    "robust": (RobustScaler(quantile_range=(10, 90)), X),
    "norm": (preprocessing.Normalizer("l1"), X),
    "threshold": (preprocessing.Binarizer(threshold=0.1), X),
    "mean": (SimpleImputer(add_indicator=True), HOLES),
    "constant": (SimpleImputer(strategy="constant", fill_value=-1.5), HOLES),
    "one-hot": (OneHotEncoder(sparse_output=False), WORDS),
    "rare": (
        OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist", drop="first"), WORDS,
    ),
    "float32": (OneHotEncoder(dtype=np.float32, sparse_output=False), WORDS),
    "ordinal": (
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), WORDS,
    ),
    "quantiles": (preprocessing.QuantileTransformer(**QUANTILES), X),
    "power": (preprocessing.PowerTransformer(), X),
    "polynomial": (preprocessing.PolynomialFeatures(2, include_bias=False), X),
    "bins": (preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), X),
    "target": (preprocessing.TargetEncoder(), WORDS),
    "components": (PCA(2), X),
    "decomposition": (TruncatedSVD(2, random_state=0), X),
    "varying": (VarianceThreshold(0.1), X),
    "function": (FunctionTransformer(np.expm1, inverse_func=np.log1p), X),
    "nothing": (FunctionTransformer(), X),
    "passthrough": ("passthrough", X),
    "two at once": (make_union(StandardScaler(), make_pipeline(PCA(1), RobustScaler())), X),
    "by position": (
        make_column_transformer(
            (StandardScaler(), [0, 1]), ("drop", slice(2, 3)), remainder="passthrough"
        ), X,
    ),
}  # fmt: skip


def pipeline(step, x, y=LABELS):
    return make_pipeline(step, MLPClassifier(**COMMON)).fit(x, y)


def frame():
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    columns = {name: HOLES[:, i] for i, name in enumerate("abc")}
    return pandas.DataFrame(columns | {"kind": WORDS[:, 0], "label": WORDS[:, 1]})


def of_frame():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include=np.number)),
        (OneHotEncoder(handle_unknown="ignore"), ["kind", "label"]),
    )
    return make_pipeline(columns, MLPClassifier(**COMMON))


def again(model, tmp_path, **options):
    """The model after a way through a file."""
    return xpnn.load(xpnn.save(model, tmp_path / "m", **options))


@pytest.mark.parametrize("name", STEPS)
def test_a_pipeline_predicts_the_same_bits(name, tmp_path):
    step, x = STEPS[name]
    model = pipeline(step, x)
    path = xpnn.save(model, tmp_path / "m", {"by": "me"})
    found = xpnn.load(path)
    assert found.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()
    assert found.predict(x).tolist() == model.predict(x).tolist()
    assert read_record(path) == {"by": "me"}
    assert xpnn.save(found, tmp_path / "again", {"by": "me"}).read_bytes() == path.read_bytes()


def test_columns_of_a_frame(tmp_path):
    table = frame()
    model = of_frame().fit(table, LABELS)
    found = again(model, tmp_path)
    assert found.predict_proba(table).tobytes() == model.predict_proba(table).tobytes()
    assert found[0].get_feature_names_out().tolist() == model[0].get_feature_names_out().tolist()
    swapped = table[table.columns[::-1]]
    assert found.predict(swapped).tolist() == model.predict(swapped).tolist()
    found.fit(table, LABELS)  # what was asked for came along, not only what was learned
    assert found.predict_proba(table).tobytes() == model.predict_proba(table).tobytes()


def test_frames_that_come_out(tmp_path):
    table = frame()[["a", "b"]].fillna(0)
    model = make_pipeline(StandardScaler(), MLPRegressor(**COMMON)).set_output(transform="pandas")
    model.fit(table, VALUES)
    found = again(model, tmp_path)
    assert list(found[0].transform(table)) == ["a", "b"]
    assert found.predict(table).tobytes() == model.predict(table).tobytes()


def test_a_target_that_is_transformed(tmp_path):
    inner = make_pipeline(StandardScaler(), MLPRegressor(**COMMON))
    outer = make_pipeline(StandardScaler(), TransformedTargetRegressor(MLPRegressor(**COMMON)))
    for model in (TransformedTargetRegressor(inner, transformer=StandardScaler()), outer):
        model.fit(X, VALUES)
        assert again(model, tmp_path).predict(X).tobytes() == model.predict(X).tobytes()


def test_two_estimators_in_one_file(tmp_path):
    features = FeatureUnion(
        [(n, MLPClassifier(**COMMON | {"random_state": i})) for i, n in enumerate("ab")]
    )
    model = make_pipeline(features, Perceptron(random_state=0)).fit(X, LABELS)
    found = again(model, tmp_path)
    assert found.decision_function(X).tobytes() == model.decision_function(X).tobytes()
    one, other = (step for _, step in found[0].transformer_list)
    assert not (one.coefs_[0] == other.coefs_[0]).all()


def test_it_goes_on_learning_the_same(tmp_path):
    model = make_pipeline(StandardScaler(), MLPClassifier(**COMMON)).fit(X, LABELS)
    found = again(model, tmp_path)
    for pipe in (model, found):
        pipe[-1].partial_fit(pipe[0].transform(X), LABELS)
    assert found.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()


def test_where_a_pipeline_lives(backend, tmp_path):
    x = backend.asarray(X)
    inner = MLPClassifier(
        **COMMON, backend=backend.name, device=str(backends.device_name(backend.device))
    )
    model = make_pipeline(StandardScaler(), inner).fit(X, LABELS)
    path = xpnn.save(model, tmp_path / "m")
    found = xpnn.load(path)
    assert backends.library_name(backends.namespace(w=found[-1].coefs_[0])) == backend.name
    host = xpnn.load(path, "numpy", dtype="float32")
    assert host[-1].coefs_[0].dtype == "float32"
    assert isinstance(host[-1].coefs_[0], np.ndarray)
    assert np.allclose(host.predict_proba(X), backends.to_host(found.predict_proba(X)), atol=1e-4)
    assert x.shape == X.shape


# For inference


def test_for_inference_leaves_the_optimizer_out(tmp_path):
    given = {"hidden_layer_sizes": (200,), "early_stopping": True, "validation_fraction": 0.2}
    model = MLPClassifier(**COMMON | given).fit(X, LABELS)
    whole = xpnn.save(model, tmp_path / "whole")
    small = xpnn.save(model, tmp_path / "small", for_inference=True)
    bytes_of_parameters = sum(w.nbytes for w in [*model.coefs_, *model.intercepts_])
    assert whole.stat().st_size > 3 * bytes_of_parameters
    assert small.stat().st_size < bytes_of_parameters + 4_000
    found = xpnn.load(small)
    assert found.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    pipe = make_pipeline(StandardScaler(), MLPClassifier(**COMMON | {"hidden_layer_sizes": (200,)}))
    pipe.fit(X, LABELS)
    sizes = [xpnn.save(pipe, tmp_path / "p", for_inference=b).stat().st_size for b in (0, 1)]
    assert sizes[0] > 2 * sizes[1]


def test_a_model_for_inference_can_begin_to_learn_anew(tmp_path):
    model = MLPClassifier(**COMMON).fit(X, LABELS)
    found = again(model, tmp_path, for_inference=True)
    before = found.coefs_[0].copy()
    assert np.isfinite(found.partial_fit(X, LABELS).loss_)
    assert not (found.coefs_[0] == before).all()


# What cannot be saved


class OwnScaler(StandardScaler):
    pass


def double(x):
    return 2 * x


def unknown():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)


def nested():
    return pipeline(make_union(StandardScaler(), make_pipeline(KNNImputer())), X)


KNN = (
    r"the step 'knnimputer' is a sklearn\.impute\._knn\.KNNImputer, which cannot be saved; "
    "expected one of .*SimpleImputer"
)
FUNCTION = r"pipeline\.steps\.func holds <function double at .*, which cannot be saved"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pipeline(KNNImputer(), X), KNN),
        (lambda: pipeline(OwnScaler(), X), r"the step 'ownscaler' is a .*\.OwnScaler, which"),
        (nested, r"the step 'featureunion\.pipeline\.knnimputer' is a"),
        (lambda: pipeline(FunctionTransformer(double), X), FUNCTION),
        (unknown, "the step 'logisticregression' is a .*LogisticRegression, which cannot be saved"),
        (
            lambda: make_pipeline(StandardScaler(), MLPClassifier()),
            "Pipeline is not fitted; call f",
        ),
        (lambda: StandardScaler().fit(X), "a .*StandardScaler cannot be saved; expected one of Ne"),
    ],
)
def test_what_cannot_be_saved_is_named(make, message, tmp_path):
    with pytest.raises(ModelFileError, match=message):
        xpnn.save(make(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_function_in_a_column_transformer_is_named(tmp_path):
    columns = ColumnTransformer([("own", StandardScaler(), lambda f: ["c"])])
    model = make_pipeline(columns, MLPClassifier(**COMMON)).fit(frame().fillna(0), LABELS)
    message = r"transformers holds <function .*<lambda> at .*, which cannot be saved"
    with pytest.raises(ModelFileError, match=message):
        xpnn.save(model, tmp_path / "m")


# Files that contradict themselves


def step_of(header):
    return header["pipeline"]["step"]


def scaler_of(header):
    """The first step: a scaler, in the steps of the pipeline's parameters."""
    return step_of(header)["parameters"]["steps"][0]["tuple"][1]


def put(place, key, value):
    def change(header):
        place(header)[key] = value
        return header

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {**h, "pipeline": 3}, "its pipeline is 3"),
        (put(step_of, "transformer", "Popen"), "pipeline is a step of the class 'Popen'; expected"),
        (put(step_of, "transformer", "PCA"), "unexpected keyword"),
        (put(scaler_of, "transformer", ["a"]), "cannot be made: unhashable"),
        (put(scaler_of, "fitted", {"transform": 1}), "the fitted attribute 'transform', which no"),
        (put(scaler_of, "fitted", {"__class__": 1}), "the fitted attribute '__class__', which no"),
        (put(scaler_of, "fitted", {"fit_transform": {"type": "int"}}), "'fit_transform', which no"),
        (put(scaler_of, "parameters", {"with_mean": {"type": "os"}}), "cannot be made: 'os'"),
        (put(scaler_of, "parameters", {"copy": {"ufunc": "load"}}), "'load' is no function"),
        (put(scaler_of, "parameters", {"copy": {"ufunc": "os"}}), "cannot be made: "),
        (lambda h: {**h, "pipeline": {**h["pipeline"], "step": None}}, "pipeline is a NoneType"),
        (
            lambda h: {**h, "pipeline": {**h["pipeline"], "step": scaler_of(h)}},
            "its pipeline is a StandardScaler",
        ),
    ],
)
def test_a_pipeline_that_contradicts_itself(change, message, tmp_path):
    path = xpnn.save(pipeline(StandardScaler(), X), tmp_path / "m")
    other = sealing.edited(path, tmp_path / "other", change)
    with pytest.raises(ModelFileError, match=message) as error:
        xpnn.load(other)
    assert str(error.value).startswith(f"{other}: ")


def test_another_version_of_scikit_learn_is_a_warning(tmp_path):
    model = pipeline(StandardScaler(), X)
    path = xpnn.save(model, tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xpnn.load(path)
    change = put(lambda header: header["pipeline"], "scikit-learn", "1.0")
    other = sealing.edited(path, tmp_path / "other", change)
    with pytest.warns(sklearn.exceptions.InconsistentVersionWarning, match=r"version 1\.0"):
        found = xpnn.load(other)
    assert found.predict(X).tolist() == model.predict(X).tolist()
