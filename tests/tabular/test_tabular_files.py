"""Tabular estimators in files: the same predictions, of any labels, from any version."""

import datetime
import io
import json
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import sealing
import xpnn
from xpnn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor
from xpnn.files import ModelFileError, read_record

pandas = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
ROWS, START = 120, pandas.Timestamp("2020-01-01")
FRAME = pandas.DataFrame(
    {
        "amount": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.normal(size=ROWS)),
        "flag": RNG.random(ROWS) < 0.5,
        "town": RNG.choice(["Rome", "Oslo", "none"], ROWS),
        "when": pandas.Timestamp("2020-01-01")
        + pandas.to_timedelta(RNG.integers(0, 999, ROWS), "h"),
        "note": [f"the {RNG.choice(['red', 'big'])} one no {i % 110}" for i in range(ROWS)],
        "zip": [f"{i % 7:05d}" for i in range(ROWS)],
    }
)
CODES = (FRAME["flag"] & (FRAME["town"] != "Oslo")).to_numpy().astype(int) + np.arange(ROWS) % 2
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


def classifier(labels=CODES, **options):
    network = MLPClassifier(**SMALL)
    return TabularClassifier(network, random_state=0, **options).fit(FRAME, labels)


def saved(model, path):
    found = xpnn.load(xpnn.save(model, path, {"by": "me"}))
    assert read_record(path) == {"by": "me"}
    assert type(found) is type(model)
    assert xpnn.save(found, path.with_name("again"), {"by": "me"}).read_bytes() == path.read_bytes()
    return found


INTERVALS = pandas.cut(pandas.Series(CODES), [-1, 0, 1, 2])
LABELS = {
    "text": np.asarray(["no", "yes", "größer"])[CODES],
    "objects": np.asarray(["no", "yes", "größer"], object)[CODES],
    "booleans": CODES > 0,
    "int8": CODES.astype("int8"),
    "uint64": CODES.astype("uint64") + np.uint64(2**63),
    "floats": CODES.astype("float32"),
    "intervals": INTERVALS,
    "decimals": [Decimal(int(code)) / 4 for code in CODES],
    "timestamps": START + pandas.to_timedelta(CODES, "D"),
    "dates": [datetime.date(2020, 1, 1 + int(code)) for code in CODES],
    "nullable": pandas.array(CODES, "Int64"),
    "categories": pandas.Categorical(np.asarray(["b", "a", "c"])[CODES]),
    "mixed": np.asarray([1, "one", True], object)[CODES],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind(kind, tmp_path):
    model = classifier(LABELS[kind])
    found = saved(model, tmp_path / "m")
    assert found.classes_.dtype == model.classes_.dtype
    assert list(map(type, found.classes_)) == list(map(type, model.classes_))
    assert found.classes_.tolist() == model.classes_.tolist()
    assert found.predict(FRAME).tolist() == model.predict(FRAME).tolist()
    assert found.predict_proba(FRAME).tobytes() == model.predict_proba(FRAME).tobytes()
    assert found.class_prior_.tolist() == model.class_prior_.tolist()


def test_labels_that_no_file_holds_are_named(tmp_path):
    model = classifier([Fraction(int(code), 3) for code in CODES])
    message = r"the label Fraction\(0, 1\) is a Fraction, which cannot be saved"
    with pytest.raises(ModelFileError, match=message):
        xpnn.save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_a_regressor(loss, tmp_path):
    y = FRAME["amount"].fillna(0).abs() * 1e6 + 5
    model = TabularRegressor(MLPRegressor(loss=loss, **SMALL), random_state=0)
    model.fit(FRAME, y.rename("price"))
    found = saved(model, tmp_path / "m")
    assert found.predict(FRAME).tobytes() == model.predict(FRAME).tobytes()
    assert (found.target_name_, found.target_scale_) == ("price", model.target_scale_)
    found.fit(FRAME, y)  # and it can be fitted anew
    assert found.predict(FRAME).tobytes() == model.predict(FRAME).tobytes()


def test_parameters_and_columns_come_back(tmp_path):
    types = {"zip": "categorical", "note": "ignored"}
    model = classifier(column_types=types, validation_fraction=None)
    found = saved(model, tmp_path / "m")
    assert found.column_types == types
    assert found.validation_fraction is None
    assert found.random_state == 0
    assert found.estimator.get_params() == model.estimator.get_params()
    assert found.preprocessor_.columns_ == model.preprocessor_.columns_
    assert found.feature_names_in_.tolist() == list(FRAME)
    small = xpnn.load(xpnn.save(model, tmp_path / "s", for_inference=True))
    assert (tmp_path / "s").stat().st_size < (tmp_path / "m").stat().st_size
    assert small.predict(FRAME).tolist() == model.predict(FRAME).tolist()


def test_weights_of_classes_name_labels_again(tmp_path):
    labels = np.asarray([-1, 0, 1])[CODES]
    network = MLPClassifier(**SMALL, class_weight={0: 5.0})
    model = TabularClassifier(network, random_state=0).fit(FRAME, labels)
    found = saved(model, tmp_path / "m")
    assert found.estimator.class_weight == {0: 5.0}
    expected = model.predict_proba(FRAME).tobytes()
    assert found.fit(FRAME, labels).predict_proba(FRAME).tobytes() == expected


def test_rows_of_an_array(tmp_path):
    x = RNG.normal(size=(50, 3))
    model = TabularClassifier(MLPClassifier(**SMALL), random_state=0).fit(x, x[:, 0] > 0)
    found = saved(model, tmp_path / "m")
    assert "feature_names_in_" not in vars(found)
    assert found.predict(x).tolist() == model.predict(x).tolist()


def put(*keys, value):
    """Change a value of the header."""

    def change(header):
        place = header["tabular"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return header

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("class", value="Pipeline"), "the tabular estimator is "),
        (put("columns", 0, "kind", value="image"), "column 0: a 'image'"),
        (put("columns", 0, "scale", value={"tuple": [0.0]}), "column 0: scale is "),
        (put("columns", 0, "scale", value={"tuple": []}), "column 0: a 'numeric' with "),
        (put("columns", 0, "fill", value={"tuple": [{"float": "nan"}]}), "are not finite"),
        (put("columns", 0, "high", value="x"), "column 0: high is 'x'"),
        (put("columns", 2, "values", value={"tuple": ["a", "a"]}), "column 2: a value is there"),
        (put("columns", 0, "more", value=1), "column 0 is "),
        (put("columns", value=[]), "the network takes "),
        (put("classes", "labels", value=[["int", 0], ["int", 1]]), "there are 2 labels"),
        (put("classes", "labels", value=[["Path", "/"]] * 3), "cannot be made: 'Path'"),
        (put("classes", "dtype", value="V8"), "labels of the dtype"),
        (put("prior", value=[1.0]), "there are 3 labels"),
        (put("parameters", "validation_fraction", value=7), "validation_fraction is 7"),
    ],
)
def test_what_contradicts_itself_is_refused(change, message, tmp_path):
    path = xpnn.save(classifier(), tmp_path / "m")
    other = sealing.edited(path, tmp_path / "other", change)
    with pytest.raises(ModelFileError, match=message):
        xpnn.load(other)


