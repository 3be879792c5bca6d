"""The commands in a shell: pipes, signals, exit codes, going on, errors of one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

import xpnn as library

XPNN = [sys.executable, "-m", "xpnn"]
# What a shell starts in the background ignores Ctrl-C, and so would its children.
HEARS_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("xpnn", run_name="__main__", alter_sys=True)
"""
TRAIN = ["train", "pets.csv", "--target", "adopted", "--hidden", "8"]


def shell(command):
    return subprocess.run(
        ["bash", "-c", f'xpnn() {{ "{sys.executable}" -m xpnn "$@"; }}; {command}'],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_pipe_that_is_closed_ends_quietly(trained, pets, pandas):
    pandas.concat([pets] * 20).to_csv("many.csv", index=False)
    command = "xpnn predict pets.safetensors many.csv --proba | head -2; echo ${PIPESTATUS[0]}"
    found = shell(command)
    assert found.stderr == ""
    assert found.stdout.splitlines()[0] == "predicted,p(home),p(waits)"
    assert found.stdout.splitlines()[2:] == ["0"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_table_comes_through_a_pipe(trained):
    found = shell("cat new.csv | xpnn predict pets.safetensors - --json")
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["rows"] == 60


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cut -c1-9 | sed '2,$d'", "error: standard input: no rows after the line"),
        ("sed '4s/^[^,]*/old/'", "error: standard input, line 4: column 'age': found 'old'"),
        ("sed '5s/$/,more/'", "error: standard input, line 5: 7 fields; expected 6"),
    ],
)
def test_what_is_wrong_in_a_pipe_is_of_standard_input(trained, change, message):
    found = shell(f"cat new.csv | {change} | xpnn predict pets.safetensors -")
    assert found.returncode == 2
    assert found.stderr.startswith(message)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_training_goes_on_when_nobody_reads_any_more(folder):
    found = shell("xpnn train pets.csv -t adopted --epochs 3 -o cut.st | true; test -s cut.st")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_with_130_and_resume_goes_on(folder, xpnn):
    # Wide and slow, so that the loss falls for as long as this takes.
    words = ["train", "pets.csv", "-t", "adopted", "--hidden", "500,500", "--learning-rate", "3e-5"]
    words += ["--checkpoint-every", "2", "--out", "m.safetensors"]
    process = subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C, *words, "--epochs", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    checkpoint = folder / "m.checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.fullmatch(r"note: interrupted; the same command .* after epoch (\d+)\n", err)
    assert found, err
    assert not (folder / "m.safetensors").exists()
    done = int(found[1])
    code, out, err = xpnn(*words, "--epochs", str(done + 2), "--resume")
    assert (code, err) == (0, "")
    assert f"going on after epoch {done}\n" in out
    assert library.load("m.safetensors").estimator.n_iter_ == done + 2


def test_ctrl_c_before_an_epoch_is_written_down_names_the_one_that_is(folder, xpnn, monkeypatch):
    def interrupt(run):
        if run.history.epochs == 3:
            raise KeyboardInterrupt

    every = ["--checkpoint-every", "2", "-o", "m.safetensors"]
    with monkeypatch.context() as context:
        context.setattr("xpnn.cli.train._callbacks", lambda *_: [interrupt])
        code, _, err = xpnn(*TRAIN, "--epochs", "9", *every, "-q")
    assert code == 130
    assert err == "note: interrupted; the same command with --resume goes on after epoch 2\n"
    code, out, err = xpnn(*TRAIN, "--epochs", "9", *every, "--resume")
    assert (code, err) == (0, "")
    assert "going on after epoch 2\n" in out


