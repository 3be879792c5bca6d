"""From a table to a model and back: train, predict, evaluate, inspect, plot, export."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

import xpnn as library
from xpnn.cli.scores import confusion_lines, learned, score_lines

FAST = ["--hidden", "16", "--learning-rate", "0.01", "--epochs", "30"]
PNG = b"\x89PNG"


def machine(answer):
    """The one JSON object on standard output."""
    code, out, err = answer
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    return json.loads(out)


def test_train_says_what_columns_are_and_how_good_the_model_is(xpnn, folder):
    code, out, err = xpnn(
        "train", "pets.csv", "-t", "adopted", "--as", "days=ignored", *FAST, "--plot"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("age: numeric, ")
    assert lines[1].startswith("kind: category of 3, ")
    assert lines[2] == "tame: boolean"
    assert lines[3] == "arrived: date, as year, month, weekday, days since 1970"
    assert lines[4] == "days: ignored, as was asked for"
    assert lines[5].startswith("adopted: target, 2 classes: home, waits")
    assert "rows: 216 for training, 24 for validation" in out
    assert "baseline (majority class, " in out
    for name in ("accuracy", "log-loss", "ROC AUC", "confusion matrix", "model: pets.safetensors"):
        assert name in out
    assert "ConvergenceWarning" not in out + err
    assert (folder / "pets.png").read_bytes().startswith(PNG)
    model = library.load("pets.safetensors")
    assert model.record["validation"]["accuracy"] > 0.8
    assert sorted(path.name for path in folder.iterdir()) == [
        "new.csv", "pets.csv", "pets.png", "pets.safetensors",
    ]  # fmt: skip


def test_a_classification_goes_round(xpnn, trained, pandas):
    new = pandas.read_csv("new.csv")
    model = library.load("pets.safetensors")
    _, out, err = xpnn("predict", "pets.safetensors", "new.csv", "--proba")
    assert err == ""
    found = pandas.read_csv(io.StringIO(out))
    assert list(found) == ["predicted", "p(home)", "p(waits)"]
    assert (found["predicted"] == model.predict(new)).all()
    np.testing.assert_allclose(found.iloc[:, 1:], model.predict_proba(new), rtol=1e-6)

    scores = machine(xpnn("evaluate", "pets.safetensors", "new.csv", "--json"))
    assert scores["accuracy"] == np.mean(found["predicted"] == new["adopted"])
    assert scores["accuracy"] > scores["baseline"]["accuracy"] + 0.1
    code, out, _ = xpnn("evaluate", "pets.safetensors", "new.csv")
    assert code == 0
    assert f"{scores['accuracy']:.4f}" in out
    assert "confusion matrix" in out

    told = machine(xpnn("inspect", "pets.safetensors", "--json"))
    assert told["class"] == "TableModel"
    assert told["parameters"] == sum(p.size for p in [*model.estimator.coefs_]) + 17
    assert [column["kind"] for column in told["columns"]][:2] == ["numeric", "category"]
    assert told["record"]["options"]["hidden_layer_sizes"] == [16]
    assert told["written_by"] == library.__version__
    code, out, _ = xpnn("inspect", "pets.safetensors")
    assert "16 to 1, logistic" in out
    assert "kind: category of 3" in out
    _, _, training = out.partition("\ntraining\n")
    lines = training.partition("\n\n")[0].splitlines()
    assert lines[0].startswith("  216 rows for training, 24 for validation, ")
    assert {"  hidden_layer_sizes: [16]", "  30 epochs"} <= set(lines)
    names = [line.partition(":")[0].strip() for line in lines[1:]]
    assert not {"options", "history", "rows"} & set(names)
    assert len(set(names)) == len(names)
    assert xpnn("inspect", "pets.safetensors", "--quiet") == (0, "", "")


def test_a_regression_goes_round(xpnn, folder, pandas):
    told = machine(
        xpnn("train", "pets.csv", "-t", "days", "--as", "adopted=ignored", *FAST, "--json")
    )
    assert (told["task"], told["model"]) == ("regress", "pets.safetensors")
    assert len(told["record"]["history"]["loss"]) == told["epochs"]
    scores = machine(xpnn("evaluate", "pets.safetensors", "new.csv", "--json"))
    assert scores["r2"] > 0.6 > scores["baseline"]["r2"]
    code, out, _ = xpnn("evaluate", "pets.safetensors", "new.csv")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[3:6]] == ["R2", "MAE", "RMSE"]
    # Without --backend the command would compute on a GPU where there is one.
    words = ("predict", "pets.safetensors", "new.csv", "--backend", "numpy", "--json")
    answers = machine(xpnn(*words))
    new = pandas.read_csv("new.csv")
    expected = library.load("pets.safetensors").predict(new)
    assert answers["predicted"] == expected.tolist()
    code, _, err = xpnn("predict", "pets.safetensors", "new.csv", "--proba")
    assert code == 2
    assert "error: the model of 'days' has no probabilities" in err
    code, _, err = xpnn("plot", "pets.safetensors", "-k", "confusion", "--data", "new.csv")
    assert code == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "npz"])
@pytest.mark.parametrize("proba", [True, False])
def test_predictions_go_into_files_in_the_order_of_rows(
    xpnn, trained, pandas, ending, proba, monkeypatch
):
    from xpnn.cli.tables import Table
    from xpnn.data import stream_table

    monkeypatch.setattr(Table, "stream", lambda self: stream_table(self.path, 7))
    words = ["--proba"] if proba else []
    code, out, err = xpnn("predict", "pets.safetensors", "new.csv", *words, "-o", f"said.{ending}")
    assert (code, out, err) == (0, f"60 rows: said.{ending}\n", "")
    model, new = library.load("pets.safetensors"), pandas.read_csv("new.csv")
    if ending == "npz":
        with np.load("said.npz") as found:
            assert sorted(found) == (["classes"] if proba else []) + ["predicted"] + (
                ["probabilities"] if proba else []
            )
            predicted = found["predicted"]
            if proba:
                assert found["classes"].tolist() == ["home", "waits"]
                np.testing.assert_allclose(found["probabilities"], model.predict_proba(new), 1e-5)
    else:
        read = pandas.read_parquet if ending == "parquet" else pandas.read_csv
        table = read("said." + ending, **({"sep": "\t"} if ending == "tsv" else {}))
        predicted = table["predicted"].to_numpy()
        assert table.shape == (60, 3 if proba else 1)
    assert (predicted == model.predict(new)).all()


def write_as(pets, form):
    """The table in some format; the words that train it."""
    if form in ("csv.gz", "csv.zst"):
        if form == "csv.zst":
            pytest.importorskip("zstandard", reason="tables need the extra 'tables'")
        pets.to_csv(f"t.{form}", index=False)
    elif form == "tsv":
        pets.to_csv("t.tsv", index=False, sep="\t")
    elif form == "parquet":
        pets.to_parquet("t.parquet")
    return [f"t.{form}", "-t", "adopted"]


def digit_files(form):
    """Digits in some format of arrays; the words that train on them."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x[:200].astype(np.uint8) * 15, y[:200]
    if form == "npz":
        np.savez("t.npz", X=x, y=y)
        return ["t.npz"]
    if form == "npy":
        np.save("t.npy", np.column_stack([x, y]))
        return ["t.npy", "-t", "x64"]
    if form == "idx":
        library.data.write_idx("t-images-idx3-ubyte", x.reshape(-1, 8, 8))
        library.data.write_idx("t-labels-idx1-ubyte", y.astype(np.uint8))
        return ["t-images-idx3-ubyte"]
    whole = np.zeros((200, 785), int)
    whole[:, 0], whole[:, 1:65] = y, x
    np.savetxt("t.csv", whole, fmt="%d", delimiter=",")
    return ["t.csv"]


