"""A table's model as an ONNX model that takes raw rows."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from onnx_models import assert_values, known, metadata, run, runtime
from xpnn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor
from xpnn.estimators.onnx_export import to_onnx
from xpnn.export import OPSETS, OnnxError

runtime()
every_opset = pytest.mark.parametrize("opset", OPSETS)
NO_DATE = np.datetime64("NaT").astype("int64")


@every_opset
@pytest.mark.parametrize("hours", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_day_of_four_centuries(hours, opset):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    days = np.arange("1799-01-01", "2202-01-01", dtype="datetime64[D]")
    seconds = days.astype("datetime64[s]")
    if hours:
        seconds = seconds + np.arange(len(days)) * 7919 % 86400
    dates = pandas.Series(np.append(seconds, np.datetime64("NaT")))
    frame = pandas.DataFrame({"when": dates})
    month = dates.dt.month.fillna(0) + dates.dt.day_of_week.fillna(9)
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    model = TabularRegressor(network, random_state=0).fit(frame, month)
    given = dates.to_numpy().astype("datetime64[s]").astype("int64")[:, None]
    assert given[-1] == NO_DATE
    found = run(to_onnx(model, opset=known(opset)), {"when": given})["prediction"]
    assert_values(found, model.predict(frame), "float64", "float32")


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    source, rows = np.random.default_rng(0), 300
    start, days = pandas.Timestamp("1960-02-27"), source.integers(0, 30000, rows)
    noon = pandas.to_timedelta(source.integers(0, 86400, rows), unit="s")
    table = pandas.DataFrame({
        "age": source.normal(40, 10, rows),
        "town": source.choice([*"abUxy"], rows, p=[0.5, 0.3, 0.18, 0.01, 0.01]),
        "when": start + pandas.to_timedelta(days, unit="D") + noon,
        "new": source.random(rows) > 0.5,
        "grade": source.choice([1.5, 2, 3], rows),
        "same": 7,
    })  # fmt: skip
    table["day"] = table["when"].dt.normalize()
    table["fruit"] = np.where(table["town"] == "U", "fig", "größte Birne")
    table["price"] = 3e3 * table["grade"] + table["age"]
    table.loc[::7, "age"], table.loc[3, "age"] = np.nan, np.inf
    table.loc[::9, "town"], table.loc[::11, "when"] = None, pandas.NaT
    return table


def feeds(frame):
    """Raw rows as the documentation of `to_onnx` says."""
    words = {1.5: "1.5", 2.0: "2", 3.0: "3"}
    made = {
        "age": frame["age"].to_numpy("float64"),
        "town": frame["town"].astype(object).where(frame["town"].notna(), "").to_numpy(object),
        "new": frame["new"].to_numpy("float64"),
        "grade": frame["grade"].map(words).to_numpy(object),
    }
    for name in ("when", "day"):
        made[name] = frame[name].astype("datetime64[s]").astype("int64").to_numpy()
    return {name: column[:, None] for name, column in made.items()}


def learned(frame, target, **options):
    other = {"fruit": "price", "price": "fruit"}[target]
    network, kind = MLPClassifier, TabularClassifier
    if target == "price":
        network, kind = MLPRegressor, TabularRegressor
    options = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0} | options
    model = kind(network(**options), column_types={"grade": "categorical"}, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that three epochs are few, and a column is constant
        return model.fit(frame.drop(columns=[other, target]), frame[target])


@every_opset
def test_raw_rows_in_labels_out(frame, opset):
    model = learned(frame, "fruit")
    frame.loc[:9, "town"], frame.loc[10:14, "town"] = "Xanten", "N/A"
    exported = to_onnx(model, opset=known(opset))
    found, frame = run(exported, feeds(frame)), frame.drop(columns=["fruit", "price"])
    assert found["label"].tolist() == model.predict(frame).tolist()
    assert_values(found["probabilities"], model.predict_proba(frame), "float32")
    assert {key: json.loads(text) for key, text in metadata(exported).items()} == {
        "feature_names": ["age", "town", "when", "new", "grade", "day"],
        "class_names": ["fig", "größte Birne"],
        "target": ["fruit"],
    }
    assert exported.doc_string == repr(model)


@every_opset
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_raw_rows_in_values_out(frame, opset, loss):
    model = learned(frame, "price", loss=loss)
    found, frame = (
        run(to_onnx(model, opset=known(opset)), feeds(frame)),
        frame.drop(columns=["fruit", "price"]),
    )
    # In float64, as the target's mean and scale are, but of a network in float32.
    assert_values(found["prediction"], model.predict(frame), "float64", "float32")


def test_a_boolean_of_another_number_is_missing(frame):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = pandas.DataFrame({"flag": frame["new"].astype("boolean"), "age": frame["price"]})
    rows.loc[::5, "flag"] = pandas.NA
    network = MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TabularRegressor(network, random_state=0).fit(rows, frame["price"])
    flag = rows["flag"].to_numpy("float64", na_value=np.nan)
    flag[:20] = 2.0
    given = {"flag": flag[:, None], "age": rows["age"].to_numpy("float64")[:, None]}
    with pytest.warns(UserWarning, match="column 'flag': 20 cells cannot be read as boolean"):
        expected = model.predict(rows.assign(flag=flag))
    assert_values(run(to_onnx(model), given)["prediction"], expected, "float64", "float32")


def test_what_is_refused(frame):
    model = learned(frame, "price")
    with pytest.raises(OnnxError, match="input_dtype is 'float32'; a table's numbers are float64"):
        to_onnx(model, input_dtype="float32")
    with pytest.raises(ValueError, match="not fitted"):
        to_onnx(TabularRegressor())
    empty = frame.assign(town=frame["town"].where(frame.index % 8 > 0, ""))
    with pytest.raises(OnnxError, match="column 'town' has missing cells and empty texts"):
        to_onnx(learned(empty, "price"))
    frame["note"] = [f"a big red {i % 200} with a note" for i in range(len(frame))]
    with pytest.raises(OnnxError, match="column 'note' is text, whose words ONNX cannot find"):
        to_onnx(learned(frame, "price"))
