"""From a table to a model and back: train, predict, evaluate, inspect, plot, export."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from sklearn.exceptions import ConvergenceWarning

import xpnn as library
from xpnn.cli.scores import confusion_lines, learned, score_lines

TRAIN = "train pets.csv --hidden 16 --learning-rate 0.01 --epochs 30 -t"
PNG = b"\x89PNG"


def test_train_says_what_columns_are_and_how_good_the_model_is(xpnn, folder):
    out = xpnn.ok(TRAIN, "adopted --column-type days=ignored --plot")
    lines = out.splitlines()
    assert lines[0].startswith("age: numeric (float64), ")
    assert lines[1].startswith("kind: categorical (str), 3 values, ")
    assert lines[2:5] == [
        "tame: categorical (str), 2 values",
        "arrived: datetime (datetime64[us]), as year, month, weekday, days since 1970",
        "days: ignored: column_types says so",
    ]  # fmt: skip
    assert lines[5].startswith("adopted: target, 2 classes: home, waits")
    assert "rows: 216 for training, 24 for validation" in out
    assert "baseline (majority class, " in out
    for name in ("accuracy", "log-loss", "ROC AUC", "confusion matrix", "model: pets.safetensors"):
        assert name in out
    assert (folder / "pets.png").read_bytes().startswith(PNG)
    record = library.files.read_record("pets.safetensors")
    scores = record["validation"]
    assert scores["accuracy"] > scores["baseline"]["accuracy"]
    assert scores["log_loss"] < scores["baseline"]["log_loss"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "new.csv", "pets.csv", "pets.png", "pets.safetensors",
    ]  # fmt: skip


def test_the_old_words_are_gone(xpnn, trained):
    spoken = xpnn.ok("inspect pets.safetensors") + xpnn.ok("train --help")
    for word in ("left out", "yes/no", "pixel", "read as"):
        assert word not in spoken


def test_a_classification_goes_round(xpnn, trained, pandas):
    new = pandas.read_csv("new.csv")
    model = library.load("pets.safetensors")
    rows = new.drop(columns="adopted")
    found = pandas.read_csv(io.StringIO(xpnn.ok("predict pets.safetensors new.csv --proba")))
    assert list(found) == ["predicted", "p(home)", "p(waits)"]
    assert (found["predicted"] == model.predict(rows)).all()
    np.testing.assert_allclose(found.iloc[:, 1:], model.predict_proba(rows), rtol=1e-6)
    found = xpnn.json("predict pets.safetensors new.csv --proba")
    assert found["classes"] == ["home", "waits"]
    assert found["predicted"] == model.predict(rows).tolist()
    assert found["probabilities"] == model.predict_proba(rows).tolist()

    scores = xpnn.json("evaluate pets.safetensors new.csv")
    assert scores["accuracy"] == np.mean(found["predicted"] == new["adopted"])
    assert scores["accuracy"] > scores["baseline"]["accuracy"] + 0.1
    out = xpnn.ok("evaluate pets.safetensors new.csv")
    assert f"{scores['accuracy']:.4f}" in out
    assert "confusion matrix" in out

    told = xpnn.json("inspect pets.safetensors")
    assert told["class"] == "TabularClassifier"
    assert told["parameters"] == sum(p.size for p in [*model.estimator_.coefs_]) + 17
    assert [column["kind"] for column in told["columns"]][:2] == ["numeric", "categorical"]
    assert told["record"]["options"]["hidden_layer_sizes"] == [16]
    assert told["written_by"] == library.__version__
    out = xpnn.ok("inspect pets.safetensors")
    assert "16 to 1, logistic" in out
    assert "kind: categorical (str), 3 values" in out
    _, _, training = out.partition("\ntraining\n")
    lines = training.partition("\n\n")[0].splitlines()
    assert lines[0].startswith("  216 rows for training, 24 for validation, ")
    assert {"  hidden_layer_sizes: [16]", "  30 epochs"} <= set(lines)
    names = [line.partition(":")[0].strip() for line in lines[1:]]
    assert not {"options", "history", "rows"} & set(names)
    assert len(set(names)) == len(names)
    assert xpnn.ok("inspect pets.safetensors --quiet") == ""


def test_a_regression_goes_round(xpnn, folder, pandas):
    told = xpnn.json(TRAIN, "days --column-type adopted=ignored")
    assert (told["task"], told["model"]) == ("regression", "pets.safetensors")
    assert len(told["record"]["history"]["loss"]) == told["epochs"]
    scores = xpnn.json("evaluate pets.safetensors new.csv")
    assert scores["r2"] > 0.6 > scores["baseline"]["r2"]
    out = xpnn.ok("evaluate pets.safetensors new.csv")
    assert [line.split()[0] for line in out.splitlines()[3:6]] == ["R2", "MAE", "RMSE"]
    # Without --backend the command would compute on a GPU where there is one.
    answers = xpnn.json("predict pets.safetensors new.csv --backend numpy")
    expected = library.load("pets.safetensors").predict(
        pandas.read_csv("new.csv").drop(columns="days")
    )
    assert answers["predicted"] == expected.tolist()
    err = xpnn.error("predict pets.safetensors new.csv --proba")
    assert "the model has no probabilities: it predicts numbers" in err
    err = xpnn.error("plot pets.safetensors -k confusion --data new.csv")
    assert err.startswith("cannot draw 'confusion': ")
    assert "has no classes_" in err


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "npz"])
@pytest.mark.parametrize("proba", [True, False])
def test_predictions_go_into_files_in_the_order_of_rows(
    xpnn, trained, pandas, ending, proba, monkeypatch
):
    chunks = library.tabular.TableFile.chunks
    monkeypatch.setattr(
        library.tabular.TableFile, "chunks", lambda self, types=None: chunks(self, 7, types)
    )
    words = "--proba" if proba else ""
    out = xpnn.ok(f"predict pets.safetensors new.csv {words} -o said.{ending}")
    assert out == f"60 rows: said.{ending}\n"
    model = library.load("pets.safetensors")
    new = pandas.read_csv("new.csv").drop(columns="adopted")
    if ending == "npz":
        with np.load("said.npz") as found:
            predicted = found["predicted"]
            assert set(found) == {"predicted", *(["classes", "probabilities"] if proba else [])}
            if proba:
                assert found["classes"].tolist() == ["home", "waits"]
                np.testing.assert_allclose(found["probabilities"], model.predict_proba(new), 1e-5)
    else:
        read = pandas.read_parquet if ending == "parquet" else pandas.read_csv
        table = read("said." + ending, **({"sep": "\t"} if ending == "tsv" else {}))
        predicted = table["predicted"].to_numpy()
        assert table.shape == (60, 3 if proba else 1)
    assert (predicted == model.predict(new)).all()


@pytest.mark.parametrize("form", ["csv.gz", "csv.zst", "tsv", "parquet"])
def test_tables_of_every_format(xpnn, folder, pets, form):
    if form == "csv.zst":
        pytest.importorskip("zstandard", reason="tables need the extra 'tables'")
    if form == "parquet":
        pets.to_parquet("t.parquet")
    else:
        pets.to_csv(f"t.{form}", index=False, sep="\t" if form == "tsv" else ",")
    assert "kind: categorical (str), 3 values" in xpnn.ok(
        f"train t.{form} -t adopted --epochs 3 -o m.st"
    )
    assert xpnn.ok(f"predict m.st t.{form}").count("\n") == len(pets) + 1


def digit_files(form):
    """Digits in some format of arrays; the words that train on them."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x[:200].astype(np.uint8) * 15, y[:200]
    if form == "npz":
        np.savez("t.npz", X=x, y=y)
        return "t.npz"
    if form == "npy":
        np.save("t.npy", np.column_stack([x, y]))
        return "t.npy -t x64"
    if form == "idx":
        library.data.write_idx("t-images-idx3-ubyte", x.reshape(-1, 8, 8))
        library.data.write_idx("t-labels-idx1-ubyte", y.astype(np.uint8))
        return "t-images-idx3-ubyte"
    whole = np.zeros((200, 785), int)
    whole[:, 0], whole[:, 1:65] = y, x
    np.savetxt("t.csv", whole, fmt="%d", delimiter=",")
    return "t.csv"