def test_once_round_everything(tmp_path, monkeypatch):
    """Train from CSV; evaluate, predict and export from elsewhere; load under another version."""
    polars = pytest.importorskip("polars", reason="polars is not installed")
    onnx = pytest.importorskip("onnxruntime", reason="only development installs it")
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    monkeypatch.chdir(tmp_path)
    frame = FRAME.drop(columns="note").assign(sold=np.asarray(["no", "yes", "maybe"])[CODES])
    frame.to_csv("train.csv", index=False)
    frame[frame.columns[::-1]].to_parquet("turned.parquet")

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "xpnn", *words], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout

    command("train", "train.csv", "--target", "sold", "--epochs", "60", "-o", "m.safetensors")
    told = json.loads(command("evaluate", "m.safetensors", "turned.parquet", "--json"))
    model = xpnn.load("m.safetensors")
    rows = frame.drop(columns="sold")
    labels = model.predict(rows).tolist()
    assert told["accuracy"] == np.mean(labels == frame["sold"]) > told["baseline"]["accuracy"]
    said = pandas.read_csv(io.StringIO(command("predict", "m.safetensors", "turned.parquet")))
    assert said["predicted"].tolist() == labels
    assert model.predict(polars.from_pandas(rows)).tolist() == labels

    command("export", "m.safetensors", "--onnx", "m.onnx")
    session = onnx.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        "amount": rows["amount"].to_numpy("float64"),
        "flag": rows["flag"].to_numpy("float64"),
        "town": rows["town"].to_numpy(object),
        "when": rows["when"].to_numpy().astype("datetime64[s]").astype("int64"),
        "zip": rows["zip"].to_numpy(object),
    }
    found = session.run(["label"], {name: column[:, None] for name, column in feeds.items()})
    assert found[0].tolist() == labels

    rows.to_parquet("rows.parquet")
    other = (
        "import sklearn; sklearn.__version__ = '99.0'\n"
        "import json, warnings, pandas, xpnn\n"
        "warnings.simplefilter('error')\n"
        "model = xpnn.load('m.safetensors')\n"
        "print(json.dumps(model.predict(pandas.read_parquet('rows.parquet')).tolist()))\n"
    )
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == labels