def test_going_on_ends_where_one_training_does(folder, xpnn):
    code, _, _ = xpnn(*TRAIN, "--epochs", "30", "-o", "whole.safetensors", "-q")
    assert code == 0
    every = ["--checkpoint-every", "4", "-o", "m.safetensors"]
    assert xpnn(*TRAIN, "--epochs", "8", *every, "-q")[0] == 0
    code, out, err = xpnn(*TRAIN, "--epochs", "30", *every, "--resume")
    assert (code, err) == (0, "")
    assert "going on after epoch 8\n" in out
    whole, resumed = library.load("whole.safetensors"), library.load("m.safetensors")
    assert resumed.estimator.n_iter_ == 30
    for one, other in zip(whole.estimator.coefs_, resumed.estimator.coefs_, strict=True):
        assert (one == other).all()
    code, _, err = xpnn(*TRAIN, "--epochs", "30", "--alpha", "0.5", *every, "--resume")
    assert code == 2
    assert err.startswith("error: m.checkpoint.safetensors: a checkpoint of another training")
    # Without a checkpoint, --resume replaces no model.
    (folder / "m.checkpoint.safetensors").unlink()
    before = (folder / "m.safetensors").read_bytes()
    assert xpnn(*TRAIN, "--epochs", "2", *every, "--resume") == (
        2, "", "error: there is no m.checkpoint.safetensors to resume from, and 'm.safetensors' "
        "exists; --overwrite replaces it, and --out names another file\n",
    )  # fmt: skip
    assert (folder / "m.safetensors").read_bytes() == before
    code, _, err = xpnn(*TRAIN, "--epochs", "2", *every, "--resume", "--overwrite")
    assert code == 0
    assert err.startswith("note: there is no m.checkpoint.safetensors to resume from")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "pets.csv"], "the table has age, kind, tame, arrived, adopted, days"),
        (["train", "pets.csv", "-t", "paws"], "no column 'paws'"),
        (["train", "nowhere.csv", "-t", "x"], "nowhere.csv: No such file"),
        (["train", "pets.csv", "-t", "days", "--task", "guess"], "task is 'guess'"),
        (["train", "pets.csv", "-t", "days", "--hidden", "big"], "--hidden is 'big'"),
        (["train", "pets.csv", "-t", "days", "--activation", "x"], "--activation is 'x'"),
        (
            ["train", "pets.csv", "-t", "days", "--epochs", "0"],
            "than or equal to 1. See xpnn train",
        ),
        (["train", "pets.csv", "-t", "days", "--seed", "-1"], "'--seed'"),
        (["train", "pets.csv", "-t", "days", "--as", "age"], "--as is 'age'"),
        (["train", "pets.csv", "-t", "days", "--as", "age=x"], "--as is 'age=x'; expected"),
        (["train", "pets.csv", "-t", "days", "--as", "paws=date"], "--as names the column 'paws'"),
        (["train", "pets.csv", "-t", "days", "--as", "kind=date"], "--as is 'kind=date', but "),
        (["train", "pets.csv", "-t", "days", "--validation", "x"], "--validation is 'x'"),
        (["train", "pets.csv", "-t", "days", "--validation", "7"], "--validation is 7.0"),
        (
            ["train", "pets.csv", "-t", "days", "--validation", "bad.csv"],
            "bad.csv, line 3: column 'age': found 'old'; expected a number",
        ),
        (
            ["train", "pets.csv", "-t", "days", "--validation", "0", "--early-stop"],
            "--early-stop needs validation rows",
        ),
        (["train", "pets.csv", "-t", "days", "--task", "tell"], "--task is 'tell'"),
        (["train", "pets.csv", "-t", "days", "--out", "."], "--out is '.', a folder"),
        (["train", "pets.csv", "-t", "days", "--backend", "x"], "'x' is not a backend"),
        (
            ["train", "pets.csv", "-t", "days", "--learning-rate", "1e30"],
            "a smaller --learning-rate helps",
        ),
        (["train", "pets.csv", "-t", "days", "--learning-rate", "inf"], "--learning-rate is inf"),
        (["train", "pets.csv", "-t", "days", "--alpha", "-1"], "--alpha is -1; expected a number"),
        (["train", "pets.csv", "-t", "days", "--alpha", "nan"], "--alpha is nan"),
        (["train", "pets.csv", "-t", "days", "--labels", "new.csv"], "--labels is 'new.csv'"),
        (["train", "pets.csv", "-t", "days", "--hidden", "99999999,99999999"], "Unable to alloc"),
        (["train", "pets.csv", "--paws"], "No such option: --paws"),
        (["predict", "pets.csv", "pets.csv"], "pets.csv: not a safetensors file"),
        (["predict", "pets.safetensors", "pets.csv", "-o", "x.doc"], "--out is 'x.doc'"),
        (["predict", "pets.safetensors", "bad.csv"], "bad.csv, line 3: column 'age': found 'old'"),
        (["evaluate", "pets.safetensors", "bad.csv"], "bad.csv, line 3: column 'age'"),
        (["evaluate", "pets.safetensors", "less.csv"], "lacks the columns tame"),
        (["evaluate", "pets.safetensors", "pets.csv", "-t", "age"], "has learned 'adopted'"),
        (["evaluate", "pets.safetensors"], "Missing argument"),
        (["inspect", "nowhere"], "nowhere"),
        (["plot", "pets.safetensors", "-k", "regions"], "needs rows to look at: --data"),
        (["plot", "pets.safetensors", "-k", "pie"], "--kind is 'pie'"),
        (["plot", "pets.csv"], "pets.csv: not a safetensors file"),
        (["plot", "broken.json"], "broken.json: no JSON"),
        (["export", "pets.safetensors", "--onnx", "."], "--onnx is '.', a folder"),
        (["sing"], "No such command 'sing'"),
    ],
)
def test_what_a_user_got_wrong_at_a_table_is_one_line(xpnn, trained, pets, words, message):
    pets.drop(columns="tame").to_csv("less.csv", index=False)
    bad = pets.astype({"age": object})
    bad.loc[1, "age"] = "old"
    bad.to_csv("bad.csv", index=False)
    (trained / "broken.json").write_text("{")
    before = sorted(trained.iterdir())
    if words[0] == "train" and "--out" not in words:
        words = [*words, "--out", "other.safetensors"]
    code, out, err = xpnn(*words, *(["--json"] if words[0] == "evaluate" else []))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in out + err
    assert sorted(trained.iterdir()) == before


