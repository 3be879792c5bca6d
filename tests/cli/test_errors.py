"""Whose error it is: one line and 2 for the user's, and 1 for ours."""

from __future__ import annotations

import numpy as np
import pytest

import xpnn as library
from xpnn import backends

LINE = "error: --hidden is 'big'; expected widths such as 100 or 100,50, or none\n"
TRAIN = "train pets.csv -t adopted --epochs 2 -q"
PREDICT = "predict pets.safetensors new.csv"


def broken(error):
    """Something that raises an error whatever it is given."""

    def function(*given, **more):
        raise error

    return function


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, RuntimeError, IndexError])
@pytest.mark.parametrize("debug", [True, False])
def test_a_bug_is_not_the_users_error(kind, debug, xpnn, trained, monkeypatch):
    monkeypatch.setattr(library.TabularClassifier, "predict", broken(kind("of ours")))
    code, out, err = xpnn(PREDICT, *["--debug"] * debug)
    assert (code, out) == (1, "")
    assert err.startswith("Traceback") == debug
    line = err.splitlines()[-1]
    assert line.startswith(f"error: a bug of xpnn: {kind.__name__}: ")
    assert "of ours" in line
    assert line.endswith("--debug shows where, which helps to report it") != debug


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (backends.InputError("of theirs"), "of theirs"),
        (backends.BackendUnavailableError("of theirs"), "of theirs"),
        (backends.DeviceMemoryError("of theirs"), "of theirs"),
        (backends.MissingExtraError("of theirs"), "of theirs"),
        (MemoryError(), "out of memory"),
        (OSError("of theirs"), "of theirs"),
        (OSError(13, "not allowed", "a.csv"), "a.csv: not allowed"),
    ],
)
def test_errors_that_have_a_class_are_one_line(error, told, xpnn, trained, monkeypatch):
    monkeypatch.setattr(library.TabularClassifier, "predict", broken(error))
    assert xpnn.error(PREDICT) == f"{told}\n"


def test_ctrl_c_has_an_exit_code_of_its_own(xpnn, trained, monkeypatch):
    monkeypatch.setattr(library.TabularClassifier, "predict", broken(KeyboardInterrupt()))
    assert xpnn(PREDICT)[0] == 130


@pytest.mark.parametrize("first", [True, False])
def test_the_traceback_is_shown_where_it_is_asked_for(first, xpnn, folder):
    words = "train pets.csv -t adopted --hidden big"
    assert xpnn(words) == (2, "", LINE)
    code, out, err = xpnn("--debug", words) if first else xpnn(words, "--debug")
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith(LINE)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_variable_asks_for_the_traceback_too(value, shown, xpnn, folder, monkeypatch):
    monkeypatch.setenv("XPNN_DEBUG", value)
    _, _, err = xpnn("train pets.csv -t adopted --hidden big")
    assert err.startswith("Traceback") == shown
    assert err.endswith(LINE)


def test_a_column_may_be_called_like_an_option(xpnn, folder, pets):
    pets.rename(columns={"adopted": "--debug"}).to_csv("odd.csv", index=False)
    assert xpnn.json("train odd.csv --epochs 2 --target=--debug")["target"] == "--debug"


# Files that are there already