@pytest.mark.parametrize("form", ["csv.gz", "csv.zst", "tsv", "parquet"])
def test_tables_of_every_format(xpnn, folder, pets, form):
    words = write_as(pets, form)
    code, out, err = xpnn("train", *words, "--epochs", "3", "-o", "m.safetensors")
    assert (code, err) == (0, "")
    assert "kind: category of 3" in out
    code, out, _ = xpnn("predict", "m.safetensors", words[0])
    assert code == 0
    assert out.count("\n") == len(pets) + 1


@pytest.mark.parametrize(
    ("form", "target"), [("npz", "y"), ("npy", None), ("idx", "label"), ("digits", "label")]
)
def test_arrays_and_digits_of_every_format(xpnn, folder, form, target):
    words = digit_files(form)
    code, out, err = xpnn(
        "train", *words, "--epochs", "20", "--learning-rate", "0.01", "-o", "m.st"
    )
    assert (code, err) == (0, "")
    assert out.startswith(f"target: {target}, as such files have it\n") == (target is not None)
    assert "10 classes" in out
    scores = machine(xpnn("evaluate", "m.st", words[0], "--json"))
    assert scores["accuracy"] > 0.8


def test_a_file_of_other_rows_is_measured_on(xpnn, folder):
    words = ["train", "pets.csv", "-t", "adopted", "--epochs", "3"]
    told = machine(xpnn(*words, "--validation", "new.csv", "--json"))
    assert told["record"]["validation_rows"] == 60
    assert told["record"]["rows"] == 240
    code, out, _ = xpnn(*words, "--validation", "0", "--overwrite")
    assert code == 0
    assert "none for validation" in out
    told = machine(
        xpnn(
            *words,
            "--early-stop",
            "--epochs",
            "300",
            "--learning-rate",
            "0.1",
            "--json",
            "--overwrite",
        )
    )
    assert told["converged"]
    assert told["epochs"] < 300