@pytest.mark.parametrize(
    ("form", "target"), [("npz", "y"), ("npy", None), ("idx", "label"), ("digits", "label")]
)
def test_arrays_and_digits_of_every_format(xpnn, folder, form, target):
    words = digit_files(form)
    code, out, err = xpnn("train", words, "--epochs 20 --learning-rate 0.01 -o m.st")
    assert code == 0
    assert err.startswith("note: ignored columns: ")  # pixels that are always blank
    assert "(constant)" in err
    assert out.startswith(f"target: {target}, as such files have it\n") == (target is not None)
    assert "10 classes" in out
    assert xpnn.json("evaluate m.st", words.split()[0])["accuracy"] > 0.8
    if form == "idx":  # weights of images are drawn as images
        assert xpnn.json("plot m.st -k weights")["out"] == "m-weights.png"


def test_a_file_of_other_rows_is_measured_on(xpnn, folder):
    words = "train pets.csv -t adopted --epochs 3 --overwrite"
    record = xpnn.json(words, "--validation new.csv")["record"]
    assert (record["rows"], record["validation_rows"]) == (240, 60)
    assert "none for validation" in xpnn.ok(words, "--validation 0")
    told = xpnn.json(words, "--early-stopping --epochs 300 --learning-rate 0.1")
    assert told["converged"]
    assert told["epochs"] < 300


