"""Estimators behind scikit-learn's preprocessing as ONNX models that take raw rows."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from beside_sklearn import quietly
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from onnx_models import assert_values, known, metadata, run, runtime
from xpnn import MLPClassifier, MLPRegressor
from xpnn.estimators import to_onnx
from xpnn.export import OPSETS, OnnxError

runtime()
every_opset = pytest.mark.parametrize("opset", OPSETS)
ROWS = 120
NUMBERS = ["age", "income"]
TEXTS = ["town", "size"]


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    source = np.random.default_rng(0)
    table = pandas.DataFrame({
        "age": source.normal(40, 12, ROWS),
        "income": source.normal(3e4, 1e4, ROWS),
        "town": source.choice(["Bonn", "Köln", "Ulm", "Aachen"], ROWS, p=[0.5, 0.3, 0.15, 0.05]),
        "size": source.choice(["S", "M", "L"], ROWS).astype(object),
        "rooms": source.integers(1, 5, ROWS),
        "new": source.random(ROWS) > 0.5,
    })  # fmt: skip
    table.loc[::7, "age"] = np.nan
    return table


def target(frame):
    return (frame["income"] + 5e3 * (frame["town"] == "Ulm") > 3e4).to_numpy().astype(int)


def feeds(frame, dtype="float64"):
    """Raw rows for the runtime: text with "" for what is missing, all else floats."""
    made = {}
    for name in frame.columns:
        column = frame[name]
        if name in TEXTS:
            values = column.astype(object).where(column.notna(), "").to_numpy(object)
        else:
            values = column.to_numpy(dtype)
        made[name] = values[:, None]
    return made


def fitted(preprocessing, frame, **options):
    model = MLPClassifier((6,), random_state=0, max_iter=3, **options)
    return quietly(make_pipeline(preprocessing, model).fit, frame, target(frame))


def assert_same(pipeline, frame, names=None, **options):
    """What comes out of the preprocessing and of the whole, for raw rows of a frame."""
    model = to_onnx(pipeline, **options)
    given = feeds(frame)
    used = {entry.name for entry in model.graph.input}
    if names is not None:
        assert used == set(names)
    found = run(model, {name: given[name] for name in used})
    with warnings.catch_warnings():  # of unknown categories
        warnings.simplefilter("ignore", UserWarning)
        expected = pipeline.predict_proba(frame)
        labels = pipeline.predict(frame)
    assert found["label"].tolist() == labels.tolist()
    assert_values(found["probabilities"], expected, "float64")


def assert_same_array(pipeline, x, used=None, **options):
    """As `assert_same`, for an array whose columns have no names."""
    feeds = {"X": x} if used is None else {f"X{i}": x[:, [i]] for i in used}
    found = run(to_onnx(pipeline, **options), feeds)
    assert found["label"].tolist() == pipeline.predict(x).tolist()
    assert_values(found["probabilities"], pipeline.predict_proba(x), "float64")


def numbers_and(encoder, columns):
    """Numbers filled in and scaled, beside encoded columns."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("n", numbers, NUMBERS), ("c", encoder, columns)])


def strange(frame):
    """The same rows with values that were never seen."""
    other = frame.copy()
    other.loc[:9, "town"] = "Xanten"
    other.loc[5:14, "size"] = "XXL"
    other.loc[3:6, "rooms"] = 77
    other.loc[:, "age"] = other["age"] * 3 - 10
    return other


SCALERS = {
    "standard": StandardScaler(),
    "centred": StandardScaler(with_std=False),
    "divided": StandardScaler(with_mean=False),
    "min-max": MinMaxScaler(),
    "clipped": MinMaxScaler((-1, 2), clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust, divided": RobustScaler(with_centering=False),
    "robust, centred": RobustScaler(with_scaling=False),
    "as it is": "passthrough",
    "function": FunctionTransformer(),
}


@every_opset
@pytest.mark.parametrize("name", SCALERS)
def test_scalers(name, opset):
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(SCALERS[name], MLPClassifier((5,), random_state=0, max_iter=3))
    quietly(pipeline.fit, x, y)
    assert_same_array(pipeline, x * 2 - 1, opset=known(opset))  # beyond what was learned


IMPUTERS = {
    "mean": SimpleImputer(),
    "median, flagged": SimpleImputer(strategy="median", add_indicator=True),
    "constant": SimpleImputer(strategy="constant", fill_value=-1.0),
    "most frequent": SimpleImputer(strategy="most_frequent"),
    "kept": SimpleImputer(keep_empty_features=True),
    "other marker": SimpleImputer(missing_values=0.0, add_indicator=True),
}


@every_opset
@pytest.mark.parametrize("name", IMPUTERS)
def test_imputers(name, opset):
    x, y = load_iris(return_X_y=True)
    gone = 0.0 if name == "other marker" else np.nan
    x = np.column_stack([x[:, :2], np.full(len(x), gone), x[:, 2:]])
    x[::3, 0] = gone
    pipeline = make_pipeline(IMPUTERS[name], StandardScaler(), MLPRegressor(max_iter=2))
    with warnings.catch_warnings():  # of the empty column
        warnings.simplefilter("ignore", UserWarning)
        quietly(pipeline.fit, x, y)
        x[1::3, 3] = gone  # where nothing was missing before
        x[:5] = np.nan_to_num(x[:5])
        found = run(to_onnx(pipeline, opset=known(opset)), {"X": x})
        assert_values(found["prediction"], pipeline.predict(x), "float64")


ENCODERS = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "dense": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "drop first": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "drop if binary": OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
    "rare": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
    "rare, warned of": OneHotEncoder(handle_unknown="warn", min_frequency=30),
    "rare, ignored": OneHotEncoder(handle_unknown="ignore", min_frequency=30),
    "rare, dropped": OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=2, drop="first"
    ),
    "no rare ones": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=1),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal, rare": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=9, min_frequency=30
    ),
}


