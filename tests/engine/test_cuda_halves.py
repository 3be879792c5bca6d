"""Steps in 16 bits for a GPU, run on the host: the same as the pure step's, to roundings."""

from __future__ import annotations

import numpy as np
from cuda_on_host import HostCuda
from cuda_pairs import MARKS, ROWS, Both

from xpnn.backends import host, named_dtype
from xpnn.engine.cuda.plan import CudaPlan, read_halves
from xpnn.engine.cuda.source import HEAD
from xpnn.engine.trace import NAMESPACE, record
from xpnn.optimizers import SGD, Adam, LossScaler
from xpnn.training.options import Precision

pytestmark = MARKS


def test_conversions_are_numpys_for_every_number(half):
    dtype = named_dtype(half, np)
    kind = {"float16": "Float16", "bfloat16": "BFloat16"}[half]
    text = (
        f'extern "C" __global__ void both({kind}* a0, float* a1, float* a2, {kind}* a3) {{\n'
        "  for (int n = threadIdx.x; n < 65536; n += blockDim.x) {\n"
        f"    a1[n] = a0[n];\n    a3[n] = {kind}(a2[n]);\n  }}\n}}\n"
    )
    call = HostCuda().compile(HEAD + text)
    halves = np.arange(65536, dtype="uint16").view(dtype)
    wide, narrow = np.empty(65536, "float32"), np.empty(65536, dtype)
    floats = np.random.default_rng(0).integers(0, 2**32, 65536, "uint32").view("float32")
    with np.errstate(invalid="ignore", over="ignore"):
        between = (halves.astype("float32")[:32768:2] + halves.astype("float32")[1:32768:2]) / 2
        floats[: len(between)] = between  # ties
        floats[20000:40000] = np.random.default_rng(1).normal(size=20000)
        call("both", 1, 1, [halves, wide, floats, narrow])()
        expected = floats.astype(dtype)
        np.testing.assert_array_equal(wide, halves.astype("float32"))
    np.testing.assert_array_equal(narrow.astype("float32"), expected.astype("float32"))


def test_products_and_sums_read_the_16_bits(half):
    dtype = named_dtype(half, np)

    def function(a, b):
        wide = NAMESPACE.astype(a, host.dtype("float32"))
        product = NAMESPACE.matmul(wide, NAMESPACE.astype(b.T, host.dtype("float32")))
        return product, NAMESPACE.sum(wide, axis=0, dtype=host.dtype("float32"))

    a, b = (np.zeros(shape, dtype) for shape in ((40, 5), (7, 5)))
    trace = read_halves(record(function, (a, b), ["a", "b"]))
    assert [n.op for n in trace.nodes] == ["input", "input", "transpose", "matmul", "sum"]
    plan = CudaPlan(function, (a, b), ["a", "b"], {})
    assert {one.says for one in plan.work} == {"matmul 40 x 5 x 7 by cuBLAS", "sum over rows"}
    assert [str(out.dtype) for out in plan.plan.outputs] == ["float32"] * 2


def test_a_step_that_overflows_is_skipped_and_halves_the_scale():
    rule = LossScaler(2.0**24, growth_interval=3)
    both = Both(
        [8, "relu", 3], dtype="float32", optimizer=Adam(0.01),
        precision=Precision("float16", rule),
    ).run(2)  # fmt: skip
    scale, _, skipped = both.ours.state()[1][0]
    assert float(skipped) > 0
    assert float(scale) < rule.init_scale
    assert all(np.isfinite(both.ours.theta()))


def test_rows_that_are_kept_in_16_bits(half):
    both = Both([8, "relu", 3], dtype="float32", optimizer=SGD(0.1), precision=Precision(half))
    x = both.columns[0].astype(named_dtype(half, np))
    both.pure.columns = both.ours.columns = (x, *both.columns[1:])
    both.run()


def test_no_float32_is_written_down_where_16_bits_will_do(half):
    """Between the layers are 16 bits, and each product's float32 is rounded by the next kernel."""
    both = Both([64, "relu", 64, "relu", 3], dtype="float32", precision=Precision(half))
    plan = both.ours.plan(ROWS, both.noise(0), 1)
    casts = [one.says for one in plan.work if one.says == "astype"]
    assert len(casts) <= 2  # parameters and rows
    products = [one for one in plan.work if one.says.startswith("matmul")]
    assert all(str(a.dtype) == half for one in products for a in one.operands[:2])
