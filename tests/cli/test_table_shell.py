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

# What a shell starts in the background ignores Ctrl-C, and so would its children.
HEARS_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("xpnn", run_name="__main__", alter_sys=True)
"""
TRAIN = "train pets.csv --target adopted --hidden 8"
SHELL = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and signals")


def shell(command):
    return subprocess.run(
        ["bash", "-c", f'xpnn() {{ "{sys.executable}" -m xpnn "$@"; }}; {command}'],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@SHELL
def test_a_pipe_that_is_closed_ends_quietly(trained, pets, pandas):
    pandas.concat([pets] * 20).to_csv("many.csv", index=False)
    command = "xpnn predict pets.safetensors many.csv --proba | head -2; echo ${PIPESTATUS[0]}"
    found = shell(command)
    assert found.stderr == ""
    assert found.stdout.splitlines()[0] == "predicted,p(home),p(waits)"
    assert found.stdout.splitlines()[2:] == ["0"]


@SHELL
def test_a_table_comes_through_a_pipe(trained):
    found = shell("cat new.csv | xpnn predict pets.safetensors - --json")
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["rows"] == 60


@SHELL
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sed '2,$d'", "error: standard input: no rows"),
        ("sed '5s/$/,more/'", "error: standard input, line 5: 7 fields; expected 6"),
    ],
)
def test_what_is_wrong_in_a_pipe_is_of_standard_input(trained, change, message):
    found = shell(f"cat new.csv | {change} | xpnn predict pets.safetensors -")
    assert found.returncode == 2
    assert found.stderr.startswith(message)


@SHELL
def test_a_pipe_may_have_a_name(trained):
    found = shell("xpnn evaluate pets.safetensors <(cat new.csv) --json")
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["rows"] == 60


@SHELL
def test_a_cell_that_cannot_be_used_costs_that_cell(trained):
    found = shell("cat new.csv | sed '4s/^[^,]*/old/' | xpnn predict pets.safetensors -")
    assert (found.returncode, found.stdout.count("\n")) == (0, 61)
    assert found.stderr.startswith("note: ")
    for told in ("standard input, column 'age': 1 cells are no numbers", "'old'", "line 4"):
        assert told in found.stderr


@SHELL
def test_ctrl_c_ends_with_130_and_resume_goes_on(folder, xpnn):
    # Wide and slow, so that the loss falls for as long as this takes.
    words = "train pets.csv -t adopted --hidden 500,500 --learning-rate 3e-5 --checkpoint-every 2"
    words += " --out m.safetensors --epochs"
    process = subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C, *words.split(), "100000"],
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
    assert f"going on after epoch {done}\n" in xpnn.ok(words, str(done + 2), "--resume")
    assert library.load("m.safetensors").estimator_.n_iter_ == done + 2


@pytest.mark.parametrize(
    ("epoch", "told"),
    [
        (3, "the same command with --resume goes on after epoch 2"),
        (1, "before the first epoch ended"),
    ],
)
def test_ctrl_c_before_an_epoch_is_written_down(epoch, told, folder, xpnn, monkeypatch):
    def interrupt(run):
        if run.history.epochs == epoch:
            raise KeyboardInterrupt

    own = library.TabularClassifier.fit

    def fit(self, *given, callbacks, **options):
        return own(self, *given, callbacks=[*callbacks, interrupt], **options)

    words = f"{TRAIN} --epochs 9 --checkpoint-every 2 -o m.safetensors"
    with monkeypatch.context() as context:
        context.setattr(library.TabularClassifier, "fit", fit)
        code, _, err = xpnn(words, "-q")
    assert code == 130
    assert err.startswith("note: interrupted")
    assert err.endswith(f"{told}\n")
    if epoch > 2:
        assert "going on after epoch 2\n" in xpnn.ok(words, "--resume")


def test_going_on_ends_where_one_training_does(folder, xpnn):
    xpnn.ok(TRAIN, "--epochs 30 -o whole.safetensors -q")
    words = f"{TRAIN} --checkpoint-every 4 -o m.safetensors --epochs"
    xpnn.ok(words, "8 -q")
    assert "going on after epoch 8\n" in xpnn.ok(words, "30 --resume")
    whole, resumed = library.load("whole.safetensors"), library.load("m.safetensors")
    assert resumed.estimator_.n_iter_ == 30
    for one, other in zip(whole.estimator_.coefs_, resumed.estimator_.coefs_, strict=True):
        assert (one == other).all()
    err = xpnn.error(words, "30 --alpha 0.5 --resume")
    assert err.startswith("m.checkpoint.safetensors: a checkpoint of another training")


DAYS = "train pets.csv --out other.safetensors -t days"
EVALUATE = "evaluate --json pets.safetensors"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train pets.csv -o other.st", "the table has age, kind, tame, arrived, adopted, days"),
        ("train pets.csv -o other.st -t paws", "no column 'paws'"),
        ("train nowhere.csv -t x", "nowhere.csv: No such file"),
        ("train - -t x -o other.st", "DATA is '-', but nothing is piped in; expected a table"),
        (f"{DAYS} --task guess", "--task is 'guess'"),
        (f"{DAYS} --hidden big", "--hidden is 'big'"),
        (f"{DAYS} --activation x", "--activation is 'x'"),
        (f"{DAYS} --compute-dtype x", "--compute-dtype is 'x'; expected one of float16, bfloat16"),
        (f"{DAYS} --precision x", "--precision is 'x'; expected one of highest, high, medium"),
        (f"{DAYS} --epochs 0", "than or equal to 1. See xpnn train"),
        (f"{DAYS} --seed -1", "'--seed'"),
        (f"{DAYS} --column-type age", "--column-type is 'age'"),
        (f"{DAYS} --column-type age=x", "--column-type is 'age=x'; expected"),
        (f"{DAYS} --column-type paws=text", "--column-type names 'paws'"),
        (f"{DAYS} --column-type kind=datetime", "--column-type is 'kind=datetime', but "),
        (f"{DAYS} --validation x", "--validation is 'x'"),
        (f"{DAYS} --validation 7", "--validation is 7.0"),
        (f"{DAYS} --validation less.csv", "yet now missing: tame"),
        (f"{DAYS} --validation 0 --early-stopping", "--early-stopping needs validation rows"),
        (f"{DAYS} --dtype age=x", "dtype['age'] is 'x'; expected one of text"),
        (f"{DAYS} --sep ab", "sep is 'ab'; expected one ASCII character"),
        (f"{DAYS} --encoding klingon", "encoding is 'klingon'"),
        (f"{DAYS} --usecol age", "no column 'days'"),
        (f"{DAYS} --model forest", "--model is 'forest'; expected mlp"),
        (f"{DAYS} --out .", "--out is '.', a folder"),
        (f"{DAYS} --backend x", "'x' is not a backend"),
        (f"{DAYS} --learning-rate 1e30", "a smaller --learning-rate helps"),
        (f"{DAYS} --learning-rate inf", "--learning-rate is inf"),
        (f"{DAYS} --alpha -1", "--alpha is -1; expected a number"),
        (f"{DAYS} --alpha nan", "--alpha is nan"),
        (f"{DAYS} --labels new.csv", "labels is 'new.csv'; expected none"),
        (f"{DAYS} --hidden 99999999,99999999", "Unable to alloc"),
        ("train pets.csv --paws", "No such option: --paws"),
        ("predict pets.csv pets.csv", "pets.csv: not a safetensors file"),
        ("predict pets.safetensors pets.csv -o x.doc", "--out is 'x.doc'"),
        ("predict pets.safetensors bad.csv", "bad.csv, line 3: 7 fields; expected 6"),
        (f"{EVALUATE} bad.csv", "bad.csv, line 3: 7 fields; expected 6"),
        (f"{EVALUATE} less.csv", "yet now missing: tame"),
        (f"{EVALUATE} pets.csv -t age", "has learned 'adopted'"),
        (EVALUATE, "Missing argument"),
        ("inspect nowhere", "nowhere"),
        ("plot pets.safetensors -k regions", "needs rows to look at: --data"),
        ("plot pets.safetensors -k pie", "--kind is 'pie'"),
        ("plot pets.csv", "pets.csv: not a safetensors file"),
        ("plot broken.json", "broken.json: no JSON"),
        ("plot empty.json", "there is nothing in it to be drawn"),
        ("export pets.safetensors --onnx .", "--onnx is '.', a folder"),
        ("sing", "No such command 'sing'"),
    ],
)
def test_what_a_user_got_wrong_at_a_table_is_one_line(
    xpnn, trained, pets, words, message, monkeypatch
):
    monkeypatch.setattr(sys, "stdin", None)
    pets.drop(columns="tame").to_csv("less.csv", index=False)
    lines = (trained / "pets.csv").read_text().splitlines()
    lines[2] += ",more"
    (trained / "bad.csv").write_text("\n".join(lines))
    (trained / "broken.json").write_text("{")
    (trained / "empty.json").write_text("{}")
    before = sorted(trained.iterdir())
    assert message in xpnn.error(words)
    assert sorted(trained.iterdir()) == before


@pytest.mark.parametrize("name", ["train", "predict", "evaluate", "inspect", "plot", "export"])
def test_every_command_shows_an_example(xpnn, name):
    assert f"xpnn {name} " in xpnn.ok(name, "--help").partition("Example:")[2]


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
    err = xpnn.error("export pets.safetensors --onnx x.onnx")
    assert err.startswith("this needs onnx, which is not installed")
    assert 'pip install "xpnn[onnx]"' in err
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert 'pip install "xpnn[tables]"' in xpnn.error("predict pets.safetensors new.csv")


def test_quiet_is_silent_otherwise(xpnn, folder):
    assert xpnn.ok(TRAIN, "--epochs 2 --quiet") == ""
    assert xpnn.ok("evaluate pets.safetensors new.csv --quiet") == ""
    assert xpnn.ok("predict pets.safetensors new.csv --quiet").count("\n") == 61
