"""Kernels compiled for a GPU by NVRTC, which needs none."""

from __future__ import annotations

import pytest
from cuda_functions import DTYPES, all_of, known, operands
from cuda_pairs import WEIGHT, Both, computing_in

from xpnn.backends import host
from xpnn.engine.cuda.plan import CudaPlan, source
from xpnn.engine.cuda.source import TYPES, fetch, tick
from xpnn.functional import ACTIVATIONS
from xpnn.optimizers import Adam, chain, clip_by_global_norm


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


def step_source(dtype, labels="int64"):
    """Kernels of a training step with every activation, and those round it."""
    layers = [spec for name in ACTIVATIONS for spec in (8, name)]
    optimizer = chain(clip_by_global_norm(0.1), Adam())
    options = {"optimizer": optimizer, "weight": WEIGHT, "l2": 0.01, "labels": labels}
    both = Both([*layers, 3], **options, **computing_in(dtype))
    x, t, _ = both.columns
    table, rate = host.zeros(9, "int64"), host.zeros((), x.dtype)
    work = both.ours.plan(20, both.noise(0), both.sums).work
    around = [fetch(table, rate, [(x, x.copy()), (t, t.copy())]), tick(table, 20)]
    return source([*work, *around])[0]


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_compiles(dtype, architecture, compile_for):
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
def test_a_step_in_16_bits_compiles(dtype, architecture, compile_for):
    text = step_source(dtype)
    assert {"float16": "Float16*", "bfloat16": "BFloat16*"}[dtype] in text
    assert compile_for(text, architecture)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_elementwise_function_compiles(dtype, compile_for):
    plan = CudaPlan(all_of(known(dtype)), operands(dtype), ["a", "b", "c"], {})
    assert compile_for(source(plan.work)[0], "sm_80")


def test_broken_source_does_not(compile_for):
    from cupy.cuda.compiler import CompileException

    with pytest.raises(CompileException):
        compile_for("__global__ void broken( {", "sm_90")