# Files that are written in other ways

EURO = "train euro.csv --decimal , --thousands . --day-first --epochs 3 -o m.st -q -t"


@pytest.fixture
def euro(pandas, tmp_path, monkeypatch):
    """A table in European notation as euro.csv, and the same in plain notation as plain.csv."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    price, month = source.integers(100_000, 9_999_999, 80) / 100, source.integers(1, 13, 80)
    frame = pandas.DataFrame(
        {
            "price": price,
            "day": pandas.to_datetime({"year": 2024, "month": month, "day": 5}),
            "code": month % 3 + 0.5,
            "sold": np.where(price > 50_000, 1, 0),
        }
    )
    frame.to_csv("plain.csv", index=False)
    frame["price"] = [
        f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in frame["price"]
    ]
    frame["code"] = [f"{value:.2f}".replace(".", ",") for value in frame["code"]]
    frame["day"] = frame["day"].dt.strftime("%d/%m/%Y")
    frame.to_csv("euro.csv", index=False, sep=";")
    return frame


def test_a_model_remembers_how_its_text_was_written(xpnn, euro):
    xpnn.ok(EURO, "sold --column-type code=categorical")
    expected = xpnn.ok("predict m.st euro.csv --proba")
    assert xpnn.ok("predict m.st plain.csv --proba --decimal . --month-first") == expected
    found = library.load("m.st").preprocessor_.columns_
    assert [column.kind for column in found] == ["numeric", "datetime", "categorical"]
    scores = xpnn.json("evaluate m.st euro.csv")
    assert scores["unknown_labels"] == 0
    xpnn.ok(EURO, "price --task regression --overwrite")
    scores = xpnn.json("evaluate m.st euro.csv")
    assert (scores["rows"], scores["task"]) == (80, "regression")


def test_labels_that_are_missing_are_so_in_evaluate_too(xpnn, folder, pets):
    pets["code"] = np.where(pets["adopted"] == "home", "1", "0")
    pets.loc[::3, "code"] = "NA"
    pets.drop(columns=["adopted", "days"]).to_csv("codes.csv", index=False)
    code, out, err = xpnn("train codes.csv -t code --epochs 3 -o c.st")
    assert (code, "2 classes: 0, 1" in out) == (0, True)
    assert err.count("note: ") == 2  # once of the words, once of the rows
    code, out, err = xpnn("evaluate c.st codes.csv --json")
    assert (code, json.loads(out)["rows"], json.loads(out)["unknown_labels"]) == (0, 200, 0)


def test_a_note_is_told_once(xpnn, trained, pets):
    pets.astype({"age": object}).assign(age=["old", *pets["age"][1:]]).astype(
        {"age": "string"}
    ).to_parquet("words.parquet")
    code, _, err = xpnn("predict pets.safetensors words.parquet --proba -o said.csv")
    assert code == 0
    assert err.count("1 cells cannot be read as numeric and count as missing, first 'old'") == 1


def test_labels_of_any_kind_go_into_files_as_text(xpnn, folder, pets, pandas):
    days = pandas.to_datetime(pets["arrived"]).dt.normalize().dt.to_period("Q").dt.start_time
    pets.assign(quarter=days).drop(columns="arrived").to_parquet("quarters.parquet")
    rows = pets.drop(columns="arrived")
    network = library.MLPClassifier(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model = library.TabularClassifier(network, random_state=0).fit(rows, days.tolist())
    library.save(model, "q.st")
    assert xpnn.ok("predict q.st quarters.parquet --proba -o q.npz --target quarter")
    with np.load("q.npz") as found:
        assert found["classes"].tolist() == [str(label) for label in model.classes_]
        assert set(found["predicted"]) <= set(found["classes"])
    assert xpnn.json("plot q.st --kind network")["kind"] == "network"


# Pictures


@pytest.mark.parametrize("kind", ["loss", "weights", "network", "confusion"])
def test_pictures_of_a_model(xpnn, trained, kind):
    told = xpnn.json("plot pets.safetensors --data new.csv --kind", kind)
    assert told["out"] == f"pets-{kind}.png"
    assert (trained / told["out"]).read_bytes().startswith(PNG)


def test_the_picture_that_fits(xpnn, trained):
    assert xpnn.json("plot pets.safetensors")["kind"] == "loss"
    assert xpnn.json("plot pets.safetensors --data new.csv")["kind"] == "confusion"
    ignored = " ".join(
        f"--column-type {name}=ignored" for name in ("kind", "tame", "adopted", "arrived")
    )
    xpnn.ok("train pets.csv -t days --epochs 2 -o p.st -q", ignored)
    err = xpnn.error("plot p.st -k regions --data new.csv")
    assert "a model of exactly two columns of numbers; this one uses 1" in err


def test_regions_of_two_columns(xpnn, folder, pandas, monkeypatch):
    x = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    table = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "side": np.where(x[:, 0] > 0, "r", "l")})
    table.loc[3, "a"] = np.nan
    table.to_csv("sides.csv", index=False)
    xpnn.ok("train sides.csv -t side --epochs 5 -q")
    table.loc[5, "side"] = "neither"
    table.to_csv("sides.csv", index=False)
    figures = []
    monkeypatch.setattr("xpnn.plots.save_figure", lambda f, path: figures.append(f) or path)
    code, out, err = xpnn("plot sides.safetensors --data sides.csv -o s.svg")
    assert (code, out) == (0, "regions: s.svg\n")
    assert err == (
        "note: 1 rows of unknown classes are ignored\n"
        "note: 1 rows with missing numbers are ignored\n"
    )
    drawn = [c for c in figures[0].axes[0].collections if isinstance(c, PathCollection)]
    assert [len(points.get_offsets()) for points in drawn] == [
        (table["side"].drop([3, 5]) == side).sum() for side in "lr"
    ]
    xpnn.ok("train sides.csv -t b --column-type side=ignored -o values.st --epochs 2 -q")
    assert xpnn.json("plot values.st --data sides.csv -k loss")["kind"] == "loss"


def test_pictures_of_a_history(xpnn, folder):
    told = xpnn.json("train pets.csv -t adopted --epochs 3 --checkpoint-every 1")
    (folder / "run.json").write_text(json.dumps(told))
    (folder / "list.json").write_text("[0.9, 0.5, 0.3]")
    for name in ("run.json", "list.json", "pets.checkpoint.safetensors"):
        assert xpnn.json("plot", name)["out"] == f"{name.rpartition('.')[0]}-loss.png"
    assert "'weights' is drawn from a model" in xpnn.error("plot run.json -k weights")


def test_a_model_goes_to_onnx(xpnn, trained, pandas):
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    told = xpnn.json("export pets.safetensors --onnx pets.onnx")
    assert [value["name"] for value in told["inputs"]] == ["age", "kind", "tame", "arrived"]
    assert told["opset"]["ai.onnx"] == 18
    out = xpnn.ok("export pets.safetensors --onnx pets.onnx --opset 19")
    assert "kind: string, n x 1" in out
    runtime = pytest.importorskip("onnxruntime", reason="only development installs it")
    new = pandas.read_csv("new.csv")
    seconds = pandas.to_datetime(new["arrived"]).to_numpy().astype("datetime64[s]")
    feeds = {
        "age": new["age"].to_numpy(np.float64),
        "kind": new["kind"].fillna("").to_numpy(object),
        "tame": new["tame"].to_numpy(object),
        "arrived": seconds.astype(np.int64),
    }
    session = runtime.InferenceSession("pets.onnx", providers=["CPUExecutionProvider"])
    labels = session.run(["label"], {k: v[:, None] for k, v in feeds.items()})[0]
    rows = new.drop(columns="adopted")
    assert labels.tolist() == library.load("pets.safetensors").predict(rows).tolist()


# Models that were not made by the command


def test_models_of_numbers(xpnn, folder):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x[:200] / 16, y[:200]
    np.savez("t.npz", X=x, y=y)
    net = library.Network(64, [8, "tanh", 10], seed=0)
    net.fit(x, y, epochs=3)
    library.save(net, "net.st", record={"rows": ["what", "a", "user", "likes"]})
    answers = xpnn.json("predict net.st t.npz --proba")
    assert answers["predicted"] == net.predict(x).tolist()
    np.testing.assert_allclose(answers["probabilities"], net.predict_proba(x), rtol=1e-6)
    assert xpnn.json("evaluate net.st t.npz")["accuracy"] == np.mean(net.predict(x) == y)
    told = xpnn.json("inspect net.st")
    assert (told["class"], told["parameters"]) == ("Network", 64 * 8 + 8 + 8 * 10 + 10)
    assert "loss: softmax_cross_entropy" in xpnn.ok("inspect net.st")
    assert xpnn.json("plot net.st")["kind"] == "weights"
    assert xpnn.json("plot net.st --data t.npz -k confusion")["out"] == "net-confusion.png"
    err = xpnn.error("plot net.st --data t.npz -k regions")
    assert "regions are drawn of models that xpnn train made" in err

    regressor = library.MLPRegressor(
        hidden_layer_sizes=(4,), solver="lbfgs", max_iter=300, random_state=0
    ).fit(x, x[:, 20])
    library.save(regressor, "r.st")
    np.savez("r.npz", X=x, y=x[:, 20])
    score = xpnn.json("evaluate r.st r.npz")["r2"]
    assert score == pytest.approx(regressor.score(x, x[:, 20]), abs=1e-6)
    err = xpnn.error("predict r.st new.csv")
    assert "has 6 columns beside the target; the model takes 64 numbers" in err
    x[7, 3] = np.nan
    np.savez("r.npz", X=x, y=x[:, 20])
    err = xpnn.error("predict r.st r.npz")
    assert "row 7, column 'x3': found np.float64(nan); expected a number; this model" in err


@pytest.mark.parametrize(
    ("outputs", "loss", "message"),
    [
        (1, "mean_squared_error", ""),
        (1, "binary_cross_entropy", ""),
        (1, "hinge", "has no probabilities: its loss is 'hinge'"),
        (2, "mean_squared_error", "the network predicts 2 things at once; expected one"),
    ],
)
def test_networks_of_other_losses(outputs, loss, message, xpnn, folder):
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savez("t.npz", X=x, y=(x[:, 0] > 0).astype(float))
    net = library.Network(3, [outputs], loss=loss, seed=0)
    library.save(net, "net.st")
    if outputs == 1:
        found = xpnn.json("predict net.st t.npz")["predicted"]
        assert found == pytest.approx(np.asarray(net.predict(x)).reshape(-1).tolist())
    if loss == "binary_cross_entropy":
        found = xpnn.json("predict net.st t.npz --proba")["probabilities"]
        positive = net.predict_proba(x).reshape(-1)
        np.testing.assert_allclose(found, np.stack([1 - positive, positive], 1), rtol=1e-6)
    if message:
        assert message in xpnn.error("predict net.st t.npz --proba")


# Where steps are computed, and how


def test_a_model_predicts_on_the_backend_that_is_asked_for(xpnn, trained):
    pytest.importorskip("array_api_strict", reason="a library of the tests")
    words = "predict pets.safetensors new.csv --backend"
    assert xpnn.ok(words, "numpy") == xpnn.ok(words, "array_api_strict")
    xpnn.ok("train pets.csv -t adopted --epochs 2 --backend array_api_strict -o s.st")
    assert library.load("s.st").estimator_.network_.backend.name == "array_api_strict"
    xpnn.ok("evaluate s.st new.csv")


def test_steps_in_16_bits(xpnn, folder):
    words = f"{TRAIN} adopted -o half.st"
    record = xpnn.json(words, "--compute-dtype float16 --precision high")["record"]
    assert record["options"]["compute_dtype"] == "float16"
    assert record["options"]["precision"] == "high"
    assert len(record["history"]["skipped"]) == 30
    model = library.load("half.st")
    assert model.estimator_.compute_dtype == "float16"
    read = library.files.read_record("half.st")
    assert read["history"]["skipped"] == record["history"]["skipped"]


def test_skipped_steps_are_told(xpnn, folder, monkeypatch):
    monkeypatch.setattr(
        "xpnn.optimizers.LossScaler.__init__.__defaults__", (2.0**30, 2.0, 0.5, 2000)
    )
    out = xpnn.ok(TRAIN, "adopted --compute-dtype float16")
    assert "steps whose gradients overflowed; the scale was made smaller" in out


def test_what_scores_say():
    scores = {
        "accuracy": 0.9, "log_loss": 0.5, "roc_auc": None, "unknown_labels": 2,
        "baseline": {"name": "majority class, a", "accuracy": 0.9, "log_loss": 0.6},
    }  # fmt: skip
    text = "\n".join(score_lines(scores))
    assert "2 rows are of classes that the model does not know" in text
    assert "no better than its baseline" not in text
    scores["log_loss"] = 0.7
    assert not learned(scores)
    assert "no better than its baseline" in "\n".join(score_lines(scores))
    many = {"labels": list(range(30)), "matrix": np.eye(30, dtype=int).tolist()}
    many["matrix"][3][4] = 7
    assert confusion_lines(many) == ["30 classes; confused most:", "  7 x 3 predicted as 4"]
