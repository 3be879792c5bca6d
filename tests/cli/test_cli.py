"""The command line as a user meets it: output, exit codes, errors without a traceback."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from xpnn import backends
from xpnn.checks import cases
from xpnn.demos import DEMOS


def test_backends_lists_every_library_with_its_version_or_the_reason(xpnn):
    code, out, _ = xpnn("backends")
    assert code == 0
    for name in backends.LIBRARIES:
        assert name in out
    assert backends.select("numpy").version in out


def test_check_passes_on_numpy_and_says_how_far_each_case_is(xpnn):
    code, out, _ = xpnn("check", "--backends", "numpy")
    assert code == 0
    for case in cases.CASES:
        assert out.count(case) == 2, f"{case} in float32 and float64"
    assert "0 failed" in out


def test_check_fails_where_a_formula_is_wrong(xpnn, monkeypatch):
    right = cases.CASES["linear, dropout, clipping"]

    def wrong(backend):
        found = right.compute(backend)
        if backends.dtype_name(backend.dtype) == "float32":
            found["linear"] = found["linear"] * 1.0001
        return found

    monkeypatch.setitem(cases.CASES, "linear, dropout, clipping", replace(right, compute=wrong))
    code, out, _ = xpnn("check", "--backends", "numpy")
    assert code == 1
    assert "FAIL linear" in out
    assert "1 failed" in out


def test_check_reports_what_a_library_raises(xpnn, monkeypatch):
    right = cases.CASES["losses"]

    def broken(backend):
        if backends.dtype_name(backend.dtype) == "float32":
            raise RuntimeError("no such kernel")
        return right.compute(backend)

    monkeypatch.setitem(cases.CASES, "losses", replace(right, compute=broken))
    code, out, _ = xpnn("check", "--backends", "numpy")
    assert code == 1
    assert "RuntimeError: no such kernel" in out


@pytest.mark.skipif(backends.status("cupy").usable, reason="CuPy works here")
def test_asking_for_a_library_that_cannot_be_used_says_why(xpnn):
    for words in (["check", "--backends", "cupy"], ["demo", "digits", "--backend", "cupy"]):
        code, out, err = xpnn(*words)
        assert code == 2
        assert err.startswith("error: cupy cannot be used:")
        assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "--backends", "numpy,fortran"], "'fortran'; expected all, or some of"),
        (["demo", "digits", "--backend", "fortran"], "name='fortran' is not a backend"),
        (["demo", "digits", "--device", "tpu", "--backend", "numpy"], "device='tpu'"),
        (["demo", "digits", "--dtype", "int8"], "dtype='int8' is not known"),
        (["demo", "digits", "--hidden", "big"], "--hidden is 'big'"),
        (["demo", "digits", "--epochs", "0"], "than or equal to 1. See xpnn demo"),
        (["demo", "digits", "--input", "1 0 0"], "the demo 'digits' has no --input; its options"),
        (["demo", "mnist", "--hidden", "20,10"], "this demo has one hidden layer"),
        (["demo", "horses"], "demo 'horses' is not known; expected one of weighted-sum"),
        (["demo", "first-network", "--input", "1 a 0"], "input holds 'a'; expected 3 numbers"),
        (["demo", "first-network", "--input", "1 0"], "input holds 2 numbers; expected 3"),
        (["demo", "mnist", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(xpnn, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = xpnn(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_every_demo_has_a_command_and_a_sentence(xpnn):
    code, out, _ = xpnn("demo", "--help")
    assert code == 0
    for name in DEMOS:
        assert name in out


def test_version_and_module():
    run = subprocess.run(
        [sys.executable, "-m", "xpnn", "--version"], capture_output=True, text=True, check=True
    )
    import xpnn

    assert run.stdout.strip() == xpnn.__version__


def test_digits_demo_works_in_a_pipe_and_repeats_its_accuracy(tmp_path):
    def once(folder):
        run = subprocess.run(
            [sys.executable, "-m", "xpnn", "demo", "digits", "--backend", "numpy", "--epochs",
             "12", "--out", str(folder)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return run.stdout

    first, second = once(tmp_path / "a"), once(tmp_path / "b")
    line = next(row for row in first.splitlines() if "validation accuracy: " in row)
    assert line in second
    assert "backend: numpy" in first
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "digits.safetensors", "curves.png", "misclassified.png",
    }  # fmt: skip
