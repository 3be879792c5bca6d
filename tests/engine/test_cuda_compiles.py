"""Kernels compiled for a GPU by NVRTC, which needs none."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import host, scalar
from xpnn.engine.cuda import plan as plans
from xpnn.engine.cuda import source as sources
from xpnn.engine.cuda.groups import TYPES
from xpnn.engine.cuda.plan import kernel_names, make_cuda_plan, source
from xpnn.engine.cuda.source import Kernel, fetch, tick
from xpnn.engine.trace import NAMESPACE
from xpnn.functional import ACTIVATIONS
from xpnn.optimizers import (
    Adam,
    chain,
    clip_by_global_norm,
)
from xpnn.training.precision import DEFAULT_PRECISION, Precision
from xpnn.training.step import Step


@pytest.fixture
def compile_for():
    """Compile a source for an architecture; skips where there is no NVRTC."""
    compiler = pytest.importorskip("cupy.cuda.compiler", reason="CuPy is not installed")

    def compile_for(text, architecture):
        try:
            return compiler._NVRTCProgram(text, "step.cu").compile(
                ("-std=c++17", "--fmad=false", f"-arch={architecture}")
            )
        except Exception as error:
            if type(error).__name__ == "DynamicLibNotFoundError":
                pytest.skip(f"NVRTC is not installed: {error}")
            raise

    compile_for("", "sm_90")
    return compile_for


def step_source(dtype, precision=DEFAULT_PRECISION, labels="int64"):
    """Kernels of a training step with every activation, and those round it."""
    layers = [spec for name in ACTIVATIONS for spec in (8, name)]
    network = Network(6, [*layers, 3], seed=0, dtype=dtype)
    x, _, _ = network.prepare(np.zeros((20, 6), dtype))
    t, weight = network.prepare_targets(x, np.zeros(20, labels), np.ones(20))
    optimizer, theta = precision.optimizer(chain(clip_by_global_norm(0.1), Adam())), network.theta
    step = Step(network.layers, network.tree, network.loss, optimizer, 0.01, precision=precision)
    update = step.update(NAMESPACE)
    number = scalar(0.0, np, "cpu", theta.dtype)
    carry = (theta, optimizer.init(theta, xp=np), number)
    sums, batch = (number.copy(), number.copy()), (x, t, weight, None, number.copy())
    plan = make_cuda_plan(update, (carry, sums, batch), [f"a{i}" for i in range(16)], {0: 0})
    count, order, rates = (host.zeros(1, k) for k in ("int64", "int64", dtype))
    around = [
        fetch(count, order, rates, rates[0, ...], 20, [(x, x.copy()), (t, t.copy())], []),
        tick(count),
    ]
    kernels = [*around, *(one for one in plan.work if isinstance(one, Kernel))]
    return source(kernel_names(kernels))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_compiles(dtype, architecture, compile_for, monkeypatch):
    monkeypatch.setattr(plans, "OWN", 10**9)
    text = step_source(dtype)
    assert text.count("__global__") > 20
    assert compile_for(text, architecture)


@pytest.mark.parametrize("labels", sorted({t for t in TYPES if "int" in t} - {"int64"}))
def test_labels_of_any_integers_compile(labels, compile_for):
    text = step_source("float32", labels=labels)
    assert "Int64(a" in text
    assert compile_for(text, "sm_90")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_in_16_bits_compiles(dtype, architecture, compile_for, monkeypatch):
    monkeypatch.setattr(sources, "LONG", 0)
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    text = step_source("float32", Precision(dtype))
    assert {"float16": "Float16*", "bfloat16": "BFloat16*"}[dtype] in text
    assert compile_for(text, architecture)


def test_broken_source_does_not(compile_for):
    from cupy.cuda.compiler import CompileException

    with pytest.raises(CompileException):
        compile_for("__global__ void broken( {", "sm_90")