@every_opset
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name, frame, opset):
    """Text, integers and truth values, known ones and others."""
    columns = [*TEXTS, "rooms", "new"]
    pipeline = fitted(numbers_and(ENCODERS[name], columns), frame)
    for rows in (frame, strange(frame)):
        assert_same(pipeline, rows, [*NUMBERS, *columns], opset=known(opset))


@every_opset
def test_missing_categories(frame, opset):
    frame["town"] = frame["town"].astype(object)
    frame.loc[::5, "town"] = None
    frame.loc[::4, "size"] = np.nan
    frame["rooms"] = frame["rooms"].astype(float)
    frame.loc[::6, "rooms"] = np.nan
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    named = make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder())
    coded = OrdinalEncoder(encoded_missing_value=-5)
    preprocessing = ColumnTransformer(
        [("n", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
         ("c", OneHotEncoder(), [*TEXTS, "rooms"]), ("o", coded, [*TEXTS, "rooms"]),
         ("f", filled, ["size"]), ("?", named, ["size"])]
    )  # fmt: skip
    assert_same(fitted(preprocessing, frame), frame, opset=known(opset))


def test_rare_missing_categories(frame):
    frame["rooms"] = frame["rooms"].astype(float)
    frame["size"] = frame["size"].astype(object)
    frame.loc[:2, "rooms"], frame.loc[3:5, "size"] = np.nan, None
    columns = ["rooms", "size", "town"]
    rare = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    pipeline = fitted(ColumnTransformer([("c", rare, columns)]), frame)
    assert_same(pipeline, frame)
    assert_same(pipeline, strange(frame))
    coded = OrdinalEncoder(min_frequency=10, encoded_missing_value=-3)
    assert_same(fitted(ColumnTransformer([("c", coded, columns)]), frame), frame)


def test_an_unknown_category_fails_where_the_encoder_fails(frame):
    for encoder in (OneHotEncoder(), OrdinalEncoder()):
        preprocessing = ColumnTransformer([("c", encoder, ["town", "rooms"])])
        pipeline = fitted(preprocessing, frame)
        assert_same(pipeline, frame)
        model, given = to_onnx(pipeline), feeds(strange(frame))
        for name in ("town", "rooms"):
            mixed = {n: feeds(frame)[n] for n in ("town", "rooms")} | {name: given[name]}
            with pytest.raises(Exception, match=r"out of data bounds|out of bounds"):
                run(model, mixed)


def test_columns_nested_reordered_dropped_and_passed_on(frame):
    inner = ColumnTransformer(
        [("a", "passthrough", ["rooms"]), ("s", StandardScaler(), ["income"])]
    )
    preprocessing = ColumnTransformer(
        [("t", OneHotEncoder(handle_unknown="ignore"), ["town"]),
         ("inner", inner, ["income", "rooms"]), ("again", MinMaxScaler(), ["rooms", "income"]),
         ("none", StandardScaler(), []), ("gone", "drop", ["age"])],
    )  # fmt: skip
    pipeline = fitted(preprocessing, frame)
    assert_same(pipeline, frame, ["town", "income", "rooms"])
    rest = ColumnTransformer([("gone", "drop", [*TEXTS, "age"])], remainder=StandardScaler())
    assert_same(fitted(rest, frame), frame, ["income", "rooms", "new"])
    nested = Pipeline([("first", Pipeline([("c", rest), ("s", MinMaxScaler())])), ("p", None)])
    assert_same(fitted(nested, frame), frame, ["income", "rooms", "new"])
    by_number = ColumnTransformer([("n", StandardScaler(), [4, 1]), ("t", OneHotEncoder(), [2])])
    assert_same(fitted(by_number, frame), frame, ["rooms", "income", "town"])


def test_columns_of_an_array():
    x, y = load_iris(return_X_y=True)
    columns = ColumnTransformer([("s", StandardScaler(), slice(0, 2)), ("m", MinMaxScaler(), [3])])
    pipeline = quietly(make_pipeline(columns, MLPClassifier((4,), max_iter=2)).fit, x, y)
    assert_same_array(pipeline, x, (0, 1, 3))


def test_text_alone(frame):
    table = frame[TEXTS].to_numpy(object)
    pipeline = make_pipeline(OneHotEncoder(), MLPClassifier((4,), max_iter=2, random_state=0))
    assert_same_array(quietly(pipeline.fit, table, target(frame)), table)


def test_dtypes(frame):
    frame = frame[[*NUMBERS, *TEXTS]]
    single = fitted(numbers_and(OneHotEncoder(), TEXTS), frame, dtype="float32")
    expected = single.predict_proba(frame)
    for dtype in ("float64", "float32"):
        found = run(to_onnx(single, input_dtype=dtype), feeds(frame, dtype))
        assert_values(found["probabilities"], expected, "float32")
    with pytest.raises(OnnxError, match="input_dtype is 'float16'; preprocessing needs"):
        to_onnx(single, input_dtype="float16")


REFUSED = [
    (Normalizer(), "a step of the class sklearn.preprocessing.*Normalizer cannot be written"),
    (FunctionTransformer(np.tanh), "FunctionTransformer with the function .* it is code"),
    (
        ColumnTransformer([("a", StandardScaler(), [0])], transformer_weights={"a": 2}),
        "with transformer_weights cannot be written",
    ),
    (
        ColumnTransformer([("a", OneHotEncoder(), [2]), ("b", "passthrough", [2, 0])]),
        "column 2 is taken for text by one step and for numbers by another",
    ),
]


@pytest.mark.parametrize(("step", "message"), REFUSED)
def test_steps_that_are_refused(step, message, frame, tmp_path):
    step.fit(frame if isinstance(step, ColumnTransformer) else frame[["rooms", "income"]])
    model = quietly(MLPClassifier(max_iter=1).fit, np.ones((4, 6)), [0, 1, 0, 1])
    with pytest.raises(OnnxError, match=message):
        to_onnx(make_pipeline(step, model), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_steps_that_are_not_fitted():
    model = quietly(MLPClassifier(max_iter=1).fit, np.ones((4, 2)), [0, 1, 0, 1])
    columns = ColumnTransformer([("s", StandardScaler(), [0, 1])])
    for step in (StandardScaler(), columns, OneHotEncoder()):
        with pytest.raises(NotFittedError):
            to_onnx(make_pipeline(step, model))
        with pytest.raises(NotFittedError):
            to_onnx(make_pipeline(StandardScaler().fit(np.ones((2, 2))), step, model))


def test_categories_that_are_refused(frame):
    frame["town"] = frame["town"].astype(object)
    frame.loc[:9, "town"], frame.loc[10:19, "town"] = None, ""
    columns = ColumnTransformer([("c", OneHotEncoder(), ["town"])])
    with pytest.raises(OnnxError, match="both a missing value and empty text"):
        to_onnx(fitted(columns, frame))
    frame["rooms"] = 2**60 + frame["rooms"]
    columns = ColumnTransformer([("c", OneHotEncoder(), ["rooms"])])
    with pytest.raises(OnnxError, match="a category beyond 9007199254740992"):
        to_onnx(fitted(columns, frame))


def test_columns_may_have_any_name():
    """Names of our outputs, of inner values and of operators, and none at all."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    names = ["label", "probabilities", "label_2", "scores", "sub", "classes", "constant", "X", ""]
    x = np.random.default_rng(0).normal(size=(50, len(names)))
    frame = pandas.DataFrame(x, columns=names)
    columns = ColumnTransformer([("s", StandardScaler(), names)])
    y = np.asarray(["label", "", "sub"])[np.abs(x[:, :3]).argmax(axis=1)]
    model = MLPClassifier((4,), max_iter=5, random_state=0)
    pipe = quietly(make_pipeline(columns, model).fit, frame, y)
    model = to_onnx(pipe)
    assert [value.name for value in model.graph.input] == [*names[:-1], "input"]
    outputs = json.loads(metadata(model)["outputs"])
    assert outputs == {"label": "label_3", "probabilities": "probabilities_2"}
    assert [value.name for value in model.graph.output] == list(outputs.values())
    given = {name or "input": frame[[name]].to_numpy() for name in names}
    label, probabilities = run(model, given).values()
    assert list(label) == list(pipe.predict(frame))
    np.testing.assert_allclose(probabilities, pipe.predict_proba(frame), rtol=1e-6)
    assert json.loads(metadata(model)["feature_names"]) == names