def test_train_replaces_no_model_unasked(xpnn, trained):
    before = (trained / "pets.safetensors").read_bytes()
    assert xpnn.error(TRAIN) == (
        "'pets.safetensors' exists; --overwrite replaces it, and --out names another file\n"
    )
    # Without a checkpoint there is nothing to resume, and --resume replaces nothing either.
    assert xpnn.error(TRAIN, "--resume") == (
        "there is no pets.checkpoint.safetensors to resume from, and 'pets.safetensors' exists; "
        "--overwrite replaces it, and --out names another file\n"
    )
    assert (trained / "pets.safetensors").read_bytes() == before
    code, out, err = xpnn(TRAIN, "--resume --overwrite")
    assert (code, out) == (0, "")
    assert err.startswith("note: there is no pets.checkpoint.safetensors to resume from; ")
    assert library.load("pets.safetensors").estimator_.n_iter_ == 2
    assert xpnn.ok(TRAIN, "--overwrite") == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{TRAIN} -o pets.csv --overwrite", "--out is 'pets.csv', which is read"),
        (f"{TRAIN} -o new.csv --validation new.csv --resume", "which is read"),
        (f"{TRAIN} -o picture.st --plot", "'picture.st.png' exists; --overwrite"),
        (f"{TRAIN} -o kept.safetensors", "kept.checkpoint.safetensors: "),
        (f"{PREDICT} -o new.csv", "which is read"),
        ("export pets.safetensors --onnx pets.safetensors", "which is read"),
        ("plot pets.safetensors -o link.png", "--out is 'link.png', which is read"),
        ("plot pets.safetensors -o new.csv/a.png", "nothing can be written in "),
    ],
)
def test_nothing_that_a_user_keeps_is_written_over(xpnn, trained, words, message):
    (trained / "picture.st.png").write_bytes(b"mine")
    (trained / "link.png").symlink_to("pets.safetensors")
    # A model that has the name of another one's checkpoint.
    model = (trained / "pets.safetensors").read_bytes()
    (trained / "kept.checkpoint.safetensors").write_bytes(model)
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    assert message in xpnn.error(words)
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_models_of_one_stem_have_checkpoints_of_their_own(xpnn, folder):
    for name in ("m.safetensors", "m.st"):
        xpnn.ok(TRAIN, "--checkpoint-every 1 -o", name)
    assert sorted(path.name for path in folder.glob("m*")) == [
        "m.checkpoint.safetensors", "m.safetensors", "m.st", "m.st.checkpoint.safetensors",
    ]  # fmt: skip


def test_a_training_that_was_cut_short_is_not_thrown_away_unasked(xpnn, folder):
    xpnn.ok(TRAIN, "--checkpoint-every 1")
    (folder / "pets.safetensors").unlink()
    before = (folder / "pets.checkpoint.safetensors").read_bytes()
    err = xpnn.error(TRAIN)
    assert "is of a training that was cut short; --resume goes on with it, and --overwrite" in err
    assert (folder / "pets.checkpoint.safetensors").read_bytes() == before
    xpnn.ok(TRAIN, "--resume")


# Models of other kinds


@pytest.fixture
def iris(pandas, tmp_path, monkeypatch):
    from sklearn.datasets import load_iris

    monkeypatch.chdir(tmp_path)
    data = load_iris(as_frame=True)
    frame = data.data.assign(kind=np.asarray(data.target_names)[data.target])
    frame.to_csv("iris.csv", index=False)
    frame[frame.columns[::-1]].to_csv("turned.csv", index=False)
    frame.assign(more=1).to_csv("more.csv", index=False)
    return frame


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["estimator", "perceptron", "estimator of arrays"])
def test_a_saved_model_takes_columns_by_their_names(kind, xpnn, iris):
    pytest.importorskip("array_api_strict", reason="a library of the tests")
    x, y = iris.drop(columns="kind"), iris["kind"].to_numpy(object)
    model = library.MLPClassifier(hidden_layer_sizes=(8,), max_iter=60, random_state=0)
    if kind == "perceptron":
        model = library.Perceptron(random_state=0)
    x, target = (x.to_numpy() if "arrays" in kind else x), "-t kind"
    library.save(model.fit(x, y), "m.st")
    assert "classes: setosa, versicolor, virginica" in xpnn.ok("inspect m.st")
    for table in ("iris.csv",) if "arrays" in kind else ("iris.csv", "turned.csv"):
        assert f"{model.score(x, y):.4f}" in xpnn.ok("evaluate m.st -t kind", table)
        out = xpnn.ok("predict m.st", table, target)
        assert out.split()[1:] == model.predict(x).tolist()
    code, _, err = xpnn("predict m.st iris.csv --backend array_api_strict", target)
    assert (code, "expected numpy" in err) == ((2, True) if kind == "perceptron" else (0, False))
    iris.drop(columns=iris.columns[0]).to_csv("less.csv", index=False)
    assert xpnn.error("predict m.st less.csv", target).startswith(
        "the table has 3 columns beside the target; the model takes 4 numbers"
        if "arrays" in kind
        else "The feature names should match those that were passed during fit. Feature names seen "
        f"at fit time, yet now missing: {iris.columns[0]}.\n"
    )
    assert ("takes 4 numbers" if "arrays" in kind else "unseen at fit time: more.") in xpnn.error(
        "predict m.st more.csv", target
    )