@pytest.mark.parametrize("name", ["train", "predict", "evaluate", "inspect", "plot", "export"])
def test_every_command_shows_an_example(xpnn, name):
    code, out, _ = xpnn(name, "--help")
    assert code == 0
    assert f"xpnn {name} " in out.partition("Example:")[2]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys, xpnn.cli\n"
        f"sys.argv = ['xpnn', *{words!r}]\n"
        "try:\n    xpnn.cli.main()\nexcept SystemExit as leaving:\n    assert leaving.code == 0\n"
        "heavy = {'numpy', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'onnx', 'torch', 'jax'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_extra_that_is_missing_is_named(xpnn, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = xpnn("export", "pets.safetensors", "--onnx", "x.onnx")
    assert code == 2
    assert err.startswith("error: this needs onnx, which is not installed")
    assert 'pip install "xpnn[onnx]"' in err
    monkeypatch.setitem(sys.modules, "pandas", None)
    code, _, err = xpnn("predict", "pets.safetensors", "new.csv")
    assert code == 2
    assert 'pip install "xpnn[tables]"' in err


def test_quiet_and_json_are_silent_otherwise(xpnn, folder):
    code, out, err = xpnn(*TRAIN, "--epochs", "2", "--quiet")
    assert (code, out, err) == (0, "", "")
    code, out, err = xpnn("evaluate", "pets.safetensors", "new.csv", "--quiet")
    assert (code, out, err) == (0, "", "")
    code, out, err = xpnn("predict", "pets.safetensors", "new.csv", "--quiet")
    assert (code, err) == (0, "")
    assert out.count("\n") == 61