@pytest.mark.parametrize("kind", ["loss", "weights", "network", "confusion"])
def test_pictures_of_a_model(xpnn, trained, kind):
    words = ["--data", "new.csv"] if kind == "confusion" else []
    told = machine(xpnn("plot", "pets.safetensors", "--kind", kind, *words, "--json"))
    assert told["out"] == f"pets-{kind}.png"
    assert (trained / told["out"]).read_bytes().startswith(PNG)


def test_the_picture_that_fits(xpnn, trained):
    assert machine(xpnn("plot", "pets.safetensors", "--json"))["kind"] == "loss"
    told = machine(xpnn("plot", "pets.safetensors", "--data", "new.csv", "--json"))
    assert told["kind"] == "confusion"
    words = ["--as", "kind=ignored", "--as", "tame=ignored", "--as", "adopted=ignored"]
    xpnn("train", "pets.csv", "-t", "days", *words, "--epochs", "2", "-o", "p.st", "-q",
         "--as", "arrived=ignored")  # fmt: skip
    code, _, err = xpnn("plot", "p.st", "-k", "regions", "--data", "new.csv")
    assert code == 2
    assert "a model of exactly two columns of numbers; this one uses 1" in err


def test_regions_of_two_columns(xpnn, folder, pandas):
    x = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    table = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "side": np.where(x[:, 0] > 0, "r", "l")})
    table.loc[3, "a"] = np.nan
    table.to_csv("sides.csv", index=False)
    assert xpnn("train", "sides.csv", "-t", "side", "--epochs", "5", "-q")[0] == 0
    code, out, err = xpnn("plot", "sides.safetensors", "--data", "sides.csv", "-o", "s.svg")
    assert (code, out) == (0, "regions: s.svg\n")
    assert err == "note: 1 rows with missing numbers are ignored\n"


def test_pictures_of_a_history(xpnn, folder, tmp_path):
    _, out, _ = xpnn("train", "pets.csv", "-t", "adopted", "--epochs", "3", "--json")
    (tmp_path / "run.json").write_text(out)
    (tmp_path / "list.json").write_text("[0.9, 0.5, 0.3]")
    for name in ("run", "list"):
        assert machine(xpnn("plot", f"{name}.json", "--json"))["out"] == f"{name}-loss.png"
    code, _, err = xpnn("plot", "run.json", "-k", "weights")
    assert code == 2
    assert "'weights' is drawn from a model" in err


