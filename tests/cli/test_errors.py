"""Whose error it is: one line and 2 for the user's, a traceback and 1 for ours."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpnn as library
from xpnn import backends
from xpnn.cli import app

LINE = "error: --hidden is 'big'; expected widths such as 100 or 100,50, or none\n"
TRAIN = ["train", "pets.csv", "-t", "adopted", "--epochs", "2", "-q"]


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, RuntimeError, IndexError])
def test_a_defect_is_not_the_users_error(kind, xpnn, trained, monkeypatch, capsys):
    def broken(*given, **more):
        raise kind("of ours")

    monkeypatch.setattr(library.TableModel, "predict", broken)
    monkeypatch.setattr(sys, "argv", ["xpnn", "predict", "pets.safetensors", "new.csv"])
    with pytest.raises(kind, match="of ours"):  # Python prints the traceback, and ends with 1
        app.main()
    assert capsys.readouterr() == ("", "")


def test_a_defect_ends_a_process_with_1(folder):
    code = (
        "import sys, xpnn.cli, xpnn\n"
        "def broken(*given, **more): raise ValueError('of ours')\n"
        "xpnn.TableModel.fit = broken\n"
        "sys.argv = ['xpnn', 'train', 'pets.csv', '-t', 'adopted']\n"
        "xpnn.cli.main()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 1
    assert found.stderr.startswith("Traceback (most recent call last):")
    assert found.stderr.endswith("ValueError: of ours\n")


@pytest.mark.parametrize(
    "error",
    [
        backends.InputError("of theirs"),
        backends.BackendUnavailableError("of theirs"),
        backends.DeviceMemoryError("of theirs"),
        backends.MissingExtraError("of theirs"),
        OSError("of theirs"),
    ],
)
def test_errors_that_have_a_class_are_one_line(error, xpnn, trained, monkeypatch):
    def broken(*given, **more):
        raise error

    monkeypatch.setattr(library.TableModel, "predict", broken)
    found = xpnn("predict", "pets.safetensors", "new.csv")
    assert found == (2, "", "error: of theirs\n")


@pytest.mark.parametrize("first", [True, False])
def test_the_traceback_is_shown_where_it_is_asked_for(first, xpnn, folder):
    words = ["train", "pets.csv", "-t", "adopted", "--hidden", "big"]
    assert xpnn(*words) == (2, "", LINE)
    words = ["--traceback", *words] if first else [*words, "--traceback"]
    code, out, err = xpnn(*words)
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith(LINE)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_variable_asks_for_the_traceback_too(value, shown, xpnn, folder, monkeypatch):
    monkeypatch.setenv("XPNN_TRACEBACK", value)
    _, _, err = xpnn("train", "pets.csv", "-t", "adopted", "--hidden", "big")
    assert err.startswith("Traceback") == shown
    assert err.endswith(LINE)


def test_a_column_may_be_called_like_an_option(xpnn, folder, pets):
    pets.rename(columns={"adopted": "--traceback"}).to_csv("odd.csv", index=False)
    words = ["train", "odd.csv", "--epochs", "2", "--json"]
    code, out, err = xpnn(*words, "--target=--traceback")
    assert (code, err) == (0, "")
    assert '"target": "--traceback"' in out


# Files that are there already


def test_train_replaces_no_model_unasked(xpnn, trained):
    before = (trained / "pets.safetensors").read_bytes()
    code, _, err = xpnn(*TRAIN)
    assert code == 2
    assert err == (
        "error: 'pets.safetensors' exists; --overwrite replaces it, and --out names another file\n"
    )
    assert (trained / "pets.safetensors").read_bytes() == before
    assert xpnn(*TRAIN, "--overwrite") == (0, "", "")
    assert library.load("pets.safetensors").estimator.n_iter_ == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TRAIN, "-o", "pets.csv", "--overwrite"], "--out is 'pets.csv', which is read"),
        ([*TRAIN, "-o", "new.csv", "--validation", "new.csv", "--resume"], "which is read"),
        ([*TRAIN, "-o", "picture.st", "--plot"], "'picture.st.png' exists; --overwrite"),
        ([*TRAIN, "-o", "kept.safetensors"], "kept.checkpoint.safetensors: "),
        (["predict", "pets.safetensors", "new.csv", "-o", "new.csv"], "which is read"),
        (["export", "pets.safetensors", "--onnx", "pets.safetensors"], "which is read"),
        (["plot", "pets.safetensors", "-o", "link.png"], "--out is 'link.png', which is read"),
    ],
)
def test_nothing_that_a_user_keeps_is_written_over(xpnn, trained, words, message):
    (trained / "picture.st.png").write_bytes(b"mine")
    (trained / "link.png").symlink_to("pets.safetensors")
    # A model that has the name of another one's checkpoint.
    model = (trained / "pets.safetensors").read_bytes()
    (trained / "kept.checkpoint.safetensors").write_bytes(model)
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    code, _, err = xpnn(*words)
    assert code == 2
    assert message in err
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_models_of_one_stem_have_checkpoints_of_their_own(xpnn, folder):
    every = ["--checkpoint-every", "1"]
    for name in ("m.safetensors", "m.st", "m"):
        assert xpnn(*TRAIN, *every, "-o", name)[0] == 0
    assert sorted(path.name for path in folder.glob("m*")) == [
        "m",
        "m.checkpoint.safetensors",
        "m.safetensors",
        "m.st",
        "m.st.checkpoint.safetensors",
    ]


# Models of other kinds


@pytest.fixture
def iris(pandas, tmp_path, monkeypatch):
    from sklearn.datasets import load_iris

    monkeypatch.chdir(tmp_path)
    data = load_iris(as_frame=True)
    frame = data.data.assign(kind=np.asarray(data.target_names)[data.target])
    frame.to_csv("iris.csv", index=False)
    # The same columns in another order, and one more.
    frame.assign(more=1)[["more", *frame.columns[::-1]]].to_csv("turned.csv", index=False)
    return frame


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["estimator", "perceptron", "pipeline"])
def test_a_saved_model_takes_columns_by_their_names(kind, xpnn, iris):
    pytest.importorskip("array_api_strict", reason="a library of the tests")
    x, y = iris.drop(columns="kind"), iris["kind"].to_numpy(object)
    given = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 0}
    model = {
        "estimator": library.MLPClassifier(**given),
        "perceptron": library.Perceptron(random_state=0),
        "pipeline": make_pipeline(StandardScaler(), library.MLPClassifier(**given)),
    }[kind].fit(x, y)
    library.save(model, "m.st")
    score = f"{model.score(x, y):.4f}"
    for table in ("iris.csv", "turned.csv"):
        code, out, err = xpnn("evaluate", "m.st", table, "-t", "kind")
        assert (code, err) == (0, "")
        assert score in out
        code, out, err = xpnn("predict", "m.st", table)
        assert (code, err) == (0, "")
        assert out.split()[1:] == model.predict(x).tolist()
    code, out, _ = xpnn("inspect", "m.st")
    assert code == 0
    assert "classes: setosa, versicolor, virginica" in out
    code, _, err = xpnn("predict", "m.st", "iris.csv", "--backend", "array_api_strict")
    assert (code, "expected numpy" in err) == ((2, True) if kind == "perceptron" else (0, False))
    iris.drop(columns=x.columns[0]).to_csv("less.csv", index=False)
    code, _, err = xpnn("predict", "m.st", "less.csv")
    assert code == 2
    assert err == f"error: the table lacks the columns {x.columns[0]}\n"
