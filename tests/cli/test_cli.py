"""The commands about libraries and demos: output, exit codes, errors without a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

import xpnn as library
from xpnn import backends
from xpnn.checks import cases
from xpnn.demos import DEMOS


def test_backends_lists_every_library_with_its_version_or_the_reason(xpnn):
    out = xpnn.ok("backends")
    for name in backends.LIBRARIES:
        assert name in out
    assert backends.select("numpy").version in out
    out = xpnn.ok("backends --require numpy")
    assert re.fullmatch(r"numpy [\d.]+ on cpu, float\d+; it has: cpu.*\n", out)


def test_check_passes_on_numpy_and_says_how_far_each_case_is(xpnn):
    out = xpnn.ok("check --backends numpy")
    for case in cases.CASES:
        assert out.count(case) == 2, f"{case} in float32 and float64"
    assert "0 failed" in out


@pytest.mark.parametrize(
    ("change", "told"),
    [("* 1.0001", "FAIL linear"), ("raise", "FAIL RuntimeError: no such kernel")],
)
def test_check_fails_where_a_formula_is_wrong_or_raises(change, told, xpnn, monkeypatch):
    case = cases.CASES["linear, dropout, clipping"]

    def wrong(backend):
        found = case.compute(backend)
        if backends.dtype_name(backend.dtype) == "float32":
            if change == "raise":
                raise RuntimeError("no such kernel")
            found["linear"] = found["linear"] * 1.0001
        return found

    monkeypatch.setitem(cases.CASES, "linear, dropout, clipping", replace(case, compute=wrong))
    code, out, _ = xpnn("check --backends numpy")
    assert code == 1
    assert told in out
    assert "1 failed" in out


@pytest.mark.skipif(backends.status("cupy").usable, reason="CuPy works here")
@pytest.mark.parametrize(
    "words", ["check --backends cupy", "demo digits --backend cupy", "backends --require cupy"]
)
def test_asking_for_a_library_that_cannot_be_used_says_why(xpnn, words):
    assert xpnn.error(words).startswith("cupy cannot be used:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("check --backends numpy,fortran", "'fortran'; expected all, or some of"),
        ("backends --require fortran", "--require is 'fortran'; expected one of numpy, "),
        ("backends --device cpu", "--device is 'cpu'; it goes with --require LIBRARY"),
        ("demo digits --backend fortran", "name='fortran' is not a backend"),
        ("demo digits --device tpu --backend numpy", "device='tpu'"),
        ("demo digits --dtype int8", "dtype='int8' is not known"),
        ("demo digits --hidden big", "--hidden is 'big'"),
        ("demo digits --epochs 0", "than or equal to 1. See xpnn demo"),
        (
            "demo digits --input '1 0 0'",
            "the demo 'digits' has no --input; its options are --device, --dtype, --backend, "
            "--out, --seed, --epochs, --hidden\n",
        ),
        ("demo weighted-sum --learning-rate 1", "the demo 'weighted-sum' has no --learning-rate;"),
        ("demo mnist --hidden 20,10", "--hidden is '20,10'; this demo has one hidden layer"),
        ("demo horses", "demo 'horses' is not known; expected one of weighted-sum"),
        ("demo first-network --input '1 a 0'", "input holds 'a'; expected 3 numbers"),
        ("demo first-network --input '1 0'", "input holds 2 numbers; expected 3"),
        ("demo mnist --data /nowhere", "/nowhere"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(xpnn, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in xpnn.error(words)
    assert not list(tmp_path.iterdir())


def test_every_demo_has_a_command_and_a_sentence(xpnn):
    out = xpnn.ok("demo --help")
    for name in DEMOS:
        assert name in out


def test_a_demo_takes_its_own_options(xpnn, tmp_path):
    out = xpnn.ok("demo two-layer --backend numpy --hidden 6 --seed 3 --out", str(tmp_path))
    assert "it fell at every iteration" in out
    assert [path.name for path in tmp_path.iterdir()] == ["two-layer.png"]


def module(*words):
    """Run a command in a process of its own; returns its output."""
    words = [sys.executable, "-m", "xpnn", *words]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_version_and_module():
    assert module("--version").strip() == library.__version__


def test_digits_demo_works_in_a_pipe_and_repeats_its_accuracy(tmp_path):
    words = ("demo", "digits", "--backend", "numpy", "--epochs", "12", "--out")
    first, second = (module(*words, str(tmp_path / name)) for name in "ab")
    line = next(row for row in first.splitlines() if "validation accuracy: " in row)
    assert line in second
    assert "backend: numpy" in first
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "digits.safetensors", "curves.png", "misclassified.png",
    }  # fmt: skip