def test_a_model_goes_to_onnx(xpnn, trained, pandas):
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    told = machine(xpnn("export", "pets.safetensors", "--onnx", "pets.onnx", "--json"))
    assert [value["name"] for value in told["inputs"]] == ["age", "kind", "tame", "arrived"]
    assert told["opset"]["ai.onnx"] == 18
    code, out, _ = xpnn("export", "pets.safetensors", "--onnx", "pets.onnx", "--opset", "19")
    assert code == 0
    assert "kind: string, n x 1" in out
    runtime = pytest.importorskip("onnxruntime", reason="only development installs it")
    new = pandas.read_csv("new.csv")
    seconds = pandas.to_datetime(new["arrived"]).to_numpy().astype("datetime64[s]")
    feeds = {
        "age": new["age"].to_numpy(np.float64),
        "kind": new["kind"].fillna("").to_numpy(object),
        "tame": (new["tame"] == "yes").to_numpy(np.float64),
        "arrived": seconds.astype(np.int64),
    }
    session = runtime.InferenceSession("pets.onnx", providers=["CPUExecutionProvider"])
    labels = session.run(["label"], {k: v[:, None] for k, v in feeds.items()})[0]
    assert labels.tolist() == library.load("pets.safetensors").predict(new).tolist()


def test_models_of_numbers(xpnn, folder):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x[:200] / 16
    np.savez("t.npz", X=x, y=y[:200])
    net = library.Network(64, [8, "tanh", 10], seed=0)
    net.fit(x, y[:200], epochs=3)
    library.save(net, "net.st", record={"rows": ["what", "a", "user", "likes"]})
    answers = machine(xpnn("predict", "net.st", "t.npz", "--proba", "--json"))
    assert answers["predicted"] == net.predict(x).tolist()
    scores = machine(xpnn("evaluate", "net.st", "t.npz", "--json"))
    assert scores["accuracy"] == np.mean(net.predict(x) == y[:200])
    told = machine(xpnn("inspect", "net.st", "--json"))
    assert (told["class"], told["parameters"]) == ("Network", 64 * 8 + 8 + 8 * 10 + 10)
    assert xpnn("inspect", "net.st")[0] == 0
    regressor = library.MLPRegressor(
        hidden_layer_sizes=(4,), solver="lbfgs", max_iter=300, random_state=0
    ).fit(x, x[:, 20])
    library.save(regressor, "r.st")
    np.savez("r.npz", X=x, y=x[:, 20])
    assert machine(xpnn("evaluate", "r.st", "r.npz", "--json"))["r2"] == pytest.approx(
        regressor.score(x, x[:, 20]), abs=1e-6
    )
    code, _, err = xpnn("predict", "r.st", "new.csv")
    assert code == 2
    assert "has 6 columns beside the target; the model takes 64 numbers" in err


def test_a_model_predicts_on_the_backend_that_is_asked_for(xpnn, trained):
    pytest.importorskip("array_api_strict", reason="a library of the tests")
    said = [
        xpnn("predict", "pets.safetensors", "new.csv", "--backend", name)[1]
        for name in ("numpy", "array_api_strict")
    ]
    assert said[0] == said[1]
    words = ["-t", "adopted", "--epochs", "2", "--backend", "array_api_strict", "-o", "s.st"]
    assert xpnn("train", "pets.csv", *words)[0] == 0
    assert library.load("s.st").estimator.network_.backend.name == "array_api_strict"
    assert xpnn("evaluate", "s.st", "new.csv")[0] == 0


def test_steps_in_16_bits(xpnn, folder):
    words = ["train", "pets.csv", "-t", "adopted", *FAST, "-o", "half.st"]
    options = ["--compute-dtype", "float16", "--precision", "high"]
    found = machine(xpnn(*words, *options, "--json"))
    assert found["record"]["options"]["compute_dtype"] == "float16"
    assert found["record"]["options"]["precision"] == "high"
    assert len(found["record"]["history"]["skipped"]) == 30
    model = library.load("half.st")
    assert model.estimator.compute_dtype == "float16"
    assert model.record["history"]["skipped"] == found["record"]["history"]["skipped"]
    for option, said in {
        "--compute-dtype": "--compute-dtype is 'float8'; expected one of float16, bfloat16",
        "--precision": "--precision is 'float8'; expected one of highest, high, medium",
    }.items():
        code, _, err = xpnn(*words, option, "float8")
        assert code == 2
        assert said in err


def test_skipped_steps_are_told(xpnn, folder, monkeypatch):
    monkeypatch.setattr(
        "xpnn.optimizers.LossScaler.__init__.__defaults__", (2.0**30, 2.0, 0.5, 2000)
    )
    words = ["train", "pets.csv", "-t", "adopted", *FAST, "--compute-dtype", "float16"]
    code, out, _ = xpnn(*words)
    assert code == 0
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
