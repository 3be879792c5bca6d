"""A table's model as an ONNX model that takes raw rows."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_models import assert_values, known, metadata, run, runtime
from xpnn.estimators.onnx_export import to_onnx
from xpnn.estimators.onnx_table import NO_DATE, add_table
from xpnn.export import OPSETS, OnnxError
from xpnn.export.onnx_graph import Graph

runtime()
every_opset = pytest.mark.parametrize("opset", OPSETS)


def date_code(hours):
    """A date's code that leaves the numbers as they are, but for what is missing: -1."""
    count = 5 if hours else 4
    column = SimpleNamespace(name="when", kind="date", hours=hours, parts=("",) * count)
    return SimpleNamespace(
        column=column, fill=(-1.0,) * count, mean=(0.0,) * count, scale=(1.0,) * count, flag=True
    )


@every_opset
@pytest.mark.parametrize("hours", [False, True])
def test_every_day_of_four_centuries(hours, opset):
    days = np.arange("1799-01-01", "2202-01-01", dtype="datetime64[D]")
    seconds = days.astype("datetime64[s]") + np.arange(len(days)) * 7919 % 86400
    graph = Graph(known(opset))
    features = add_table(graph, [date_code(hours)])
    graph.output(features, "features", np.float32, 6 if hours else 5)
    given = np.append(seconds, np.datetime64("NaT")).astype("int64")[:, None]
    assert given[-1] == NO_DATE
    found = run(graph.model("dates", "", {}), {"when": given})["features"]
    months = days.astype("datetime64[M]").astype(int)
    since = days.astype(int)
    part = (seconds - days).astype(int)
    expected = [1970 + months // 12, 1 + months % 12, (since + 3) % 7, since + part / 86400]
    expected += [part / 3600] * hours
    np.testing.assert_array_equal(found[:-1, :3], np.column_stack(expected[:3]))
    np.testing.assert_array_equal(found[:-1, 3:-1], np.column_stack(expected[3:]).astype("f4"))
    assert found[-1].tolist() == [-1.0] * len(expected) + [1.0]
    assert not found[:-1, -1].any()


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
    tables = pytest.importorskip(
        "xpnn.estimators.table_model", reason="there are no models of tables in this version"
    )
    model = tables.TableModel(kinds={"grade": "category"})
    other = {"fruit": "price", "price": "fruit"}[target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that three epochs are few
        options = {"hidden_layer_sizes": (5,), "max_iter": 3} | options
        return model.fit(frame.drop(columns=other), target, **options)


@every_opset
def test_raw_rows_in_labels_out(frame, opset):
    model = learned(frame, "fruit")
    frame.loc[:9, "town"], frame.loc[10:14, "town"] = "Xanten", "N/A"
    exported = to_onnx(model, opset=known(opset))
    found, frame = run(exported, feeds(frame)), frame.drop(columns="price")
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
        frame.drop(columns="fruit"),
    )
    # In float64, as the target's mean and scale are, but of a network in float32.
    assert_values(found["prediction"], model.predict(frame), "float64", "float32")


def test_what_is_refused(frame):
    model = learned(frame, "price")
    with pytest.raises(OnnxError, match="input_dtype is 'float32'; a table's numbers are float64"):
        to_onnx(model, input_dtype="float32")
    with pytest.raises(OnnxError, match="the table's model has learned nothing yet; call fit"):
        to_onnx(type(model)())
