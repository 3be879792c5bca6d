"""Every library and device agrees with NumPy's float64, case by case: what `xpnn check` runs."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest

from xpnn import functional as F
from xpnn.backends import matmul, select
from xpnn.checks import check_backend, deviation, rounding_bound, tolerance
from xpnn.checks.agreement import reference
from xpnn.checks.cases import CASES

LINEAR = importlib.import_module("xpnn.functional.linear")  # its function has the same name


@pytest.fixture
def check(monkeypatch):
    """Run one case on a backend: ``check(backend, case)``; its reference is the true one."""
    for case in CASES:
        reference(case)

    def run(backend, case):
        monkeypatch.setattr("xpnn.checks.agreement.CASES", {case: CASES[case]})
        (finding,) = check_backend(backend)
        return finding

    return run


@pytest.mark.parametrize("case", CASES)
def test_case_agrees_with_numpy_float64(backend, case, check):
    finding = check(backend, case)
    assert not finding.problem
    assert finding.relative <= finding.allowed, f"{finding.worst} deviates"
    assert finding.passed


# What has to be seen: results that are nearly right


def times(factor, function):
    return lambda *arguments, **options: factor * function(*arguments, **options)


def scaled_loss(name, factor):
    rule = F.LOSSES[name]

    def forward(*arguments, **options):
        loss, saved = rule.forward(*arguments, **options)
        return factor * loss, saved

    return replace(rule, forward=forward)


def rounded_to(bits):
    """Products of factors that keep so many bits after the point, as tensor cores have them."""

    def product(a, b, xp):
        return matmul(*(np.float32(_rounded(np.asarray(x), bits)) for x in (a, b)), xp)

    return product


def _rounded(x, bits):
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)


SIGMOID, RELU, HUBER = F.ACTIVATIONS["sigmoid"], F.ACTIVATIONS["relu"], F.LOSSES["huber"]


@pytest.mark.parametrize(
    ("table", "name", "wrong", "case"),
    [
        (F.ACTIVATIONS, "gelu", F.ACTIVATIONS["gelu_tanh"], "activations"),
        (F.ACTIVATIONS, "sigmoid", {"forward": times(1.001, SIGMOID.forward)}, "activations"),
        (F.ACTIVATIONS, "sigmoid", {"forward": times(1.00001, SIGMOID.forward)}, "activations"),
        (F.ACTIVATIONS, "gelu", {"backward": F.gelu_tanh_backward}, "activation gradients"),
        (F.ACTIVATIONS, "relu", {"backward": times(1.0001, RELU.backward)}, "activation gradients"),
        (F.LOSSES, "huber", scaled_loss("huber", 1.0001), "losses"),
        (F.LOSSES, "huber", {"backward": times(1.0001, HUBER.backward)}, "loss gradients"),
    ],
    ids=[
        "gelu_tanh for gelu",
        "1.001",
        "1.00001",
        "gelu_tanh's backward",
        "gradient",
        "loss",
        "loss gradient",
    ],
)
def test_what_is_nearly_right_fails(table, name, wrong, case, backend, check, monkeypatch):
    """In float32 too, on every library."""
    if isinstance(wrong, dict):
        wrong = replace(table[name], **wrong)
    monkeypatch.setitem(table, name, wrong)
    finding = check(backend, case)
    assert not finding.problem
    assert not finding.passed
    assert finding.worst.startswith(name)
    assert finding.relative > finding.allowed


def in_float32(a, b, xp):
    return matmul(np.float32(a), np.float32(b), xp).astype(a.dtype)


@pytest.mark.parametrize(
    ("case", "dtype", "product", "worst"),
    [
        *(
            (case, "float32", rounded_to(bits), "")
            for case in ("matrix products", "linear, dropout, clipping")
            for bits in (10, 7)  # TensorFloat-32 and bfloat16
        ),
        ("matrix products", "float64", in_float32, "256 terms"),
    ],
)
def test_products_of_factors_that_lost_bits_fail(case, dtype, product, worst, check, monkeypatch):
    monkeypatch.setattr(LINEAR, "matmul", product)
    finding = check(select("numpy", dtype=dtype), case)
    assert not finding.problem
    assert not finding.passed
    assert finding.worst.startswith(worst)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_probe_says_which_factor_lost_bits(side, check, monkeypatch):
    def product(a, b, xp):
        short = [np.float32(_rounded(x, 10)) if keep else x for x, keep in
                 ((a, side == "left"), (b, side == "right"))]  # fmt: skip
        return matmul(*short, xp)

    monkeypatch.setattr(LINEAR, "matmul", product)
    found = CASES["matrix products"].compute(select("numpy", dtype="float32"))
    deviations = {
        name: deviation(found[name], expected)[1]
        for name, expected in reference("matrix products").items()
    }
    other = {"left": "right", "right": "left"}[side]
    assert deviations[f"TF32 probe, {side} factor"] > 1e-4
    assert deviations[f"TF32 probe, {other} factor"] == 0.0


def test_a_library_is_asked_for_its_most_exact_products(check, use_library):
    """As in trainings, whatever it was told outside; and it is left as it was."""
    use_library("torch")
    import torch

    seen, before = [], torch.get_float32_matmul_precision()
    case = CASES["matrix products"]

    def compute(here):
        seen.append(torch.get_float32_matmul_precision())
        return case.compute(here)

    torch.set_float32_matmul_precision("medium")
    try:
        CASES["matrix products"] = replace(case, compute=compute)
        assert check(select("torch", dtype="float32"), "matrix products").passed
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        CASES["matrix products"] = case
        torch.set_float32_matmul_precision(before)
    assert seen == ["highest"]


def test_what_a_library_raises_is_a_finding(check, monkeypatch):
    def product(a, b, xp):
        raise RuntimeError("no cuBLAS here\nand more")

    monkeypatch.setattr(LINEAR, "matmul", product)
    finding = check(select("numpy", dtype="float32"), "matrix products")
    assert finding.problem == "RuntimeError: no cuBLAS here"
    assert not finding.passed


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("numpy cpu float32", "a came out on numpy cpu"),
        ("array_api_strict CPU_DEVICE float32", "a came out on array_api_strict CPU_DEVICE"),
        ("array_api_strict device1 float64", "a came out as float64"),
        ("array_api_strict device1 float32", ""),
    ],
)
def test_results_elsewhere_are_a_finding(place, problem, use_library, monkeypatch):
    use_library("array_api_strict")
    there = select(*place.split())
    case = replace(CASES["units"], compute=lambda backend: {"a": there.asarray([1.0])})
    monkeypatch.setattr("xpnn.checks.agreement.CASES", {"ones": case})
    (finding,) = check_backend(select("array_api_strict", "device1", "float32"))
    assert finding.problem == problem


# The bounds


def test_a_bound_follows_from_eps_and_the_length_of_the_sums():
    assert rounding_bound("float32", 1) == 8 * np.finfo("float32").eps
    assert rounding_bound("float64", 100) == 80 * np.finfo("float64").eps
    assert rounding_bound("float32", 4, growth=3.0) == 48 * np.finfo("float32").eps


def test_tolerance_is_scipys_for_the_dtype():
    for dtype in ("float16", "float32", "float64"):
        assert tolerance(dtype) == 4 * math.sqrt(np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("found", "expected", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.5, 0.5 / 3.0),
        ([2e-6], [1e-6], 1e-6, 0.5),
        ([1e4, 1.1], [1e4, 1.0], 0.1, 0.05),
        ([math.inf], [math.inf], 0.0, 0.0),
        ([math.nan], [math.nan], 0.0, 0.0),
        ([math.nan], [1.0], math.inf, math.inf),
        ([1.0], [math.inf], math.inf, math.inf),
        ([1.0, 1.0], [1.0], math.inf, math.inf),
        ([], [], 0.0, 0.0),
    ],
)
def test_deviation_is_relative_to_the_entry_and_sees_nan_inf_and_shape(
    found, expected, absolute, relative
):
    a, r = deviation(found, expected)
    assert a == pytest.approx(absolute)
    assert r == pytest.approx(relative)
